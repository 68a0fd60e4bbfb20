//! `traffic-split`: chooses between upstreams.

use serde::Serialize;

use super::Meta;
use crate::apisix::InlineUpstream;

/// The most entries of one rule.
pub const MAX_WEIGHTED_UPSTREAMS: usize = 20;

/// `traffic-split`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrafficSplit {
    /// The first rule that matches; ours matches always.
    pub rules: [SplitRule; 1],
    /// For which requests; without it for all.
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
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
    Upstream(Box<InlineUpstream>),
}
