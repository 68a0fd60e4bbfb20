//! `cors`: answers preflight requests, and allows origins. Its defaults allow everything: name each part.

use serde::Serialize;

use super::{Meta, meta};
use crate::apisix::{
    check::{Checked, Within, characters, demand, each, if_there, line, unique},
    pcre,
};

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

impl Cors {
    pub(super) fn check(&self) -> Checked {
        if_there(&self.allow_origins, |text| origins(text)).within("allow_origins")?;
        for (field, text) in [
            ("allow_methods", &self.allow_methods),
            ("allow_headers", &self.allow_headers),
            ("expose_headers", &self.expose_headers),
        ] {
            if_there(text, |text| line(text)).within(field)?;
        }
        each(&self.allow_origins_by_regex, |pattern| {
            characters(pattern, 1..=4096, "must be 1 to 4096 characters")?;
            pcre::plugin_pattern(pattern)
        })
        .and_then(|()| unique(&self.allow_origins_by_regex))
        .within("allow_origins_by_regex")?;
        self.check_credentials()?;
        meta(&self.meta)
    }
}

impl Cors {
    /// What is left out is `*`, but for what is exposed.
    fn check_credentials(&self) -> Checked {
        for (field, text) in [
            ("allow_origins", self.allow_origins.as_deref().unwrap_or("*")),
            ("allow_methods", self.allow_methods.as_deref().unwrap_or("*")),
            ("allow_headers", self.allow_headers.as_deref().unwrap_or("*")),
            ("expose_headers", self.expose_headers.as_deref().unwrap_or_default()),
        ] {
            demand(
                !self.allow_credential || text != "*",
                text,
                "must not be * with allow_credential: name each, or **",
            )
            .within(field)?;
        }
        Ok(())
    }
}

/// `*`, `**`, `null`, or `scheme://host` with commas between.
fn origins(text: &str) -> Checked {
    line(text)?;
    let scheme = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let origin = |t: &str| t.split_once("://").is_some_and(|(s, host)| scheme(s) && !host.is_empty());
    let holds = matches!(text, "*" | "**" | "null") || text.split(',').all(origin);
    demand(holds, text, "must be *, **, null, or scheme://host with commas between")
}
