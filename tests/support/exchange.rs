//! What both sides of every comparison speak: a request as a client sends it, and what became of it.
//!
//! The model of APISIX, the model of Envoy and the real Envoy all take a [`Request`] and give an [`Outcome`].

use std::collections::BTreeSet;

/// A request, with what is known of the connection it comes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Such as `GET`.
    pub method: String,
    /// The Host header.
    pub authority: String,
    /// Path and query, as sent.
    pub target: String,
    /// All headers but Host, names in lower case, in the order sent.
    pub headers: Vec<(String, String)>,
    /// Where the connection was going: `ip:port`.
    pub original_dst: String,
    /// The connection was opened by a process of this pod.
    pub outbound: bool,
    /// The peer's address.
    pub remote_addr: String,
    /// nginx's `$request_id`: 32 hexadecimal digits, which stand for every random choice.
    pub request_id: String,
}

impl Request {
    /// GET `http://authority/target` on a connection that this pod opened to `original_dst`.
    pub fn get(original_dst: &str, authority: &str, target: &str) -> Self {
        Self {
            method: "GET".to_owned(),
            authority: authority.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            original_dst: original_dst.to_owned(),
            outbound: true,
            remote_addr: "127.0.0.1".to_owned(),
            request_id: "7f".repeat(16),
        }
    }

    /// With another header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.to_owned()));
        self
    }

    /// With another method.
    pub fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It went to an upstream.
    Forward(Forward),
    /// It was answered on the spot.
    Answer(Answer),
}

/// A request on its way to an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// The clusters it may go to: several where a weighted choice is left open, `ip:port` for a node that stands in
    /// the route itself, `503` for a share that is answered so.
    pub clusters: BTreeSet<String>,
    /// Method, Host header, path and query and headers as the upstream gets them; the headers sorted.
    pub method: String,
    /// See `method`.
    pub authority: String,
    /// See `method`.
    pub target: String,
    /// See `method`.
    pub headers: Vec<(String, String)>,
    /// What the upstream's response headers `x-upstream: 1` and `x-both: up` become, sorted.
    pub response_headers: Vec<(String, String)>,
}

/// An answer that no upstream gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u64,
    /// Headers that the configuration sets, `location` among them, sorted; none of the server's own.
    pub headers: Vec<(String, String)>,
    /// The body, if the configuration has one.
    pub body: Option<String>,
}

impl Answer {
    /// Only a status.
    pub fn status(status: u64) -> Self {
        Self { status, headers: Vec::new(), body: None }
    }
}
