//! Random configurations: the same in every run.
//!
//! One listener, one route configuration, up to three virtual hosts with up to six routes, out of all that a route may
//! ask for and do.

use serde_json::{Map, Value, json};

use super::{cases::Case, random::Random};

const COUNT: u64 = 260;
const HCM: &str =
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const DOMAINS: [&str; 8] = ["a.com", "*.com", "x.b.com", "*.b.com", "a.*", "a.b.*", "b.com:8080", "*"];
const CLUSTERS: [&str; 4] = ["c0", "c1", "c2", "c3"];

/// All of them.
pub fn cases() -> Vec<Case> {
    (0..COUNT).map(|seed| Case { name: format!("generated/{seed:03}"), resources: resources(seed) }).collect()
}

fn resources(seed: u64) -> Vec<Value> {
    let mut random = Random::new(seed);
    let cluster = |name: &&str| {
        json!({"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": name, "type": "STATIC",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address":
                {"socket_address": {"address": "10.1.0.1", "port_value": 80}}}}]}]}})
    };
    let mut resources: Vec<Value> = CLUSTERS.iter().map(cluster).collect();
    resources.push(json!({"@type": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": "l",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": 80}},
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config":
            {"@type": HCM, "stat_prefix": "s", "rds": {"route_config_name": "r"}}}]}]}));
    resources.push(configuration(&mut random));
    resources
}

fn configuration(random: &mut Random) -> Value {
    let mut domains = DOMAINS.to_vec();
    random.shuffle(&mut domains);
    let count = 1 + random.below(3);
    let mut hosts = Vec::new();
    for at in 0..count {
        let share = 1 + random.below(2);
        let own: Vec<_> = domains.drain(..share).collect();
        let routes: Vec<Value> = (0..1 + random.below(6)).map(|_| route(random)).collect();
        let mut host = json!({"name": format!("h{at}"), "domains": own, "routes": routes});
        operations(random, &mut host, 3);
        hosts.push(host);
    }
    let mut configuration = json!({"@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": "r", "virtual_hosts": hosts, "ignore_port_in_host_matching": random.once_in(2),
        "most_specific_header_mutations_wins": random.once_in(2)});
    operations(random, &mut configuration, 3);
    configuration
}

fn route(random: &mut Random) -> Value {
    let mut route = json!({"match": matched(random)});
    let path = route["match"].as_object().unwrap().keys().next().unwrap().clone();
    match random.below(8) {
        0 => route["redirect"] = redirect(random, &path),
        1 => {
            route["direct_response"] = json!({"status": random.pick(&[200, 403, 418]),
                "body": {"inline_string": random.pick(&["hello", "a \"b\"", "$host"])}});
        }
        _ => route["route"] = forward(random, &path),
    }
    operations(random, &mut route, 2);
    route
}

fn matched(random: &mut Random) -> Value {
    let texts = ["/a", "/a/b", "/b", "/a/", "/a.b"];
    let text = *random.pick(&texts);
    let mut matched = match random.below(7) {
        0 | 1 => json!({"path": text}),
        2 | 3 => json!({"prefix": text}),
        4 => json!({"prefix": "/"}),
        5 => json!({"path_separated_prefix": random.pick(&["/a", "/a/b", "/b"])}),
        _ => json!({"safe_regex": {"regex": random.pick(&["/a|/b", "/a/.*", "/[ab]+", "/a/[^/]+(/x)?"])}}),
    };
    if matched["safe_regex"].is_null() && random.once_in(6) {
        matched["case_sensitive"] = false.into();
    }
    if random.once_in(2) {
        matched["headers"] = (0..1 + random.below(2)).map(|_| header(random)).collect();
    }
    if random.once_in(4) {
        let value = text_match(random);
        matched["query_parameters"] = match random.below(3) {
            0 => json!([{"name": "q", "present_match": true}]),
            _ => json!([{"name": "q", "string_match": value}]),
        };
    }
    matched
}

