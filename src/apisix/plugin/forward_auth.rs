//! `forward-auth`: asks another server about each request.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Meta, meta};
use crate::apisix::check::{Checked, Within, answer, demand, each, line, token};

/// `forward-auth`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ForwardAuth {
    /// The server, with its path.
    pub uri: String,
    /// GET goes without the body.
    pub request_method: AuthMethod,
    /// Headers of the request that the server sees too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub request_headers: Vec<String>,
    /// Further headers for the server; `$name` is replaced by a variable.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra_headers: BTreeMap<String, String>,
    /// Headers of its answer that the upstream sees, and no others of these names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub upstream_headers: Vec<String>,
    /// Headers of its refusal that the client sees.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub client_headers: Vec<String>,
    /// 1 to 60000 milliseconds.
    pub timeout: u32,
    /// 200 to 599: the answer when the server cannot be asked.
    pub status_on_error: u32,
    /// Without the server, everything passes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_degradation: bool,
    /// Whether the server's certificate is checked.
    pub ssl_verify: bool,
    /// For which requests; without it for all.
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

/// How [`ForwardAuth`] asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum AuthMethod {
    /// Without the body.
    Get,
    /// With the body.
    Post,
}

impl ForwardAuth {
    pub(super) fn check(&self) -> Checked {
        let http = self.uri.strip_prefix("http://").or_else(|| self.uri.strip_prefix("https://"));
        let rule = "must be http:// or https:// and a host";
        line(&self.uri).within("uri")?;
        demand(http.is_some_and(|rest| !rest.is_empty()), &self.uri, rule).within("uri")?;
        for (field, names) in [
            ("request_headers", &self.request_headers),
            ("upstream_headers", &self.upstream_headers),
            ("client_headers", &self.client_headers),
        ] {
            each(names, |name| token(name)).within(field)?;
        }
        for (name, value) in &self.extra_headers {
            token(name).and_then(|()| line(value)).key(name).within("extra_headers")?;
        }
        demand((1..=60_000).contains(&self.timeout), self.timeout, "must be from 1 to 60000")
            .within("timeout")?;
        answer(self.status_on_error).within("status_on_error")?;
        meta(&self.meta)
    }
}
