//! The upstreams of one cluster: what all have in common, and what a variant adds.
//!
//! In: settings, endpoints, a variant. Out: the upstream. Mapping rows 43, 45, 50, 51 and 57 end here.

use std::collections::BTreeSet;

use crate::{
    apisix::{self, Balancer, InlineUpstream, MAX_NAME, Upstream, cut, is_host},
    pb::path::Path,
    translate::{
        endpoint::{self, Endpoints},
        id,
        note::Notes,
    },
};

use super::{
    settings::Settings,
    transport::Socket,
    variant::{PassHost, Variant},
};

/// A cluster as it is served.
pub(super) struct Service<'a> {
    cluster: &'a str,
    settings: &'a Settings,
    endpoints: &'a Endpoints,
    spec: InlineUpstream,
    hostnames: Hostnames<'a>,
}

/// What endpoints are called.
enum Hostnames<'a> {
    None,
    /// All the same.
    One(&'a str),
    /// As their addresses say.
    Addresses,
    /// In a way that APISIX has no place for.
    Several,
}

impl<'a> Service<'a> {
    /// The cluster of this name, whose endpoints are reached in this way.
    pub fn new(
        cluster: &'a str,
        settings: &'a Settings,
        endpoints: &'a Endpoints,
        socket: Socket,
        notes: &mut Notes,
    ) -> Self {
        let mut spec = settings.spec.clone();
        socket.apply(&mut spec, notes);
        spec.nodes = endpoint::nodes(endpoints, settings.panic_threshold);
        if let (Some(checks), Some(port)) = (&mut spec.checks, endpoints.check_port) {
            checks.active.port = Some(port);
        }
        Self { cluster, settings, endpoints, spec, hostnames: Hostnames::of(endpoints) }
    }

    pub fn has_hostnames(&self) -> bool {
        !matches!(self.hostnames, Hostnames::None)
    }

    /// The upstream of `variant`, which comes to `settled` in this cluster.
    pub fn upstream(&self, variant: &Variant, settled: Variant, notes: &mut Notes) -> Upstream {
        let mut spec = self.spec.clone();
        spec.retries = settled.retries;
        spec.retry_timeout = settled.retry_timeout.map(|millis| millis as f64 / 1000.0);
        if let Some(hash) = settled.hash {
            spec.balancer = Balancer::Chash;
            spec.hash_on = Some(hash.on);
            spec.key = Some(hash.key);
        }
        if let Some(subsets) = &self.settings.subsets {
            let chosen = subsets.choose(self.endpoints, &settled.subset);
            spec.nodes = endpoint::nodes(&chosen, self.settings.panic_threshold);
        }
        match settled.host {
            PassHost::Pass => {}
            PassHost::Rewrite(host) => rewrite(&mut spec, &host, notes),
            PassHost::Node => self.pass_hostname(&mut spec, notes),
        }
        let shown = cut(self.cluster);
        Upstream {
            id: id::variant(self.cluster, variant),
            name: (!shown.is_empty()).then(|| shown.to_owned()),
            desc: (self.cluster.len() > MAX_NAME).then(|| cut(&self.cluster[shown.len()..]).to_owned()),
            spec,
        }
    }

    fn pass_hostname(&self, spec: &mut InlineUpstream, notes: &mut Notes) {
        match self.hostnames {
            Hostnames::None => {}
            Hostnames::One(name) => rewrite(spec, name, notes),
            Hostnames::Addresses => {
                spec.pass_host = Some(apisix::PassHost::Node);
                if spec.nodes.iter().any(|node| node.port != 80) {
                    notes.approximated(
                        &Path::ROOT,
                        "auto_host_rewrite: the port goes into the Host header too",
                    );
                }
            }
            Hostnames::Several => {
                notes.traffic(
                    &Path::ROOT,
                    "auto_host_rewrite: the Host header stays, as endpoints' names differ",
                );
            }
        }
    }
}

fn rewrite(spec: &mut InlineUpstream, host: &str, notes: &mut Notes) {
    if !is_host(host) || host.contains('*') {
        notes.traffic(&Path::ROOT, format!("the Host header stays: {host:?} is none for APISIX"));
        return;
    }
    spec.pass_host = Some(apisix::PassHost::Rewrite);
    spec.upstream_host = Some(host.to_owned());
}

impl<'a> Hostnames<'a> {
    fn of(endpoints: &'a Endpoints) -> Self {
        let names: BTreeSet<&str> = endpoints.hosts().map(|h| h.hostname.as_str()).collect();
        match names.iter().copied().collect::<Vec<_>>()[..] {
            [] | [""] => Self::None,
            [name] => Self::One(name),
            _ if endpoints.hosts().all(|h| h.hostname == h.host) => Self::Addresses,
            _ => Self::Several,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        apisix::{HashOn, Node},
        pb::envoy::config::{
            cluster::v3::{
                Cluster,
                cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy},
            },
            core::v3::{Address, SocketAddress, address, socket_address::PortSpecifier},
            endpoint::v3::{
                ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
            },
        },
        translate::{
            Policy,
            cluster::{ClusterUnit, HashKey, Target, translate},
        },
        xds::{Resource, Snapshot},
    };

