//! A Cluster, with its endpoints, to its upstreams.
//!
//! In: the cluster, for EDS its assignment, for an aggregate its members, and the variants that routes ask for. Out:
//! an upstream for each variant or none at all, and what routes need to know of the cluster. Mapping rows 91 to 125.
//! Never here: which routes use it.

mod aggregate;
mod breaker;
mod discovery;
mod health;
mod outlier;
mod policy;
mod protocol;
mod service;
mod settings;
mod subset;
mod transport;
mod variant;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use prost::Message;

use crate::{
    apisix::{Scheme, Upstream, is_mirror},
    pb::{
        envoy::config::cluster::v3::Cluster,
        google::protobuf::{Any, Duration},
        message_name,
        path::Path,
    },
    xds::{Resource, Snapshot},
};

use self::{discovery::Source, service::Service, settings::Settings};
use super::{
    Policy, Severity,
    endpoint::Endpoints,
    note::{Note, Notes},
};

pub(super) use self::{
    subset::{Labels, labels},
    transport::{Socket, Sockets},
    variant::{HashKey, PassHost, Variant},
};

/// Envoy's default `connect_timeout`.
const CONNECT_TIMEOUT: f64 = 5.0;
/// Envoy's default `healthy_panic_threshold`.
const PANIC_THRESHOLD: f64 = 50.0;
/// Envoy bounds a request by its route, never by its cluster; APISIX wants a number: a day.
pub(super) const NO_TIMEOUT: f64 = 86_400.0;
/// Fields with extensions that are graded by who reads them, and not by their types alone.
const GRADED_HERE: &[&str] =
    &["load_balancing_policy", "transport_socket", "transport_socket_matches", "cluster_type"];

/// What routes need to know of a cluster.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Target {
    /// Its upstreams are there.
    Published {
        /// A route's own timeouts replace all of the upstream's.
        connect_timeout: f64,
        /// A hash key chooses the endpoint.
        hashes: bool,
        /// Endpoints have host names, which `auto_host_rewrite` is about.
        hostnames: bool,
        /// Endpoints want TLS, and do not get it.
        encrypted: bool,
        /// A route's labels choose among endpoints.
        subsets: bool,
        /// Endpoints are spoken to in gRPC.
        grpc: bool,
        /// Requests that may be under way for one route; 0 takes none.
        max_requests: Option<u32>,
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

/// Where copies of requests for a cluster go: APISIX sends them to one server.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Mirror {
    /// `scheme://host:port`.
    Server { server: Arc<str>, grpc: bool },
    /// It is there, and none of its endpoints takes copies.
    Nowhere,
    /// Nobody knows it.
    Unknown,
}

impl Mirror {
    /// The endpoint that comes first, if the plugin takes it and it is spoken to in the clear.
    fn of(upstream: &Upstream) -> Self {
        Self::server(upstream).unwrap_or(Self::Nowhere)
    }

    fn server(upstream: &Upstream) -> Option<Self> {
        let grpc = match upstream.spec.scheme {
            Some(Scheme::Grpc) => true,
            None | Some(Scheme::Http) => false,
            _ => return None,
        };
        let served = || upstream.spec.nodes.iter().filter(|node| node.weight > 0);
        let highest = served().map(|node| node.priority).max()?;
        let first = served().find(|node| node.priority == highest)?;
        let scheme = if grpc { "grpc" } else { "http" };
        let server = format!("{scheme}://{}:{}", first.host, first.port);
        is_mirror(&server).then(|| Self::Server { server: server.into(), grpc })
    }
}

/// The result of one cluster.
#[derive(Debug)]
pub(super) struct ClusterUnit {
    pub target: Target,
    pub mirror: Mirror,
    /// One for each variant that was asked for, if there is an upstream at all.
    pub upstreams: BTreeMap<Variant, Upstream>,
    /// The assignment it waits for or uses, if it is an EDS cluster.
    pub assignment: Option<Arc<str>>,
    /// The clusters that it read besides itself, with their assignments: when one of them comes, changes or goes,
    /// this cluster is to be translated again.
    pub depends_on: BTreeSet<Arc<str>>,
    pub notes: Vec<Note>,
    pub assignment_notes: Vec<Note>,
}

