//! What APISIX's schemas and data plane demand of the objects, checked by hand.

use std::collections::{BTreeMap, BTreeSet};

use apisix_mesh::apisix::{Directory, Key};
use bytes::Bytes;
use serde_json::Value;

/// Fails with the key and the rule that an object breaks; an upstream that is named must be there.
pub fn check(objects: &BTreeMap<Key, Bytes>) {
    let upstreams: BTreeSet<&str> =
        objects.keys().filter(|k| k.directory() == Directory::Upstreams).map(Key::id).collect();
    for (key, bytes) in objects {
        let value: Value = serde_json::from_slice(bytes).expect("JSON");
        let problem = match key.directory() {
            Directory::Upstreams => upstream(&value),
            Directory::Routes => route(&value, &upstreams),
        };
        let problem = problem.and_then(|()| common(key, &value));
        if let Err(problem) = problem {
            panic!("{key}: {problem}: {value:#}");
        }
    }
}

type Checked = Result<(), String>;

fn demand(holds: bool, rule: &str) -> Checked {
    if holds { Ok(()) } else { Err(rule.to_owned()) }
}

fn only(value: &Value, known: &[&str]) -> Checked {
    let unknown: Vec<_> =
        value.as_object().unwrap().keys().filter(|k| !known.contains(&k.as_str())).collect();
    demand(unknown.is_empty(), &format!("unknown fields {unknown:?}"))
}

fn common(key: &Key, value: &Value) -> Checked {
    let id = value["id"].as_str().unwrap_or_default();
    demand(id == key.id(), "id is the key's tail")?;
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    demand((1..=64).contains(&id.len()) && id.bytes().all(legal), "id pattern")?;
    for field in ["name", "desc"] {
        if let Some(text) = value.get(field) {
            demand((1..=256).contains(&text.as_str().unwrap().len()), "name and desc are 1 to 256 long")?;
        }
    }
    match value.get("timeout") {
        Some(timeout) => {
            only(timeout, &["connect", "send", "read"])?;
            let above_zero = |f: &str| timeout[f].as_f64().is_some_and(|n| n > 0.0);
            demand(["connect", "send", "read"].iter().all(|f| above_zero(f)), "three timeouts above 0")
        }
        None => Ok(()),
    }
}

