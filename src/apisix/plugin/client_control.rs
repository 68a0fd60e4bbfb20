//! `client-control`: bounds of what a client may send.

use serde::Serialize;

use super::Meta;

/// `client-control`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ClientControl {
    /// Bytes; 0 for no bound.
    pub max_body_size: u64,
    /// For which requests; without it for all.
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}
