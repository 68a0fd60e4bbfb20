//! Translation beside its floor: decoding the same bytes and serialising the same objects, with nothing between.
//!
//! A mesh of 10,000 clusters, as many assignments and one configuration of as many virtual hosts, whole; then one
//! virtual host, one endpoint and one cluster of it. Figures are per call; `elem/s` counts resources and virtual hosts.

#[path = "../tests/support/mesh.rs"]
mod mesh;

use std::hint::black_box;

use apisix_mesh::{
    pb::envoy::config::{
        cluster::v3::Cluster,
        endpoint::v3::ClusterLoadAssignment,
        route::v3::{RouteConfiguration, VirtualHost},
    },
    translate::{Translator, translate},
    xds::{Change, Resource, ResourceType, Snapshot},
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use prost::Message;
use serde_json::Value;

const SERVICES: usize = 10_000;

/// Two states of one resource, by turns: each call of a benchmark is a change.
struct Turns {
    kind: ResourceType,
    states: [Resource; 2],
    turn: usize,
}

impl Turns {
    fn new(kind: ResourceType, name: &str, states: [Vec<u8>; 2]) -> Self {
        Self { kind, states: states.map(|bytes| Resource::new(name, &bytes)), turn: 0 }
    }

    fn next(&mut self, snapshot: &mut Snapshot) -> Change {
        self.turn += 1;
        let resource = self.states[self.turn % 2].clone();
        let change = Change { kind: self.kind, name: resource.name.clone() };
        snapshot.insert(self.kind, resource);
        change
    }
}

fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot::default();
    for i in 0..SERVICES {
        let (cluster, assignment) = (mesh::cluster(i), mesh::assignment(i, 3));
        snapshot.insert(ResourceType::Cluster, Resource::new(&cluster.name, &cluster.encode_to_vec()));
        let resource = Resource::new(&assignment.cluster_name, &assignment.encode_to_vec());
        snapshot.insert(ResourceType::ClusterLoadAssignment, resource);
    }
    let (listener, routes) = (mesh::listener(), mesh::routes(SERVICES));
    snapshot.insert(ResourceType::Listener, Resource::new(&listener.name, &listener.encode_to_vec()));
    snapshot.insert(ResourceType::RouteConfiguration, Resource::new(&routes.name, &routes.encode_to_vec()));
    snapshot
}

fn decode(snapshot: &Snapshot) {
    for resource in snapshot.iter(ResourceType::Cluster) {
        let _ = black_box(Cluster::decode(resource.bytes.clone()));
    }
    for resource in snapshot.iter(ResourceType::ClusterLoadAssignment) {
        let _ = black_box(ClusterLoadAssignment::decode(resource.bytes.clone()));
    }
    for resource in snapshot.iter(ResourceType::RouteConfiguration) {
        let _ = black_box(RouteConfiguration::decode(resource.bytes.clone()));
    }
}

fn whole_mesh(criterion: &mut Criterion) {
    let snapshot = snapshot();
    let objects: Vec<Value> = translate(&snapshot)
        .objects
        .values()
        .map(|bytes| serde_json::from_slice(bytes).expect("objects are JSON"))
        .collect();
    let mut group = criterion.benchmark_group("mesh of 10000");
    group.throughput(Throughput::Elements(3 * SERVICES as u64)).sample_size(10);
    group.bench_function("translate", |b| b.iter(|| translate(black_box(&snapshot))));
    group.bench_function("decode only", |b| b.iter(|| decode(&snapshot)));
    group.bench_function("serialise only", |b| {
        b.iter(|| objects.iter().for_each(|o| drop(black_box(serde_json::to_vec(o)))));
    });
    group.finish();
}

fn one_change(criterion: &mut Criterion) {
    let mut renamed = mesh::routes(SERVICES);
    let virtual_host = renamed.virtual_hosts[SERVICES / 2].encode_to_vec();
    let plain = renamed.encode_to_vec();
    renamed.virtual_hosts[SERVICES / 2].routes[0].name = "renamed".to_owned();
    let assignment = |last| mesh::assignment(77, last).encode_to_vec();
    let mut slower = mesh::cluster(77);
    slower.connect_timeout = None;

    let name = mesh::cluster_name(77);
    let routes = [plain.clone(), renamed.encode_to_vec()];
    let mut changes = [
        ("a virtual host", Turns::new(ResourceType::RouteConfiguration, &mesh::PORT.to_string(), routes)),
        ("an endpoint", {
            Turns::new(ResourceType::ClusterLoadAssignment, &name, [assignment(3), assignment(4)])
        }),
        ("a cluster", {
            let states = [mesh::cluster(77).encode_to_vec(), slower.encode_to_vec()];
            Turns::new(ResourceType::Cluster, &name, states)
        }),
    ];
    let mut snapshot = snapshot();
    let mut translator = Translator::default();
    let all: Vec<Change> = ResourceType::ALL
        .into_iter()
        .flat_map(|kind| snapshot.iter(kind).map(move |r| Change { kind, name: r.name.clone() }))
        .collect();
    translator.apply(&snapshot, &all);

    let mut group = criterion.benchmark_group("one of 10000");
    for (what, turns) in &mut changes {
        group.bench_function(format!("{what} changed"), |b| {
            b.iter(|| {
                let change = turns.next(&mut snapshot);
                translator.apply(&snapshot, &[change])
            });
        });
    }
    group.bench_function("decode only: that virtual host", |b| {
        b.iter(|| VirtualHost::decode(black_box(virtual_host.as_slice())));
    });
    group.bench_function("decode only: its configuration", |b| {
        b.iter(|| RouteConfiguration::decode(black_box(plain.as_slice())));
    });
    group.finish();
}

criterion_group!(benches, whole_mesh, one_change);
criterion_main!(benches);
