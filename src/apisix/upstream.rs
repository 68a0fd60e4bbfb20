//! Upstreams: where requests go, and how one node is chosen.

use serde::Serialize;

use super::{Timeout, canonical};

/// The largest weight of a node. Pickers loop over weight steps and hash rings have 160 points for each.
pub const MAX_WEIGHT: u32 = 1000;

/// An object under `/upstreams`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Upstream {
    /// The tail of the key.
    pub id: String,
    /// 1 to 256 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Up to 256 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desc: Option<String>,
    /// How a node is chosen.
    #[serde(rename = "type")]
    pub balancer: Balancer,
    /// No two of the same host, port and priority; none at all answers 503.
    pub nodes: Vec<Node>,
    /// For every node.
    pub timeout: Timeout,
    /// Always sent: APISIX's default is one less than there are nodes.
    pub retries: u32,
}

impl Upstream {
    /// The canonical JSON.
    pub fn to_bytes(&self) -> bytes::Bytes {
        canonical(self)
    }
}

/// An upstream that stands inside another object, where it has no id.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InlineUpstream {
    /// How a node is chosen.
    #[serde(rename = "type")]
    pub balancer: Balancer,
    /// As in [`Upstream`].
    pub nodes: Vec<Node>,
    /// For every node; a part of a traffic split has its route's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Timeout>,
    /// As in [`Upstream`].
    pub retries: u32,
}

impl InlineUpstream {
    /// Answers 503.
    pub fn without_nodes() -> Self {
        Self { balancer: Balancer::RoundRobin, nodes: Vec::new(), timeout: None, retries: 0 }
    }

    /// The one node.
    pub fn of_node(host: &str, port: u16, timeout: Timeout) -> Self {
        let node = Node { host: host.to_owned(), port: port.into(), weight: 1, priority: 0 };
        Self { nodes: vec![node], timeout: Some(timeout), ..Self::without_nodes() }
    }
}

/// A file under `apisix/balancer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Balancer {
    /// Smooth weighted round robin.
    #[serde(rename = "roundrobin")]
    RoundRobin,
    /// The fewest open connections for its weight.
    LeastConn,
}

/// A node of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Node {
    /// IPv4, `[IPv6]` or a domain name.
    pub host: String,
    /// 1 to 65535.
    pub port: u32,
    /// 0 to [`MAX_WEIGHT`]; 0 is never chosen.
    pub weight: u32,
    /// Higher goes first; lower ones only when no node above is left.
    #[serde(skip_serializing_if = "is_zero")]
    pub priority: i64,
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}
