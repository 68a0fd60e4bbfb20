//! What the control plane has given and this library accepted.
//!
//! In: the resources of one response. Out: the [`Snapshot`], the [`Change`]s, what was rejected and why, and which
//! names are still to be asked for or waited for. Never here: the protocol ([`super::stream`]) or a clock: time is
//! passed in.

mod references;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde::Serialize;

use self::references::References;
use super::{
    Change, Objection, Resource, ResourceType, Snapshot,
    validate::{self, Carried, Checked},
};
use crate::pb::google::protobuf::Any;

/// A resource that was not accepted. What it was before stays in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// Its name, or its place in the response where the name could not be read.
    pub name: String,
    /// The field and what is wrong with it.
    pub error: String,
}

/// What one response did.
#[derive(Debug, Default)]
pub struct Applied {
    /// Resources that came, changed or went, with the children that lost their last parent.
    pub changes: Vec<Change>,
    /// Every resource of the response that was refused.
    pub rejected: Vec<Rejected>,
    /// Parents that came or changed refer to these children, new or not (3.2 point 24).
    pub children_touched: bool,
}

/// A child that a parent refers to and that has not come.
#[derive(Debug, Clone, Copy)]
struct Missing {
    since: Instant,
    reported: bool,
}

/// The accepted resources and the graph between them.
#[derive(Debug)]
pub struct Cache {
    snapshot: Snapshot,
    /// Names by content, for telling a repeated resource without decoding it.
    by_hash: [HashMap<u64, Arc<str>>; ResourceType::ALL.len()],
    /// Who refers to whom, by the parents' type.
    references: [References; ResourceType::ALL.len()],
    missing: [BTreeMap<Arc<str>, Missing>; ResourceType::ALL.len()],
    rejected: [BTreeMap<String, String>; ResourceType::ALL.len()],
    answered: [bool; ResourceType::ALL.len()],
    initial_fetch_timeout: Duration,
    objection: Objection,
}

/// One resource of a response, before anything is changed.
enum Incoming {
    /// Named without content.
    Heartbeat(Arc<str>),
    /// As it was.
    Unchanged(Arc<str>),
    New(Checked, Bytes),
    Bad {
        name: Option<String>,
        error: String,
    },
}

impl Cache {
    /// An empty cache that waits this long for a name before it counts as absent; for ever if zero (as in Envoy).
    pub fn new(initial_fetch_timeout: Duration) -> Self {
        Self {
            snapshot: Snapshot::default(),
            by_hash: Default::default(),
            references: Default::default(),
            missing: Default::default(),
            rejected: Default::default(),
            answered: Default::default(),
            initial_fetch_timeout,
            objection: Objection::default(),
        }
    }

    /// The same, which also refuses what `objection` does.
    pub fn refusing(self, objection: Objection) -> Self {
        Self { objection, ..self }
    }

    /// The resources in force.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// All names to subscribe to, sorted; empty for the wildcard types.
    pub fn names(&self, kind: ResourceType) -> Vec<String> {
        self.parents_of(kind).map_or_else(Vec::new, |r| r.children().map(|n| n.to_string()).collect())
    }

    /// Changes whenever the names to subscribe to do.
    pub fn names_generation(&self, kind: ResourceType) -> u64 {
        self.parents_of(kind).map_or(0, References::generation)
    }

    /// Whether somebody refers to a resource of this type; always so for the wildcard types.
    pub fn is_wanted(&self, kind: ResourceType) -> bool {
        self.parents_of(kind).is_none_or(|r| !r.is_empty())
    }

    /// What is rejected at present, by name.
    pub fn rejected(&self, kind: ResourceType) -> impl Iterator<Item = Rejected> {
        self.rejected[kind as usize]
            .iter()
            .map(|(name, error)| Rejected { name: name.clone(), error: error.clone() })
    }

    /// Names referred to that have not come.
    pub fn pending(&self, kind: ResourceType) -> impl ExactSizeIterator<Item = &Arc<str>> {
        self.missing[kind as usize].keys()
    }

