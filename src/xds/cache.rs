//! What the control plane has given and this library accepted.
//!
//! In: the resources of one response. Out: the [`Snapshot`], the [`Change`]s, what was rejected and why, and which
//! names are still to be asked for or waited for. Never here: the protocol ([`super::stream`]) or a clock: time is
//! passed in.

mod expiry;
mod incoming;
mod references;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;

pub use self::references::Difference;
use self::{expiry::Expiry, incoming::Incoming, references::References};
use super::{Change, Objection, Resource, ResourceType, Snapshot, validate::Terms};
use crate::pb::{envoy::service::discovery::v3::Resource as Wrapper, google::protobuf::Any};

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
    /// What it did to the set of children that are referred to.
    pub children: Difference,
    /// Parents that came or changed refer to children, new or not (3.2 point 24).
    pub children_touched: bool,
}

/// A child that a parent refers to and that has not come.
#[derive(Debug, Clone, Copy)]
struct Missing {
    since: Instant,
    /// Nobody need wait for it any longer: it was told as overdue, or the control plane said that it does not exist.
    settled: bool,
}

/// The accepted resources and the graph between them.
#[derive(Debug)]
pub struct Cache {
    snapshot: Snapshot,
    /// Names by content, for telling a repeated resource without decoding it.
    by_hash: [HashMap<u64, Arc<str>>; ResourceType::ALL.len()],
    /// What a delta server calls the content that is held, where it calls it anything.
    versions: [HashMap<Arc<str>, Box<str>>; ResourceType::ALL.len()],
    expiry: [Expiry; ResourceType::ALL.len()],
    /// Who refers to whom, by the parents' type.
    references: [References; ResourceType::ALL.len()],
    missing: [BTreeMap<Arc<str>, Missing>; ResourceType::ALL.len()],
    rejected: [BTreeMap<String, String>; ResourceType::ALL.len()],
    answered: [bool; ResourceType::ALL.len()],
    initial_fetch_timeout: Duration,
    objection: Objection,
}

/// What a response says of the resources that it does not bring.
#[derive(Clone, Copy)]
enum Gone<'a> {
    /// They are gone: the response lists everything.
    Absent,
    /// These are gone, the others are as they were.
    Named(&'a [String]),
}

