//! What the control plane has given and this library accepted.
//!
//! In: the resources of one response. Out: the [`Snapshot`], the [`Change`]s, what was rejected and why, and which
//! names are still to be asked for or waited for. Never here: the protocol ([`super::stream`]) or a clock: time is
//! passed in.

mod expiry;
mod incoming;
mod missing;
mod references;
mod warming;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;

pub use self::references::Difference;
use self::{
    expiry::Expiry,
    incoming::Incoming,
    missing::Missing,
    references::{Node, References},
    warming::{UNTOLD_PATIENCE, Warming},
};
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
    /// Resources that came into force, changed or went, in whatever response they came.
    pub changes: Vec<Change>,
    /// Every resource of the response that was refused.
    pub rejected: Vec<Rejected>,
    /// What it did to the set of resources that are referred to.
    pub references: Difference,
    /// Clusters that came or changed refer to assignments, new or not (3.2 point 24).
    pub endpoints_touched: bool,
}

/// What has been waited for long enough, each told once.
#[derive(Debug, Default)]
pub struct Overdue {
    /// Names that are referred to and have not come.
    pub missing: Vec<Change>,
    /// Clusters that are gone though routes still name them.
    pub removed: Vec<Change>,
    /// What comes into force, or goes, for that.
    pub changes: Vec<Change>,
}

