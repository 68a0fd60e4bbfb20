//! Pure translation: xDS resources to APISIX objects.
//!
//! In: a [`Snapshot`] and the [`Change`]s since the last call. Out: the objects to put and delete, in
//! make-before-break order, and the [`Issue`]s: what APISIX cannot do, by resource and field path. Never here: I/O, a
//! clock, randomness, a lock.

mod issue;

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    apisix::Key,
    xds::{Change, Snapshot},
};

pub use issue::{Issue, Severity};

/// What one update does to the objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// Objects that are new or may have changed, what is referred to first.
    pub puts: Vec<(Key, Bytes)>,
    /// Objects that are gone, what refers to others first.
    pub deletes: Vec<Key>,
}

/// The whole result of a translation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Translation {
    /// Canonical JSON by key.
    pub objects: BTreeMap<Key, Bytes>,
    /// Sorted by resource type, resource, path.
    pub issues: Vec<Issue>,
}

/// Translates as resources change: a change re-runs only the units that read what changed.
#[derive(Debug, Default)]
pub struct Translator {}

impl Translator {
    /// Re-runs the units that read what changed.
    pub fn apply(&mut self, _snapshot: &Snapshot, _changes: &[Change]) -> Delta {
        Delta::default()
    }

    /// All present issues, sorted.
    pub fn issues(&self) -> Vec<Issue> {
        Vec::new()
    }
}

/// Translates everything at once.
pub fn translate(_snapshot: &Snapshot) -> Translation {
    Translation::default()
}