/// Translates the cluster of this resource.
pub(super) fn translate(
    resource: &Resource,
    snapshot: &Snapshot,
    variants: &BTreeSet<Variant>,
    policy: Policy,
) -> ClusterUnit {
    let mut run = Run { name: &resource.name, snapshot, variants, policy, notes: Notes::default() };
    let mut unit = match Cluster::decode(resource.bytes.clone()) {
        Ok(cluster) => {
            note_unread(&resource.bytes, &mut run.notes);
            run.unit(&cluster)
        }
        Err(error) => {
            run.notes.traffic(&Path::ROOT, format!("not decodable: {error}"));
            ClusterUnit::unpublished()
        }
    };
    unit.notes = run.notes.into_vec();
    unit
}

/// One cluster on its way.
struct Run<'a> {
    name: &'a Arc<str>,
    snapshot: &'a Snapshot,
    variants: &'a BTreeSet<Variant>,
    policy: Policy,
    notes: Notes,
}

impl Run<'_> {
    fn unit(&mut self, cluster: &Cluster) -> ClusterUnit {
        match Source::of(cluster, self.name, &mut self.notes) {
            Source::Unsupported => ClusterUnit::unpublished(),
            Source::OriginalDestination => self.original_destination(cluster),
            Source::Clusters(clusters) => self.aggregate(cluster, clusters),
            source => self.ordinary(cluster, source),
        }
    }

    fn original_destination(&mut self, cluster: &Cluster) -> ClusterUnit {
        let detail = "inbound routes of one port go to that port on 127.0.0.1, other routes answer 503";
        self.notes.approximated(&Path::ROOT.field("type"), detail);
        // The pod's own port is spoken to in the clear, whatever the policy says of endpoints.
        Sockets::of(cluster, Policy::default()).settle(&Endpoints::default(), &mut self.notes);
        let target = Target::OwnPort { port: None, connect_timeout: connect_timeout(cluster) };
        ClusterUnit { target, ..ClusterUnit::unpublished() }
    }

    fn aggregate(&mut self, cluster: &Cluster, clusters: Vec<String>) -> ClusterUnit {
        let members = aggregate::gather(self.name, clusters, self.snapshot, self.policy, &mut self.notes);
        let socket = self.socket_of_members(&members.endpoints);
        let mut unit = match members.first {
            Some(first) => {
                let settings = Settings { panic_threshold: panic_threshold(cluster), ..first };
                self.publish(&settings, &members.endpoints, socket)
            }
            None => ClusterUnit::unpublished(),
        };
        unit.depends_on = members.read;
        unit
    }

    fn socket_of_members(&mut self, endpoints: &Endpoints) -> Socket {
        let path = Path::ROOT.field("cluster_type");
        match endpoints.common_socket() {
            Some(Socket::Clear) => Socket::Clear,
            Some(socket @ (Socket::Tls | Socket::MutualTls)) => {
                let detail =
                    "its members are served over TLS that checks no endpoint (upstream_tls: unverified)";
                self.notes.guard_told(&path, detail);
                socket
            }
            Some(Socket::Unsupported) | None => {
                let (encrypted, all) = endpoints.count_encrypted();
                let detail =
                    format!("not supported: TLS, which {encrypted} of {all} endpoints of its members want");
                self.notes.add(Severity::Security, &path, detail);
                Socket::Unsupported
            }
        }
    }

    fn ordinary(&mut self, cluster: &Cluster, source: Source) -> ClusterUnit {
        let settings = Settings::of(cluster, self.name, &source, self.policy, &mut self.notes);
        let mut assignment_notes = Notes::default();
        let endpoints =
            settings.endpoints(cluster, &source, self.snapshot, &mut self.notes, &mut assignment_notes);
        let none_yet = Endpoints::default();
        let known = endpoints.as_ref().unwrap_or(&none_yet);
        let socket = settings.reading.sockets.settle(known, &mut self.notes);
        let mut unit = match endpoints {
            Some(endpoints) => self.publish(&settings, &endpoints, socket),
            // An upstream without nodes would turn a late answer into 503s.
            None => ClusterUnit::unpublished(),
        };
        if let Source::Assignment(name) = source {
            unit.assignment = Some(name);
        }
        unit.assignment_notes = assignment_notes.into_vec();
        unit
    }

    /// Something that guards the way to the endpoints has been noted as not honoured, which nobody grades here.
    fn is_unguarded(&self) -> bool {
        let graded = |path: &str| GRADED_HERE.contains(&path.split(['.', '[']).next().unwrap_or_default());
        self.notes
            .since(0)
            .iter()
            .any(|note| note.severity == super::Severity::Security && !graded(&note.path))
    }

    fn publish(&mut self, settings: &Settings, endpoints: &Endpoints, socket: Socket) -> ClusterUnit {
        let service = Service::new(self.name, settings, endpoints, socket, &mut self.notes);
        let encrypted = socket == Socket::Unsupported || self.is_unguarded();
        let target = Target::Published {
            connect_timeout: settings.connect_timeout,
            hashes: settings.hashes,
            hostnames: service.has_hostnames(),
            encrypted,
            subsets: settings.subsets.is_some(),
            grpc: matches!(settings.spec.scheme, Some(Scheme::Grpc | Scheme::Grpcs)),
            max_requests: settings.max_requests,
        };
        let plain = service.upstream(&Variant::default(), Variant::default(), &mut self.notes);
        if let Err(violation) = plain.check() {
            let detail = format!("APISIX would refuse the upstream: {violation}: its routes answer 503");
            self.notes.traffic(&Path::ROOT, detail);
            return ClusterUnit::unpublished();
        }
        let mirror = if encrypted { Mirror::Nowhere } else { Mirror::of(&plain) };
        let mut upstreams = BTreeMap::new();
        for variant in self.variants {
            let mut upstream = service.upstream(variant, target.settle(variant.clone()), &mut self.notes);
            if let Err(violation) = upstream.check() {
                let detail = format!("APISIX would refuse what routes ask of it: {violation}: not given");
                self.notes.traffic(&Path::ROOT, detail);
                upstream = Upstream { id: upstream.id, ..plain.clone() };
            }
            upstreams.insert(variant.clone(), upstream);
        }
        ClusterUnit { target, mirror, upstreams, ..ClusterUnit::unpublished() }
    }
}

