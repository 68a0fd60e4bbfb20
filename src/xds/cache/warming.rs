//! Make before break: what is accepted comes into force when what it needs is there.
//!
//! A cluster waits for its endpoints, a listener for its routes, routes for their clusters; what is given up stays in
//! force while something in force refers to it. All waiting is bounded. So whatever the order in which a control plane
//! sends the parts of a change, requests find a cluster with endpoints (3.2 points 22 and 23). Before the first
//! configuration is complete nothing waits: nobody sees it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use super::{
    Applied, Cache,
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
    held: BTreeMap<Node, Held>,
    /// Who is to be looked at when a resource comes into force, or is waited for no longer.
    blocked: HashMap<Node, BTreeSet<Node>>,
    /// To be looked at, in make-before-break order.
    due: BTreeSet<Node>,
    in_force: References,
}

/// A resource that is to come into force, or to go.
#[derive(Debug)]
struct Held {
    resource: Option<Resource>,
    since: Instant,
}

impl Warming {
    /// What is to come into force under this name; `Some(None)` is to go, `None` is as it was.
    pub fn held(&self, node: &Node) -> Option<Option<&Resource>> {
        self.held.get(node).map(|held| held.resource.as_ref())
    }

    /// What is to come into force of this type.
    pub fn held_of(&self, kind: ResourceType) -> impl Iterator<Item = &Resource> {
        self.held
            .iter()
            .filter(move |(node, _)| node.kind == kind)
            .filter_map(|(_, held)| held.resource.as_ref())
    }

    /// How many resources of a type are to come into force or to go.
    pub fn count(&self, kind: ResourceType) -> usize {
        self.held.keys().filter(|node| node.kind == kind).count()
    }

    /// Has whoever waits for a resource looked at again.
    pub fn wake(&mut self, node: &Node) {
        self.due.extend(self.blocked.remove(node).unwrap_or_default());
    }

    /// Clusters that were to go and are still referred to: when each has been waited for long enough.
    fn leaving(&self, patience: Duration) -> impl Iterator<Item = (&Node, Instant)> {
        let leaving =
            self.held.iter().filter(|(n, h)| n.kind == ResourceType::Cluster && h.resource.is_none());
        leaving.map(move |(node, held)| (node, held.since + patience))
    }
}

impl Cache {
    /// Takes what was accepted, or that it is gone, towards being in force; see [`Cache::settle`].
    pub(super) fn accept(&mut self, node: Node, resource: Option<Resource>, now: Instant) {
        self.warming.due.insert(node.clone());
        self.warming.held.insert(node, Held { resource, since: now });
    }

    /// Brings into force whatever need not wait.
    pub(super) fn settle(&mut self, now: Instant, applied: &mut Applied) {
        while let Some(node) = self.warming.due.pop_first() {
            match self.blocker(&node, now) {
                Some(blocker) => {
                    self.warming.blocked.entry(blocker).or_default().insert(node);
                }
                None => self.come_into_force(node, applied),
            }
        }
    }

    fn come_into_force(&mut self, node: Node, applied: &mut Applied) {
        let Some(held) = self.warming.held.remove(&node) else { return };
        let needs = self.graph.shared(&node);
        let released = self.warming.in_force.set(&node, needs).gone;
        self.warming.due.extend(released.into_iter().filter(|n| self.warming.held.contains_key(n)));
        let changed = match held.resource {
            Some(resource) => self.snapshot.insert(node.kind, resource),
            None => self.snapshot.remove(node.kind, &node.name),
        };
        self.warming.wake(&node);
        if changed {
            applied.changes.push(node);
        }
    }

    /// What keeps a held resource from coming into force, or from going: then it is the resource itself.
    fn blocker(&self, node: &Node, now: Instant) -> Option<Node> {
        if !self.warming.active {
            return None;
        }
        let held = self.warming.held.get(node)?;
        if held.resource.is_some() {
            return self.graph.of(node).iter().find(|need| self.is_coming(need)).cloned();
        }
        let overdue = node.kind == ResourceType::Cluster && now >= held.since + self.leaving_patience();
        (!overdue && self.warming.in_force.refers_to(node)).then(|| node.clone())
    }

    /// Whether it is not in force and worth waiting for.
    fn is_coming(&self, need: &Node) -> bool {
        let in_force = self.snapshot.get(need.kind, &need.name).is_some();
        let missing = || self.missing[need.kind as usize].get(&need.name).is_some_and(|m| !m.settled);
        !in_force && (missing() || matches!(self.warming.held(need), Some(Some(_))))
    }

    pub(super) fn leaving_patience(&self) -> Duration {
        if self.initial_fetch_timeout.is_zero() { DEFAULT_PATIENCE } else { self.initial_fetch_timeout }
    }

    /// When the first cluster that is to go has been waited for long enough.
    pub(super) fn next_leaving(&self) -> Option<Instant> {
        self.warming.leaving(self.leaving_patience()).map(|(_, end)| end).min()
    }

    /// Clusters that go now though something refers to them; [`Cache::settle`] takes them out.
    pub(super) fn take_leaving(&mut self, now: Instant) -> Vec<Node> {
        let leaving = self.warming.leaving(self.leaving_patience());
        let overdue: Vec<Node> =
            leaving.filter(|(_, end)| *end <= now).map(|(node, _)| node.clone()).collect();
        self.warming.due.extend(overdue.iter().cloned());
        overdue
    }
}
