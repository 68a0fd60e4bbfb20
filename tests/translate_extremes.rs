//! Sizes, numbers and shapes that no honest control plane sends: nothing panics, objects fit APISIX, and what was wrong
//! is listed.

mod support;

use apisix_mesh::{
    apisix::Directory,
    translate::{Translation, translate},
    xds::{Resource, ResourceType},
};
use prost::Message;
use serde_json::{Value, json};
use support::{load, mesh, schema};

const CONFIG: &str = "type.googleapis.com/envoy.config";

fn typed(kind: &str, mut fields: Value) -> Value {
    fields["@type"] = format!("{CONFIG}.{kind}").into();
    fields
}

fn cluster(name: &str) -> Value {
    let address = json!({"socket_address": {"address": "10.0.0.1", "port_value": 80}});
    let endpoints = json!([{"lb_endpoints": [{"endpoint": {"address": address}}]}]);
    typed(
        "cluster.v3.Cluster",
        json!({"name": name, "type": "STATIC", "load_assignment": {"cluster_name": name, "endpoints": endpoints}}),
    )
}

fn listener() -> Value {
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "rds": {"route_config_name": "80"},
    });
    typed(
        "listener.v3.Listener",
        json!({
            "name": "l",
            "address": {"socket_address": {"address": "0.0.0.0", "port_value": 80}},
            "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
        }),
    )
}

fn routes(virtual_hosts: Value) -> Value {
    typed("route.v3.RouteConfiguration", json!({"name": "80", "virtual_hosts": virtual_hosts}))
}

fn host(routes: Value) -> Value {
    json!([{"name": "h", "domains": ["a.com"], "routes": routes}])
}

/// The translation of these and of a listener.
fn outcome(resources: Vec<Value>) -> Translation {
    let document = Value::Array(resources.into_iter().chain([listener()]).collect());
    checked(translate(&load::snapshot(load::resources(&document))))
}

fn checked(translation: Translation) -> Translation {
    schema::check(&translation.objects);
    translation
}

/// Some issue is at this place, or below it.
#[track_caller]
fn listed(translation: &Translation, place: &str) {
    let found = translation.issues.iter().any(|issue| issue.path.starts_with(place));
    let some: Vec<_> = translation.issues.iter().take(20).collect();
    assert!(found, "{place} is not among {some:#?}");
}

#[test]
fn ten_thousand_virtual_hosts_of_one_name() {
    const HOSTS: usize = 10_000;
    let mut config = mesh::routes(HOSTS);
    for (at, host) in config.virtual_hosts.iter_mut().enumerate() {
        host.name = "same".to_owned();
        match at % 1000 {
            0 => host.domains = vec!["same.com".to_owned()],
            1 => host.domains.clear(),
            2 => host.routes.clear(),
            3 => host.domains = vec!["$secret://a\r\n".to_owned()],
            _ => {}
        }
    }
    let listener = mesh::listener();
    let resources = [
        (ResourceType::Listener, Resource::new(&listener.name, &listener.encode_to_vec())),
        (ResourceType::RouteConfiguration, Resource::new(&config.name, &config.encode_to_vec())),
    ];
    let translation = checked(translate(&load::snapshot(resources)));
    let routes = translation.objects.keys().filter(|key| key.directory() == Directory::Routes).count();
    assert!(routes >= HOSTS - 20, "{routes}");
    listed(&translation, "virtual_hosts[3].domains");
}

#[test]
fn megabyte_regexes() {
    let long = "(a|b)".repeat(200_000);
    let regex = json!({"regex": long});
    let to = json!({"cluster": "a"});
    let matching =
        |field: &str| json!({"prefix": "/a", field: [{"name": "x", "string_match": {"safe_regex": regex}}]});
    let rewrite = json!({"pattern": regex, "substitution": "/"});
    let translation = outcome(vec![
        cluster("a"),
        routes(host(json!([
            {"match": {"safe_regex": regex}, "route": to},
            {"match": matching("headers"), "route": to},
            {"match": matching("query_parameters"), "route": to},
            {"match": {"prefix": "/b"}, "route": {"cluster": "a", "regex_rewrite": rewrite}},
        ]))),
    ]);
    for (key, bytes) in &translation.objects {
        assert!(bytes.len() < 100_000, "{key} has {} bytes: PCRE does not compile them", bytes.len());
    }
    for at in 0..4 {
        listed(&translation, &format!("virtual_hosts[0].routes[{at}]"));
    }
}

#[test]
fn long_texts() {
    let long = "a".repeat(1 << 20);
    let path = format!("/{long}");
    let to = json!({"cluster": "a"});
    outcome(vec![
        cluster("a"),
        cluster(&long),
        routes(host(json!([
            {"match": {"path": path}, "route": to},
            {"match": {"prefix": path}, "route": to},
            {"name": long, "match": {"prefix": "/a"}, "route": {"cluster": long}},
            {"match": {"prefix": "/b"}, "redirect": {"host_redirect": long}},
            {"match": {"prefix": "/c"}, "route": {"cluster": "a", "prefix_rewrite": path}},
            {"match": {"prefix": "/d", "headers": [{"name": long, "exact_match": long}]}, "route": to},
        ]))),
    ]);
}

