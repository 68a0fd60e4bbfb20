//! A Cluster, with its endpoints, to an upstream.
//!
//! In: the cluster and, for EDS, its assignment. Out: one upstream or none, and what routes need to know of it.
//! Mapping rows 91 to 125. Never here: which routes use it.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use crate::{
    apisix::{Balancer, InlineUpstream, MAX_NAME, Node, Timeout, Upstream, cut},
    pb::{
        envoy::config::{
            cluster::v3::{
                Cluster,
                cluster::{
                    ClusterDiscoveryType, DiscoveryType, LbPolicy, common_lb_config::LocalityConfigSpecifier,
                },
            },
            endpoint::v3::ClusterLoadAssignment,
        },
        google::protobuf::Duration,
        message_name,
        path::Path,
    },
    xds::{Resource, ResourceType, Snapshot},
};

use super::{
    endpoint::{self, Localities},
    id,
    note::{Note, Notes},
};

/// Envoy's default `connect_timeout`.
const CONNECT_TIMEOUT: f64 = 5.0;
/// Envoy bounds a request by its route, never by its cluster; APISIX wants a number: a day.
pub(super) const NO_TIMEOUT: f64 = 86_400.0;

/// What routes need to know of a cluster.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Target {
    /// Its upstream is there.
    Published {
        /// A route's own timeouts replace all of the upstream's.
        connect_timeout: f64,
    },
    /// It is there, and means where each connection was going; here that is this port of the pod itself.
    OwnPort {
        /// `None` until it is known for which connections.
        port: Option<u16>,
        /// As above.
        connect_timeout: f64,
    },
    /// It is there, but has no upstream: its endpoints have not come, or APISIX has no such thing.
    Unpublished,
    /// Nobody knows it.
    Unknown,
}

impl Target {
    /// What it is to routes for inbound connections to one port, or for others.
    ///
    /// A sidecar's inbound cluster is ORIGINAL_DST: the pod's own address and the port that was asked for. An
    /// application that listens on all addresses, or on the loopback one, is reached on the latter.
    pub fn for_inbound(self, port: Option<u16>) -> Self {
        match (self, port) {
            (Self::OwnPort { connect_timeout, .. }, Some(_)) => Self::OwnPort { port, connect_timeout },
            (Self::OwnPort { .. }, None) => Self::Unpublished,
            (other, _) => other,
        }
    }
}

/// The result of one cluster.
#[derive(Debug)]
pub(super) struct ClusterUnit {
    pub target: Target,
    pub upstream: Option<Bytes>,
    /// The assignment it waits for or uses, if it is an EDS cluster.
    pub assignment: Option<Arc<str>>,
    pub notes: Vec<Note>,
    pub assignment_notes: Vec<Note>,
}

/// Translates the cluster of this resource.
pub(super) fn translate(resource: &Resource, snapshot: &Snapshot) -> ClusterUnit {
    let mut notes = Notes::default();
    let mut assignment_notes = Notes::default();
    let mut unit = ClusterUnit {
        target: Target::Unpublished,
        upstream: None,
        assignment: None,
        notes: Vec::new(),
        assignment_notes: Vec::new(),
    };
    match Cluster::decode(resource.bytes.clone()) {
        Err(error) => notes.traffic(&Path::ROOT, format!("not decodable: {error}")),
        Ok(cluster) => {
            notes.unread("envoy.config.cluster.v3.Cluster", &resource.bytes);
            unit.assignment = assignment_name(&cluster, &resource.name);
            let nodes = match &unit.assignment {
                Some(name) => assigned_nodes(&cluster, name, snapshot, &mut assignment_notes),
                None => own_nodes(&cluster, &mut notes),
            };
            if is_original_dst(&cluster) {
                unit.target = Target::OwnPort { port: None, connect_timeout: connect_timeout(&cluster) };
            } else if let Some(nodes) = nodes {
                let upstream = upstream(&resource.name, &cluster, nodes, &mut notes);
                unit.target = Target::Published { connect_timeout: connect_timeout(&cluster) };
                unit.upstream = Some(upstream.to_bytes());
            }
        }
    }
    unit.notes = notes.into_vec();
    unit.assignment_notes = assignment_notes.into_vec();
    unit
}

fn assignment_name(cluster: &Cluster, name: &Arc<str>) -> Option<Arc<str>> {
    if cluster.cluster_discovery_type != Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)) {
        return None;
    }
    match &cluster.eds_cluster_config {
        Some(eds) if !eds.service_name.is_empty() => Some(eds.service_name.as_str().into()),
        _ => Some(name.clone()),
    }
}

/// `None` until the assignment comes: an upstream without nodes would turn a late answer into 503s.
fn assigned_nodes(
    cluster: &Cluster,
    name: &str,
    snapshot: &Snapshot,
    notes: &mut Notes,
) -> Option<Vec<Node>> {
    let resource = snapshot.get(ResourceType::ClusterLoadAssignment, name)?;
    match ClusterLoadAssignment::decode(resource.bytes.clone()) {
        Ok(assignment) => {
            notes.unread("envoy.config.endpoint.v3.ClusterLoadAssignment", &resource.bytes);
            Some(endpoint::nodes(&assignment, localities(cluster), &Path::ROOT, notes))
        }
        Err(error) => {
            notes.traffic(&Path::ROOT, format!("not decodable: {error}"));
            None
        }
    }
}

fn is_original_dst(cluster: &Cluster) -> bool {
    cluster.cluster_discovery_type == Some(ClusterDiscoveryType::Type(DiscoveryType::OriginalDst as i32))
}

