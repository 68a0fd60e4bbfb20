//! The aggregated discovery protocol: when to ask for what, and how to answer.
//!
//! In: "the stream is open" and the responses that come on it. Out: the requests to send, in order. One machine for
//! both variants; they differ in how names are told ([`Draft`]) and in what absence means ([`Cache`]). Never here:
//! sockets, clocks, tasks; every rule below can be tested with plain values. The points are those of the xDS protocol
//! document, as numbered in the tests.

use std::{collections::BTreeSet, time::Instant};

use super::{
    Change, Mode, ResourceType,
    cache::{Applied, Cache, Difference, Overdue, Rejected},
    message::{Request, Response},
};
use crate::pb::{
    envoy::{
        config::core::v3::Node,
        service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest},
    },
    google::rpc::Status,
};

/// gRPC's INVALID_ARGUMENT, the code Envoy puts in a NACK.
const INVALID_ARGUMENT: i32 = 3;

/// Longest message of a NACK: servers log it, and some limit a request to 4 MiB.
const MAX_NACK_MESSAGE: usize = 8 * 1024;

/// What is known of one type's subscription.
#[derive(Debug, Default)]
struct Subscription {
    /// The last accepted version; kept over reconnects (5).
    version: String,
    /// The latest nonce on this stream; empty on a new one (4).
    nonce: String,
    /// Whether it was asked for on this stream.
    asked: bool,
    /// Whether something came on this stream.
    answered: bool,
}

/// The client's side of one stream after the other.
#[derive(Debug)]
pub struct Stream {
    node: Node,
    node_sent: bool,
    mode: Mode,
    subscriptions: [Subscription; ResourceType::ALL.len()],
}

/// A request to send. Of a state-of-the-world request the names are still to be filled in: they are all names of a
/// type, in a large mesh more work than everything else that a response leads to, and what came should not wait for
/// it.
#[derive(Debug)]
pub struct Draft {
    message: Request,
    names_of: Option<ResourceType>,
}

impl Draft {
    /// The request as it is sent. The cache is the one after the response, and before the next.
    pub fn with_names(mut self, cache: &Cache) -> Request {
        if let (Request::Sotw(message), Some(kind)) = (&mut self.message, self.names_of) {
            message.resource_names = cache.names(kind);
        }
        self.message
    }
}

/// What a response led to.
#[derive(Debug, Default)]
pub struct Received {
    /// To be sent in this order.
    pub requests: Vec<Draft>,
    /// What changed in the cache.
    pub changes: Vec<Change>,
    /// The type and the fate of the response; `None` when nobody asked for it.
    pub answered: Option<Answered>,
}

/// What the passing of time led to.
#[derive(Debug, Default)]
pub struct Passed {
    /// To be sent in this order.
    pub requests: Vec<Draft>,
    /// What has been waited for long enough, and what changed in the cache for that.
    pub overdue: Overdue,
    /// What was not renewed, and what went with it.
    pub expired: Vec<Change>,
}

/// The fate of a response.
#[derive(Debug)]
pub struct Answered {
    /// Its type.
    pub kind: ResourceType,
    /// What the control plane calls it.
    pub version: String,
    /// Why it was NACKed, or nothing.
    pub rejected: Vec<Rejected>,
}

impl Stream {
    /// A client that calls itself `node` on every stream.
    pub fn new(node: Node) -> Self {
        Self { node, node_sent: false, mode: Mode::default(), subscriptions: Default::default() }
    }

    /// The last accepted version of a type.
    pub fn version(&self, kind: ResourceType) -> &str {
        &self.subscriptions[kind as usize].version
    }

    /// The first requests on a new stream of this variant: the wildcard types, and the names the graph holds. A server
    /// remembers nothing of the stream before (19).
    pub fn open(&mut self, mode: Mode, cache: &Cache) -> Vec<Request> {
        self.node_sent = false;
        self.mode = mode;
        for subscription in &mut self.subscriptions {
            subscription.nonce.clear();
            subscription.asked = false;
            subscription.answered = false;
        }
        let wanted = ResourceType::ALL.into_iter().filter(|kind| cache.is_wanted(*kind));
        wanted.map(|kind| self.subscribe(kind, cache).with_names(cache)).collect()
    }

