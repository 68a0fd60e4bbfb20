//! `cors`: answers preflight requests, and allows origins. Its defaults allow everything: name each part.

use serde::Serialize;

use super::Meta;

/// `cors`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Cors {
    /// `*`, `**`, `null`, or `scheme://host` with commas between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_origins: Option<String>,
    /// PCREs that are found anywhere in the origin.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_origins_by_regex: Vec<String>,
    /// With commas between; `*` only without credentials, `**` for any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_methods: Option<String>,
    /// As `allow_methods`; `**` echoes what was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_headers: Option<String>,
    /// As `allow_methods`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expose_headers: Option<String>,
    /// Seconds; -1 forbids caching; APISIX takes 5 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<i64>,
    /// Cookies and the like; then nothing may be `*`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_credential: bool,
    /// For which requests; without it for all.
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}
