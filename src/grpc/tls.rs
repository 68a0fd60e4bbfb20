//! TLS under gRPC.
//!
//! In: files and the server's name. Out: a connector that gives a connection whose other end is who it should be, or
//! the [`Problem`]. The server's certificate must chain to a root of the file and name the server; nothing turns that
//! off.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use http::Uri;
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use parking_lot::Mutex;
use rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::codegen::{Service, StdError};

use super::{
    Identities, Identity,
    address::Address,
    files::{Files, Material, Pair, Security},
    problem::{NO_HTTP2, Parties, Problem, is_alert, of_handshake},
};
use crate::error::Error;

/// For TCP, and for the handshake over it.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

const HTTP2: &[u8] = b"h2";

/// How one server is reached over TLS.
#[derive(Debug)]
pub struct Tls {
    pub files: Files,
    identities: Option<Identities>,
    identity: Mutex<Shown>,
    server_name: ServerName<'static>,
    name_cure: &'static str,
    /// Of the files as they were read last.
    fingerprint: AtomicU64,
}

/// What became of the workload's certificate.
#[derive(Debug, Default)]
struct Shown {
    /// The one in force at the last connection.
    last: Option<Arc<Identity>>,
    /// It was shown then.
    shown: bool,
    /// The connection broke before any answer.
    refused: bool,
}

impl Tls {
    /// Checks the settings; the files are read later.
    pub fn new(setting: &'static str, address: &Address, security: &Security) -> Result<Self, Error> {
        let (setting, name) = match &security.server_name {
            Some(name) => ("xds_server_name", name.as_str()),
            None => (setting, address.host()),
        };
        let server_name = ServerName::try_from(name.to_owned()).map_err(|_| {
            Error::config(setting, format!("{name:?} is neither a DNS name nor an IP address"))
        })?;
        let name_cure = match setting {
            "ca_address" => "give ca_address one of the former",
            _ => "set xds_server_name to one of the former, if it is the right server",
        };
        Ok(Self {
            files: Files::new(security)?,
            identities: security.identity.clone(),
            identity: Mutex::default(),
            server_name,
            name_cure,
            fingerprint: AtomicU64::new(0),
        })
    }

    /// Reads the files, and takes the workload's certificate. Blocks as long as the disk takes.
    pub fn read(&self) -> Result<Material, Problem> {
        let contents = self.files.read();
        self.fingerprint.store(contents.fingerprint(), Ordering::Relaxed);
        let identity = self.identity_to_show();
        let mut material = contents.parse()?;
        if let Some(identity) = identity {
            let key = identity.key.reveal().clone_key();
            material.pair = Some(Pair { chain: identity.chain.clone(), key });
        }
        Ok(material)
    }

    /// After a change of roots a server may break every connection with the certificate. The next one after such a
    /// break is made with the token alone, if there is one; it may be the token that has had its day, so only that one.
    fn identity_to_show(&self) -> Option<Arc<Identity>> {
        let current = self.current_identity();
        let mut identity = self.identity.lock();
        let was_refused = std::mem::take(&mut identity.refused);
        identity.last.clone_from(&current);
        identity.shown = current.is_some() && !(was_refused && self.files.token.is_some());
        current.filter(|_| identity.shown)
    }

    fn current_identity(&self) -> Option<Arc<Identity>> {
        let identity = self.identities.as_ref()?.borrow().clone()?;
        let is_good = SystemTime::now() < identity.not_after;
        (self.files.pair.is_none() && is_good).then_some(identity)
    }

    /// Whether files and certificate are no longer as they were read. Blocks as long as the disk takes.
    pub fn has_changed(&self) -> bool {
        let current = self.current_identity();
        let last = self.identity.lock().last.as_ref().map(Arc::as_ptr);
        current.as_ref().map(Arc::as_ptr) != last
            || self.files.read().fingerprint() != self.fingerprint.load(Ordering::Relaxed)
    }

    /// What this client has just shown of itself may not be liked.
    pub fn note_refusal(&self) {
        let mut identity = self.identity.lock();
        identity.refused = identity.shown;
    }

    /// The certificate that this client shows of itself, in words.
    pub fn shown_certificate(&self) -> Option<String> {
        if let Some(pair) = &self.files.pair {
            return Some(format!("the certificate in xds_cert_file {}", pair.cert));
        }
        let identity = self.identity.lock();
        let last = identity.last.as_ref().filter(|_| identity.shown)?;
        Some(format!("the certificate of {}", last.spiffe_id))
    }

    /// All that this client shows of itself, in words.
    pub fn shown(&self) -> Vec<String> {
        let token = self.files.token.as_ref().map(|path| format!("the token in xds_token_file {path}"));
        token.into_iter().chain(self.shown_certificate()).collect()
    }

    /// A connector that trusts these roots and shows this certificate.
    pub fn connector(
        self: &Arc<Self>,
        roots: RootCertStore,
        pair: Option<Pair>,
    ) -> Result<Connector, Problem> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| Problem(format!("TLS: {e}")))?
            .with_root_certificates(roots);
        let mut config = match pair {
            Some(Pair { chain, key }) => {
                builder.with_client_auth_cert(chain, key).map_err(|e| self.mismatch(&e))?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols.push(HTTP2.to_vec());
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        Ok(Connector { tcp, tls: Arc::new(config).into(), server: self.clone() })
    }

    fn silence(&self) -> Problem {
        let seconds = CONNECT_TIMEOUT.as_secs();
        Problem(format!(
            "the server takes the connection and says nothing of TLS for {seconds} s: is it its port with TLS?"
        ))
    }

    fn problem(&self, error: &io::Error) -> Problem {
        if is_alert(error) {
            self.note_refusal();
        }
        let server_name = self.server_name.to_str();
        let parties =
            Parties { server_name: &server_name, name_cure: self.name_cure, ca_file: &self.files.ca };
        of_handshake(error, &parties)
    }

    fn mismatch(&self, error: &rustls::Error) -> Problem {
        let (cert, key) = self.files.pair.as_ref().map_or(("", ""), |pair| (&pair.cert, &pair.key));
        Problem(match error {
            rustls::Error::InconsistentKeys(_) => format!(
                "xds_key_file {key} is not the key of the certificate in xds_cert_file {cert}: \
                 write both anew, from one issue"
            ),
            other => format!("xds_cert_file {cert}, xds_key_file {key}: {other}"),
        })
    }
}

/// Opens connections.
#[derive(Clone)]
pub struct Connector {
    tcp: HttpConnector,
    tls: TlsConnector,
    server: Arc<Tls>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = StdError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, StdError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        self.tcp.poll_ready(context).map_err(StdError::from)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tcp = self.tcp.call(uri);
        let (tls, server) = (self.tls.clone(), self.server.clone());
        Box::pin(async move {
            let socket = tcp.await?.into_inner();
            let handshake = timeout(CONNECT_TIMEOUT, tls.connect(server.server_name.clone(), socket));
            let stream = handshake.await.map_err(|_| server.silence())?.map_err(|e| server.problem(&e))?;
            if stream.get_ref().1.alpn_protocol() != Some(HTTP2) {
                return Err(Problem(NO_HTTP2.to_owned()).into());
            }
            Ok(TokioIo::new(stream))
        })
    }
}
