//! `redirect`: answers with another place to go.

use serde::Serialize;

use super::{Meta, meta};
use crate::apisix::{
    check::{Checked, Within, answer, characters, line},
    pcre,
};

/// `redirect`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Redirect {
    /// Where to.
    #[serde(flatten)]
    pub to: RedirectTo,
    /// 200 or more.
    pub ret_code: u32,
    /// The request's query is added.
    pub append_query_string: bool,
    /// The location is percent-encoded.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub encode_uri: bool,
    /// For which requests; without it for all.
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

/// The location of [`Redirect`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RedirectTo {
    /// The location, with `$name` for variables.
    Uri(String),
    /// A pattern for the path, and what it is replaced by.
    RegexUri([String; 2]),
}

impl Redirect {
    pub(super) fn check(&self) -> Checked {
        match &self.to {
            RedirectTo::Uri(uri) => line(uri)
                .and_then(|()| characters(uri, 2..=usize::MAX, "must be 2 characters or longer"))
                .within("uri")?,
            RedirectTo::RegexUri([pattern, by]) => pcre::plugin_pattern(pattern)
                .and_then(|()| line(by))
                .and_then(|()| pcre::replacement(by))
                .within("regex_uri")?,
        }
        answer(self.ret_code).within("ret_code")?;
        meta(&self.meta)
    }
}
