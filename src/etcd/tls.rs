//! TLS on the endpoint's connections, as etcd's `--cert-file`, `--key-file` and `--trusted-ca-file` make it.
//!
//! In: files in PEM, and accepted connections. Out: connections in TLS; with a file of roots only to clients that show a
//! certificate of one of them. The files are looked at with each connection: renewed ones count from the next on, and ones
//! that cannot be used leave those before in force, with one line. Never here: a way back to plaintext.

use std::{fs, io, sync::Arc, time::Duration, time::SystemTime};

use parking_lot::Mutex;
use rustls::{ServerConfig, crypto::ring, server::WebPkiClientVerifier};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{error::Error, grpc::pem};

/// A client that says nothing for so long is let go.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Where certificate, key and roots are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate and those between it and its root.
    pub cert: String,
    /// The key of it.
    pub key: String,
    /// The roots of clients' certificates; without it clients need none.
    pub trusted_ca: Option<String>,
}

/// The endpoint's TLS.
pub struct Tls {
    files: TlsFiles,
    inner: Mutex<Inner>,
}

struct Inner {
    acceptor: TlsAcceptor,
    times: Times,
}

/// When the files were written last; nothing for one that is not there.
type Times = [Option<SystemTime>; 3];

impl Tls {
    /// Reads the files; what is wrong with them is an error of the setting that names them.
    pub fn open(files: TlsFiles) -> Result<Self, Error> {
        let times = files.times();
        let acceptor = files.acceptor()?;
        Ok(Self { files, inner: Mutex::new(Inner { acceptor, times }) })
    }

    pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<TlsStream<S>> {
        timeout(HANDSHAKE, self.newest().accept(stream)).await?
    }

    fn newest(&self) -> TlsAcceptor {
        let mut inner = self.inner.lock();
        let times = self.files.times();
        if inner.times != times {
            inner.times = times;
            match self.files.acceptor() {
                Ok(acceptor) => {
                    inner.acceptor = acceptor;
                    tracing::info!("etcd endpoint: its certificate was read anew");
                }
                Err(error) => tracing::warn!("{error}; the certificate before stays in force"),
            }
        }
        inner.acceptor.clone()
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tls").field(&self.files).finish()
    }
}

impl TlsFiles {
    fn times(&self) -> Times {
        let time = |path: &String| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        [time(&self.cert), time(&self.key), self.trusted_ca.as_ref().and_then(time)]
    }

    fn acceptor(&self) -> Result<TlsAcceptor, Error> {
        let chain = pem::certificates(&read("etcd_cert_file", &self.cert)?)
            .map_err(|problem| wrong("etcd_cert_file", &self.cert, problem))?;
        let key = pem::private_key(&read("etcd_key_file", &self.key)?)
            .map_err(|problem| wrong("etcd_key_file", &self.key, problem))?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong("etcd_cert_file", &self.cert, error))?;
        let builder = match &self.trusted_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let setting = "etcd_trusted_ca_file";
                let roots =
                    pem::roots(&read(setting, path)?).map_err(|problem| wrong(setting, path, problem))?;
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| wrong(setting, path, error))?)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => wrong(
                "etcd_key_file",
                &self.key,
                format!(
                    "it is not the key of the certificate in etcd_cert_file {}: write both anew",
                    self.cert
                ),
            ),
            other => wrong("etcd_cert_file", &self.cert, other),
        })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn read(setting: &'static str, path: &str) -> Result<Vec<u8>, Error> {
    fs::read(path)
        .map_err(|error| wrong(setting, path, format!("{error}: write it there, or correct the setting")))
}

fn wrong(setting: &'static str, path: &str, problem: impl std::fmt::Display) -> Error {
    Error::config(setting, format!("{path}: {problem}"))
}