    /// Applies a response and answers it: first its own ACK or NACK, then the subscription it changes.
    pub fn receive(&mut self, response: &Response, cache: &mut Cache, now: Instant) -> Received {
        let Some(kind) = ResourceType::from_type_url(response.type_url()) else {
            return Received::default();
        };
        let subscription = &mut self.subscriptions[kind as usize];
        response.nonce().clone_into(&mut subscription.nonce);
        // Sent before the server saw the unsubscription (33); the nonce is still the one to go on from.
        if !subscription.asked {
            return Received::default();
        }
        // What was wrong and is gone since the last stream is not told; what is still wrong comes again.
        if !std::mem::replace(&mut subscription.answered, true) {
            cache.forget_rejected(kind);
        }
        let applied = match response {
            Response::Delta(r) => cache.apply_delta(kind, &r.resources, &r.removed_resources, now),
            Response::Sotw(r) => cache.apply(kind, &r.resources, now),
        };
        let version = response.version().to_owned();
        if applied.rejected.is_empty() {
            subscription.version.clone_from(&version);
        }
        let mut requests = Vec::new();
        // A request without nonce is a new subscription, which the server would answer, and so on (29).
        if !response.nonce().is_empty() {
            requests.push(self.answer(kind, &applied.rejected));
        }
        requests.extend(kind.child().and_then(|child| self.follow(child, &applied, cache)));
        let Applied { changes, rejected, .. } = applied;
        Received { requests, changes, answered: Some(Answered { kind, version, rejected }) }
    }

    /// Takes out what has outlived its time to live (20), and waits no longer for what is overdue (21, 22).
    pub fn pass_time(&mut self, cache: &mut Cache, now: Instant) -> Passed {
        let mut passed = Passed::default();
        for kind in ResourceType::ALL {
            let applied = cache.expire(kind, now);
            passed.requests.extend(kind.child().and_then(|child| self.follow(child, &applied, cache)));
            passed.expired.extend(applied.changes);
        }
        passed.overdue = cache.take_overdue(now);
        passed.requests.extend(self.ask_again(&passed.overdue.missing));
        passed
    }

    /// Asks anew for names that have been waited for long enough, as on a first stream.
    ///
    /// A state-of-the-world server may drop a request for its old nonce. When that request gave up a name, and the next
    /// one that it heard has the name again, it saw no change, and the content that was given up here never comes.
    /// Without nonce and version it sends all. Delta requests are never dropped.
    fn ask_again(&mut self, overdue: &[Change]) -> Vec<Draft> {
        if self.mode == Mode::Delta {
            return Vec::new();
        }
        let mut drafts = Vec::new();
        let named = ResourceType::ALL.into_iter().filter(|kind| !kind.is_complete());
        for kind in named.filter(|kind| overdue.iter().any(|change| change.kind == *kind)) {
            let subscription = &mut self.subscriptions[kind as usize];
            if subscription.asked {
                subscription.nonce.clear();
                subscription.version.clear();
                drafts.push(self.sotw(kind, Some(kind), None));
            }
        }
        drafts
    }

    /// Keeps the subscription to the children of what was applied in step with the graph.
    fn follow(&mut self, kind: ResourceType, applied: &Applied, cache: &Cache) -> Option<Draft> {
        if !self.subscriptions[kind as usize].asked {
            return cache.is_wanted(kind).then(|| self.subscribe(kind, cache));
        }
        match self.mode {
            Mode::Delta => self.tell_difference(kind, &applied.references),
            Mode::Sotw => self.tell_names(kind, applied, cache),
        }
    }

    /// The first request for a type on this stream.
    fn subscribe(&mut self, kind: ResourceType, cache: &Cache) -> Draft {
        self.subscriptions[kind as usize].asked = true;
        match self.mode {
            Mode::Sotw => self.sotw(kind, Some(kind), None),
            Mode::Delta => self.delta(DeltaDiscoveryRequest {
                type_url: kind.type_url().to_owned(),
                resource_names_subscribe: cache.names(kind),
                initial_resource_versions: cache.versions(kind),
                ..DeltaDiscoveryRequest::default()
            }),
        }
    }

