//! Where the endpoints of a cluster come from.
//!
//! Mapping rows 91 to 97. In: the cluster. Out: the kind of its source. Never here: the endpoints themselves.

use std::sync::Arc;

use prost::Message;

use crate::{
    pb::{
        envoy::{
            config::cluster::v3::{
                Cluster,
                cluster::{ClusterDiscoveryType, CustomClusterType, DiscoveryType, DnsLookupFamily},
            },
            extensions::clusters::{
                aggregate::v3::ClusterConfig, common::dns::v3::DnsLookupFamily as TypedFamily,
                dns::v3::DnsCluster,
            },
        },
        message_name,
        path::Path,
    },
    translate::note::Notes,
};

use super::note_unread_in;

/// The source of a cluster's endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// They stand in the cluster.
    Own,
    /// They stand in the cluster, by names.
    Dns(Dns),
    /// The assignment of this name.
    Assignment(Arc<str>),
    /// Other clusters, in this order.
    Clusters(Vec<String>),
    /// Each connection has its own.
    OriginalDestination,
    /// Nothing that APISIX has.
    Unsupported,
}

/// How names are resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dns {
    /// All addresses of a name are endpoints, instead of one at a time.
    pub all: bool,
    /// IPv4 addresses come first, as in APISIX's own resolver.
    pub ipv4_first: bool,
}

impl Source {
    /// The source of this cluster.
    pub fn of(cluster: &Cluster, name: &Arc<str>, notes: &mut Notes) -> Self {
        let kind = match &cluster.cluster_discovery_type {
            Some(ClusterDiscoveryType::ClusterType(custom)) => return Self::custom(custom, notes),
            Some(ClusterDiscoveryType::Type(number)) => DiscoveryType::try_from(*number),
            None => Ok(DiscoveryType::Static),
        };
        match kind {
            Ok(DiscoveryType::Static) => Self::Own,
            Ok(kind @ (DiscoveryType::StrictDns | DiscoveryType::LogicalDns)) => {
                let family = cluster.dns_lookup_family();
                let ipv4_first = matches!(family, DnsLookupFamily::V4Only | DnsLookupFamily::V4Preferred);
                Self::Dns(Dns { all: kind == DiscoveryType::StrictDns, ipv4_first })
            }
            Ok(DiscoveryType::Eds) => Self::Assignment(match &cluster.eds_cluster_config {
                Some(eds) if !eds.service_name.is_empty() => eds.service_name.as_str().into(),
                _ => name.clone(),
            }),
            Ok(DiscoveryType::OriginalDst) => Self::OriginalDestination,
            Err(_) => {
                notes.traffic(&Path::ROOT.field("type"), NO_UPSTREAM);
                Self::Unsupported
            }
        }
    }

    fn custom(custom: &CustomClusterType, notes: &mut Notes) -> Self {
        let path = Path::ROOT.field("cluster_type");
        let any = custom.typed_config.clone().unwrap_or_default();
        let (kind, value) = (message_name(&any.type_url), any.value.clone());
        let found = match kind {
            "envoy.extensions.clusters.aggregate.v3.ClusterConfig" => {
                ClusterConfig::decode(value).map(|config| Self::Clusters(config.clusters))
            }
            "envoy.extensions.clusters.dns.v3.DnsCluster" => {
                DnsCluster::decode(value).map(|config| Self::Dns(typed_dns(&config)))
            }
            _ => {
                notes.traffic(&path, format!("{} {kind} {NO_UPSTREAM}", custom.name));
                return Self::Unsupported;
            }
        };
        note_unread_in(&any, &path.field("typed_config"), notes);
        found.unwrap_or_else(|error| {
            notes.traffic(&path.field("typed_config"), format!("not decodable: {error}"));
            Self::Unsupported
        })
    }
}

const NO_UPSTREAM: &str = "has no upstream: its routes answer 503";

fn typed_dns(config: &DnsCluster) -> Dns {
    let ipv4_first = matches!(config.dns_lookup_family(), TypedFamily::V4Only | TypedFamily::V4Preferred);
    Dns { all: !config.all_addresses_in_single_endpoint, ipv4_first }
}

impl Dns {
    /// What APISIX does otherwise with the names of a cluster.
    pub fn note(self, cluster: &Cluster, notes: &mut Notes) {
        let detail = match (self.all, self.ipv4_first) {
            (true, true) => "a name is resolved to one address at a time",
            (true, false) => "a name is resolved to one address at a time, and IPv4 comes first",
            (false, true) => return,
            (false, false) => "of a name's addresses, IPv4 comes first",
        };
        let field = match cluster.cluster_discovery_type {
            Some(ClusterDiscoveryType::ClusterType(_)) => "cluster_type",
            _ => "type",
        };
        notes.approximated(&Path::ROOT.field(field), detail);
    }
}
