//! What a cluster says besides which endpoints it has.
//!
//! In: the cluster. Out: all of an upstream but nodes and variant, and how endpoints are to be read.

use prost::Message;

use crate::{
    apisix::{Active, Checks, InlineUpstream, Scheme, Timeout},
    pb::{
        envoy::config::{cluster::v3::Cluster, endpoint::v3::ClusterLoadAssignment},
        path::Path,
    },
    translate::{
        Policy,
        endpoint::{self, Endpoints, Reading},
        note::Notes,
    },
    xds::{ResourceType, Snapshot},
};

use super::{
    NO_TIMEOUT, breaker, connect_timeout, discovery::Source, health, outlier, panic_threshold,
    policy::Policy as Balancing, protocol, subset::Subsets, transport::Sockets,
};

/// The settings of a cluster.
#[derive(Debug)]
pub(super) struct Settings {
    pub connect_timeout: f64,
    /// Whether a route's hash key chooses the endpoint.
    pub hashes: bool,
    /// Below this percentage of healthy endpoints all are used.
    pub panic_threshold: f64,
    pub reading: Reading,
    /// Requests that may be under way for one route.
    pub max_requests: Option<u32>,
    /// Whether a route's labels choose among endpoints.
    pub subsets: Option<Subsets>,
    /// The upstream that all variants begin with.
    pub spec: InlineUpstream,
}

impl Settings {
    /// The settings of the cluster `name`, whose endpoints come from `source`.
    pub fn of(cluster: &Cluster, name: &str, source: &Source, policy: Policy, notes: &mut Notes) -> Self {
        let balancing = Balancing::of(cluster, notes);
        let active = health::active(cluster, name, notes);
        let connect_timeout = connect_timeout(cluster);
        let timeout = Timeout { connect: connect_timeout, send: NO_TIMEOUT, read: NO_TIMEOUT };
        let reading = Reading {
            localities: balancing.localities,
            sockets: Sockets::of(cluster, policy),
            resolved: matches!(source, Source::Dns(_)),
            checked: active.is_some(),
            subsets: balancing.subsets.is_some(),
        };
        let mut spec = InlineUpstream {
            balancer: balancing.balancer,
            timeout: Some(timeout),
            checks: checks(active, cluster, notes),
            ..InlineUpstream::default()
        };
        protocol::apply(cluster, &mut spec, notes);
        let http2 = spec.scheme == Some(Scheme::Grpc);
        let panic_threshold = panic_threshold(cluster);
        Self {
            connect_timeout,
            hashes: balancing.hashes,
            panic_threshold,
            reading,
            max_requests: breaker::max_requests(cluster, http2, notes),
            subsets: balancing.subsets,
            spec,
        }
    }

    /// The endpoints; `None` until an assignment comes.
    pub fn endpoints(
        &self,
        cluster: &Cluster,
        source: &Source,
        snapshot: &Snapshot,
        notes: &mut Notes,
        assignment_notes: &mut Notes,
    ) -> Option<Endpoints> {
        if let Source::Assignment(name) = source {
            return self.assigned(name, snapshot, assignment_notes);
        }
        let path = Path::ROOT.field("load_assignment");
        let assignment = cluster.load_assignment.as_ref();
        let endpoints =
            assignment.map(|a| endpoint::read(a, &self.reading, &path, notes)).unwrap_or_default();
        if let Source::Dns(dns) = source
            && endpoints.hosts().any(|h| h.is_name())
        {
            dns.note(cluster, notes);
        }
        Some(endpoints)
    }

    fn assigned(&self, name: &str, snapshot: &Snapshot, notes: &mut Notes) -> Option<Endpoints> {
        let resource = snapshot.get(ResourceType::ClusterLoadAssignment, name)?;
        match ClusterLoadAssignment::decode(resource.bytes.clone()) {
            Ok(assignment) => {
                notes.unread("envoy.config.endpoint.v3.ClusterLoadAssignment", &resource.bytes);
                Some(endpoint::read(&assignment, &self.reading, &Path::ROOT, notes))
            }
            Err(error) => {
                notes.traffic(&Path::ROOT, format!("not decodable: {error}"));
                None
            }
        }
    }

    /// Whether the other's endpoints would be served the same way under these settings.
    pub fn serves_like(&self, other: &Self) -> bool {
        self.hashes == other.hashes && self.spec == other.spec
    }
}

/// APISIX takes no passive checks without active ones.
fn checks(active: Option<Active>, cluster: &Cluster, notes: &mut Notes) -> Option<Checks> {
    let passive = outlier::passive(cluster, notes);
    let active = match (active, &passive) {
        (Some(active), _) => active,
        (None, Some(_)) => outlier::readmission(cluster),
        (None, None) => return None,
    };
    Some(Checks { active, passive })
}