    fn answer(&mut self, kind: ResourceType, rejected: &[Rejected]) -> Draft {
        let error_detail = (!rejected.is_empty()).then(|| Status {
            code: INVALID_ARGUMENT,
            message: nack_message(kind, rejected),
            details: Vec::new(),
        });
        match self.mode {
            Mode::Sotw => self.sotw(kind, Some(kind), error_detail),
            Mode::Delta => self.delta(DeltaDiscoveryRequest {
                type_url: kind.type_url().to_owned(),
                response_nonce: self.subscriptions[kind as usize].nonce.clone(),
                error_detail,
                ..DeltaDiscoveryRequest::default()
            }),
        }
    }

    /// A delta subscription changes by a request of its own without nonce (18): with one, istiod drops it.
    ///
    /// Endpoints are not asked for again when only their cluster changed: they are kept meanwhile, and a delta server
    /// sends them when they differ.
    fn tell_difference(&mut self, kind: ResourceType, references: &Difference) -> Option<Draft> {
        let names = |nodes: &BTreeSet<Change>| -> Vec<String> {
            nodes.iter().filter(|node| node.kind == kind).map(|node| node.name.to_string()).collect()
        };
        let (new, gone) = (names(&references.new), names(&references.gone));
        if new.is_empty() && gone.is_empty() {
            return None;
        }
        Some(self.delta(DeltaDiscoveryRequest {
            type_url: kind.type_url().to_owned(),
            resource_names_subscribe: new,
            resource_names_unsubscribe: gone,
            ..DeltaDiscoveryRequest::default()
        }))
    }

    /// Endpoints are asked for again after each change of a cluster that has some (24): a control plane may wait
    /// for that request before it sends them.
    fn tell_names(&mut self, kind: ResourceType, applied: &Applied, cache: &Cache) -> Option<Draft> {
        if !cache.is_wanted(kind) {
            // To be said once, and nothing of what was accepted is held any more (9).
            let subscription = &mut self.subscriptions[kind as usize];
            subscription.asked = false;
            subscription.version.clear();
            return Some(self.sotw(kind, None, None));
        }
        let again = applied.endpoints_touched && kind == ResourceType::ClusterLoadAssignment;
        let Difference { new, gone } = &applied.references;
        let changed = new.iter().chain(gone).any(|node| node.kind == kind);
        (again || changed).then(|| self.sotw(kind, Some(kind), None))
    }

    /// A request of state of the world names everything there is to ask for (8), or nothing to unsubscribe.
    fn sotw(
        &mut self,
        kind: ResourceType,
        names_of: Option<ResourceType>,
        error_detail: Option<Status>,
    ) -> Draft {
        let node = self.node_once();
        let subscription = &self.subscriptions[kind as usize];
        let message = DiscoveryRequest {
            version_info: subscription.version.clone(),
            node,
            resource_names: Vec::new(),
            type_url: kind.type_url().to_owned(),
            response_nonce: subscription.nonce.clone(),
            error_detail,
        };
        Draft { message: Request::Sotw(message), names_of }
    }

    fn delta(&mut self, message: DeltaDiscoveryRequest) -> Draft {
        let message = DeltaDiscoveryRequest { node: self.node_once(), ..message };
        Draft { message: Request::Delta(message), names_of: None }
    }

    /// The node, with the first request of a stream (1).
    fn node_once(&mut self) -> Option<Node> {
        (!std::mem::replace(&mut self.node_sent, true)).then(|| self.node.clone())
    }
}

/// Every bad resource by name and field, as far as there is room.
fn nack_message(kind: ResourceType, rejected: &[Rejected]) -> String {
    let mut message = String::new();
    for (i, Rejected { name, error }) in rejected.iter().enumerate() {
        let line = format!("{} {name:?}: {error}", kind.noun());
        if message.len() + line.len() > MAX_NACK_MESSAGE && i > 0 {
            message.push_str(&format!("; and {} more", rejected.len() - i));
            break;
        }
        if i > 0 {
            message.push_str("; ");
        }
        message.extend(line.chars().take(MAX_NACK_MESSAGE));
    }
    message
}

#[cfg(test)]
mod tests;
