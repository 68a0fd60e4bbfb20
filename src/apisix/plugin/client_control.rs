//! `client-control`: bounds of what a client may send.

use serde::Serialize;

use super::{Meta, meta};
use crate::apisix::check::{Checked, MAX_INTEGER, Within, demand};

/// `client-control`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ClientControl {
    /// Bytes; 0 for no bound.
    pub max_body_size: u64,
    /// For which requests; without it for all.
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

impl ClientControl {
    pub(super) fn check(&self) -> Checked {
        let rule = "is more than Lua can count";
        demand(self.max_body_size <= MAX_INTEGER, self.max_body_size, rule).within("max_body_size")?;
        meta(&self.meta)
    }
}
