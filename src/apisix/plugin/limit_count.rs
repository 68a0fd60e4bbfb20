//! `limit-count`: bounds requests in a time. Counts are of this node alone.

use serde::Serialize;

use super::{Meta, meta};
use crate::apisix::check::{Checked, Within, answer, demand, if_there, one_or_more, text_of_one_or_more};

/// `limit-count`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LimitCount {
    /// 1 or more.
    pub count: u32,
    /// Seconds, 1 or more.
    pub time_window: u32,
    /// What is counted together.
    pub key: String,
    /// How `key` is read.
    pub key_type: LimitKey,
    /// 200 to 599.
    pub rejected_code: u32,
    /// 1 character or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected_msg: Option<String>,
    /// Where counts are kept.
    pub policy: LimitPolicy,
    /// Routes of one group count together. Other settings under a known name are refused: put them into the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Without its memory, everything passes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_degradation: bool,
    /// Answers tell what is left.
    pub show_limit_quota_header: bool,
    /// For which requests; without it for all.
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

/// Where counts are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitPolicy {
    /// In this node's memory.
    #[default]
    Local,
}

/// How the key of a limit is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKey {
    /// The name of a variable.
    #[default]
    Var,
    /// A text with `$name` for variables.
    VarCombination,
    /// A text as it stands.
    Constant,
}

impl LimitCount {
    pub(super) fn check(&self) -> Checked {
        one_or_more(self.count).within("count")?;
        one_or_more(self.time_window).within("time_window")?;
        if_there(&self.group, |text| text_of_one_or_more(text)).within("group")?;
        text_of_one_or_more(&self.key).within("key")?;
        answer(self.rejected_code).within("rejected_code")?;
        if_there(&self.rejected_msg, |text| text_of_one_or_more(text)).within("rejected_msg")?;
        meta(&self.meta)
    }
}

/// A key that is the same for every request that one APISIX serves.
pub const ONE_FOR_ALL: &str = "hostname";

/// For the plugins that know no constant key.
pub(super) fn variable_key(key: &str, kind: LimitKey) -> Checked {
    text_of_one_or_more(key)?;
    demand(kind != LimitKey::Constant, key, "cannot be a constant here: put a variable into it")
}
