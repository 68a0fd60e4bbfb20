//! `gzip`: compresses answers.

use serde::Serialize;

use super::Meta;

/// `gzip`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Gzip {
    /// Media types; without any, `text/html`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// Bytes, 1 or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_length: Option<u32>,
    /// 1 to 9.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comp_level: Option<u32>,
    /// Adds `Vary: Accept-Encoding`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub vary: bool,
    /// For which requests; without it for all.
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}
