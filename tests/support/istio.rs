//! The istiod captures, made whole.
//!
//! The capture tool kept only the type of each HTTP connection manager. What istiod 1.14 writes into them follows from
//! the listener: `0.0.0.0_PORT` and `127.0.0.1_PORT` use the route configuration `PORT`, a listener for a port without
//! a declared protocol uses `HOST:PORT`, the HTTP proxy port uses `http_proxy`, and inbound chains hold an inline
//! configuration with one route.

use apisix_mesh::xds::{Resource, ResourceType};
use serde_json::{Value, json};

use super::load;

const HCM: &str =
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const AUTO: &str = "auto.default.svc.cluster.local:7070";

/// All resources of the capture `redirect` or `no-interception`.
pub fn capture(name: &str) -> Vec<(ResourceType, Resource)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/istiod-1.14");
    ["cds", "eds", "lds", "rds"]
        .iter()
        .flat_map(|file| {
            let text = std::fs::read_to_string(format!("{folder}/{name}/{file}.json")).expect("the fixture");
            let mut document = load::captured(&text);
            for listener in document["resources"].as_array_mut().unwrap() {
                fill_managers(listener);
            }
            load::resources(&document)
        })
        .collect()
}

fn fill_managers(listener: &mut Value) {
    let name = listener["name"].as_str().unwrap_or_default().to_owned();
    for chain in listener.get_mut("filter_chains").and_then(Value::as_array_mut).into_iter().flatten() {
        let port = chain["filter_chain_match"].get("destination_port").cloned();
        for filter in chain["filters"].as_array_mut().into_iter().flatten() {
            if filter["typed_config"]["@type"] == HCM {
                filter["typed_config"] = manager(&name, port.as_ref());
            }
        }
    }
}

fn manager(listener: &str, destination_port: Option<&Value>) -> Value {
    let filter = |name: &str, of: &str| json!({"name": name, "typed_config": {"@type": format!("type.googleapis.com/{of}")}});
    let mut manager = json!({"@type": HCM, "stat_prefix": listener, "normalize_path": true,
    "upgrade_configs": [{"upgrade_type": "websocket"}],
    "http_filters": [
        filter("istio.alpn", "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig"),
        filter("envoy.filters.http.fault", "envoy.extensions.filters.http.fault.v3.HTTPFault"),
        filter("envoy.filters.http.cors", "envoy.extensions.filters.http.cors.v3.Cors"),
        filter("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router"),
    ]});
    let inbound = listener == "virtualInbound" || listener == "0.0.0.0_19080";
    if inbound {
        let (cluster, config) = match destination_port {
            Some(port) => (format!("inbound|{port}||"), format!("inbound|{port}||")),
            None => ("InboundPassthroughClusterIpv4".to_owned(), "InboundPassthroughClusterIpv4".to_owned()),
        };
        manager["route_config"] = json!({"name": config, "validate_clusters": false, "virtual_hosts": [
            {"name": "inbound|http|9080", "domains": ["*"], "routes": [
                {"name": "default", "match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}]}]});
    } else {
        let config = match listener.rsplit_once('_').map(|(_, port)| port) {
            Some("7070") => AUTO,
            Some("15080") => "http_proxy",
            Some(port) => port,
            None => panic!("{listener} has an HTTP connection manager"),
        };
        manager["rds"] = json!({"route_config_name": config, "config_source": {"ads": {}}});
    }
    manager
}