impl Cache {
    /// An empty cache that waits this long for a name before it counts as absent; for ever if zero (as in Envoy).
    pub fn new(initial_fetch_timeout: Duration) -> Self {
        Self {
            snapshot: Snapshot::default(),
            by_hash: Default::default(),
            versions: Default::default(),
            expiry: Default::default(),
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

    /// What is held, each with the version a delta server gave it, or an empty one.
    pub fn versions(&self, kind: ResourceType) -> HashMap<String, String> {
        let version =
            |name| self.versions[kind as usize].get(name).map_or_else(String::new, |v| v.to_string());
        self.snapshot.iter(kind).map(|r| (r.name.to_string(), version(&r.name))).collect()
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

    /// Forgets what was rejected, before the control plane tells all anew.
    pub fn forget_rejected(&mut self, kind: ResourceType) {
        self.rejected[kind as usize].clear();
    }

    /// Names referred to that have not come.
    pub fn pending(&self, kind: ResourceType) -> impl ExactSizeIterator<Item = &Arc<str>> {
        self.missing[kind as usize].keys()
    }

    /// Takes the resources of a state-of-the-world response.
    ///
    /// LDS and CDS responses list everything, so what is absent goes (3.2 point 14); RDS and EDS responses only add
    /// and update (point 15), and only what somebody refers to (point 11). A bad resource leaves its last good state
    /// in force, and the others are applied (point 28).
    pub fn apply(&mut self, kind: ResourceType, resources: &[Any], now: Instant) -> Applied {
        let incoming = self.read(kind, resources);
        let gone = if kind.is_complete() { Gone::Absent } else { Gone::Named(&[]) };
        self.take(kind, incoming, gone, now)
    }

    /// Takes the resources of a delta response, and then what it says is gone (3.2 point 17).
    pub fn apply_delta(
        &mut self,
        kind: ResourceType,
        resources: &[Wrapper],
        removed: &[String],
        now: Instant,
    ) -> Applied {
        let incoming = self.read_delta(kind, resources, removed);
        self.take(kind, incoming, Gone::Named(removed), now)
    }

    /// Takes out what has outlived its time to live.
    pub fn expire(&mut self, kind: ResourceType, now: Instant) -> Applied {
        let mut applied = Applied::default();
        for name in self.expiry[kind as usize].take_due(now) {
            self.take_out(kind, &name, &mut applied);
            if self.parents_of(kind).is_some() {
                self.missing[kind as usize].insert(name, Missing { since: now, settled: false });
            } else {
                self.refer(kind, name, Vec::new(), &mut applied);
            }
        }
        self.settle_children(kind, now, &mut applied);
        applied
    }

    fn take(&mut self, kind: ResourceType, incoming: Vec<Incoming>, gone: Gone, now: Instant) -> Applied {
        let mut applied = Applied::default();
        let mut present = HashSet::with_capacity(incoming.len());
        let mut nameless = false;
        for (position, item) in incoming.into_iter().enumerate() {
            match item {
                Incoming::Heartbeat(name, terms) => {
                    let name: Arc<str> = name.into();
                    self.expiry[kind as usize].set(&name, end(&terms, now));
                    present.insert(name);
                }
                Incoming::Unchanged(name, terms) => {
                    self.rejected[kind as usize].remove(&*name);
                    self.agree(kind, &name, terms, now);
                    present.insert(name);
                }
                Incoming::New(checked, message, terms) => {
                    let name: Arc<str> = checked.name.as_str().into();
                    self.rejected[kind as usize].remove(&*name);
                    present.insert(name.clone());
                    self.put(kind, Resource::new(&name, &message), &mut applied);
                    self.agree(kind, &name, terms, now);
                    applied.children_touched |= !checked.refers_to.is_empty();
                    self.refer(kind, name, checked.refers_to, &mut applied);
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
        match gone {
            // The broken resource could be any of the absent ones.
            Gone::Absent if nameless => {}
            Gone::Absent => self.remove_absent(kind, &present, &mut applied),
            Gone::Named(names) => self.remove_named(kind, names, &present, &mut applied),
        }
        self.settle_children(kind, now, &mut applied);
        self.remember_rejected(kind, gone, &applied.rejected);
        self.answered[kind as usize] = true;
        applied.changes.sort();
        applied.changes.dedup();
        applied
    }

    /// Whether everything has come that the first configuration needs, or has been waited for long enough.
    pub fn complete(&self, now: Instant) -> bool {
        let roots = [ResourceType::Cluster, ResourceType::Listener];
        roots.into_iter().all(|kind| self.answered[kind as usize])
            && self.missing.iter().flat_map(BTreeMap::values).all(|m| m.settled || self.is_overdue(m, now))
    }

    /// Names that have just been waited for long enough; each is told once.
    pub fn take_overdue(&mut self, now: Instant) -> Vec<Change> {
        let mut overdue = Vec::new();
        for kind in ResourceType::ALL {
            let timeout = self.initial_fetch_timeout;
            for (name, missing) in &mut self.missing[kind as usize] {
                if !missing.settled && !timeout.is_zero() && now >= missing.since + timeout {
                    missing.settled = true;
                    overdue.push(Change { kind, name: name.clone() });
                }
            }
        }
        overdue
    }

    /// When [`Cache::expire`] will have something to take out.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.expiry.iter().filter_map(Expiry::next).min()
    }

    /// When [`Cache::take_overdue`] will have something to tell.
    pub fn next_overdue(&self) -> Option<Instant> {
        if self.initial_fetch_timeout.is_zero() {
            return None;
        }
        let waiting = self.missing.iter().flat_map(BTreeMap::values).filter(|m| !m.settled);
        waiting.map(|m| m.since).min().map(|since| since + self.initial_fetch_timeout)
    }

    fn is_overdue(&self, missing: &Missing, now: Instant) -> bool {
        !self.initial_fetch_timeout.is_zero() && now >= missing.since + self.initial_fetch_timeout
    }

    fn parents_of(&self, kind: ResourceType) -> Option<&References> {
        let parent = ResourceType::ALL.into_iter().find(|p| p.child() == Some(kind))?;
        Some(&self.references[parent as usize])
    }

    fn put(&mut self, kind: ResourceType, resource: Resource, applied: &mut Applied) {
        let name = resource.name.clone();
        self.missing[kind as usize].remove(&*name);
        self.forget_hash(kind, &name);
        self.by_hash[kind as usize].insert(resource.hash, name.clone());
        if self.snapshot.insert(kind, resource) {
            applied.changes.push(Change { kind, name });
        }
    }

    /// Notes under which terms the content that is held now was given.
    fn agree(&mut self, kind: ResourceType, name: &Arc<str>, terms: Terms, now: Instant) {
        self.expiry[kind as usize].set(name, end(&terms, now));
        let versions = &mut self.versions[kind as usize];
        if terms.version.is_empty() {
            versions.remove(name);
        } else {
            versions.insert(name.clone(), terms.version.into());
        }
    }

    fn forget_hash(&mut self, kind: ResourceType, name: &str) {
        if let Some(held) = self.snapshot.get(kind, name) {
            self.by_hash[kind as usize].remove(&held.hash);
        }
    }

    fn take_out(&mut self, kind: ResourceType, name: &Arc<str>, applied: &mut Applied) {
        self.forget_hash(kind, name);
        self.versions[kind as usize].remove(name);
        self.expiry[kind as usize].set(name, None);
        if self.snapshot.remove(kind, name) {
            applied.changes.push(Change { kind, name: name.clone() });
        }
    }

    fn remove_absent(&mut self, kind: ResourceType, present: &HashSet<Arc<str>>, applied: &mut Applied) {
        let held = self.snapshot.iter(kind).map(|r| &r.name);
        let absent: Vec<Arc<str>> = held.filter(|name| !present.contains(*name)).cloned().collect();
        for name in absent {
            self.take_out(kind, &name, applied);
            self.refer(kind, name, Vec::new(), applied);
        }
    }

    /// A removal of what is still referred to is not followed, as in Envoy: routes and endpoints go with their
    /// parents. Of what has not come it says that there is no use in waiting.
    fn remove_named(
        &mut self,
        kind: ResourceType,
        names: &[String],
        present: &HashSet<Arc<str>>,
        applied: &mut Applied,
    ) {
        for name in names.iter().filter(|name| !present.contains(name.as_str())) {
            if let Some(missing) = self.missing[kind as usize].get_mut(name.as_str()) {
                missing.settled = true;
            }
            self.rejected[kind as usize].remove(name);
            if self.parents_of(kind).is_none()
                && let Some(held) = self.snapshot.get(kind, name)
            {
                let name = held.name.clone();
                self.take_out(kind, &name, applied);
                self.refer(kind, name, Vec::new(), applied);
            }
        }
    }

    /// Notes what `parent` refers to now.
    fn refer(&mut self, kind: ResourceType, parent: Arc<str>, children: Vec<String>, applied: &mut Applied) {
        if kind.child().is_some() {
            applied.children.add(self.references[kind as usize].set(parent, children));
        }
    }

    /// Children without a parent go (3.2 point 16), new ones are waited for. Not before the whole response is taken:
    /// a child that passes from one parent to another is neither.
    fn settle_children(&mut self, kind: ResourceType, now: Instant, applied: &mut Applied) {
        let Some(child_kind) = kind.child() else { return };
        let Difference { new, gone } = std::mem::take(&mut applied.children);
        for name in &gone {
            self.missing[child_kind as usize].remove(name);
            self.rejected[child_kind as usize].remove(&**name);
            self.take_out(child_kind, name, applied);
        }
        for name in &new {
            self.missing[child_kind as usize].insert(name.clone(), Missing { since: now, settled: false });
        }
        applied.children = Difference { new, gone };
    }

    /// A complete response says anew what is wrong; in another one only places in the response are outdated.
    fn remember_rejected(&mut self, kind: ResourceType, gone: Gone, rejected: &[Rejected]) {
        let known = &mut self.rejected[kind as usize];
        known.retain(|name, _| !matches!(gone, Gone::Absent) && !name.starts_with("resources["));
        known.extend(rejected.iter().map(|r| (r.name.clone(), r.error.clone())));
    }
}

/// When what was given under these terms is to go; never, if that is beyond what a clock can tell.
fn end(terms: &Terms, now: Instant) -> Option<Instant> {
    terms.lives.and_then(|lives| now.checked_add(lives))
}

#[cfg(test)]
mod tests;