    /// `address, hostname` of each endpoint, all on one port.
    fn cluster(kind: DiscoveryType, policy: LbPolicy, port: u32, endpoints: &[(&str, &str)]) -> Cluster {
        let endpoint = |(address, hostname): &(&str, &str)| {
            let socket = SocketAddress {
                address: (*address).to_owned(),
                port_specifier: Some(PortSpecifier::PortValue(port)),
                ..SocketAddress::default()
            };
            let address = Some(Address { address: Some(address::Address::SocketAddress(socket)) });
            let endpoint = Endpoint { address, hostname: (*hostname).to_owned(), ..Endpoint::default() };
            LbEndpoint { host_identifier: Some(HostIdentifier::Endpoint(endpoint)), ..LbEndpoint::default() }
        };
        let lb_endpoints = endpoints.iter().map(endpoint).collect();
        let endpoints = vec![LocalityLbEndpoints { lb_endpoints, ..LocalityLbEndpoints::default() }];
        Cluster {
            name: "a".to_owned(),
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(kind as i32)),
            lb_policy: policy as i32,
            load_assignment: Some(ClusterLoadAssignment { endpoints, ..ClusterLoadAssignment::default() }),
            ..Cluster::default()
        }
    }

    fn unit(cluster: &Cluster, variants: &[Variant]) -> ClusterUnit {
        let bytes = prost::Message::encode_to_vec(cluster);
        let variants = variants.iter().cloned().collect();
        translate(&Resource::new("a", &bytes), &Snapshot::default(), &variants, Policy::default())
    }

    fn hash() -> Variant {
        let hash = Some(HashKey { on: HashOn::Header, key: "x".to_owned() });
        Variant { retries: 2, retry_timeout: Some(1500), hash, ..Variant::default() }
    }

    #[test]
    fn each_variant_has_an_upstream_of_its_own() {
        let cluster = cluster(DiscoveryType::Static, LbPolicy::RingHash, 80, &[("10.0.0.1", "")]);
        let unit = unit(&cluster, &[Variant::default(), hash()]);
        assert!(matches!(unit.target, Target::Published { hashes: true, hostnames: false, .. }));
        let [plain, hashed] = [&unit.upstreams[&Variant::default()], &unit.upstreams[&hash()]];
        assert_eq!(plain.id, id::variant("a", &Variant::default()));
        assert_ne!(plain.id, hashed.id);
        assert_eq!((plain.spec.balancer, plain.spec.retries), (Balancer::RoundRobin, 0));
        let spec = &hashed.spec;
        assert_eq!((spec.balancer, spec.hash_on), (Balancer::Chash, Some(HashOn::Header)));
        assert_eq!((spec.key.as_deref(), spec.retries, spec.retry_timeout), (Some("x"), 2, Some(1.5)));
        let node = Node { host: "10.0.0.1".to_owned(), port: 80, weight: 1, priority: 0 };
        assert_eq!(spec.nodes, [node]);
    }

    #[test]
    fn a_cluster_that_does_not_hash_ignores_the_key() {
        let cluster = cluster(DiscoveryType::Static, LbPolicy::LeastRequest, 80, &[("10.0.0.1", "")]);
        let unit = unit(&cluster, &[hash()]);
        assert_eq!(unit.upstreams[&hash()].spec.balancer, Balancer::LeastConn);
        assert_eq!(unit.upstreams[&hash()].spec.key, None);
    }

    /// How `auto_host_rewrite` is done, and the first note.
    fn host(cluster: &Cluster) -> (Option<apisix::PassHost>, Option<String>, Option<String>) {
        let variant = Variant { host: PassHost::Node, ..Variant::default() };
        let unit = unit(cluster, std::slice::from_ref(&variant));
        let spec = unit.upstreams[&variant].spec.clone();
        let note = unit.notes.iter().find(|n| n.path.is_empty()).map(|n| n.detail.clone());
        (spec.pass_host, spec.upstream_host, note)
    }

    #[test]
    fn hosts_are_rewritten_as_endpoints_are_called() {
        let of = |kind, port, endpoints: &[(&str, &str)]| {
            host(&cluster(kind, LbPolicy::RoundRobin, port, endpoints))
        };
        let (rewrite, node) = (Some(apisix::PassHost::Rewrite), Some(apisix::PassHost::Node));
        assert_eq!(of(DiscoveryType::Static, 80, &[("10.0.0.1", "")]), (None, None, None));
        let one = of(DiscoveryType::StrictDns, 81, &[("a.org", "")]);
        assert_eq!(one, (rewrite, Some("a.org".to_owned()), None));
        let given = of(DiscoveryType::Static, 81, &[("10.0.0.1", "a.org"), ("10.0.0.2", "a.org")]);
        assert_eq!(given, (rewrite, Some("a.org".to_owned()), None));
        assert_eq!(of(DiscoveryType::StrictDns, 80, &[("a.org", ""), ("b.org", "")]), (node, None, None));
        assert!(of(DiscoveryType::StrictDns, 81, &[("a.org", ""), ("b.org", "")]).2.is_some());
        let (pass, _, note) = of(DiscoveryType::Static, 80, &[("10.0.0.1", "a.org"), ("10.0.0.2", "b.org")]);
        assert!(pass.is_none() && note.is_some());
        let (pass, _, note) = of(DiscoveryType::Static, 80, &[("10.0.0.1", "a b")]);
        assert!(pass.is_none() && note.is_some());
    }
}
