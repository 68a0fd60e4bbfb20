//! One resource of each type, each needed by the next.
#![allow(dead_code)] // Each user includes this file and needs a part of it.

use apisix_mesh::{
    pb::{google::protobuf::Any, json::any_from_json},
    xds::ResourceType::{self, Cluster, ClusterLoadAssignment, Listener, RouteConfiguration},
};
use serde_json::{Value, json};

use crate::ads_server::Resources;

/// A resource from its JSON.
pub fn any(kind: ResourceType, mut document: Value) -> Any {
    document["@type"] = Value::from(kind.type_url());
    any_from_json(&document).unwrap()
}

/// An EDS cluster.
pub fn cluster(name: &str, timeout: &str) -> Any {
    let eds = json!({"edsConfig": {"ads": {}}});
    any(Cluster, json!({"name": name, "type": "EDS", "edsClusterConfig": eds, "connectTimeout": timeout}))
}

/// One endpoint.
pub fn endpoints(name: &str, port: u32) -> Any {
    let address = json!({"socketAddress": {"address": "10.0.0.1", "portValue": port}});
    let endpoint = json!({"lbEndpoints": [{"endpoint": {"address": address}}]});
    any(ClusterLoadAssignment, json!({"clusterName": name, "endpoints": [endpoint]}))
}

/// A listener with its routes by RDS.
pub fn listener(name: &str, routes: &str) -> Any {
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "rds": {"routeConfigName": routes, "configSource": {"ads": {}}},
    });
    any(Listener, json!({"name": name, "apiListener": {"apiListener": manager}}))
}

/// Cluster and endpoints `a`, listener `l`, routes `r`.
pub fn mesh() -> Resources {
    let mut resources = Resources::default();
    resources.insert(Cluster, "a", cluster("a", "1s").value);
    resources.insert(ClusterLoadAssignment, "a", endpoints("a", 80).value);
    resources.insert(Listener, "l", listener("l", "r").value);
    resources.insert(RouteConfiguration, "r", any(RouteConfiguration, json!({"name": "r"})).value);
    resources
}
