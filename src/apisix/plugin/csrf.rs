//! `csrf`: asks unsafe requests for a token that an earlier answer gave.

use serde::Serialize;

use super::{Meta, meta};
use crate::apisix::check::{Checked, Within, if_there, no_secret, text_of_one_or_more, token};

/// `csrf`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Csrf {
    /// Signs the tokens.
    pub key: String,
    /// Seconds; 0 for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
    /// Of the cookie and the header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// For which requests; without it for all.
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

impl Csrf {
    pub(super) fn check(&self) -> Checked {
        text_of_one_or_more(&self.key).within("key")?;
        no_secret(&self.key).within("key")?;
        if_there(&self.name, |name| token(name)).within("name")?;
        meta(&self.meta)
    }
}