fn host(text: &str) -> bool {
    let rest = text.strip_prefix('*').unwrap_or(text);
    text == "*"
        || (!rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._[]:".contains(&b)))
}

fn upstream(value: &Value) -> Checked {
    only(value, UPSTREAM)?;
    demand(matches!(value["type"].as_str(), Some("roundrobin" | "least_conn" | "chash")), "type")?;
    demand(value["retries"].is_u64(), "retries are there")?;
    let mut seen = BTreeSet::new();
    for node in value["nodes"].as_array().ok_or("nodes is a list")? {
        only(node, &["host", "port", "weight", "priority"])?;
        demand(node["host"].as_str().is_some_and(host), "node host")?;
        demand(node["port"].as_u64().is_some_and(|p| (1..=65535).contains(&p)), "node port")?;
        demand(node["weight"].as_u64().is_some_and(|w| (1..=1000).contains(&w)), "node weight")?;
        demand(node.get("priority").is_none_or(Value::is_i64), "node priority")?;
        let place = format!("{} {} {:?}", node["host"], node["port"], node.get("priority"));
        demand(seen.insert(place), "a node stands once in its priority")?;
    }
    Ok(())
}

const UPSTREAM: &[&str] = &[
    "id",
    "name",
    "desc",
    "type",
    "hash_on",
    "key",
    "nodes",
    "timeout",
    "retries",
    "retry_timeout",
    "scheme",
    "pass_host",
    "upstream_host",
    "checks",
    "keepalive_pool",
];

const ROUTE: &[&str] = &[
    "id",
    "name",
    "uris",
    "hosts",
    "priority",
    "vars",
    "timeout",
    "upstream",
    "upstream_id",
    "plugins",
    "enable_websocket",
];

fn route(value: &Value, upstreams: &BTreeSet<&str>) -> Checked {
    only(value, ROUTE)?;
    let texts = |field: &str| -> Vec<&str> {
        value.get(field).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let uris = texts("uris");
    demand(!uris.is_empty() && uris.iter().all(|u| u.starts_with('/') && u.len() <= 4096), "uris")?;
    demand(uris.iter().collect::<BTreeSet<_>>().len() == uris.len(), "uris are unique")?;
    let hosts = texts("hosts");
    demand(value.get("hosts").is_none() || !hosts.is_empty(), "no empty hosts")?;
    demand(hosts.iter().all(|h| host(h) && !h.bytes().any(|b| b.is_ascii_uppercase())), "hosts")?;
    demand(hosts.iter().collect::<BTreeSet<_>>().len() == hosts.len(), "hosts are unique")?;
    demand(value["priority"].is_i64(), "priority")?;
    let sources = ["upstream_id", "upstream", "plugins"];
    demand(sources.iter().any(|f| value.get(f).is_some()), "upstream or plugin")?;
    if let Some(inline) = value.get("upstream") {
        demand(value.get("upstream_id").is_none(), "upstream or upstream_id")?;
        upstream(inline)?;
    }
    if let Some(id) = value.get("upstream_id") {
        demand(upstreams.contains(id.as_str().unwrap()), "upstream_id dangles")?;
    }
    for condition in value.get("vars").and_then(Value::as_array).into_iter().flatten() {
        vars(condition)?;
    }
    plugins(value.get("plugins").unwrap_or(&Value::Object(Default::default())), upstreams)
}

fn vars(condition: &Value) -> Checked {
    let parts = condition.as_array().ok_or("a condition is a list")?;
    if matches!(parts[0].as_str(), Some("AND" | "OR" | "!AND" | "!OR")) {
        demand(parts.len() >= 3, "a group has two conditions or more")?;
        return parts[1..].iter().try_for_each(vars);
    }
    let operator = if parts[1] == "!" { &parts[2..] } else { &parts[1..] };
    demand(operator.len() == 2, "variable, operator, operand")?;
    let known = ["==", "~=", ">", ">=", "<", "<=", "~~", "~*", "in", "has", "ipmatch"];
    demand(operator[0].as_str().is_some_and(|o| known.contains(&o)), "operator")
}

const PLUGINS: &[&str] = &[
    "api-breaker",
    "client-control",
    "cors",
    "csrf",
    "fault-injection",
    "forward-auth",
    "grpc-web",
    "gzip",
    "ip-restriction",
    "limit-conn",
    "limit-count",
    "limit-req",
    "proxy-mirror",
    "proxy-rewrite",
    "real-ip",
    "redirect",
    "request-id",
    "response-rewrite",
    "traffic-split",
];

fn plugins(plugins: &Value, upstreams: &BTreeSet<&str>) -> Checked {
    only(plugins, PLUGINS)?;
    if let Some(abort) = plugins.get("fault-injection").and_then(|f| f.get("abort")) {
        demand(abort["http_status"].as_u64().is_some_and(|s| s >= 200), "abort status")?;
    }
    if let Some(split) = plugins.get("traffic-split") {
        let entries = split["rules"][0]["weighted_upstreams"].as_array().ok_or("weighted_upstreams")?;
        demand((1..=20).contains(&entries.len()), "1 to 20 entries")?;
        let mut ids = BTreeSet::new();
        for entry in entries {
            only(entry, &["upstream_id", "upstream", "weight"])?;
            demand(entry["weight"].as_u64().is_some(), "weight")?;
            if let Some(id) = entry.get("upstream_id").and_then(Value::as_str) {
                demand(upstreams.contains(id) && ids.insert(id), "upstream_id is there, and once")?;
            }
        }
    }
    if let Some(redirect) = plugins.get("redirect") {
        demand(redirect["ret_code"].as_u64().is_some_and(|c| c >= 200), "ret_code")?;
    }
    Ok(())
}