/// The accepted resources and the graph between them.
#[derive(Debug)]
pub struct Cache {
    /// What is in force.
    snapshot: Snapshot,
    warming: Warming,
    /// Names by content, for telling a repeated resource without decoding it.
    by_hash: [HashMap<u64, Arc<str>>; ResourceType::ALL.len()],
    /// What a delta server calls the content that is held, where it calls it anything.
    versions: [HashMap<Arc<str>, Box<str>>; ResourceType::ALL.len()],
    expiry: [Expiry; ResourceType::ALL.len()],
    /// Who refers to whom, in what was accepted last.
    graph: References,
    missing: [Missing; ResourceType::ALL.len()],
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
            warming: Warming::default(),
            by_hash: Default::default(),
            versions: Default::default(),
            expiry: Default::default(),
            graph: References::default(),
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
        if kind.is_complete() {
            return Vec::new();
        }
        self.graph.children(kind).map(|name| name.to_string()).collect()
    }

    /// What is held, each with the version a delta server gave it, or an empty one.
    pub fn versions(&self, kind: ResourceType) -> HashMap<String, String> {
        let version =
            |name| self.versions[kind as usize].get(name).map_or_else(String::new, |v| v.to_string());
        self.accepted(kind).map(|name| (name.to_string(), version(name))).collect()
    }

    /// Whether somebody refers to a resource of this type; always so for the wildcard types.
    pub fn is_wanted(&self, kind: ResourceType) -> bool {
        kind.is_complete() || self.graph.children(kind).next().is_some()
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
        self.missing[kind as usize].names()
    }

    /// How many resources were accepted and are not in force yet, or are gone and still in force.
    pub fn warming(&self, kind: ResourceType) -> usize {
        self.warming.count(kind)
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
            self.take_out(Node { kind, name }, now, &mut applied);
        }
        self.settle_references(now, &mut applied);
        self.settle(&mut applied);
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
                    applied.endpoints_touched |=
                        kind == ResourceType::Cluster && !checked.refers_to.is_empty();
                    let node = Node { kind, name };
                    self.put(&node, Resource::new(&node.name, &message), now);
                    self.agree(kind, &node.name, terms, now);
                    applied.references.add(self.graph.set(&node, checked.refers_to.into_iter().collect()));
                }
                Incoming::Bad { name, error } => {
                    nameless |= name.is_none();
                    if let Some(name) = &name {
                        let name: Arc<str> = name.as_str().into();
                        self.wait_no_longer(&Node { kind, name: name.clone() });
                        present.insert(name);
                    }
                    let name = name.unwrap_or_else(|| format!("resources[{position}]"));
                    applied.rejected.push(Rejected { name, error });
                }
            }
        }
        match gone {
            // The broken resource could be any of the absent ones.
            Gone::Absent if nameless => {}
            Gone::Absent => self.remove_absent(kind, &present, now, &mut applied),
            Gone::Named(names) => self.remove_named(kind, names, &present, now, &mut applied),
        }
        self.settle_references(now, &mut applied);
        self.settle(&mut applied);
        self.remember_rejected(kind, gone, &applied.rejected);
        self.answered[kind as usize] = true;
        applied.changes.sort();
        applied.changes.dedup();
        applied
    }

    /// Whether everything has come that the first configuration needs, or has been waited for long enough. Once true
    /// it stays so. The control plane told all clusters and listeners there are: what is not among them is not coming.
    pub fn complete(&mut self) -> bool {
        let roots = [ResourceType::Cluster, ResourceType::Listener];
        let mut children = roots.into_iter().filter_map(ResourceType::child);
        let complete = roots.into_iter().all(|kind| self.answered[kind as usize])
            && children.all(|kind| self.missing[kind as usize].is_settled());
        self.warming.active |= complete;
        self.warming.active
    }

    /// What has just been waited for long enough.
    pub fn take_overdue(&mut self, now: Instant) -> Overdue {
        let mut missing = Vec::new();
        for kind in ResourceType::ALL {
            let overdue = self.missing[kind as usize].take_overdue(now).into_iter();
            missing.extend(overdue.map(|name| Change { kind, name }));
        }
        missing.iter().for_each(|node| self.warming.wake(node));
        let removed = self.warming.take_leaving(now);
        let mut applied = Applied::default();
        self.settle(&mut applied);
        Overdue { missing, removed, changes: applied.changes }
    }

    /// When [`Cache::expire`] will have something to take out.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.expiry.iter().filter_map(Expiry::next).min()
    }

    /// When [`Cache::take_overdue`] will have something to tell.
    pub fn next_overdue(&self) -> Option<Instant> {
        let overdue = self.missing.iter().filter_map(Missing::next_overdue);
        overdue.chain(self.warming.next_leaving()).min()
    }

    /// A name is referred to and is not there.
    fn miss(&mut self, node: &Node, now: Instant) {
        let until = self.patience(node.kind).and_then(|patience| now.checked_add(patience));
        self.missing[node.kind as usize].add(&node.name, until);
    }

    /// How long a name of this type is waited for; none is for ever.
    fn patience(&self, kind: ResourceType) -> Option<Duration> {
        match kind {
            ResourceType::Cluster => Some(UNTOLD_PATIENCE),
            _ => (!self.initial_fetch_timeout.is_zero()).then_some(self.initial_fetch_timeout),
        }
    }

    /// What was accepted last under a name.
    fn latest(&self, node: &Node) -> Option<&Resource> {
        self.warming.held(node).unwrap_or_else(|| self.snapshot.get(node.kind, &node.name))
    }

    /// The names of what was accepted last.
    fn accepted(&self, kind: ResourceType) -> impl Iterator<Item = &Arc<str>> {
        let is_settled =
            move |name: &Arc<str>| self.warming.held(&Node { kind, name: name.clone() }).is_none();
        let settled = self.snapshot.iter(kind).map(|r| &r.name).filter(move |name| is_settled(name));
        settled.chain(self.warming.held_of(kind).map(|r| &r.name))
    }

    fn wait_no_longer(&mut self, node: &Node) {
        if self.missing[node.kind as usize].remove(&node.name) {
            self.warming.wake(node);
        }
    }

    fn put(&mut self, node: &Node, resource: Resource, now: Instant) {
        self.missing[node.kind as usize].remove(&node.name);
        self.forget_hash(node);
        self.by_hash[node.kind as usize].insert(resource.hash, node.name.clone());
        self.accept(node.clone(), Some(resource), now);
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

    fn forget_hash(&mut self, node: &Node) {
        if let Some(hash) = self.latest(node).map(|r| r.hash) {
            self.by_hash[node.kind as usize].remove(&hash);
        }
    }

    /// What is referred to all the same is waited for again.
    fn take_out(&mut self, node: Node, now: Instant, applied: &mut Applied) {
        if self.latest(&node).is_none() {
            return;
        }
        self.forget_hash(&node);
        self.versions[node.kind as usize].remove(&node.name);
        self.expiry[node.kind as usize].set(&node.name, None);
        applied.references.add(self.graph.set(&node, [].into()));
        if self.graph.refers_to(&node) {
            self.miss(&node, now);
        }
        self.accept(node, None, now);
    }

    fn remove_absent(
        &mut self,
        kind: ResourceType,
        present: &HashSet<Arc<str>>,
        now: Instant,
        applied: &mut Applied,
    ) {
        let absent: Vec<Arc<str>> =
            self.accepted(kind).filter(|name| !present.contains(*name)).cloned().collect();
        for name in absent {
            self.take_out(Node { kind, name }, now, applied);
        }
    }

    /// A removal of what is still referred to is not followed, as in Envoy: routes and endpoints go with their
    /// parents. Of what has not come it says that there is no use in waiting.
    fn remove_named(
        &mut self,
        kind: ResourceType,
        names: &[String],
        present: &HashSet<Arc<str>>,
        now: Instant,
        applied: &mut Applied,
    ) {
        for name in names.iter().filter(|name| !present.contains(name.as_str())) {
            self.rejected[kind as usize].remove(name);
            let node = Node { kind, name: name.as_str().into() };
            if self.missing[kind as usize].settle(&node.name) {
                self.warming.wake(&node);
            }
            if kind.is_complete() {
                self.take_out(node, now, applied);
            }
        }
    }

    /// Routes and endpoints without a parent go (3.2 point 16), names without a resource are waited for. Not before
    /// the whole response is taken: a child that passes from one parent to another is neither.
    fn settle_references(&mut self, now: Instant, applied: &mut Applied) {
        let Difference { new, gone } = applied.references.clone();
        for node in gone {
            self.wait_no_longer(&node);
            if !node.kind.is_complete() {
                self.rejected[node.kind as usize].remove(&*node.name);
                self.take_out(node, now, applied);
            }
        }
        for node in new {
            if self.latest(&node).is_none() {
                self.miss(&node, now);
            }
        }
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
