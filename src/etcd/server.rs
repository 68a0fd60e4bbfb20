//! The connections: accepts them, tells gRPC from JSON by the path, and ends them.
//!
//! In: a listener. Out: every request handed to its service. Never here: the meaning of a request.
//!
//! No timer closes a connection: APISIX keeps idle ones for a minute and counts a dead one as a failed endpoint
//! (contract section 1); how many there can be is bounded.

use std::{convert::Infallible, future::Future, io, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    task::JoinSet,
};
use tonic::{Status, body::Body, codegen::Service};

use super::{
    Listener, Options,
    cluster::ClientUrl,
    endpoint::{Endpoint, Shared},
    gateway,
    kv::list,
};
use crate::{
    error::Error,
    pb::etcdserverpb::{
        auth_server::AuthServer, cluster_server::ClusterServer, kv_server::KvServer,
        lease_server::LeaseServer, maintenance_server::MaintenanceServer, watch_server::WatchServer,
    },
    store::Store,
};

/// The pause after a connection could not be accepted, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A client that vanished without a word is noticed after ten times as long, and its watches go.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Streams of one gRPC connection. The official client has one for each context that it watches with; one that has to
/// wait for room is a watch that never starts.
const MAX_STREAMS: u32 = 1 << 16;
/// Calls that a client may have given up before they were looked at; with more it is an attack (CVE-2023-44487).
const MAX_RESETS: usize = 4096;

/// Answers on the listener until `shutdown`, then closes all connections: a plain close is what APISIX takes
/// quietest for the end of a watch.
pub async fn serve(
    listener: Listener,
    store: Arc<Store>,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let acceptor = Acceptor::new(listener)
        .map_err(|source| Error::System { what: "handing the etcd listener to the runtime", source })?;
    let endpoint = Arc::new(Endpoint::new(store, options));
    tracing::info!(prefix = endpoint.options.prefix, "etcd endpoint is up");
    tokio::select! {
        () = accept_all(&acceptor, &endpoint) => {}
        () = shutdown => {}
    }
    tracing::info!("etcd endpoint is down");
    Ok(())
}

enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Acceptor {
    fn new(listener: Listener) -> io::Result<Self> {
        match listener {
            Listener::Tcp(listener) => TcpListener::from_std(listener).map(Self::Tcp),
            Listener::Unix(listener) => UnixListener::from_std(listener).map(Self::Unix),
        }
    }

    /// The next connection.
    async fn accept(&self) -> io::Result<Box<dyn Connection>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Each chunk leaves at once; a connection that is already gone shows at its first read.
                let _ = stream.set_nodelay(true);
                let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
                let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
                Ok(Box::new(stream))
            }
            Self::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

/// A connection of either kind.
trait Connection: AsyncRead + AsyncWrite + Send + Unpin {
    /// Where it came in, as etcd's clients write it; `secure` is what TLS adds to the scheme.
    fn url(&self, secure: &str) -> Option<ClientUrl>;
}

impl Connection for TcpStream {
    fn url(&self, secure: &str) -> Option<ClientUrl> {
        self.local_addr().ok().map(|address| ClientUrl(format!("http{secure}://{address}")))
    }
}

impl Connection for UnixStream {
    fn url(&self, secure: &str) -> Option<ClientUrl> {
        let address = self.local_addr().ok()?;
        Some(ClientUrl(format!("unix{secure}://{}", address.as_pathname()?.display())))
    }
}

/// Runs until dropped, and with it all connections.
async fn accept_all(acceptor: &Acceptor, endpoint: &Arc<Endpoint>) {
    let mut connections = JoinSet::new();
    let mut refused = false;
    loop {
        let room = connections.len() < endpoint.options.max_connections;
        let accepted = tokio::select! {
            accepted = acceptor.accept(), if room => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok(stream) => {
                connections.spawn(connection(stream, endpoint.clone()));
                refused = false;
            }
            Err(error) => {
                if !std::mem::replace(&mut refused, true) {
                    tracing::warn!(%error, "etcd endpoint cannot accept connections");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: Box<dyn Connection>, endpoint: Arc<Endpoint>) {
    let Some(tls) = &endpoint.options.tls else {
        let url = stream.url("");
        return answer(stream, url, endpoint).await;
    };
    let url = stream.url("s");
    match tls.accept(stream).await {
        Ok(stream) => answer(stream, url, endpoint.clone()).await,
        Err(error) => tracing::debug!(%error, "etcd client refused"),
    }
}

/// Answers a connection's requests until it ends.
async fn answer(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    url: Option<ClientUrl>,
    endpoint: Arc<Endpoint>,
) {
    let service = hyper::service::service_fn(|mut request: Request<Incoming>| {
        let endpoint = endpoint.clone();
        if let Some(url) = url.clone() {
            request.extensions_mut().insert(url);
        }
        async move { Ok::<_, Infallible>(route(endpoint, request).await) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(MAX_STREAMS).max_pending_accept_reset_streams(MAX_RESETS);
    let served = builder.serve_connection(TokioIo::new(stream), service).await;
    if let Err(error) = served {
        tracing::debug!(error, "etcd connection ended");
    }
}

async fn route(endpoint: Arc<Endpoint>, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path();
    let service = path.split('/').nth(1).unwrap_or_default();
    if service.starts_with("etcdserverpb.")
        && path != "/etcdserverpb.Auth/Authenticate"
        && let Err(refusal) = endpoint.admit(request.headers())
    {
        return Status::from(refusal).into_http();
    }
    let shared = Shared(endpoint.clone());
    let Ok(response) = match service {
        "etcdserverpb.KV" if path == list::PATH => Ok(list::answer(shared, request).await),
        "etcdserverpb.KV" => KvServer::new(shared).call(request).await,
        "etcdserverpb.Watch" => WatchServer::new(shared).call(request).await,
        "etcdserverpb.Lease" => LeaseServer::new(shared).call(request).await,
        "etcdserverpb.Cluster" => ClusterServer::new(shared).call(request).await,
        "etcdserverpb.Maintenance" => MaintenanceServer::new(shared).call(request).await,
        "etcdserverpb.Auth" => AuthServer::new(shared).call(request).await,
        unknown if is_grpc(&request) => {
            Ok::<_, Infallible>(Status::unimplemented(format!("unknown service {unknown}")).into_http())
        }
        _ => Ok(gateway::answer(endpoint, request).await),
    };
    response
}

fn is_grpc(request: &Request<Incoming>) -> bool {
    let media_type = request.headers().get(http::header::CONTENT_TYPE);
    media_type.is_some_and(|media_type| media_type.as_bytes().starts_with(b"application/grpc"))
}
