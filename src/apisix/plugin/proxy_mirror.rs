//! `proxy-mirror`: sends a copy elsewhere, and forgets the answer.

use serde::Serialize;

use super::Meta;

/// `proxy-mirror`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ProxyMirror {
    /// `scheme://host:port`, with http, https, grpc or grpcs.
    pub host: String,
    /// Instead of the request's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Before the request's path instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_concat_mode: Option<PathConcat>,
    /// 0.00001 to 1; without it all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_ratio: Option<f64>,
    /// For which requests; without it for all.
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

/// What a mirror's path does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PathConcat {
    /// It stands instead of the request's.
    Replace,
    /// It stands before it.
    Prefix,
}
