//! Pure translation: xDS resources to APISIX objects.
//!
//! In: a [`Snapshot`] and the [`Change`]s since the last call. Out: the objects to put and delete, in
//! make-before-break order, and the [`Issue`]s: what APISIX cannot do, by resource and field path. Never here: I/O, a
//! clock, randomness, a lock.

mod action;
mod bounds;
mod chain;
mod client;
mod cluster;
mod config;
mod domain;
mod effect;
mod endpoint;
mod extension;
mod filter;
mod header;
mod id;
mod issue;
mod listener;
mod manager;
mod matcher;
mod network;
mod note;
mod order;
mod pattern;
mod random;
mod require_tls;
mod route;
mod route_config;
mod scope;
mod translator;
mod unsupported;
mod virtual_host;

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    apisix::Key,
    config::{Config, OnUnsupported, UpstreamTls},
    xds::{Change, ResourceType, Snapshot},
};

pub use issue::{Issue, Severity};
pub use translator::{Routing, Translator};
pub use unsupported::unsupported;

/// What becomes of what APISIX cannot do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// In general.
    pub on_unsupported: OnUnsupported,
    /// To TLS to endpoints.
    pub upstream_tls: UpstreamTls,
    /// The workload has a certificate, which is published as the object that upstreams name.
    pub is_certified: bool,
}

impl From<OnUnsupported> for Policy {
    fn from(on_unsupported: OnUnsupported) -> Self {
        Self { on_unsupported, ..Self::default() }
    }
}

impl From<&Config> for Policy {
    fn from(config: &Config) -> Self {
        Self {
            on_unsupported: config.on_unsupported,
            upstream_tls: config.upstream_tls,
            is_certified: config.workload_certificates,
        }
    }
}

/// What one update does to the objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// Objects that are new or have changed, what is referred to first.
    pub puts: Vec<(Key, Bytes)>,
    /// Objects that are gone, what refers to others first. All puts go before them.
    pub deletes: Vec<Key>,
}

/// The whole result of a translation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Translation {
    /// Canonical JSON by key.
    pub objects: BTreeMap<Key, Bytes>,
    /// Sorted by resource type, resource, path.
    pub issues: Vec<Issue>,
    /// How the virtual hosts are routed.
    pub routing: Routing,
}

/// Beginnings of the names of extensions that guard something and are not honoured.
pub fn guarding_extensions() -> impl Iterator<Item = &'static str> {
    extension::guarding()
}

/// Translates everything at once, under the default policy.
pub fn translate(snapshot: &Snapshot) -> Translation {
    translate_under(Policy::default(), snapshot)
}

/// Translates everything at once.
pub fn translate_under(policy: impl Into<Policy>, snapshot: &Snapshot) -> Translation {
    let all = |kind: ResourceType| snapshot.iter(kind).map(move |r| Change { kind, name: r.name.clone() });
    let changes: Vec<Change> = ResourceType::ALL.into_iter().flat_map(all).collect();
    let mut translator = Translator::new(policy);
    let delta = translator.apply(snapshot, &changes);
    Translation {
        objects: delta.puts.into_iter().collect(),
        issues: translator.issues(),
        routing: translator.routing(),
    }
}
