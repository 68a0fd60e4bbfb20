//! Plugin configurations, as far as they are used here: one file for each plugin. Field names and limits are those of
//! its schema.

mod client_control;
mod cors;
mod fault_injection;
mod gzip;
mod limit_conn;
mod limit_count;
mod limit_req;
mod proxy_mirror;
mod proxy_rewrite;
mod redirect;
mod response_rewrite;
mod traffic_split;

#[cfg(test)]
mod tests;

use serde::Serialize;

use super::{
    Condition,
    check::{Checked, Within, each, if_there, not_empty},
};

pub use client_control::ClientControl;
pub use cors::Cors;
pub use fault_injection::{Abort, Delay, FaultInjection, MAX_FAULT_VARS};
pub use gzip::Gzip;
pub use limit_conn::LimitConn;
pub use limit_count::{LimitCount, LimitKey, LimitPolicy, ONE_FOR_ALL};
pub use limit_req::LimitReq;
pub use proxy_mirror::{MIN_SAMPLE_RATIO, ProxyMirror, is_server as is_mirror};
pub use proxy_rewrite::{ProxyRewrite, RequestHeaders, Target as RewriteTarget};
pub use redirect::{Redirect, RedirectTo};
pub use response_rewrite::{ResponseHeaders, ResponseRewrite};
pub use traffic_split::{MAX_WEIGHTED_UPSTREAMS, SplitRule, SplitTarget, TrafficSplit, WeightedUpstream};

/// The `plugins` of a route, in the order of their names.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plugins {
    /// Bounds what a client may send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_control: Option<ClientControl>,
    /// Allows other origins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// Answers, without an upstream, or waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault_injection: Option<FaultInjection>,
    /// Compresses answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gzip: Option<Gzip>,
    /// Bounds requests under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_conn: Option<LimitConn>,
    /// Bounds requests in a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_count: Option<LimitCount>,
    /// Evens requests out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_req: Option<LimitReq>,
    /// Sends copies elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_mirror: Option<ProxyMirror>,
    /// Changes the request on its way up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_rewrite: Option<ProxyRewrite>,
    /// Answers with another place to go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,
    /// Changes the answer on its way down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_rewrite: Option<ResponseRewrite>,
    /// Chooses between upstreams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic_split: Option<TrafficSplit>,
}

impl Plugins {
    /// No plugin at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The first rule that a plugin breaks.
    pub(super) fn check(&self) -> Checked {
        if_there(&self.client_control, ClientControl::check).within("client-control")?;
        if_there(&self.cors, Cors::check).within("cors")?;
        if_there(&self.fault_injection, FaultInjection::check).within("fault-injection")?;
        if_there(&self.gzip, Gzip::check).within("gzip")?;
        if_there(&self.limit_conn, LimitConn::check).within("limit-conn")?;
        if_there(&self.limit_count, LimitCount::check).within("limit-count")?;
        if_there(&self.limit_req, LimitReq::check).within("limit-req")?;
        if_there(&self.proxy_mirror, ProxyMirror::check).within("proxy-mirror")?;
        if_there(&self.proxy_rewrite, ProxyRewrite::check).within("proxy-rewrite")?;
        if_there(&self.redirect, Redirect::check).within("redirect")?;
        if_there(&self.response_rewrite, ResponseRewrite::check).within("response-rewrite")?;
        if_there(&self.traffic_split, TrafficSplit::check).within("traffic-split")
    }

    /// Every request is answered with this status.
    pub fn answer(http_status: u32, body: Option<String>) -> Self {
        let abort = Some(Abort::plain(http_status, body));
        let plugin = FaultInjection { abort, ..FaultInjection::default() };
        Self { fault_injection: Some(plugin), ..Self::default() }
    }
}

/// What any plugin may carry.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Meta {
    /// The plugin runs for requests that meet all of them; without one for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filter: Vec<Condition>,
    /// In place of the plugin's own; higher ones run first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
}

impl Meta {
    /// For some requests.
    pub fn filter(conditions: Vec<Condition>) -> Self {
        Self { filter: conditions, priority: None }
    }

    /// At another time.
    pub fn priority(priority: i64) -> Self {
        Self { filter: Vec::new(), priority: Some(priority) }
    }
}

fn meta(meta: &Option<Meta>) -> Checked {
    let filter = |meta: &Meta| {
        // One that would be empty is not written.
        let written = if meta.priority.is_none() { not_empty(&meta.filter) } else { Ok(()) };
        written.and_then(|()| each(&meta.filter, Condition::check_in_plugin)).within("filter")
    };
    if_there(meta, filter).within("_meta")
}
