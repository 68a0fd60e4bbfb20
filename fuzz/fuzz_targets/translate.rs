//! Any bytes as a resource of each type, among others that use it: `cargo +nightly fuzz run translate`.
//!
//! Nothing panics, and every object is one that APISIX takes and refers to what is there.

#![no_main]

#[path = "../../tests/support/schema.rs"]
mod schema;

use std::sync::LazyLock;

use apisix_mesh::{
    pb::json::any_from_json,
    translate::{Translation, translate},
    xds::{Resource, ResourceType, Snapshot},
};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

/// Each refers to the others by the name that all of them have.
const NAME: &str = "a";

static OTHERS: LazyLock<Vec<(ResourceType, Resource)>> = LazyLock::new(|| {
    let resource = |kind: ResourceType, mut fields: Value| {
        fields["@type"] = kind.type_url().into();
        (kind, Resource::new(NAME, &any_from_json(&fields).expect("a good message").value))
    };
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "rds": {"route_config_name": NAME},
    });
    let address = |port: u32| json!({"socket_address": {"address": "10.0.0.1", "port_value": port}});
    let endpoints = json!([{"lb_endpoints": [{"endpoint": {"address": address(80)}}]}]);
    let routes = json!([{"match": {"prefix": "/"}, "route": {"cluster": NAME}}]);
    let filters = json!([{"name": "hcm", "typed_config": manager}]);
    vec![
        resource(
            ResourceType::Cluster,
            json!({"name": NAME, "type": "EDS", "eds_cluster_config": {"eds_config": {"ads": {}}}}),
        ),
        resource(ResourceType::ClusterLoadAssignment, json!({"cluster_name": NAME, "endpoints": endpoints})),
        resource(
            ResourceType::Listener,
            json!({"name": NAME, "address": address(8080), "filter_chains": [{"filters": filters}]}),
        ),
        resource(
            ResourceType::RouteConfiguration,
            json!({"name": NAME, "virtual_hosts": [{"name": "h", "domains": ["*"], "routes": routes}]}),
        ),
    ]
});

fuzz_target!(|message: &[u8]| {
    for fuzzed in ResourceType::ALL {
        let mut snapshot = Snapshot::default();
        for (kind, resource) in OTHERS.iter() {
            snapshot.insert(*kind, resource.clone());
        }
        snapshot.insert(fuzzed, Resource::new(NAME, message));
        let Translation { objects, .. } = translate(&snapshot);
        schema::check(&objects);
    }
});
