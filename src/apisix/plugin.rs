//! Plugin configurations, as far as they are used here: one file for each plugin. Field names and limits are those of
//! its schema.

mod api_breaker;
mod client_control;
mod cors;
mod csrf;
mod fault_injection;
mod forward_auth;
mod grpc_web;
mod gzip;
mod ip_restriction;
mod limit_conn;
mod limit_count;
mod limit_req;
mod proxy_mirror;
mod proxy_rewrite;
mod real_ip;
mod redirect;
mod request_id;
mod response_rewrite;
mod traffic_split;

#[cfg(test)]
mod tests;

use serde::Serialize;

use super::{
    Condition,
    check::{Checked, Within, each, if_there, not_empty},
};

pub use api_breaker::{ApiBreaker, Healthy as BreakerHealthy, Unhealthy as BreakerUnhealthy};
pub use client_control::ClientControl;
pub use cors::Cors;
pub use csrf::Csrf;
pub use fault_injection::{Abort, Delay, FaultInjection, MAX_FAULT_VARS};
pub use forward_auth::{AuthMethod, ForwardAuth};
pub use grpc_web::GrpcWeb;
pub use gzip::Gzip;
pub use ip_restriction::{IpList, IpRestriction};
pub use limit_conn::LimitConn;
pub use limit_count::{LimitCount, LimitKey, LimitPolicy};
pub use limit_req::LimitReq;
pub use proxy_mirror::{PathConcat, ProxyMirror};
pub use proxy_rewrite::{ProxyRewrite, RequestHeaders, Target as RewriteTarget};
pub use real_ip::RealIp;
pub use redirect::{Redirect, RedirectTo};
pub use request_id::{IdAlgorithm, RequestId};
pub use response_rewrite::{ResponseHeaders, ResponseRewrite};
pub use traffic_split::{MAX_WEIGHTED_UPSTREAMS, SplitRule, SplitTarget, TrafficSplit, WeightedUpstream};

/// The `plugins` of a route, in the order of their names.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plugins {
    /// Answers in place of an upstream that fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_breaker: Option<ApiBreaker>,
    /// Bounds what a client may send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_control: Option<ClientControl>,
    /// Allows other origins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// Asks for a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csrf: Option<Csrf>,
    /// Answers, without an upstream, or waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault_injection: Option<FaultInjection>,
    /// Asks another server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward_auth: Option<ForwardAuth>,
    /// gRPC for browsers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc_web: Option<GrpcWeb>,
    /// Compresses answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gzip: Option<Gzip>,
    /// Who may connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_restriction: Option<IpRestriction>,
    /// Bounds requests at one time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_conn: Option<LimitConn>,
    /// Bounds requests in a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_count: Option<LimitCount>,
    /// Evens requests out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_req: Option<LimitReq>,
    /// Sends a copy elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_mirror: Option<ProxyMirror>,
    /// Changes the request on its way up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_rewrite: Option<ProxyRewrite>,
    /// Who the client is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub real_ip: Option<RealIp>,
    /// Answers with another place to go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,
    /// Gives the request an id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
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
        if_there(&self.api_breaker, ApiBreaker::check).within("api-breaker")?;
        if_there(&self.client_control, ClientControl::check).within("client-control")?;
        if_there(&self.cors, Cors::check).within("cors")?;
        if_there(&self.csrf, Csrf::check).within("csrf")?;
        if_there(&self.fault_injection, FaultInjection::check).within("fault-injection")?;
        if_there(&self.forward_auth, ForwardAuth::check).within("forward-auth")?;
        if_there(&self.grpc_web, GrpcWeb::check).within("grpc-web")?;
        if_there(&self.gzip, Gzip::check).within("gzip")?;
        if_there(&self.ip_restriction, IpRestriction::check).within("ip-restriction")?;
        if_there(&self.limit_conn, LimitConn::check).within("limit-conn")?;
        if_there(&self.limit_count, LimitCount::check).within("limit-count")?;
        if_there(&self.limit_req, LimitReq::check).within("limit-req")?;
        if_there(&self.proxy_mirror, ProxyMirror::check).within("proxy-mirror")?;
        if_there(&self.proxy_rewrite, ProxyRewrite::check).within("proxy-rewrite")?;
        if_there(&self.real_ip, RealIp::check).within("real-ip")?;
        if_there(&self.redirect, Redirect::check).within("redirect")?;
        if_there(&self.request_id, RequestId::check).within("request-id")?;
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
    /// The plugin runs for requests that meet all of them.
    pub filter: Vec<Condition>,
}

fn meta(meta: &Option<Meta>) -> Checked {
    let filter = |meta: &Meta| {
        not_empty(&meta.filter).and_then(|()| each(&meta.filter, Condition::check_in_plugin)).within("filter")
    };
    if_there(meta, filter).within("_meta")
}