#[test]
fn cyclic_aggregates() {
    let aggregate = |name: &str, of: &[&str]| {
        let config = json!({
            "@type": "type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig",
            "clusters": of,
        });
        let kind = json!({"name": "envoy.clusters.aggregate", "typed_config": config});
        typed(
            "cluster.v3.Cluster",
            json!({"name": name, "cluster_type": kind, "lb_policy": "CLUSTER_PROVIDED"}),
        )
    };
    let to = |name: &str| json!({"match": {"prefix": format!("/{name}")}, "route": {"cluster": name}});
    let Some(resources) = [
        aggregate("a", &["b"]),
        aggregate("b", &["c", "d"]),
        aggregate("c", &["a", "b", "c"]),
        aggregate("e", &["e"]),
        aggregate("f", &[]),
        aggregate("g", &["nobody", "d", "d"]),
    ]
    .iter()
    .map(|value| load::try_resource(value).is_ok().then(|| value.clone()))
    .collect::<Option<Vec<_>>>() else {
        return;
    };
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let routes = routes(host(names.iter().map(|name| to(name)).collect()));
    let translation = outcome(resources.into_iter().chain([cluster("d"), routes]).collect());
    for alone in ["e", "f"].map(|name| names.iter().position(|n| *n == name).unwrap()) {
        listed(&translation, &format!("virtual_hosts[0].routes[{alone}].route.cluster"));
    }
    // All others end in d.
    let upstreams = translation.objects.keys().filter(|key| key.directory() == Directory::Upstreams).count();
    assert_eq!(upstreams, names.len() - 2);
}

#[test]
fn weights_of_any_size() {
    let max = u32::MAX;
    let endpoint = |address: &str, weight: u32| {
        let address = json!({"socket_address": {"address": address, "port_value": 80}});
        json!({"endpoint": {"address": address}, "load_balancing_weight": weight})
    };
    let locality = |weight: u32, endpoints: Vec<Value>| json!({"locality": {"zone": "z"}, "load_balancing_weight": weight, "lb_endpoints": endpoints});
    let heavy = typed(
        "cluster.v3.Cluster",
        json!({
            "name": "heavy",
            "type": "STATIC",
            "common_lb_config": {"locality_weighted_lb_config": {}},
            "load_assignment": {"cluster_name": "heavy", "endpoints": [
                locality(max, vec![endpoint("10.0.0.1", max), endpoint("10.0.0.1", max), endpoint("10.0.0.2", 1)]),
                locality(1, vec![endpoint("10.0.0.3", 0), endpoint("10.0.0.4", max)]),
                locality(0, vec![endpoint("10.0.0.5", 7)]),
                locality(3, vec![]),
            ]},
        }),
    );
    let split = |path: &str, weights: &[u32]| {
        let clusters: Vec<_> = weights
            .iter()
            .enumerate()
            .map(|(at, weight)| json!({"name": if at % 2 == 0 { "a" } else { "heavy" }, "weight": weight}))
            .collect();
        json!({"match": {"path": path}, "route": {"weighted_clusters": {"clusters": clusters}}})
    };
    let translation = outcome(vec![
        cluster("a"),
        heavy,
        routes(host(json!([
            split("/a", &[max, max, max]),
            split("/b", &[max, 1]),
            split("/c", &[0, 0]),
            split("/d", &[]),
            split("/e", &[0]),
        ]))),
    ]);
    listed(&translation, "virtual_hosts[0].routes[2]");
}

#[test]
fn numbers_out_of_range() {
    let direct = |status: u32| json!({"direct_response": {"status": status}});
    let port = |port: u32| json!({"redirect": {"port_redirect": port}});
    let timeout = |seconds: &str| json!({"route": {"cluster": "a", "timeout": seconds}});
    let matching =
        |field: &str, matcher: Value| json!({"match": {field: matcher}, "route": {"cluster": "a"}});
    let range = |start: i64, end: i64| {
        let range = json!({"start": start.to_string(), "end": end.to_string()});
        matching("headers", json!([{"name": "x", "range_match": range}]))
    };
    let fraction = |numerator: u32| {
        let fraction = json!({"numerator": numerator, "denominator": "MILLION"});
        matching("runtime_fraction", json!({"default_value": fraction}))
    };
    let odd_port = |number: u32| {
        let mut cluster = cluster(&format!("port {number}"));
        cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
            ["port_value"] = number.into();
        cluster["connect_timeout"] = "-315576000000s".into();
        cluster
    };
    let mut numbered = vec![
        direct(0),
        direct(99),
        direct(u32::MAX),
        range(i64::MIN, i64::MAX),
        range(5, -5),
        timeout("-1s"),
        timeout("315576000000s"),
        timeout("0.000000001s"),
        port(0),
        port(u32::MAX),
        fraction(0),
        fraction(u32::MAX),
    ];
    for (at, route) in numbered.iter_mut().enumerate() {
        route["match"]["prefix"] = format!("/{at}").into();
    }
    let translation = outcome(vec![
        cluster("a"),
        odd_port(0),
        odd_port(65_536),
        odd_port(u32::MAX),
        routes(host(Value::Array(numbered))),
    ]);
    for at in 0..3 {
        listed(&translation, &format!("virtual_hosts[0].routes[{at}].direct_response.status"));
    }
}

#[test]
fn empty_everything() {
    let translation = outcome(vec![
        typed("cluster.v3.Cluster", json!({"name": ""})),
        typed("cluster.v3.Cluster", json!({"name": "empty", "type": "STATIC"})),
        routes(json!([
            {},
            {"name": "", "domains": [], "routes": []},
            {"name": "h", "domains": [""], "routes": [{}]},
            {"name": "h", "domains": ["a.com", "a.com"], "routes": [
                {"match": {}},
                {"match": {"prefix": ""}, "route": {}},
                {"match": {"prefix": "/", "headers": [{}], "query_parameters": [{}]}, "route": {"cluster": ""}},
                {"match": {"path": ""}, "redirect": {}},
                {"match": {"safe_regex": {"regex": ""}}, "direct_response": {}},
                {"match": {"prefix": "/"}, "route": {"weighted_clusters": {}}},
            ]},
        ])),
    ]);
    listed(&translation, "virtual_hosts[3].routes[0]");
}