    /// Takes the resources of one response.
    ///
    /// LDS and CDS responses list everything, so what is absent goes (3.2 point 14); RDS and EDS responses only add
    /// and update (point 15), and only what somebody refers to (point 11). A bad resource leaves its last good state
    /// in force, and the others are applied (point 28).
    pub fn apply(&mut self, kind: ResourceType, resources: &[Any], now: Instant) -> Applied {
        let incoming = self.read(kind, resources);
        let mut applied = Applied::default();
        let mut present = HashSet::with_capacity(incoming.len());
        let mut nameless = false;
        for (position, item) in incoming.into_iter().enumerate() {
            match item {
                Incoming::Heartbeat(name) => {
                    present.insert(name);
                }
                Incoming::Unchanged(name) => {
                    self.rejected[kind as usize].remove(&*name);
                    present.insert(name);
                }
                Incoming::New(checked, message) => {
                    let name: Arc<str> = checked.name.as_str().into();
                    self.rejected[kind as usize].remove(&*name);
                    present.insert(name.clone());
                    self.put(kind, name, checked.refers_to, &message, now, &mut applied);
                }
                Incoming::Bad { name, error } => {
                    nameless |= name.is_none();
                    if let Some(name) = &name {
                        present.insert(name.as_str().into());
                        self.missing[kind as usize].remove(name.as_str());
                    }
                    let name = name.unwrap_or_else(|| format!("resources[{position}]"));
                    applied.rejected.push(Rejected { name, error });
                }
            }
        }
        // The broken resource could be any of the absent ones.
        if kind.is_complete() && !nameless {
            self.remove_absent(kind, &present, now, &mut applied);
        }
        self.remember_rejected(kind, &applied.rejected);
        self.answered[kind as usize] = true;
        applied.changes.sort();
        applied.changes.dedup();
        applied
    }

    /// Whether everything has come that the first configuration needs, or has been waited for long enough.
    pub fn complete(&self, now: Instant) -> bool {
        let roots = [ResourceType::Cluster, ResourceType::Listener];
        roots.into_iter().all(|kind| self.answered[kind as usize])
            && self.missing.iter().flat_map(BTreeMap::values).all(|m| self.is_overdue(m, now))
    }

    /// Names that have just been waited for long enough; each is told once.
    pub fn take_overdue(&mut self, now: Instant) -> Vec<Change> {
        let mut overdue = Vec::new();
        for kind in ResourceType::ALL {
            let timeout = self.initial_fetch_timeout;
            for (name, missing) in &mut self.missing[kind as usize] {
                if !missing.reported && !timeout.is_zero() && now >= missing.since + timeout {
                    missing.reported = true;
                    overdue.push(Change { kind, name: name.clone() });
                }
            }
        }
        overdue
    }

    /// When [`Cache::take_overdue`] will have something to tell.
    pub fn next_overdue(&self) -> Option<Instant> {
        if self.initial_fetch_timeout.is_zero() {
            return None;
        }
        let waiting = self.missing.iter().flat_map(BTreeMap::values).filter(|m| !m.reported);
        waiting.map(|m| m.since).min().map(|since| since + self.initial_fetch_timeout)
    }

    fn is_overdue(&self, missing: &Missing, now: Instant) -> bool {
        !self.initial_fetch_timeout.is_zero() && now >= missing.since + self.initial_fetch_timeout
    }

    fn parents_of(&self, kind: ResourceType) -> Option<&References> {
        let parent = ResourceType::ALL.into_iter().find(|p| p.child() == Some(kind))?;
        Some(&self.references[parent as usize])
    }

    fn read(&self, kind: ResourceType, resources: &[Any]) -> Vec<Incoming> {
        let mut items: Vec<Incoming> = resources.iter().filter_map(|any| self.read_one(kind, any)).collect();
        let mut seen = HashSet::with_capacity(items.len());
        let mut twice = BTreeSet::new();
        for item in &items {
            if let Some(name) = item.name()
                && !seen.insert(name)
            {
                twice.insert(name.to_owned());
            }
        }
        // Which of the two is meant cannot be told, so neither is taken (3.2 point 12).
        for name in twice {
            items.retain(|item| item.name() != Some(&name));
            items.push(Incoming::Bad { error: "comes twice in one response".to_owned(), name: Some(name) });
        }
        items
    }