fn own_nodes(cluster: &Cluster, notes: &mut Notes) -> Option<Vec<Node>> {
    let path = Path::ROOT.field("type");
    match &cluster.cluster_discovery_type {
        Some(ClusterDiscoveryType::ClusterType(custom)) => {
            let of = custom.typed_config.as_ref().map_or("", |any| message_name(&any.type_url));
            let detail = format!("{} {of} has no upstream: its routes answer 503", custom.name);
            notes.traffic(&Path::ROOT.field("cluster_type"), detail);
            return None;
        }
        Some(ClusterDiscoveryType::Type(number)) => match DiscoveryType::try_from(*number) {
            Ok(DiscoveryType::StrictDns | DiscoveryType::LogicalDns) => {
                notes.approximated(&path, "a name is resolved to one address at a time");
            }
            Ok(DiscoveryType::Static) => {}
            Ok(DiscoveryType::OriginalDst) => {
                let detail =
                    "inbound routes of one port go to that port on 127.0.0.1, other routes answer 503";
                notes.approximated(&path, detail);
                return None;
            }
            Ok(other) => {
                let detail = format!("{} has no upstream: its routes answer 503", other.as_str_name());
                notes.traffic(&path, detail);
                return None;
            }
            Err(_) => {
                notes.traffic(&path, format!("{number} has no upstream: its routes answer 503"));
                return None;
            }
        },
        None => {}
    }
    let path = Path::ROOT.field("load_assignment");
    let assignment = cluster.load_assignment.as_ref();
    Some(assignment.map_or_else(Vec::new, |a| endpoint::nodes(a, localities(cluster), &path, notes)))
}

fn upstream(name: &str, cluster: &Cluster, nodes: Vec<Node>, notes: &mut Notes) -> Upstream {
    let shown = cut(name);
    let timeout = Timeout { connect: connect_timeout(cluster), send: NO_TIMEOUT, read: NO_TIMEOUT };
    Upstream {
        id: id::upstream(name),
        name: (!shown.is_empty()).then(|| shown.to_owned()),
        desc: (name.len() > MAX_NAME).then(|| cut(&name[shown.len()..]).to_owned()),
        spec: InlineUpstream {
            balancer: balancer(cluster, notes),
            nodes,
            timeout: Some(timeout),
            ..InlineUpstream::default()
        },
    }
}

fn connect_timeout(cluster: &Cluster) -> f64 {
    cluster.connect_timeout.as_ref().and_then(seconds).unwrap_or(CONNECT_TIMEOUT)
}

/// Localities are weighted where the cluster says so. A typed policy says it in its own configuration, which is not
/// read; a control plane that sends weights with one means them.
fn localities(cluster: &Cluster) -> Localities {
    let specifier = cluster.common_lb_config.as_ref().and_then(|c| c.locality_config_specifier.as_ref());
    let weighted = matches!(specifier, Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)));
    if weighted || cluster.load_balancing_policy.is_some() { Localities::Weighted } else { Localities::Alike }
}

fn balancer(cluster: &Cluster, notes: &mut Notes) -> Balancer {
    if let Some(policy) = &cluster.load_balancing_policy {
        let path = Path::ROOT.field("load_balancing_policy");
        let known = policy
            .policies
            .iter()
            .find_map(|p| typed_policy(&p.typed_extension_config.as_ref()?.typed_config.as_ref()?.type_url));
        return balancer_for(known, "no known policy", &path, notes);
    }
    let policy = LbPolicy::try_from(cluster.lb_policy).ok();
    let name = policy.map_or("unknown policy", |p| p.as_str_name());
    balancer_for(policy, name, &Path::ROOT.field("lb_policy"), notes)
}

fn typed_policy(type_url: &str) -> Option<LbPolicy> {
    match message_name(type_url) {
        "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin" => Some(LbPolicy::RoundRobin),
        "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest" => {
            Some(LbPolicy::LeastRequest)
        }
        "envoy.extensions.load_balancing_policies.random.v3.Random" => Some(LbPolicy::Random),
        _ => None,
    }
}

fn balancer_for(policy: Option<LbPolicy>, name: &str, path: &Path<'_>, notes: &mut Notes) -> Balancer {
    match policy {
        Some(LbPolicy::LeastRequest) => Balancer::LeastConn,
        Some(LbPolicy::RoundRobin) => Balancer::RoundRobin,
        Some(LbPolicy::Random) => {
            notes.approximated(path, "RANDOM is served as round robin");
            Balancer::RoundRobin
        }
        _ => {
            notes.traffic(path, format!("{name} is served as round robin"));
            Balancer::RoundRobin
        }
    }
}

/// A duration above nothing, in seconds.
pub(super) fn seconds(duration: &Duration) -> Option<f64> {
    let millis =
        (duration.seconds.saturating_mul(1000)).saturating_add(i64::from(duration.nanos) / 1_000_000);
    let below_a_millisecond = duration.seconds == 0 && (1..1_000_000).contains(&duration.nanos);
    let millis = if below_a_millisecond { 1 } else { millis };
    (millis > 0).then(|| (millis as f64 / 1000.0).min(NO_TIMEOUT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_keep_their_fraction_and_are_above_zero() {
        let of = |seconds, nanos| super::seconds(&Duration { seconds, nanos });
        assert_eq!(of(1, 500_000_000), Some(1.5));
        assert_eq!(of(0, 10), Some(0.001));
        assert_eq!(of(0, 0), None);
        assert_eq!(of(-1, 0), None);
        assert_eq!(of(i64::MAX, i32::MAX), Some(NO_TIMEOUT));
    }
}
