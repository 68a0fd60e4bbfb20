//! `ip-restriction`: who may connect.

use serde::Serialize;

use super::Meta;

/// `ip-restriction`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IpRestriction {
    /// Exactly one list.
    #[serde(flatten)]
    pub addresses: IpList,
    /// 1 to 1024 characters: the answer's body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// 403 or 404.
    pub response_code: u32,
    /// For which requests; without it for all.
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

/// Addresses or CIDRs, at least one.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IpList {
    /// Only these.
    Whitelist(Vec<String>),
    /// All but these.
    Blacklist(Vec<String>),
}
