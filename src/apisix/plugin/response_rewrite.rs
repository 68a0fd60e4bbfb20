//! `response-rewrite`: changes the answer on its way down.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Meta;

/// `response-rewrite`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ResponseRewrite {
    /// Header operations.
    pub headers: ResponseHeaders,
    /// For which requests; without it for all.
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

/// Header operations of [`ResponseRewrite`], in the order in which they are done.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ResponseHeaders {
    /// `Name: value`, and in the value no `:` and no `/` at the end; `$name` is replaced by a variable.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<String>,
    /// Names and values, with `$name` for variables.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

impl ResponseHeaders {
    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
