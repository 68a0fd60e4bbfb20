//! One line per rule: the document, and the error it gets.

use serde_json::{Value, json};

use super::*;
use crate::pb::json::any_from_json;
use ResourceType::{
    Cluster as CDS, ClusterLoadAssignment as EDS, Listener as LDS, RouteConfiguration as RDS,
};

fn verdict(kind: ResourceType, mut document: Value) -> String {
    document["@type"] = Value::from(kind.type_url());
    let any = any_from_json(&document).unwrap();
    match check(kind, &any.value) {
        Ok(checked) => {
            let names: Vec<&str> = checked.refers_to.iter().map(|needed| &*needed.name).collect();
            format!("ok {}", names.join(","))
        }
        Err(e) => e.to_string(),
    }
}

fn eds(change: Value) -> Value {
    let mut cluster = json!({"name": "a", "type": "EDS", "edsClusterConfig": {"edsConfig": {"ads": {}}}});
    cluster.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    cluster
}

fn endpoint(address: &str, port: u32) -> Value {
    json!({"endpoint": {"address": {"socketAddress": {"address": address, "portValue": port}}}})
}

fn assignment(endpoints: Value) -> Value {
    json!({"clusterName": "a", "endpoints": [{"lbEndpoints": endpoints}]})
}

fn route(route: Value) -> Value {
    json!({"name": "r", "virtualHosts": [{"name": "v", "domains": ["*"], "routes": [route]}]})
}

fn on_match(m: Value) -> Value {
    route(json!({"match": m, "route": {"cluster": "c"}}))
}

fn on_action(action: Value) -> Value {
    route(json!({"match": {"prefix": "/"}, "route": action}))
}

