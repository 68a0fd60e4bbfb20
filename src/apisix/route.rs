//! Routes: which requests, and what happens to them.

use serde::Serialize;

use super::{Condition, InlineUpstream, Plugins, Timeout, canonical};

/// The longest `uri` that APISIX accepts.
pub const MAX_URI: usize = 4096;

/// An object under `/routes`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Route {
    /// The tail of the key.
    pub id: String,
    /// 1 to 256 characters.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Paths, a `*` at the end for any tail; no two the same.
    pub uris: Vec<String>,
    /// Lower-case host names, `*` before a suffix; none for every host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Higher goes first among routes of the same host and path text.
    pub priority: i64,
    /// All must hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vars: Vec<Condition>,
    /// Instead of the upstream's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Timeout>,
    /// Where requests go, unless a plugin answers or chooses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_id: Option<String>,
    /// In place of `upstream_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<InlineUpstream>,
    /// What is done to requests.
    #[serde(skip_serializing_if = "Plugins::is_empty")]
    pub plugins: Plugins,
    /// `Upgrade: websocket` passes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub enable_websocket: bool,
}

impl Route {
    /// The canonical JSON.
    pub fn to_bytes(&self) -> bytes::Bytes {
        canonical(self)
    }
}
