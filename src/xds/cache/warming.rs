//! Make before break: what is accepted comes into force when what it needs is there.
//!
//! A cluster waits for its endpoints, a listener for its routes, routes for their clusters; what is given up stays in
//! force while something in force refers to it. All waiting is bounded. So whatever the order in which a control plane
//! sends the parts of a change, requests find a cluster with endpoints (3.2 points 22 and 23). Before the first
//! configuration is complete nothing waits: nobody sees it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Applied, Cache,
    expiry::Expiry,
    references::{Node, References},
};
use crate::xds::{Resource, ResourceType};

/// How long a cluster that is gone stays in force for the routes that name it, where there is no limit.
const DEFAULT_PATIENCE: Duration = Duration::from_secs(15);

/// How long routes wait for a cluster that nobody has told of. A control plane that sends routes first sends clusters
/// soon; and Istio's routes often name clusters that there are not.
pub const UNTOLD_PATIENCE: Duration = Duration::from_secs(1);

/// What is accepted and not in force.
#[derive(Debug, Default)]
pub struct Warming {
    /// Whether anything has to wait.
    pub active: bool,
    /// What is to come into force, or, if it is none, to go.
    held: [BTreeMap<Arc<str>, Option<Resource>>; ResourceType::ALL.len()],
    /// Until when clusters that are to go are kept for those that refer to them.
    leaving: Expiry,
    /// Who is to be looked at when a resource comes into force, or is waited for no longer.
    blocked: HashMap<Node, BTreeSet<Node>>,
    /// To be looked at, in make-before-break order.
    due: BTreeSet<Node>,
    in_force: References,
}

impl Warming {
    /// What is to come into force under this name; `Some(None)` is to go, `None` is as it was.
    pub fn held(&self, node: &Node) -> Option<Option<&Resource>> {
        self.held[node.kind as usize].get(&node.name).map(Option::as_ref)
    }

    /// What is to come into force of this type.
    pub fn held_of(&self, kind: ResourceType) -> impl Iterator<Item = &Resource> {
        self.held[kind as usize].values().flatten()
    }

    /// How many resources of a type are to come into force or to go.
    pub fn count(&self, kind: ResourceType) -> usize {
        self.held[kind as usize].len()
    }

    /// Has whoever waits for a resource looked at again.
    pub fn wake(&mut self, node: &Node) {
        self.due.extend(self.blocked.remove(node).unwrap_or_default());
    }

    /// When the first cluster that is to go is kept no longer.
    pub fn next_leaving(&self) -> Option<Instant> {
        self.leaving.next()
    }

    /// Clusters that go now though something refers to them; [`Cache::settle`] takes them out.
    pub fn take_leaving(&mut self, now: Instant) -> Vec<Node> {
        let kind = ResourceType::Cluster;
        let leaving = self.leaving.take_due(now).into_iter().map(|name| Node { kind, name });
        let leaving: Vec<Node> = leaving.collect();
        self.due.extend(leaving.iter().cloned());
        leaving
    }
}

impl Cache {
    /// Takes what was accepted, or that it is gone, towards being in force; see [`Cache::settle`].
    pub(super) fn accept(&mut self, node: Node, resource: Option<Resource>, now: Instant) {
        if node.kind == ResourceType::Cluster {
            let end = now.checked_add(self.leaving_patience()).filter(|_| resource.is_none());
            self.warming.leaving.set(&node.name, end);
        }
        self.warming.held[node.kind as usize].insert(node.name.clone(), resource);
        self.warming.due.insert(node);
    }

    /// Brings into force whatever need not wait.
    pub(super) fn settle(&mut self, applied: &mut Applied) {
        while let Some(node) = self.warming.due.pop_first() {
            match self.blocker(&node) {
                Some(blocker) => {
                    self.warming.blocked.entry(blocker).or_default().insert(node);
                }
                None => self.come_into_force(node, applied),
            }
        }
    }

    fn come_into_force(&mut self, node: Node, applied: &mut Applied) {
        let Some(held) = self.warming.held[node.kind as usize].remove(&node.name) else { return };
        if node.kind == ResourceType::Cluster {
            self.warming.leaving.set(&node.name, None);
        }
        let needs = self.graph.shared(&node);
        let released = self.warming.in_force.set(&node, needs).gone;
        self.warming.due.extend(released);
        let changed = match held {
            Some(resource) => self.snapshot.insert(node.kind, resource),
            None => self.snapshot.remove(node.kind, &node.name),
        };
        self.warming.wake(&node);
        if changed {
            applied.changes.push(node);
        }
    }

    /// What keeps a held resource from coming into force, or from going: then it is the resource itself.
    fn blocker(&self, node: &Node) -> Option<Node> {
        if !self.warming.active {
            return None;
        }
        if self.warming.held(node)?.is_some() {
            return self.graph.of(node).iter().find(|need| self.is_coming(need)).cloned();
        }
        let is_kept = node.kind != ResourceType::Cluster || self.warming.leaving.has(&node.name);
        (is_kept && self.warming.in_force.refers_to(node)).then(|| node.clone())
    }

    /// Whether it is not in force and worth waiting for.
    fn is_coming(&self, need: &Node) -> bool {
        let in_force = self.snapshot.get(need.kind, &need.name).is_some();
        let awaited = || self.missing[need.kind as usize].awaits(&need.name);
        !in_force && (awaited() || matches!(self.warming.held(need), Some(Some(_))))
    }

    fn leaving_patience(&self) -> Duration {
        if self.initial_fetch_timeout.is_zero() { DEFAULT_PATIENCE } else { self.initial_fetch_timeout }
    }
}
