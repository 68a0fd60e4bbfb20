//! `ip-restriction`: who may connect.

use serde::Serialize;

use super::{Meta, meta};
use crate::apisix::check::{
    Checked, Within, characters, demand, each, if_there, network, no_secret, not_empty,
};

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

impl IpRestriction {
    pub(super) fn check(&self) -> Checked {
        let (field, list) = match &self.addresses {
            IpList::Whitelist(list) => ("whitelist", list),
            IpList::Blacklist(list) => ("blacklist", list),
        };
        not_empty(list).and_then(|()| each(list, |text| network(text))).within(field)?;
        if_there(&self.message, |text| {
            no_secret(text)?;
            characters(text, 1..=1024, "must be 1 to 1024 characters")
        })
        .within("message")?;
        let code = self.response_code;
        demand((403..=404).contains(&code), code, "must be 403 or 404").within("response_code")?;
        meta(&self.meta)
    }
}