    /// `None` for a resource nobody asked for.
    fn read_one(&self, kind: ResourceType, any: &Any) -> Option<Incoming> {
        let message = match validate::unwrap(kind, any) {
            Ok(Carried::Message(message)) => message,
            Ok(Carried::Heartbeat(name)) => return Some(Incoming::Heartbeat(name.into())),
            Err(error) => {
                return Some(Incoming::Bad { name: validate::name_in(any), error: error.to_string() });
            }
        };
        let held = self.by_hash[kind as usize].get(&Resource::hash_of(&message));
        if let Some(held) = held.and_then(|name| self.snapshot.get(kind, name))
            && held.bytes == message
        {
            return Some(Incoming::Unchanged(held.name.clone()));
        }
        let item = match self.check(kind, &message) {
            Ok(checked) => Incoming::New(checked, message),
            Err(error) => Incoming::Bad { name: validate::peek_name(&message), error },
        };
        let asked_for = match (item.name(), self.parents_of(kind)) {
            (Some(name), Some(parents)) => parents.refers_to(name),
            _ => true,
        };
        asked_for.then_some(item)
    }

    fn check(&self, kind: ResourceType, message: &Bytes) -> Result<Checked, String> {
        let checked = validate::check(kind, message).map_err(|error| error.to_string())?;
        self.objection.to(kind, &checked.name, message)?;
        Ok(checked)
    }

    fn put(
        &mut self,
        kind: ResourceType,
        name: Arc<str>,
        refers_to: Vec<String>,
        message: &[u8],
        now: Instant,
        applied: &mut Applied,
    ) {
        let resource = Resource::new(&name, message);
        self.missing[kind as usize].remove(&*name);
        self.forget_hash(kind, &name);
        self.by_hash[kind as usize].insert(resource.hash, name.clone());
        if self.snapshot.insert(kind, resource) {
            applied.changes.push(Change { kind, name: name.clone() });
        }
        applied.children_touched |= !refers_to.is_empty();
        self.refer(kind, name, refers_to, now, applied);
    }

    fn forget_hash(&mut self, kind: ResourceType, name: &str) {
        if let Some(held) = self.snapshot.get(kind, name) {
            self.by_hash[kind as usize].remove(&held.hash);
        }
    }

    fn take_out(&mut self, kind: ResourceType, name: &Arc<str>, applied: &mut Applied) {
        self.forget_hash(kind, name);
        if self.snapshot.remove(kind, name) {
            applied.changes.push(Change { kind, name: name.clone() });
        }
    }

    fn remove_absent(
        &mut self,
        kind: ResourceType,
        present: &HashSet<Arc<str>>,
        now: Instant,
        applied: &mut Applied,
    ) {
        let held = self.snapshot.iter(kind).map(|r| &r.name);
        let absent: Vec<Arc<str>> = held.filter(|name| !present.contains(*name)).cloned().collect();
        for name in absent {
            self.take_out(kind, &name, applied);
            self.refer(kind, name, Vec::new(), now, applied);
        }
    }

    /// Notes what `parent` refers to now. Children without a parent go (3.2 point 16), new ones are waited for.
    fn refer(
        &mut self,
        kind: ResourceType,
        parent: Arc<str>,
        children: Vec<String>,
        now: Instant,
        applied: &mut Applied,
    ) {
        let Some(child_kind) = kind.child() else { return };
        let difference = self.references[kind as usize].set(parent, children);
        for name in difference.gone {
            self.missing[child_kind as usize].remove(&name);
            self.rejected[child_kind as usize].remove(&*name);
            self.take_out(child_kind, &name, applied);
        }
        for name in difference.new {
            self.missing[child_kind as usize].insert(name, Missing { since: now, reported: false });
        }
    }

    fn remember_rejected(&mut self, kind: ResourceType, rejected: &[Rejected]) {
        let known = &mut self.rejected[kind as usize];
        // A complete response says anew what is wrong; in a partial one only places in the response are outdated.
        known.retain(|name, _| !kind.is_complete() && !name.starts_with("resources["));
        known.extend(rejected.iter().map(|r| (r.name.clone(), r.error.clone())));
    }
}

impl Incoming {
    fn name(&self) -> Option<&str> {
        match self {
            Self::Heartbeat(name) | Self::Unchanged(name) => Some(name),
            Self::New(checked, _) => Some(&checked.name),
            Self::Bad { name, .. } => name.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests;
