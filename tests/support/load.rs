//! Resources from YAML or JSON text into a snapshot.

use apisix_mesh::{
    pb::{envoy, json::any_from_json},
    xds::{Change, Resource, ResourceType, Snapshot},
};
use prost::Message;
use serde_json::Value;

/// The resources of a document: a list of `{"@type": ...}`.
pub fn resources(document: &Value) -> Vec<(ResourceType, Resource)> {
    document.as_array().expect("a list of resources").iter().map(resource).collect()
}

/// One resource.
pub fn resource(value: &Value) -> (ResourceType, Resource) {
    try_resource(value).unwrap_or_else(|e| panic!("{e}: {value}"))
}

/// One resource, if its JSON can be read.
pub fn try_resource(value: &Value) -> Result<(ResourceType, Resource), String> {
    let any = any_from_json(value)?;
    let kind = ResourceType::from_type_url(&any.type_url).expect("a type of ours");
    let bytes = any.value;
    let name = match kind {
        ResourceType::Cluster => envoy::config::cluster::v3::Cluster::decode(bytes.clone()).unwrap().name,
        ResourceType::ClusterLoadAssignment => {
            envoy::config::endpoint::v3::ClusterLoadAssignment::decode(bytes.clone()).unwrap().cluster_name
        }
        ResourceType::Listener => envoy::config::listener::v3::Listener::decode(bytes.clone()).unwrap().name,
        ResourceType::RouteConfiguration => {
            envoy::config::route::v3::RouteConfiguration::decode(bytes.clone()).unwrap().name
        }
    };
    Ok((kind, Resource::new(&name, &bytes)))
}

/// A snapshot of all these.
pub fn snapshot(resources: impl IntoIterator<Item = (ResourceType, Resource)>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (kind, resource) in resources {
        snapshot.insert(kind, resource);
    }
    snapshot
}

/// The change that tells of this resource.
pub fn change((kind, resource): &(ResourceType, Resource)) -> Change {
    Change { kind: *kind, name: resource.name.clone() }
}
