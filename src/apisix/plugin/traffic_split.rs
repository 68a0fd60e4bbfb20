//! `traffic-split`: chooses between upstreams.

use serde::Serialize;

use super::{Meta, meta};
use crate::apisix::{
    InlineUpstream,
    check::{Checked, Within, demand, each, id, unique},
};

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

impl TrafficSplit {
    pub(super) fn check(&self) -> Checked {
        each(&self.rules, SplitRule::check).within("rules")?;
        meta(&self.meta)
    }
}

impl SplitRule {
    fn check(&self) -> Checked {
        let entries = &self.weighted_upstreams;
        let rule = "must be from 1 to 20";
        demand((1..=MAX_WEIGHTED_UPSTREAMS).contains(&entries.len()), entries.len(), rule)
            .and_then(|()| each(entries, |entry| entry.target.check()))
            .within("weighted_upstreams")?;
        let ids: Vec<&str> = entries.iter().filter_map(|entry| entry.target.upstream_id()).collect();
        unique(&ids).within("weighted_upstreams")
    }
}

impl SplitTarget {
    fn upstream_id(&self) -> Option<&str> {
        match self {
            Self::UpstreamId(id) => Some(id),
            Self::Upstream(_) => None,
        }
    }

    fn check(&self) -> Checked {
        match self {
            Self::UpstreamId(text) => id(text).within("upstream_id"),
            Self::Upstream(upstream) => upstream.check_in_plugin().within("upstream"),
        }
    }
}
