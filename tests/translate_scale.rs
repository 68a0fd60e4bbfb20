//! Cost follows the change, not the mesh: five thousand ordinary services stay native, and a change of one of them
//! writes its own objects and nothing else.

mod support;

use apisix_mesh::{
    apisix::{Directory, Key},
    translate::{Delta, Translator},
    xds::{Change, Resource, ResourceType, Snapshot},
};
use prost::Message;
use support::mesh;

const SERVICES: usize = 5000;

struct Mesh {
    snapshot: Snapshot,
    translator: Translator,
}

impl Mesh {
    fn new() -> Self {
        let mut mesh = Self { snapshot: Snapshot::default(), translator: Translator::default() };
        let mut changes = Vec::new();
        for i in 0..SERVICES {
            let cluster = mesh::cluster(i);
            changes.push(mesh.hold(ResourceType::Cluster, &cluster.name, &cluster));
            let assignment = mesh::assignment(i, 3);
            changes.push(mesh.hold(
                ResourceType::ClusterLoadAssignment,
                &assignment.cluster_name,
                &assignment,
            ));
        }
        let (listener, routes) = (mesh::listener(), mesh::routes(SERVICES));
        changes.push(mesh.hold(ResourceType::Listener, &listener.name, &listener));
        changes.push(mesh.hold(ResourceType::RouteConfiguration, &routes.name, &routes));
        mesh.translator.apply(&mesh.snapshot, &changes);
        mesh
    }

    fn hold(&mut self, kind: ResourceType, name: &str, message: &impl Message) -> Change {
        self.snapshot.insert(kind, Resource::new(name, &message.encode_to_vec()));
        Change { kind, name: name.into() }
    }

    fn apply(&mut self, change: Change) -> Delta {
        self.translator.apply(&self.snapshot, &[change])
    }
}

fn directories(keys: impl Iterator<Item = Key>) -> Vec<Directory> {
    keys.map(|key| key.directory()).collect()
}

#[test]
fn ordinary_services_stay_native() {
    let routing = Mesh::new().translator.routing();
    assert_eq!((routing.virtual_hosts, routing.flat), (SERVICES, 0));
}

#[test]
fn one_virtual_host_rewrites_its_own_routes() {
    let mut mesh = Mesh::new();
    let mut routes = mesh::routes(SERVICES);
    routes.virtual_hosts[1234].routes[0].name = "renamed".to_owned();
    let change = mesh.hold(ResourceType::RouteConfiguration, &routes.name, &routes);
    let delta = mesh.apply(change);
    assert_eq!(delta.puts.len(), 1, "{:?}", delta.puts);
    let value = String::from_utf8_lossy(&delta.puts[0].1).into_owned();
    assert!(value.contains("service-01234") && value.contains("renamed"), "{value}");
    assert!(delta.deletes.is_empty(), "{:?}", delta.deletes);
}

#[test]
fn a_virtual_host_that_moves_in_the_list_rewrites_nothing() {
    let mut mesh = Mesh::new();
    let mut routes = mesh::routes(SERVICES);
    routes.virtual_hosts.reverse();
    let change = mesh.hold(ResourceType::RouteConfiguration, &routes.name, &routes);
    assert_eq!(mesh.apply(change), Delta::default());
}

#[test]
fn a_cluster_that_goes_and_comes_touches_the_routes_that_name_it() {
    let mut mesh = Mesh::new();
    let cluster = mesh::cluster(77);
    mesh.snapshot.remove(ResourceType::Cluster, &cluster.name);
    let gone = mesh.apply(Change { kind: ResourceType::Cluster, name: cluster.name.as_str().into() });
    assert_eq!(directories(gone.puts.into_iter().map(|(key, _)| key)), [Directory::Routes]);
    assert_eq!(directories(gone.deletes.into_iter()), [Directory::Upstreams]);

    let change = mesh.hold(ResourceType::Cluster, &cluster.name, &cluster);
    let back = mesh.apply(change);
    let puts = directories(back.puts.into_iter().map(|(key, _)| key));
    assert_eq!(puts, [Directory::Upstreams, Directory::Routes]);
    assert!(back.deletes.is_empty(), "{:?}", back.deletes);
}

#[test]
fn an_endpoint_that_changes_touches_one_upstream() {
    let mut mesh = Mesh::new();
    let assignment = mesh::assignment(77, 9);
    let change = mesh.hold(ResourceType::ClusterLoadAssignment, &assignment.cluster_name, &assignment);
    let delta = mesh.apply(change);
    assert_eq!(directories(delta.puts.into_iter().map(|(key, _)| key)), [Directory::Upstreams]);
    assert!(delta.deletes.is_empty(), "{:?}", delta.deletes);
}
