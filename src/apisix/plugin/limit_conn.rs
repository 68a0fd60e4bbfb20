//! `limit-conn`: bounds requests under way. Counts are of this node and this route alone.

use serde::Serialize;

use super::{LimitKey, Meta, limit_count::variable_key, meta};
use crate::apisix::check::{Checked, Within, above_zero, answer, one_or_more};

/// `limit-conn`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LimitConn {
    /// 1 or more.
    pub conn: u32,
    /// As many more are delayed.
    pub burst: u32,
    /// Seconds, above 0.
    pub default_conn_delay: f64,
    /// What is counted together.
    pub key: String,
    /// How `key` is read; `constant` is not for this plugin.
    pub key_type: LimitKey,
    /// 200 to 599.
    pub rejected_code: u32,
    /// For which requests; without it for all.
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

impl LimitConn {
    pub(super) fn check(&self) -> Checked {
        one_or_more(self.conn).within("conn")?;
        above_zero(self.default_conn_delay).within("default_conn_delay")?;
        variable_key(&self.key, self.key_type).within("key")?;
        answer(self.rejected_code).within("rejected_code")?;
        meta(&self.meta)
    }
}
