//! A certificate authority of Istio's kind for tests: real gRPC over TLS, each answer up to the test.
#![allow(dead_code)] // Each user includes this file and needs a part of it.

use std::{net::SocketAddr, sync::Arc};

use apisix_mesh::pb::istio::v1::auth::{
    IstioCertificateRequest, IstioCertificateResponse,
    istio_certificate_service_server::{IstioCertificateService, IstioCertificateServiceServer},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use rustls::ServerConfig;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;
use tonic::{Request, Response, Status, metadata::MetadataMap};

/// One request.
pub struct Asked {
    /// What came with the call.
    pub metadata: MetadataMap,
    /// Whether the client showed a certificate.
    pub is_certified: bool,
    /// What is asked for.
    pub request: IstioCertificateRequest,
    answer: oneshot::Sender<Result<Vec<String>, Status>>,
}

impl Asked {
    /// Answers with a chain, or refuses.
    pub fn answer(self, answer: Result<Vec<String>, Status>) {
        // A client that went away has no use for it.
        let _ = self.answer.send(answer);
    }
}

/// Listens, and gives every request that comes.
pub struct Authority {
    /// Where it listens.
    pub address: SocketAddr,
    requests: mpsc::Receiver<Asked>,
    task: JoinHandle<()>,
}

struct Service {
    requests: mpsc::Sender<Asked>,
    is_certified: bool,
}

#[tonic::async_trait]
impl IstioCertificateService for Service {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let (answer, answered) = oneshot::channel();
        let metadata = request.metadata().clone();
        let asked =
            Asked { metadata, is_certified: self.is_certified, request: request.into_inner(), answer };
        let gone = || Status::unavailable("shutting down");
        self.requests.send(asked).await.map_err(|_| gone())?;
        let cert_chain = answered.await.map_err(|_| gone())??;
        Ok(Response::new(IstioCertificateResponse { cert_chain }))
    }
}

impl Authority {
    /// Listens on any free port.
    pub async fn bind(tls: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = mpsc::channel(16);
        Self { address, requests, task: tokio::spawn(accept(listener, tls.into(), sender)) }
    }

    /// The next request.
    pub async fn asked(&mut self) -> Asked {
        self.requests.recv().await.expect("the accepting task lives as long as this")
    }

    /// The request that is there already, if there is one.
    pub fn try_asked(&mut self) -> Option<Asked> {
        self.requests.try_recv().ok()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, requests: mpsc::Sender<Asked>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let (requests, tls) = (requests.clone(), tls.clone());
        connections.spawn(async move {
            if let Ok(stream) = tls.accept(socket).await {
                let is_certified = stream.get_ref().1.peer_certificates().is_some();
                let service = IstioCertificateServiceServer::new(Service { requests, is_certified });
                let service = TowerToHyperService::new(service);
                let http = Builder::new(TokioExecutor::new());
                // A connection that breaks is the client's to mend.
                let _ = http.serve_connection(TokioIo::new(stream), service).await;
            }
        });
    }
}