impl ClusterUnit {
    fn unpublished() -> Self {
        Self {
            target: Target::Unpublished,
            mirror: Mirror::Nowhere,
            upstreams: BTreeMap::new(),
            assignment: None,
            depends_on: BTreeSet::new(),
            notes: Vec::new(),
            assignment_notes: Vec::new(),
        }
    }
}

fn connect_timeout(cluster: &Cluster) -> f64 {
    cluster.connect_timeout.as_ref().and_then(seconds).unwrap_or(CONNECT_TIMEOUT)
}

fn panic_threshold(cluster: &Cluster) -> f64 {
    let threshold = cluster.common_lb_config.as_ref().and_then(|c| c.healthy_panic_threshold);
    threshold.map_or(PANIC_THRESHOLD, |percent| percent.value)
}

/// Notes what nothing reads, aside from the fields that are graded here.
fn note_unread(bytes: &[u8], notes: &mut Notes) {
    let mut all = Notes::default();
    all.unread("envoy.config.cluster.v3.Cluster", bytes);
    for note in all.into_vec() {
        let field = note.path.split(['.', '[']).next().unwrap_or_default();
        if !GRADED_HERE.contains(&field) {
            notes.add(note.severity, &Path::ROOT.field(&note.path), note.detail);
        }
    }
}

/// Notes what nothing reads of an extension.
fn note_unread_in(extension: &Any, path: &Path<'_>, notes: &mut Notes) {
    let mut all = Notes::default();
    all.unread(message_name(&extension.type_url), &extension.value);
    for note in all.into_vec() {
        match note.path.as_str() {
            "" => notes.add(note.severity, path, note.detail),
            inner => notes.add(note.severity, &path.field(inner), note.detail),
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
