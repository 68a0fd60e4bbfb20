//! `real-ip`: takes the client's address from the request.

use serde::Serialize;

use super::{Meta, meta};
use crate::apisix::check::{Checked, Within, each, network, text_of_one_or_more};

/// `real-ip`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RealIp {
    /// A variable: `http_x_forwarded_for`, `arg_...`.
    pub source: String,
    /// Addresses or CIDRs whose word counts; without any, everybody's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trusted_addresses: Vec<String>,
    /// The last address that is not trusted, instead of the last.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub recursive: bool,
    /// For which requests; without it for all.
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

impl RealIp {
    pub(super) fn check(&self) -> Checked {
        text_of_one_or_more(&self.source).within("source")?;
        each(&self.trusted_addresses, |text| network(text)).within("trusted_addresses")?;
        meta(&self.meta)
    }
}
