//! Real objects: the translation of a synthetic mesh.

use apisix_mesh::{
    apisix::Key,
    translate::translate,
    xds::{Resource, ResourceType, Snapshot},
};
use bytes::Bytes;
use prost::Message as _;

use crate::mesh;

/// Sorted by key; about two for each service, an upstream and a route.
pub fn objects(services: usize) -> Vec<(Key, Bytes)> {
    let mut snapshot = Snapshot::default();
    let mut insert = |kind, name: &str, bytes: Vec<u8>| {
        snapshot.insert(kind, Resource::new(name, &bytes));
    };
    for i in 0..services {
        let (cluster, assignment) = (mesh::cluster(i), mesh::assignment(i, 3));
        insert(ResourceType::Cluster, &cluster.name, cluster.encode_to_vec());
        insert(ResourceType::ClusterLoadAssignment, &assignment.cluster_name, assignment.encode_to_vec());
    }
    let (listener, routes) = (mesh::listener(), mesh::routes(services));
    insert(ResourceType::Listener, &listener.name, listener.encode_to_vec());
    insert(ResourceType::RouteConfiguration, &routes.name, routes.encode_to_vec());
    translate(&snapshot).objects.into_iter().collect()
}

/// The same, but for one digit.
pub fn changed(value: &Bytes) -> Bytes {
    let mut value = value.to_vec();
    let digit = value.iter_mut().rfind(|byte| byte.is_ascii_digit()).expect("every object has a number");
    *digit = if *digit == b'9' { b'1' } else { *digit + 1 };
    value.into()
}
