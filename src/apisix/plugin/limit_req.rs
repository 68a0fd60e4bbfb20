//! `limit-req`: evens requests out. Counts are of this node alone.

use serde::Serialize;

use super::{LimitKey, Meta};

/// `limit-req`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LimitReq {
    /// Requests a second, above 0.
    pub rate: f64,
    /// As many more are delayed, or pass at once.
    pub burst: f64,
    /// What is counted together.
    pub key: String,
    /// How `key` is read; `constant` is not for this plugin.
    pub key_type: LimitKey,
    /// What is in the burst passes at once.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub nodelay: bool,
    /// 200 to 599.
    pub rejected_code: u32,
    /// 1 character or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected_msg: Option<String>,
    /// Without its memory, everything passes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_degradation: bool,
    /// For which requests; without it for all.
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}