fn manager(manager: Value) -> Value {
    let mut manager = manager;
    manager["@type"] = Value::from(
        "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    );
    json!({"name": "l", "address": {"socketAddress": {"address": "0.0.0.0", "portValue": 80}},
        "filterChains": [{"filters": [{"name": "f", "typedConfig": manager}]}]})
}

#[test]
fn clusters() {
    for (document, expected) in [
        (json!({}), "name: must not be empty"),
        (json!({"name": "a"}), "ok "),
        (eds(json!({})), "ok a"),
        (eds(json!({"edsClusterConfig": {"edsConfig": {"ads": {}}, "serviceName": "s"}})), "ok s"),
        (eds(json!({"edsClusterConfig": {"edsConfig": {"path": "/x"}}})), "ok a"),
        (eds(json!({"edsClusterConfig": null})), "eds_cluster_config: is required"),
        (eds(json!({"edsClusterConfig": {}})), "eds_cluster_config.eds_config: is required"),
        (
            eds(json!({"edsClusterConfig": {"edsConfig": {}}})),
            "eds_cluster_config.eds_config: one of ads, api_config_source, path_config_source, self is required",
        ),
        (eds(json!({"type": "STATIC"})), "eds_cluster_config: set in a cluster of type STATIC"),
        (
            eds(json!({"lbPolicy": "CLUSTER_PROVIDED"})),
            "lb_policy: CLUSTER_PROVIDED in a cluster of type EDS",
        ),
        (eds(json!({"connectTimeout": "0s"})), "connect_timeout: must be more than 0s"),
        (eds(json!({"lbPolicy": 4})), "lb_policy: 4 is no value of this enum"),
        (json!({"name": "a", "type": "ORIGINAL_DST", "lbPolicy": "CLUSTER_PROVIDED"}), "ok "),
        (
            json!({"name": "a", "type": "ORIGINAL_DST"}),
            "lb_policy: ROUND_ROBIN in a cluster of type ORIGINAL_DST; only CLUSTER_PROVIDED or LOAD_BALANCING_POLICY_CONFIG",
        ),
        (
            json!({"name": "a", "type": "LOGICAL_DNS"}),
            "load_assignment: a LOGICAL_DNS cluster has exactly one endpoint",
        ),
        (
            json!({"name": "a", "type": "STRICT_DNS", "loadAssignment": assignment(json!([endpoint("x.y", 80)]))}),
            "ok ",
        ),
        (
            json!({"name": "outbound|80||a", "type": "STRICT_DNS",
                "loadAssignment": assignment(json!([endpoint("1.1.1.1", 80), endpoint("x.y", 0)]))}),
            "load_assignment.endpoints[0].lb_endpoints[1].endpoint.address.socket_address.port_value: \
             0 is not a port (1-65535)",
        ),
    ] {
        assert_eq!(verdict(CDS, document.clone()), expected, "{document}");
    }
}

#[test]
fn load_assignments() {
    let at = "endpoints[0].lb_endpoints[0]";
    for (endpoints, expected) in [
        (json!([endpoint("10.0.0.1", 80)]), "ok ".to_owned()),
        (json!([{"endpoint": {"address": {"pipe": {"path": "/run/a"}}}}]), "ok ".to_owned()),
        (json!([{"endpoint": {"address": {"envoyInternalAddress": {}}}}]), "ok ".to_owned()),
        (json!([{"endpointName": "x"}]), "ok ".to_owned()),
        (json!([{}]), format!("{at}.endpoint: is required")),
        (json!([{"endpoint": {}}]), format!("{at}.endpoint.address: is required")),
        (
            json!([endpoint("", 80)]),
            format!("{at}.endpoint.address.socket_address.address: must not be empty"),
        ),
        (
            json!([endpoint("1.1.1.1", 65536)]),
            format!("{at}.endpoint.address.socket_address.port_value: 65536 is not a port (1-65535)"),
        ),
        (
            json!([endpoint("web", 80)]),
            format!(
                "{at}.endpoint.address.socket_address.address: \"web\" is not an IP address; \
                 a name needs a STRICT_DNS or LOGICAL_DNS cluster"
            ),
        ),
        (
            json!([{"loadBalancingWeight": 0, "endpoint": {}}]),
            format!("{at}.load_balancing_weight: 0 is not a weight (1 or more)"),
        ),
    ] {
        assert_eq!(verdict(EDS, assignment(endpoints.clone())), expected, "{endpoints}");
    }
    assert_eq!(verdict(EDS, json!({})), "cluster_name: must not be empty");
    let priority = json!({"clusterName": "a", "endpoints": [{"priority": 129}]});
    assert_eq!(verdict(EDS, priority), "endpoints[0].priority: 129 is more than 128");
}

#[test]
fn listeners() {
    let config = "filter_chains[0].filters[0].typed_config";
    let rds = |name: &str| json!({"rds": {"routeConfigName": name, "configSource": {"ads": {}}}});
    for (document, expected) in [
        (manager(rds("r")), "ok r".to_owned()),
        (manager(json!({"scopedRoutes": {"name": "x"}})), "ok ".to_owned()),
        (manager(json!({})), format!("{config}: one of rds, route_config, scoped_routes is required")),
        (manager(rds("")), format!("{config}.rds.route_config_name: must not be empty")),
        (
            manager(json!({"rds": {"routeConfigName": "r"}})),
            format!("{config}.rds.config_source: is required"),
        ),
        (
            manager(json!({"routeConfig": {"virtualHosts": [{"name": "v"}]}})),
            format!("{config}.route_config.virtual_hosts[0].domains: at least one is required"),
        ),
        (json!({"name": "l"}), "address: is required".to_owned()),
        (json!({"name": "l", "internalListener": {}}), "ok ".to_owned()),
        (json!({"name": "l", "apiListener": {}}), "ok ".to_owned()),
        (
            json!({"name": "l", "address": {"socketAddress": {"address": "::", "portValue": 80}}}),
            "filter_chains: at least one is required".to_owned(),
        ),
        (
            json!({"name": "l", "address": {"socketAddress": {"address": "::", "portValue": 0}}}),
            "address.socket_address.port_value: 0 is not a port (1-65535)".to_owned(),
        ),
    ] {
        assert_eq!(verdict(LDS, document.clone()), expected, "{document}");
    }
}

#[test]
fn a_listener_refers_to_all_its_route_configurations_once() {
    let mut listener = manager(json!({"rds": {"routeConfigName": "a", "configSource": {"ads": {}}}}));
    let mut chain = listener["filterChains"][0].clone();
    listener["filterChains"].as_array_mut().unwrap().push(chain.clone());
    chain["filters"][0]["typedConfig"]["rds"]["routeConfigName"] = json!("b");
    listener["defaultFilterChain"] = chain.clone();
    chain["filters"][0]["typedConfig"]["rds"]["routeConfigName"] = json!("c");
    listener["apiListener"] = json!({"apiListener": chain["filters"][0]["typedConfig"]});
    assert_eq!(verdict(LDS, listener), "ok a,b,c");
}

#[test]
fn routes() {
    let at = "virtual_hosts[0].routes[0]";
    for (document, expected) in [
        (json!({}), "name: must not be empty".to_owned()),
        (on_action(json!({"cluster": "c"})), "ok c".to_owned()),
        (on_action(json!({"clusterHeader": "x"})), "ok ".to_owned()),
        (
            on_action(json!({})),
            format!("{at}.route: one of cluster, weighted_clusters, cluster_header, ... is required"),
        ),
        (
            on_action(json!({"weightedClusters": {"clusters": [{"name": "a", "weight": 0}]}})),
            format!("{at}.route.weighted_clusters.clusters: the sum of weights must be greater than 0"),
        ),
        (
            on_action(json!({"weightedClusters": {"clusters": [{"name": "a"}]}})),
            format!("{at}.route.weighted_clusters.clusters[0].weight: is required"),
        ),
        (
            route(json!({"match": {"prefix": "/"}})),
            format!("{at}: an action (route, redirect, direct_response, ...) is required"),
        ),
        (route(json!({"match": {"prefix": "/"}, "nonForwardingAction": {}})), "ok ".to_owned()),
        (route(json!({"route": {"cluster": "c"}})), format!("{at}.match: is required")),
        (on_match(json!({})), format!("{at}.match: one of prefix, path, safe_regex, ... is required")),
        (on_match(json!({"connectMatcher": {}})), "ok c".to_owned()),
        (on_match(json!({"safeRegex": {"regex": "/a.*"}})), "ok c".to_owned()),
        (
            on_match(json!({"safeRegex": {"regex": "("}})),
            format!("{at}.match.safe_regex.regex: \"(\": unclosed group"),
        ),
        (
            on_match(json!({"pathSeparatedPrefix": "/a/"})),
            format!(
                "{at}.match.path_separated_prefix: \"/a/\" must be 2 or more characters, without ?, # or a last /"
            ),
        ),
        (
            on_match(json!({"prefix": "/", "headers": [{"name": "x", "stringMatch": {"prefix": ""}}]})),
            format!("{at}.match.headers[0].string_match.prefix: must not be empty"),
        ),
        (
            route(json!({"match": {"prefix": "/"}, "directResponse": {"status": 99}})),
            format!("{at}.direct_response.status: 99 is not an HTTP status (200-599)"),
        ),
        (
            json!({"name": "r", "virtualHosts": [{"name": "v", "domains": ["a.b"]}, {"name": "w", "domains": ["A.b"]}]}),
            "virtual_hosts[1].domains[0]: \"A.b\" is a domain of this configuration already".to_owned(),
        ),
    ] {
        assert_eq!(verdict(RDS, document.clone()), expected, "{document}");
    }
}

#[test]
fn routes_refer_to_the_clusters_they_name() {
    let weighted = json!({"clusters": [{"name": "b", "weight": 1}, {"name": "a", "weight": 1}]});
    let action = |action| json!({"match": {"prefix": "/"}, "route": action});
    let routes = [action(json!({"cluster": "c"})), action(json!({"weightedClusters": weighted}))];
    let document = json!({"name": "r", "virtualHosts": [{"name": "v", "domains": ["*"], "routes": routes}]});
    assert_eq!(verdict(RDS, document), "ok a,b,c");
}

#[test]
fn bytes_that_are_no_message_say_where() {
    let not_utf8 = Bytes::from_static(b"\x0a\x02\xff\xfe");
    let error = check(CDS, &not_utf8).unwrap_err().to_string();
    assert!(error.contains("Cluster.name") && error.contains("UTF-8"), "{error}");
    assert_eq!(peek_name(&not_utf8), None);
    let broken = Bytes::from_static(b"\x0a\x01a\x22\x7f");
    assert!(check(CDS, &broken).is_err());
    assert_eq!(peek_name(&broken).as_deref(), Some("a"));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..64)) {
        let bytes = Bytes::from(bytes);
        for kind in ResourceType::ALL {
            let _ = check(kind, &bytes);
            let _ = peek_name(&bytes);
        }
    }

    #[test]
    fn no_pattern_makes_it_panic(pattern in "[\\\\QECxp\\[\\]{}(),^:*+?a0-9é-]{0,24}") {
        let _ = regex::check(&pattern);
    }
}
