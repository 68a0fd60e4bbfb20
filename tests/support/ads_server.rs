//! A control plane for tests and the example: real gRPC, nothing of the client's logic.
//!
//! [`Acceptor`] gives the streams as they come, for scripts of bad behaviour; [`serve`] answers one stream as a
//! control plane should, from resources that may change at any time.
#![allow(dead_code)] // Each user includes this file and needs a part of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use apisix_mesh::{
    pb::{
        envoy::service::discovery::v3::{
            DiscoveryRequest, DiscoveryResponse,
            aggregated_discovery_service_server::{
                AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
            },
        },
        google::protobuf::Any,
    },
    xds::{ResourceType, file::Loaded},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// One stream of one client.
pub struct Session {
    /// What the client says.
    pub requests: Streaming<DiscoveryRequest>,
    /// What it is told. Dropping it ends the stream.
    pub responses: mpsc::Sender<Result<DiscoveryResponse, Status>>,
}

/// Listens, and gives every stream that is opened. Dropping it breaks all connections.
pub struct Acceptor {
    /// Where it listens.
    pub address: SocketAddr,
    sessions: mpsc::Receiver<Session>,
    task: JoinHandle<()>,
}

struct Service(mpsc::Sender<Session>);

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type StreamAggregatedResourcesStream = ReceiverStream<Result<DiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let (responses, outgoing) = mpsc::channel(16);
        let session = Session { requests: request.into_inner(), responses };
        self.0.send(session).await.map_err(|_| Status::unavailable("shutting down"))?;
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

impl Acceptor {
    /// Listens on an address; port 0 takes any free one.
    pub async fn bind(address: &str) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (sender, sessions) = mpsc::channel(16);
        Ok(Self { address, sessions, task: tokio::spawn(accept(listener, sender)) })
    }

    /// The next stream.
    pub async fn session(&mut self) -> Session {
        self.sessions.recv().await.expect("the accepting task lives as long as this")
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, sessions: mpsc::Sender<Session>) {
    let service = AggregatedDiscoveryServiceServer::new(Service(sessions))
        .max_decoding_message_size(usize::MAX)
        .max_encoding_message_size(usize::MAX);
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        // As gRPC servers do; else a small response waits for the acknowledgement of the one before.
        let _ = socket.set_nodelay(true);
        let service = TowerToHyperService::new(service.clone());
        connections.spawn(async move {
            // A connection that breaks is the client's to mend.
            let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// A response whose nonce is its version too.
pub fn response(kind: ResourceType, nonce: &str, resources: Vec<Any>) -> DiscoveryResponse {
    DiscoveryResponse {
        version_info: nonce.to_owned(),
        resources,
        type_url: kind.type_url().to_owned(),
        nonce: nonce.to_owned(),
        control_plane: None,
    }
}

/// What is served, by type and name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resources {
    by_type: [BTreeMap<String, Any>; ResourceType::ALL.len()],
}

impl Resources {
    /// Adds or replaces one.
    pub fn insert(&mut self, kind: ResourceType, name: &str, message: impl Into<Vec<u8>>) {
        let type_url = kind.type_url().to_owned();
        self.by_type[kind as usize].insert(name.to_owned(), Any { type_url, value: message.into().into() });
    }

    /// Takes one out.
    pub fn remove(&mut self, kind: ResourceType, name: &str) {
        self.by_type[kind as usize].remove(name);
    }

    fn of(&self, kind: ResourceType) -> &BTreeMap<String, Any> {
        &self.by_type[kind as usize]
    }
}

impl FromIterator<Loaded> for Resources {
    fn from_iter<I: IntoIterator<Item = Loaded>>(loaded: I) -> Self {
        let mut resources = Self::default();
        for Loaded { kind, resource, .. } in loaded {
            resources.insert(kind, &resource.name, resource.bytes);
        }
        resources
    }
}

/// What a stream's client asked for and got of one type.
#[derive(Default)]
struct Watch {
    /// `None`: not subscribed; empty: everything, for the wildcard types.
    names: Option<BTreeSet<String>>,
    nonce: String,
    sent: BTreeMap<String, Any>,
}

/// Answers one stream until it ends. `nacked` hears what the client refuses.
pub async fn serve(
    mut session: Session,
    mut resources: watch::Receiver<Arc<Resources>>,
    nacked: impl Fn(ResourceType, &str),
) {
    let mut watches: [Watch; ResourceType::ALL.len()] = Default::default();
    let mut counter = 0;
    loop {
        let due = tokio::select! {
            message = session.requests.message() => match message {
                Ok(Some(request)) => on_request(&request, &mut watches, &nacked),
                Ok(None) | Err(_) => return,
            },
            changed = resources.changed() => match changed {
                Ok(()) => on_change(&resources.borrow(), &watches),
                Err(_) => return,
            },
        };
        let present = resources.borrow_and_update().clone();
        for (kind, names) in due {
            counter += 1;
            let watch = &mut watches[kind as usize];
            watch.nonce = format!("{}-{counter}", kind.noun());
            let of_type = present.of(kind);
            watch.sent = of_type.clone();
            let chosen = of_type.iter().filter(|(name, _)| names.as_ref().is_none_or(|n| n.contains(*name)));
            let response = DiscoveryResponse {
                version_info: counter.to_string(),
                resources: chosen.map(|(_, any)| any.clone()).collect(),
                type_url: kind.type_url().to_owned(),
                nonce: watch.nonce.clone(),
                control_plane: None,
            };
            if session.responses.send(Ok(response)).await.is_err() {
                return;
            }
        }
    }
}

/// A type, and the names to send of it; all if `None`.
type Due = (ResourceType, Option<BTreeSet<String>>);

fn on_request(
    request: &DiscoveryRequest,
    watches: &mut [Watch; ResourceType::ALL.len()],
    nacked: &impl Fn(ResourceType, &str),
) -> Vec<Due> {
    let Some(kind) = ResourceType::from_type_url(&request.type_url) else { return Vec::new() };
    if let Some(detail) = &request.error_detail {
        nacked(kind, &detail.message);
        return Vec::new();
    }
    let watch = &mut watches[kind as usize];
    if !request.response_nonce.is_empty() && request.response_nonce != watch.nonce {
        return Vec::new();
    }
    let names: BTreeSet<String> = request.resource_names.iter().cloned().collect();
    let before = watch.names.replace(names.clone());
    if kind.is_complete() {
        return if before.is_none() { vec![(kind, None)] } else { Vec::new() };
    }
    let added: BTreeSet<String> = names.difference(&before.unwrap_or_default()).cloned().collect();
    if added.is_empty() { Vec::new() } else { vec![(kind, Some(added))] }
}

fn on_change(present: &Resources, watches: &[Watch; ResourceType::ALL.len()]) -> Vec<Due> {
    let mut due = Vec::new();
    let mut clusters_changed = false;
    for kind in ResourceType::ALL {
        let watch = &watches[kind as usize];
        let Some(names) = &watch.names else { continue };
        if kind.is_complete() {
            if present.of(kind) != &watch.sent {
                clusters_changed |= kind == ResourceType::Cluster;
                due.push((kind, None));
            }
            continue;
        }
        // Envoy waits for endpoints after every change of a cluster, so they follow it.
        let all = clusters_changed && kind == ResourceType::ClusterLoadAssignment;
        let changed = |name: &&String| all || present.of(kind).get(*name) != watch.sent.get(*name);
        let names: BTreeSet<String> = names.iter().filter(changed).cloned().collect();
        if !names.is_empty() {
            due.push((kind, Some(names)));
        }
    }
    due
}
