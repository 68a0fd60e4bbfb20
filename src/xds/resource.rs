//! What xDS carries: the resource types, in the order that never breaks traffic, and one resource.

use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

/// A type of xDS resource. The order is make-before-break: what is referred to comes before what refers to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// `envoy.config.cluster.v3.Cluster`, by CDS.
    Cluster,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment`, by EDS.
    ClusterLoadAssignment,
    /// `envoy.config.listener.v3.Listener`, by LDS.
    Listener,
    /// `envoy.config.route.v3.RouteConfiguration`, by RDS.
    RouteConfiguration,
}

impl ResourceType {
    /// All types, in make-before-break order.
    pub const ALL: [ResourceType; 4] =
        [Self::Cluster, Self::ClusterLoadAssignment, Self::Listener, Self::RouteConfiguration];

    /// The type URL in requests, responses and `Any`.
    pub const fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::ClusterLoadAssignment => {
                "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
            }
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::RouteConfiguration => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        }
    }

    /// The type with this URL, if it is one of ours.
    pub fn from_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.type_url() == url)
    }

    /// The type that resources of this type refer to by name: RDS below LDS, EDS below CDS.
    pub const fn child(self) -> Option<Self> {
        match self {
            Self::Cluster => Some(Self::ClusterLoadAssignment),
            Self::Listener => Some(Self::RouteConfiguration),
            Self::ClusterLoadAssignment | Self::RouteConfiguration => None,
        }
    }

    /// Whether a state-of-the-world response lists every resource there is, so that absence means removal.
    pub const fn is_complete(self) -> bool {
        self.child().is_some()
    }

    /// Envoy's short name: `cluster`, `endpoint`, `listener`, `route`.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::ClusterLoadAssignment => "endpoint",
            Self::Listener => "listener",
            Self::RouteConfiguration => "route",
        }
    }
}

/// An accepted resource: its encoded message and the hash by which a change is told.
///
/// The bytes are kept, not the decoded message: they are the most compact form, and only what a change touches is
/// ever decoded again. Versions are never compared: a control plane may repeat or empty them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// The resource's own name (`cluster_name` for a ClusterLoadAssignment).
    pub name: Arc<str>,
    /// xxh3 of `bytes`.
    pub hash: u64,
    /// The encoded message, without its `Any`.
    pub bytes: Bytes,
}

impl Resource {
    /// Keeps a copy of `message`, so that the response it came in can be freed.
    pub fn new(name: &str, message: &[u8]) -> Self {
        Self { name: name.into(), hash: Self::hash_of(message), bytes: Bytes::copy_from_slice(message) }
    }

    /// The hash a resource with this encoded message has.
    pub fn hash_of(message: &[u8]) -> u64 {
        xxh3_64(message)
    }
}
