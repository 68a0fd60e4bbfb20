//! `limit-req`: evens requests out. Counts are of this node alone.

use serde::Serialize;

use super::{LimitKey, Meta, limit_count::variable_key, meta};
use crate::apisix::check::{
    Checked, Within, above_zero, answer, if_there, text_of_one_or_more, zero_or_more,
};

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

impl LimitReq {
    pub(super) fn check(&self) -> Checked {
        above_zero(self.rate).within("rate")?;
        zero_or_more(self.burst).within("burst")?;
        variable_key(&self.key, self.key_type).within("key")?;
        answer(self.rejected_code).within("rejected_code")?;
        if_there(&self.rejected_msg, |text| text_of_one_or_more(text)).within("rejected_msg")?;
        meta(&self.meta)
    }
}
