//! A server and the way to it.
//!
//! In: an address and the settings of TLS. Out: a channel for each connection, that attaches what this client shows of
//! itself, and words for what went wrong. Never here: what is called.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use super::{
    Secret, Security,
    address::Address,
    problem::{Problem, cause, of_alert, words},
    tls::{CONNECT_TIMEOUT, Tls},
};
use crate::error::Error;

/// A peer that went away without a word is noticed after the sum of these.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// What a server may send ahead: a whole configuration, else it waits for a round trip every few kilobytes.
const WINDOW: u32 = 16 << 20;

/// A channel to the server.
pub type Client = InterceptedService<Channel, Attached>;

/// One server.
#[derive(Debug, Clone)]
pub struct Peer {
    setting: &'static str,
    endpoint: Endpoint,
    tls: Option<Arc<Tls>>,
    cluster_id: Option<MetadataValue<Ascii>>,
    poll_interval: Duration,
}

impl Peer {
    /// The server at `uri`, the value of a setting: `grpc://HOST:PORT` or `grpcs://HOST:PORT`.
    pub fn new(setting: &'static str, uri: &str, security: &Security) -> Result<Self, Error> {
        let address = Address::parse(setting, uri)?;
        let tls = if address.tls {
            Some(Arc::new(Tls::new(setting, &address, security)?))
        } else {
            security.check_unused(setting)?;
            None
        };
        let endpoint = Endpoint::from_shared(address.http())
            .map_err(|e| Error::config(setting, format!("{uri:?}: {}", words(&e))))?
            .tcp_nodelay(true)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true);
        Ok(Self { setting, endpoint, tls, cluster_id: None, poll_interval: Duration::from_secs(1) })
    }

    /// Tells the server with each call in which cluster this client is, as Istio's agent does.
    #[must_use]
    pub fn in_cluster(self, id: Option<&str>) -> Self {
        Self { cluster_id: id.and_then(|id| id.parse().ok()), ..self }
    }

    /// Looks this often for changed files while waiting.
    #[must_use]
    pub fn polling(self, interval: Duration) -> Self {
        Self { poll_interval: interval, ..self }
    }

    /// Connects, with the name resolved and all files read anew. A connection is for one call, so that the token is
    /// read for each.
    pub async fn connect(&self) -> Result<Client, Status> {
        let (channel, token) = match &self.tls {
            Some(tls) => {
                self.connect_tls(tls.clone()).await.map_err(|e| Status::unavailable(e.to_string()))?
            }
            None => {
                let channel = self.endpoint.clone().connect_timeout(CONNECT_TIMEOUT).connect().await;
                (channel.map_err(|e| Status::unavailable(words(&e)))?, None)
            }
        };
        Ok(InterceptedService::new(channel, Attached { token, cluster_id: self.cluster_id.clone() }))
    }

    async fn connect_tls(&self, tls: Arc<Tls>) -> Result<(Channel, Option<Token>), Problem> {
        let reading = tls.clone();
        let material = blocking(move || reading.read()).await??;
        let connector = tls.connector(material.roots, material.pair)?;
        let channel = self.endpoint.connect_with_connector(connector).await;
        Ok((channel.map_err(|e| Problem(words(&e)))?, material.token))
    }

    /// Waits; not so long if a file changes from what was read last.
    pub async fn wait(self, patience: Duration) {
        tokio::select! {
            () = sleep(patience) => {}
            () = self.files_change() => {}
        }
    }

    async fn files_change(&self) {
        let Some(tls) = &self.tls else { return std::future::pending().await };
        loop {
            sleep(self.poll_interval).await;
            let tls = tls.clone();
            if blocking(move || tls.has_changed()).await.unwrap_or(false) {
                return;
            }
        }
    }

    /// The same status in better words, for a call to which there was no answer at all.
    pub fn explain(&self, status: Status) -> Status {
        let Some(cause) = cause(&status) else { return status };
        let text = match &self.tls {
            Some(tls) => {
                tls.note_refusal();
                let shown = tls.shown_certificate().unwrap_or_else(|| "no certificate".to_owned());
                let problem = of_alert(&cause).unwrap_or_else(|| {
                    format!(
                        "{cause}: the connection broke before any answer; if it does so each time, the server \
                         may want a client certificate, or another one (xds_cert_file)"
                    )
                });
                format!("{problem} (shown was {shown})")
            }
            None => format!(
                "{cause}: the connection broke before any answer; if the server speaks TLS, \
                 give {} grpcs://HOST:PORT",
                self.setting
            ),
        };
        Status::new(status.code(), text)
    }

    /// What a status means for whoever has to do something about it.
    pub fn describe(&self, status: &Status) -> String {
        let text = format!("{:?}: {}", status.code(), status.message());
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => format!("{text} ({})", self.shown()),
            _ => text,
        }
    }

    fn shown(&self) -> String {
        let Some(tls) = &self.tls else {
            return format!("nothing was shown to the server: {} is plaintext", self.setting);
        };
        match tls.shown() {
            none if none.is_empty() => {
                "nothing was shown to the server: set xds_token_file, or xds_cert_file and xds_key_file"
                    .to_owned()
            }
            some => format!("shown to the server: {}", some.join(" and ")),
        }
    }
}

/// Runs what may block on a thread that may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Problem(format!("reading files: {e}")))
}

type Token = Secret<MetadataValue<Ascii>>;

/// What goes with each call.
#[derive(Debug, Clone)]
pub struct Attached {
    token: Option<Token>,
    cluster_id: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Attached {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        if let Some(token) = &self.token {
            metadata.insert("authorization", token.reveal().clone());
        }
        if let Some(id) = &self.cluster_id {
            metadata.insert("clusterid", id.clone());
        }
        Ok(request)
    }
}
