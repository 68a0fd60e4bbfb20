//! The control plane of a scene: streams of either variant, told what to say.
//!
//! In: responses that were prepared. Out: what the client says to them. It decides nothing by itself.

use std::time::Instant;

use apisix_mesh::{
    pb::envoy::service::discovery::v3::{
        DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
        Resource as Wrapper,
    },
    xds::{Mode, Resource, ResourceType},
};
use prost::Message;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use crate::{
    ads_server::{Acceptor, response},
    world::Named,
};

/// A control plane that speaks one variant.
pub struct Plane {
    acceptor: Acceptor,
    mode: Mode,
}

/// A response of either variant.
#[derive(Clone)]
pub enum Reply {
    /// Of a delta stream.
    Delta(DeltaDiscoveryResponse),
    /// Of a state-of-the-world stream.
    Sotw(DiscoveryResponse),
}

/// What a client is told on one stream, which ends when the last of these is dropped.
#[derive(Clone)]
pub enum Responses {
    /// By a delta stream.
    Delta(mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>),
    /// By a state-of-the-world stream.
    Sotw(mpsc::Sender<Result<DiscoveryResponse, Status>>),
}

/// What a client says on one stream.
pub enum Requests {
    /// On a delta stream.
    Delta(Streaming<DeltaDiscoveryRequest>),
    /// On a state-of-the-world stream.
    Sotw(Streaming<DiscoveryRequest>),
}

/// What a request means.
pub struct Said {
    /// The type it is about.
    pub kind: ResourceType,
    /// The response that it answers; empty, if it asks.
    pub nonce: String,
    /// Whether it refuses that response.
    pub refused: bool,
}

/// How a client was given all that it asked for first.
pub struct Supplied {
    /// When its first request came.
    pub asked: Instant,
    /// When it had accepted the last response.
    pub accepted: Instant,
    /// The size of all responses.
    pub bytes: usize,
}

impl Plane {
    /// Listens on a free port.
    pub async fn bind(mode: Mode) -> Self {
        Self { acceptor: Acceptor::bind("127.0.0.1:0").await.expect("a port"), mode }
    }

    /// Where a client finds it.
    pub fn uri(&self) -> String {
        format!("grpc://{}", self.acceptor.address)
    }

    /// The next stream that a client opens.
    pub async fn stream(&mut self) -> (Requests, Responses) {
        match self.mode {
            Mode::Delta => {
                let session = self.acceptor.delta_session().await;
                (Requests::Delta(session.requests), Responses::Delta(session.responses))
            }
            Mode::Sotw => {
                let session = self.acceptor.session().await;
                (Requests::Sotw(session.requests), Responses::Sotw(session.responses))
            }
        }
    }
}

impl Reply {
    /// A response whose resources have versions, as far as the variant has any.
    pub fn new(mode: Mode, kind: ResourceType, nonce: &str, resources: Vec<Named>) -> Self {
        match mode {
            Mode::Delta => Self::Delta(DeltaDiscoveryResponse {
                system_version_info: nonce.to_owned(),
                resources: resources.into_iter().map(wrapped).collect(),
                type_url: kind.type_url().to_owned(),
                nonce: nonce.to_owned(),
                ..DeltaDiscoveryResponse::default()
            }),
            Mode::Sotw => {
                let resources = resources.into_iter().map(|resource| resource.any).collect();
                Self::Sotw(response(kind, nonce, resources))
            }
        }
    }

    /// The same without versions of resources, as istiod sends it.
    pub fn unversioned(mut self) -> Self {
        if let Self::Delta(response) = &mut self {
            response.resources.iter_mut().for_each(|resource| resource.version.clear());
        }
        self
    }

    /// The same under another nonce.
    pub fn renewed(&self, nonce: &str) -> Self {
        let mut renewed = self.clone();
        match &mut renewed {
            Self::Delta(response) => nonce.clone_into(&mut response.nonce),
            Self::Sotw(response) => nonce.clone_into(&mut response.nonce),
        }
        renewed
    }

    /// Its encoded size.
    pub fn size(&self) -> usize {
        match self {
            Self::Delta(response) => response.encoded_len(),
            Self::Sotw(response) => response.encoded_len(),
        }
    }
}

fn wrapped(Named { name, any }: Named) -> Wrapper {
    let version = format!("{:x}", Resource::hash_of(&any.value));
    Wrapper { name, version, resource: Some(any), ..Wrapper::default() }
}

impl Responses {
    /// Hands a response to the stream; `false` when the stream is over.
    pub async fn send(&self, reply: Reply) -> bool {
        match (self, reply) {
            (Self::Delta(sender), Reply::Delta(response)) => sender.send(Ok(response)).await.is_ok(),
            (Self::Sotw(sender), Reply::Sotw(response)) => sender.send(Ok(response)).await.is_ok(),
            _ => unreachable!("a scene speaks one variant"),
        }
    }
}

impl Requests {
    /// The next request about a type of ours; none when the stream is over.
    pub async fn next(&mut self) -> Option<Said> {
        let (type_url, nonce, refused) = match self {
            Self::Delta(requests) => {
                let request = requests.message().await.ok().flatten()?;
                (request.type_url, request.response_nonce, request.error_detail.is_some())
            }
            Self::Sotw(requests) => {
                let request = requests.message().await.ok().flatten()?;
                (request.type_url, request.response_nonce, request.error_detail.is_some())
            }
        };
        let kind = ResourceType::from_type_url(&type_url).expect("the client asks for these four");
        Some(Said { kind, nonce, refused })
    }

    /// Waits until this response is answered.
    pub async fn until_answered(&mut self, nonce: &str) -> Said {
        loop {
            let said = self.next().await.expect("the client stays");
            if said.nonce == nonce {
                return said;
            }
        }
    }

    /// Answers the first request of each type with what is prepared, until all of it is accepted.
    pub async fn supply(
        &mut self,
        responses: &Responses,
        prepared: [Reply; ResourceType::ALL.len()],
    ) -> Supplied {
        let bytes = prepared.iter().map(Reply::size).sum();
        let mut prepared = prepared.map(Some);
        let (mut asked, mut accepted) = (None, 0);
        while accepted < prepared.len() {
            let said = self.next().await.expect("the client stays");
            asked.get_or_insert_with(Instant::now);
            if let Some(reply) = prepared[said.kind as usize].take_if(|_| said.nonce.is_empty()) {
                assert!(responses.send(reply.renewed(said.kind.noun())).await, "the client stays");
            }
            assert!(!said.refused, "the mesh of a scene is good");
            accepted += usize::from(said.nonce == said.kind.noun());
        }
        Supplied { asked: asked.expect("it was"), accepted: Instant::now(), bytes }
    }

    /// Reads on, so that the client can go on asking, until the stream is over.
    pub async fn drain(mut self) {
        while self.next().await.is_some() {}
    }
}
