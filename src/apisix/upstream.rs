//! Upstreams: where requests go, and how one node is chosen.

use serde::Serialize;

use super::{Checks, Timeout, canonical};

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
    /// All but its name.
    #[serde(flatten)]
    pub spec: InlineUpstream,
}

impl Upstream {
    /// The canonical JSON.
    pub fn to_bytes(&self) -> bytes::Bytes {
        canonical(self)
    }
}

/// An upstream that stands inside another object, where it has no id. A share of a traffic split keeps only the
/// balancer, the nodes, the timeout and what concerns the host and the scheme.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct InlineUpstream {
    /// How a node is chosen.
    #[serde(rename = "type")]
    pub balancer: Balancer,
    /// With [`Balancer::Chash`]: what `key` names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash_on: Option<HashOn>,
    /// With [`Balancer::Chash`]: what is hashed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// No two of the same host, port and priority; none at all answers 503.
    pub nodes: Vec<Node>,
    /// For every node; a part of a traffic split has its route's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Timeout>,
    /// Always sent: APISIX's default is one less than there are nodes.
    pub retries: u32,
    /// Seconds for all tries together; 0 for no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_timeout: Option<f64>,
    /// How nodes are spoken to; http when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// The Host header that nodes see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pass_host: Option<PassHost>,
    /// With [`PassHost::Rewrite`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_host: Option<String>,
    /// How it is found out whether a node is healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checks: Option<Checks>,
    /// Connections of its own that are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive_pool: Option<KeepalivePool>,
}

impl InlineUpstream {
    /// Answers 503.
    pub fn without_nodes() -> Self {
        Self::default()
    }

    /// The one node.
    pub fn of_node(host: &str, port: u16, timeout: Timeout) -> Self {
        let node = Node { host: host.to_owned(), port: port.into(), weight: 1, priority: 0 };
        Self { nodes: vec![node], timeout: Some(timeout), ..Self::default() }
    }
}

/// A file under `apisix/balancer`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Balancer {
    /// Smooth weighted round robin.
    #[default]
    #[serde(rename = "roundrobin")]
    RoundRobin,
    /// The fewest open connections for its weight.
    LeastConn,
    /// The same node for the same key: a ring of hashes.
    Chash,
}

/// What the key of [`Balancer::Chash`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HashOn {
    /// The name of one of the variables that APISIX allows here.
    Vars,
    /// The name of a header.
    Header,
    /// The name of a cookie.
    Cookie,
    /// A text with `$name` for variables.
    VarsCombinations,
}

/// How nodes are spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// HTTP/1.1
    Http,
    /// HTTP/1.1 over TLS
    Https,
    /// HTTP/2 with gRPC
    Grpc,
    /// HTTP/2 with gRPC over TLS
    Grpcs,
}

/// The Host header that nodes see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PassHost {
    /// The request's.
    Pass,
    /// The node's.
    Node,
    /// `upstream_host`.
    Rewrite,
}

/// Connections that are kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct KeepalivePool {
    /// 1 or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// Seconds, 0 or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<f64>,
    /// 1 or more: after as many, a connection is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
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
