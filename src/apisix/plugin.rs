//! Plugin configurations, as far as they are used here. Field names and limits are those of each plugin's schema.

use serde::Serialize;

use super::InlineUpstream;

/// The most entries of one traffic-split rule.
pub const MAX_WEIGHTED_UPSTREAMS: usize = 20;

/// The `plugins` of a route, in the order of their names.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plugins {
    /// Answers, without an upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault_injection: Option<FaultInjection>,
    /// Changes the request on its way up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_rewrite: Option<ProxyRewrite>,
    /// Answers with another place to go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,
    /// Chooses between upstreams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic_split: Option<TrafficSplit>,
}

impl Plugins {
    /// No plugin at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Every request is answered with this status.
    pub fn answer(http_status: u32, body: Option<String>) -> Self {
        let abort = Abort { http_status, body };
        Self { fault_injection: Some(FaultInjection { abort }), ..Self::default() }
    }
}

/// `fault-injection`: it runs before authentication and everything else that a route may carry.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FaultInjection {
    /// The answer.
    pub abort: Abort,
}

/// The answer of [`FaultInjection`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Abort {
    /// 200 or more.
    pub http_status: u32,
    /// `$name` in it is replaced by a variable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// `proxy-rewrite`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ProxyRewrite {
    /// The whole path instead; the query stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// A pattern, and what it is replaced by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex_uri: Option<[String; 2]>,
}

/// `redirect`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Redirect {
    /// The location, with `$name` for variables.
    pub uri: String,
    /// 200 or more.
    pub ret_code: u32,
    /// The request's query is added.
    pub append_query_string: bool,
}

/// `traffic-split`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrafficSplit {
    /// The first rule that matches; ours matches always.
    pub rules: [SplitRule; 1],
}

/// A rule of [`TrafficSplit`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SplitRule {
    /// 1 to [`MAX_WEIGHTED_UPSTREAMS`], no `upstream_id` twice.
    pub weighted_upstreams: Vec<WeightedUpstream>,
}

/// An entry of a [`SplitRule`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WeightedUpstream {
    /// Where this share goes.
    #[serde(flatten)]
    pub target: SplitTarget,
    /// The share.
    pub weight: u32,
}

/// Where a share of [`TrafficSplit`] goes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SplitTarget {
    /// An upstream that exists: a missing one fails every request of the route with 500, not only this share.
    UpstreamId(String),
    /// An upstream without nodes: this share is answered with 503.
    Upstream(InlineUpstream),
}
