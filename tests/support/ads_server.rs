//! A control plane for tests and the example: real gRPC, nothing of the client's logic.
//!
//! [`Acceptor`] gives the streams as they come, for scripts of bad behaviour; [`serve`] answers them as a control
//! plane should, from resources that may change at any time.
#![allow(dead_code)] // Each user includes this file and needs a part of it.

#[path = "ads_server/delta.rs"]
mod delta;
#[path = "ads_server/sotw.rs"]
mod sotw;

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use apisix_mesh::{
    pb::{
        envoy::service::discovery::v3::{
            DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
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
use rustls::ServerConfig;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

/// One stream of one client.
pub struct Session<Q = DiscoveryRequest, A = DiscoveryResponse> {
    /// What came with the call.
    pub metadata: MetadataMap,
    /// What the client says.
    pub requests: Streaming<Q>,
    /// What it is told. Dropping it ends the stream.
    pub responses: mpsc::Sender<Result<A, Status>>,
}

/// One delta stream of one client.
pub type DeltaSession = Session<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

/// Listens, and gives every stream that is opened. Dropping it breaks all connections.
pub struct Acceptor {
    /// Where it listens.
    pub address: SocketAddr,
    sessions: mpsc::Receiver<Session>,
    delta_sessions: mpsc::Receiver<DeltaSession>,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Service {
    sotw: mpsc::Sender<Session>,
    delta: Option<mpsc::Sender<DeltaSession>>,
}

/// Hands one stream over, and answers with what comes of it.
async fn hand_over<Q, A>(
    to: &mpsc::Sender<Session<Q, A>>,
    request: Request<Streaming<Q>>,
) -> Result<Response<ReceiverStream<Result<A, Status>>>, Status> {
    let (responses, outgoing) = mpsc::channel(16);
    let metadata = request.metadata().clone();
    let session = Session { metadata, requests: request.into_inner(), responses };
    to.send(session).await.map_err(|_| Status::unavailable("shutting down"))?;
    Ok(Response::new(ReceiverStream::new(outgoing)))
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type StreamAggregatedResourcesStream = ReceiverStream<Result<DiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        hand_over(&self.sotw, request).await
    }

    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        match &self.delta {
            Some(delta) => hand_over(delta, request).await,
            None => Err(Status::unimplemented("no delta here")),
        }
    }
}

impl Acceptor {
    /// Listens on an address; port 0 takes any free one.
    pub async fn bind(address: &str) -> std::io::Result<Self> {
        let (delta, delta_sessions) = mpsc::channel(16);
        Self::start(address, None, Some(delta), delta_sessions).await
    }

    /// The same, over TLS.
    pub async fn bind_tls(address: &str, tls: Arc<ServerConfig>) -> std::io::Result<Self> {
        let (delta, delta_sessions) = mpsc::channel(16);
        Self::start(address, Some(tls.into()), Some(delta), delta_sessions).await
    }

    /// The same, of a control plane that has no delta.
    pub async fn without_delta(address: &str) -> std::io::Result<Self> {
        Self::start(address, None, None, mpsc::channel(1).1).await
    }

    async fn start(
        address: &str,
        tls: Option<TlsAcceptor>,
        delta: Option<mpsc::Sender<DeltaSession>>,
        delta_sessions: mpsc::Receiver<DeltaSession>,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (sotw, sessions) = mpsc::channel(16);
        let task = tokio::spawn(accept(listener, tls, Service { sotw, delta }));
        Ok(Self { address, sessions, delta_sessions, task })
    }

    /// The next stream of state of the world.
    pub async fn session(&mut self) -> Session {
        self.sessions.recv().await.expect("the accepting task lives as long as this")
    }

    /// The next delta stream.
    pub async fn delta_session(&mut self) -> DeltaSession {
        self.delta_sessions.recv().await.expect("the accepting task lives as long as this")
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, service: Service) {
    let service = AggregatedDiscoveryServiceServer::new(service)
        .max_decoding_message_size(usize::MAX)
        .max_encoding_message_size(usize::MAX);
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        // As gRPC servers do; else a small response waits for the acknowledgement of the one before.
        let _ = socket.set_nodelay(true);
        let (service, tls) = (TowerToHyperService::new(service.clone()), tls.clone());
        connections.spawn(async move {
            let http = Builder::new(TokioExecutor::new());
            // A connection that breaks is the client's to mend.
            match tls {
                None => drop(http.serve_connection(TokioIo::new(socket), service).await),
                Some(tls) => {
                    if let Ok(stream) = tls.accept(socket).await {
                        drop(http.serve_connection(TokioIo::new(stream), service).await);
                    }
                }
            }
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

/// Answers every stream that is opened, of either variant, until it ends. `nacked` hears what clients refuse.
pub async fn serve(
    mut acceptor: Acceptor,
    resources: watch::Receiver<Arc<Resources>>,
    nacked: impl Fn(ResourceType, &str) + Clone + Send + 'static,
) {
    // Whoever drops this future ends the streams too.
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            Some(session) = acceptor.sessions.recv() => {
                streams.spawn(sotw::serve(session, resources.clone(), nacked.clone()));
            }
            Some(session) = acceptor.delta_sessions.recv() => {
                streams.spawn(delta::serve(session, resources.clone(), nacked.clone()));
            }
            Some(_) = streams.join_next() => {}
            else => return,
        }
    }
}

/// For a client that should refuse nothing.
pub fn refused(kind: ResourceType, message: &str) {
    panic!("{kind:?} refused: {message}");
}
