//! The left end of the street: resources come in, checked and cached.
//!
//! In: xDS responses over gRPC ([`ads`]), files ([`file`]), or both ([`overlay`]). Out: a [`Snapshot`] of accepted resources and, for each
//! update, the [`Change`]s in it. ACK or NACK is decided here, from each resource on its own ([`validate`]). Never
//! here: what a resource means to APISIX.

mod ads;
pub mod cache;
pub mod file;
mod message;
pub mod node;
mod objection;
mod overlay;
mod pace;
mod resource;
mod snapshot;
mod status;
pub mod stream;
mod targets;
mod transport;
pub mod validate;

use std::time::Duration;

pub use crate::grpc::backoff;
pub use ads::Ads;
pub use file::FileSource;
pub use objection::Objection;
pub use overlay::Overlay;
pub use resource::{Resource, ResourceType};
pub use snapshot::{Change, Snapshot};
pub use status::{SourceStatus, State as SourceState, TypeStatus};

pub use crate::config::XdsMode as Mode;
use crate::{
    error::Error,
    grpc::{Peer, Security},
};

/// What the next stage acts on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// What is different in the snapshot, sorted, each resource once.
    pub changes: Vec<Change>,
    /// Whether the first configuration is whole, or was waited for long enough. Once true it stays so.
    pub complete: bool,
}

/// The settings of a source.
#[derive(Debug, Clone)]
pub struct SourceOptions {
    /// Who this client says it is.
    pub node: node::NodeConfig,
    /// The variant of the protocol to ask for first.
    pub mode: Mode,
    /// How a control plane is known, and what it is shown.
    pub security: Security,
    /// How long a resource that is referred to may take before it counts as absent; zero waits for ever.
    pub initial_fetch_timeout: Duration,
    /// The largest response; zero is no limit.
    pub max_response_bytes: usize,
    /// The waits between tries to connect.
    pub backoff: backoff::BackoffOptions,
    /// Files laid over a control plane: `file:///PATH`.
    pub overlay: Option<String>,
    /// How often files are looked at.
    pub poll_interval: Duration,
    /// What is refused though it is well-formed.
    pub objection: Objection,
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self {
            node: node::NodeConfig::default(),
            mode: Mode::default(),
            security: Security::default(),
            initial_fetch_timeout: Duration::from_secs(15),
            max_response_bytes: 0,
            backoff: backoff::BackoffOptions::default(),
            overlay: None,
            poll_interval: Duration::from_secs(1),
            objection: Objection::default(),
        }
    }
}

impl SourceOptions {
    /// The control plane at `uri`.
    fn peer(&self, uri: &str) -> Result<Peer, Error> {
        Ok(Peer::new("xds", uri, &self.security)?.in_cluster(self.cluster()).polling(self.poll_interval))
    }

    /// The Kubernetes cluster that the node is in, by Istio's name for it.
    pub fn cluster(&self) -> Option<&str> {
        self.node.metadata.get("CLUSTER_ID").and_then(|id| id.as_str())
    }
}

/// What the URI of files begins with; a path follows.
const FILES: &str = "file://";

fn overlay(uri: &str, options: &SourceOptions) -> Result<FileSource, Error> {
    let path = uri
        .strip_prefix(FILES)
        .ok_or_else(|| Error::config("xds_overlay", format!("{uri:?} is not file:///PATH")))?;
    FileSource::new(uri, path, options)
}

/// Where resources come from.
pub enum Source {
    /// Control planes, of which one is heard at a time.
    Ads(Box<Ads>),
    /// Files.
    File(Box<FileSource>),
    /// Files laid over a control plane.
    Overlay(Box<Overlay>),
}

impl Source {
    /// A source by its URI: `grpcs://HOST:PORT` or `grpc://HOST:PORT`, or several of these with commas between them, or
    /// `file:///PATH`. Nothing is opened before [`Source::next`].
    pub fn new(uri: &str, options: SourceOptions) -> Result<Self, Error> {
        let Some(path) = uri.strip_prefix(FILES) else {
            let ads = Ads::new(uri, &options)?;
            return Ok(match &options.overlay {
                None => Self::Ads(Box::new(ads)),
                Some(files) => Self::Overlay(Box::new(Overlay::new(ads, overlay(files, &options)?))),
            });
        };
        if options.overlay.is_some() {
            let problem = "xds is files already: put all of them into one folder";
            return Err(Error::config("xds_overlay", problem));
        }
        Ok(Self::File(Box::new(FileSource::new(uri, path, &options)?)))
    }

    /// The next update that changes something or makes the first configuration complete; may be dropped and called
    /// again without loss.
    pub async fn next(&mut self) -> Update {
        match self {
            Self::Ads(ads) => ads.next().await,
            Self::File(file) => file.next().await,
            Self::Overlay(overlay) => overlay.next().await,
        }
    }

    /// The resources in force.
    pub fn snapshot(&self) -> &Snapshot {
        match self {
            Self::Ads(ads) => ads.snapshot(),
            Self::File(file) => file.snapshot(),
            Self::Overlay(overlay) => overlay.snapshot(),
        }
    }

    /// A handle on the state, for any thread.
    pub fn status(&self) -> SourceStatus {
        match self {
            Self::Ads(ads) => ads.status(),
            Self::File(file) => file.status(),
            Self::Overlay(overlay) => overlay.status(),
        }
    }
}
