//! What a resource asks for and does not get.

use std::sync::Arc;

use serde::Serialize;

use crate::xds::ResourceType;

/// How much it matters that something is not honoured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// No request ends differently for it.
    Ignored,
    /// Expressed, but not quite as Envoy does it.
    Approximated,
    /// A request may end elsewhere, differently, or later.
    Traffic,
    /// Somebody may get in, or read, who should not.
    Security,
}

impl Severity {
    /// All of them, the least first.
    pub const ALL: [Self; 4] = [Self::Ignored, Self::Approximated, Self::Traffic, Self::Security];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ignored => "ignored",
            Self::Approximated => "approximated",
            Self::Traffic => "traffic",
            Self::Security => "security",
        }
    }
}

/// One thing that is not honoured, or not exactly.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Issue {
    /// The resource's type.
    pub kind: ResourceType,
    /// The resource's name.
    pub resource: Arc<str>,
    /// The field, such as `virtual_hosts[0].routes[2].route.hash_policy`.
    pub path: String,
    /// How much it matters.
    pub severity: Severity,
    /// The value met, and what happens instead.
    pub detail: String,
}