fn header(random: &mut Random) -> Value {
    let name = *random.pick(&["x-one", "x-two", ":method", ":authority"]);
    if name == ":method" {
        return json!({"name": name, "string_match": {"exact": random.pick(&["GET", "POST"])},
            "invert_match": random.once_in(3)});
    }
    let mut header = json!({"name": name});
    match random.below(4) {
        0 => header["present_match"] = random.once_in(2).into(),
        1 => header["range_match"] = json!({"start": "1", "end": "10"}),
        _ => header["string_match"] = text_match(random),
    }
    if random.once_in(3) {
        header["invert_match"] = true.into();
    }
    if random.once_in(4) {
        header["treat_missing_header_as_empty"] = true.into();
    }
    header
}

fn text_match(random: &mut Random) -> Value {
    let text = *random.pick(&["v", "v1", "a.b", "1"]);
    let mut matcher = match random.below(5) {
        0 => json!({"exact": text}),
        1 => json!({"prefix": text}),
        2 => json!({"suffix": text}),
        3 => json!({"contains": text}),
        _ => return json!({"safe_regex": {"regex": random.pick(&["v[0-9]", "a.b|v", "[^1]+"])}}),
    };
    if random.once_in(3) {
        matcher["ignore_case"] = true.into();
    }
    matcher
}

fn forward(random: &mut Random, path: &str) -> Value {
    let mut action = if random.once_in(4) {
        let entry = |name: &&str, weight: u32| json!({"name": name, "weight": weight});
        json!({"weighted_clusters": {"clusters": [entry(&"c0", 3), entry(random.pick(&CLUSTERS[1..]), 1)]}})
    } else if random.once_in(12) {
        json!({"cluster": "nowhere", "cluster_not_found_response_code":
            random.pick(&["SERVICE_UNAVAILABLE", "NOT_FOUND", "INTERNAL_SERVER_ERROR"])})
    } else {
        json!({"cluster": random.pick(&CLUSTERS)})
    };
    match random.below(5) {
        0 => action["prefix_rewrite"] = (*random.pick(&["/", "/new", "/new/"])).into(),
        1 => {
            let regex = if path == "path" { "^/(.).*" } else { "/([ab])" };
            action["regex_rewrite"] = json!({"pattern": {"regex": regex},
                "substitution": random.pick(&[r"/\1x", "/z", r"/n/\1"])});
        }
        _ => {}
    }
    match random.below(6) {
        0 => action["host_rewrite_literal"] = (*random.pick(&["new.example", "n.example:81"])).into(),
        1 => action["host_rewrite_header"] = "x-one".into(),
        _ => {}
    }
    action["timeout"] = "0s".into();
    action
}

fn redirect(random: &mut Random, path: &str) -> Value {
    let mut redirect = Map::new();
    let mut set = |name: &str, value: Value| drop(redirect.insert(name.to_owned(), value));
    match random.below(4) {
        0 => set("path_redirect", "/moved".into()),
        1 if path != "safe_regex" => set("prefix_rewrite", "/moved".into()),
        _ => {}
    }
    if random.once_in(2) {
        set("host_redirect", "there.example".into());
    }
    match random.below(4) {
        0 => set("https_redirect", true.into()),
        1 => set("scheme_redirect", "https".into()),
        _ => {}
    }
    if random.once_in(3) {
        set("port_redirect", (*random.pick(&[8443, 80, 443])).into());
    }
    if random.once_in(3) {
        set("strip_query", true.into());
    }
    if random.once_in(2) {
        set("response_code", (*random.pick(&["FOUND", "SEE_OTHER", "PERMANENT_REDIRECT"])).into());
    }
    Value::Object(redirect)
}

/// Header operations, once in `times` of each kind.
fn operations(random: &mut Random, owner: &mut Value, times: usize) {
    const ACTIONS: [&str; 4] =
        ["APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS"];
    for (field, names) in [("request", ["x-one", "x-added"]), ("response", ["x-both", "x-told"])] {
        if random.once_in(times * 2) {
            let value = *random.pick(&["r", "s t", "a:b", "50%%", "/p/"]);
            owner[format!("{field}_headers_to_add")] = json!([{"header": {"key": random.pick(&names), "value": value},
                "append_action": random.pick(&ACTIONS)}]);
        }
        if random.once_in(times * 3) {
            owner[format!("{field}_headers_to_remove")] = json!([names[0]]);
        }
    }
}
