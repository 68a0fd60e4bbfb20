//! The aggregated discovery protocol, state of the world: when to ask for what, and how to answer.
//!
//! In: "the stream is open" and the responses that come on it. Out: the requests to send, in order. Never here:
//! sockets, clocks, tasks; every rule below can be tested with plain values. The points are those of the xDS protocol
//! document, as numbered in the tests.

use std::time::Instant;

use super::{
    Change, ResourceType,
    cache::{Applied, Cache, Rejected},
};
use crate::pb::{
    envoy::{
        config::core::v3::Node,
        service::discovery::v3::{DiscoveryRequest, DiscoveryResponse},
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
    /// The names last asked for on this stream, by [`Cache::names_generation`]; `None`: not subscribed.
    asked: Option<u64>,
}

/// The client's side of one stream after the other.
#[derive(Debug)]
pub struct Stream {
    node: Node,
    node_sent: bool,
    subscriptions: [Subscription; ResourceType::ALL.len()],
}

/// A request to send, its names still to be filled in: they are all names of a type, in a large mesh more work than
/// everything else that a response leads to, and what came should not wait for it.
#[derive(Debug)]
pub struct Request {
    message: DiscoveryRequest,
    names_of: Option<ResourceType>,
}

impl Request {
    /// The request as it is sent. The cache is the one after the response, and before the next.
    pub fn with_names(self, cache: &Cache) -> DiscoveryRequest {
        let resource_names = self.names_of.map_or_else(Vec::new, |kind| cache.names(kind));
        DiscoveryRequest { resource_names, ..self.message }
    }
}

/// What a response led to.
#[derive(Debug, Default)]
pub struct Received {
    /// To be sent in this order.
    pub requests: Vec<Request>,
    /// What changed in the cache.
    pub changes: Vec<Change>,
    /// The type and the fate of the response; `None` when nobody asked for it.
    pub answered: Option<Answered>,
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
        Self { node, node_sent: false, subscriptions: Default::default() }
    }

    /// The last accepted version of a type.
    pub fn version(&self, kind: ResourceType) -> &str {
        &self.subscriptions[kind as usize].version
    }

    /// The first requests on a new stream: the wildcard types, and the names the graph holds.
    pub fn open(&mut self, cache: &Cache) -> Vec<DiscoveryRequest> {
        self.node_sent = false;
        for subscription in &mut self.subscriptions {
            subscription.nonce.clear();
            subscription.asked = None;
        }
        let wanted = ResourceType::ALL.into_iter().filter(|kind| cache.is_wanted(*kind));
        wanted.map(|kind| self.ask(kind, cache).with_names(cache)).collect()
    }

    /// Applies a response and answers it: first its own ACK or NACK, then the subscription it changes.
    pub fn receive(&mut self, response: &DiscoveryResponse, cache: &mut Cache, now: Instant) -> Received {
        let Some(kind) = ResourceType::from_type_url(&response.type_url) else {
            return Received::default();
        };
        let subscription = &mut self.subscriptions[kind as usize];
        subscription.nonce.clone_from(&response.nonce);
        // Sent before the server saw the unsubscription (33); the nonce is still the one to go on from.
        if subscription.asked.is_none() {
            return Received::default();
        }
        let Applied { changes, rejected, children_touched } = cache.apply(kind, &response.resources, now);
        if rejected.is_empty() {
            subscription.version.clone_from(&response.version_info);
        }
        let mut requests = Vec::new();
        // A request without nonce is a new subscription, which the server would answer, and so on (29).
        if !response.nonce.is_empty() {
            requests.push(self.answer(kind, &rejected, cache));
        }
        requests.extend(kind.child().and_then(|child| self.follow(child, children_touched, cache)));
        let answered = Answered { kind, version: response.version_info.clone(), rejected };
        Received { requests, changes, answered: Some(answered) }
    }

    fn answer(&mut self, kind: ResourceType, rejected: &[Rejected], cache: &Cache) -> Request {
        let mut request = self.ask(kind, cache);
        if !rejected.is_empty() {
            let message = nack_message(kind, rejected);
            request.message.error_detail =
                Some(Status { code: INVALID_ARGUMENT, message, details: Vec::new() });
        }
        request
    }

    /// Keeps the subscription to `kind` in step with the graph.
    ///
    /// Endpoints are asked for again after each change of a cluster that has some (24): a control plane may wait
    /// for that request before it sends them.
    fn follow(&mut self, kind: ResourceType, touched: bool, cache: &Cache) -> Option<Request> {
        let again = touched && kind == ResourceType::ClusterLoadAssignment;
        let subscription = &mut self.subscriptions[kind as usize];
        if !cache.is_wanted(kind) {
            // To be said once, and nothing of what was accepted is held any more (9).
            subscription.asked.take()?;
            subscription.version.clear();
            return Some(self.request(kind, None));
        }
        if subscription.asked == Some(cache.names_generation(kind)) && !again {
            return None;
        }
        Some(self.ask(kind, cache))
    }

    /// A request with every name there is to ask for (8).
    fn ask(&mut self, kind: ResourceType, cache: &Cache) -> Request {
        self.subscriptions[kind as usize].asked = Some(cache.names_generation(kind));
        self.request(kind, Some(kind))
    }

    fn request(&mut self, kind: ResourceType, names_of: Option<ResourceType>) -> Request {
        let subscription = &self.subscriptions[kind as usize];
        let node = (!std::mem::replace(&mut self.node_sent, true)).then(|| self.node.clone());
        let message = DiscoveryRequest {
            version_info: subscription.version.clone(),
            node,
            resource_names: Vec::new(),
            type_url: kind.type_url().to_owned(),
            response_nonce: subscription.nonce.clone(),
            error_detail: None,
        };
        Request { message, names_of }
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
