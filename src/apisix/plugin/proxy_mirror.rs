//! `proxy-mirror`: sends a copy of requests to another server, and drops what it answers.

use serde::Serialize;

use super::{Meta, meta};
use crate::apisix::check::{Checked, Within, demand};

/// The smallest `sample_ratio`.
pub const MIN_SAMPLE_RATIO: f64 = 0.00001;

/// `proxy-mirror`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ProxyMirror {
    /// `scheme://host[:port]`, of http, https, grpc or grpcs; gRPC copies gRPC requests only.
    pub host: String,
    /// The share of requests that are copied: from [`MIN_SAMPLE_RATIO`] to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_ratio: Option<f64>,
    /// When it runs: the copy has the path of that moment.
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

impl ProxyMirror {
    pub(super) fn check(&self) -> Checked {
        demand(
            is_server(&self.host),
            &self.host,
            "must be scheme://host:port: http or grpc, and a host name",
        )
        .within("host")?;
        let in_range = |ratio| (MIN_SAMPLE_RATIO..=1.0).contains(&ratio);
        demand(self.sample_ratio.is_none_or(in_range), self.sample_ratio, "must be 0.00001 to 1")
            .within("sample_ratio")?;
        meta(&self.meta)
    }
}

/// Whether the plugin takes it: names are of letters, digits, dots and hyphens.
pub fn is_server(host: &str) -> bool {
    let Some((scheme, rest)) = host.split_once("://") else { return false };
    let (name, port) = match rest.rfind(':').filter(|&at| !rest[at..].contains(']')) {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let is_name = match address {
        Some(address) => !address.is_empty() && address.chars().all(|c| c.is_ascii_hexdigit() || c == ':'),
        None => !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c)),
    };
    matches!(scheme, "http" | "https" | "grpc" | "grpcs")
        && is_name
        && port.is_none_or(|port| !port.is_empty() && port.chars().all(|c| c.is_ascii_digit()))
}
