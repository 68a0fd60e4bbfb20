//! One case for both sides, and what it is cut down to so that a lone Envoy on a lone host can run it.
//!
//! Taken away on both sides, since it cannot be run here and would hide the rest:
//! * transport sockets, and of filter chain matches what asks for TLS, names or protocols. Of chains that are for the
//!   same connections then, the plaintext one is kept, else the first;
//! * HTTP filters that are not in [`RUNNABLE`], in chains and in `typed_per_filter_config`: they need a service, a
//!   file or a clock;
//! * access logs, tracing and HTTP/3.
//!
//! A route configuration that no listener uses gets a plain one.
//!
//! For Envoy alone: each HTTP chain becomes a listener of its own with its routes inside, clusters become STATIC with
//! nothing but their endpoints at addresses of the stub backend, in one locality; delays take no time; each route gets
//! a name that tells its place; and a first filter puts this name into every response.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use super::cases::Case;

/// The response header that tells Envoy's route, as `judge:<virtual host>:<route>`.
pub const ROUTE: &str = "x-judge-route";

const HCM: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
const RUNNABLE: [&str; 6] = ["buffer", "cors", "fault", "header_mutation", "rbac", "router"];
/// An address that no listener has for itself.
const ELSEWHERE: &str = "192.0.2.1";

/// A case for both sides.
#[derive(Debug)]
pub struct Prepared {
    pub name: String,
    /// The resources that are translated.
    pub ours: Vec<Value>,
    pub chains: Vec<Chain>,
    pub clusters: Vec<Cluster>,
}

/// An HTTP filter chain and its routes: one case of the comparison.
#[derive(Debug, Clone)]
pub struct Chain {
    pub name: String,
    pub listener: String,
    /// Where it stands in its listener.
    pub path: String,
    /// Where connections to it were going.
    pub original_dst: String,
    pub outbound: bool,
    pub config: Value,
    /// The configuration is an RDS resource of this name, else it stands inside the chain.
    pub rds: Option<String>,
    pub hcm: Value,
}

/// A cluster, as far as it is compared.
#[derive(Debug)]
pub struct Cluster {
    pub name: String,
    pub original_dst: bool,
    /// The health of each endpoint.
    pub endpoints: Vec<Value>,
    panic_threshold: Value,
    circuit_breakers: Value,
}

/// Cuts the case down.
pub fn prepare(case: &Case) -> Prepared {
    let mut ours: Vec<Value> = case.resources.iter().filter(|r| kind(r) != "Secret").cloned().collect();
    let configs: BTreeMap<String, Value> = {
        let of_kind = ours.iter_mut().filter(|r| kind(r) == "RouteConfiguration");
        of_kind.map(|config| {
            strip_filters(config);
            (text(&config["name"]), config.clone())
        })
    }
    .collect();
    let mut chains = Vec::new();
    for listener in ours.iter_mut().filter(|r| kind(r) == "Listener") {
        choose_chains(listener);
        strip_filters(listener);
        chains
            .extend(http_chains(listener).into_iter().filter_map(|place| chain(listener, &place, &configs)));
    }
    let used: HashSet<String> = chains.iter().filter_map(|c| c.rds.clone()).collect();
    for (at, name) in configs.keys().filter(|name| !used.contains(*name)).enumerate() {
        let listener = plain_listener(name, at);
        let place = Place { pointer: "/filter_chains/0".into(), path: "filter_chains[0]".into() };
        chains.extend(chain(&listener, &place, &configs));
        ours.push(listener);
    }
    for cluster in ours.iter_mut().filter(|r| kind(r) == "Cluster") {
        // Envoy gets endpoints of ours, without the labels that subsets are of.
        take(cluster, &["transport_socket", "transport_socket_matches", "lb_subset_config"]);
    }
    let clusters = ours.iter().filter(|r| kind(r) == "Cluster").map(|c| cluster(c, &ours)).collect();
    for chain in &mut chains {
        chain.name = format!("{} {}", case.name, chain.name);
    }
    Prepared { name: case.name.clone(), ours, chains, clusters }
}

/// A listener for a configuration that none uses: istiod's captures of old have lost what their listeners do.
fn plain_listener(config: &str, at: usize) -> Value {
    let port = config.parse().unwrap_or(30_000 + u16::try_from(at).unwrap());
    json!({"@type": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": format!("for {config}"),
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager",
            "typed_config": {"@type": format!("type.googleapis.com/{HCM}"), "rds": {"route_config_name": config}}}]}]})
}

/// The last part of a resource's type.
pub fn kind(resource: &Value) -> &str {
    resource["@type"].as_str().and_then(|t| t.rsplit('.').next()).unwrap_or_default()
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn take(value: &mut Value, fields: &[&str]) {
    if let Some(members) = value.as_object_mut() {
        fields.iter().for_each(|f| drop(members.remove(*f)));
    }
}

/// Every object under `value`, the inner ones after the outer.
fn each_object(value: &mut Value, work: &mut impl FnMut(&mut Value)) {
    if value.is_object() {
        work(value);
    }
    match value {
        Value::Object(members) => members.values_mut().for_each(|v| each_object(v, work)),
        Value::Array(items) => items.iter_mut().for_each(|v| each_object(v, work)),
        _ => {}
    }
}

fn strip_filters(resource: &mut Value) {
    each_object(resource, &mut |object| {
        take(
            object,
            &[
                "access_log",
                "access_log_options",
                "tracing",
                "http3_protocol_options",
                "request_id_extension",
            ],
        );
        if let Some(filters) = object.get_mut("http_filters").and_then(Value::as_array_mut) {
            filters.retain(|f| is_runnable(&f["typed_config"]));
        }
        if let Some(Value::Object(filters)) = object.get_mut("typed_per_filter_config") {
            filters.retain(|_, config| is_runnable(config));
        }
        for list in ["request_headers_to_add", "response_headers_to_add"] {
            if let Some(options) = object.get_mut(list).and_then(Value::as_array_mut) {
                options.retain(|option| !tells_of_us(&text(&option["header"]["value"])));
            }
        }
        if object["codec_type"] == "HTTP3" {
            take(object, &["codec_type"]);
        }
    });
}

/// Names and addresses that are this comparison's own.
fn tells_of_us(value: &str) -> bool {
    ["%UPSTREAM_", "%ROUTE_NAME%", "%RESPONSE_CODE%"].iter().any(|command| value.contains(command))
}

fn is_runnable(config: &Value) -> bool {
    let url = |config: &Value| text(&config["@type"]);
    let wrapped = url(config).ends_with("/envoy.config.route.v3.FilterConfig");
    let known = |url: String| {
        RUNNABLE.iter().any(|name| url.contains(&format!("envoy.extensions.filters.http.{name}.")))
    };
    match wrapped && config["config"].is_object() {
        true => known(url(&config["config"])),
        false => wrapped || known(url(config)),
    }
}

/// Where a chain stands: a pointer into its listener, and the same as a path of issues.
struct Place {
    pointer: String,
    path: String,
}

fn places(listener: &Value) -> Vec<Place> {
    let place = |pointer: String, path: String| Place { pointer, path };
    if listener["api_listener"].is_object() {
        return vec![place("/api_listener".into(), "api_listener".into())];
    }
    let numbered = |at| place(format!("/filter_chains/{at}"), format!("filter_chains[{at}]"));
    let mut places: Vec<_> = (0..list(&listener["filter_chains"]).len()).map(numbered).collect();
    if listener["default_filter_chain"].is_object() {
        places.push(place("/default_filter_chain".into(), "default_filter_chain".into()));
    }
    places
}

fn http_chains(listener: &Value) -> Vec<Place> {
    let mut places = places(listener);
    places.retain(|p| connection_manager(listener.pointer(&p.pointer).unwrap()).is_some());
    places
}

fn connection_manager(chain: &Value) -> Option<&Value> {
    let is_hcm = |config: &&Value| config["@type"].as_str().is_some_and(|t| t.ends_with(HCM));
    Some(&chain["api_listener"])
        .filter(is_hcm)
        .or_else(|| list(&chain["filters"]).iter().map(|f| &f["typed_config"]).find(is_hcm))
}

/// Keeps one HTTP chain for each destination, without what asks for TLS.
fn choose_chains(listener: &mut Value) {
    let places = http_chains(listener);
    let encrypted = |p: &&Place| is_encrypted(listener.pointer(&p.pointer).unwrap());
    let (secret, mut in_order): (Vec<_>, Vec<_>) = places.iter().partition(encrypted);
    in_order.extend(secret);
    let mut seen = HashSet::new();
    let mut dropped: Vec<String> = Vec::new();
    for place in in_order {
        let matched = &listener.pointer(&place.pointer).unwrap()["filter_chain_match"];
        if !seen.insert((matched["destination_port"].to_string(), matched["prefix_ranges"].to_string())) {
            dropped.push(place.pointer.clone());
        }
    }
    for pointer in &dropped {
        *listener.pointer_mut(pointer).unwrap() = Value::Null;
    }
    if listener["default_filter_chain"].is_null() {
        take(listener, &["default_filter_chain"]);
    }
    if let Some(chains) = listener.get_mut("filter_chains").and_then(Value::as_array_mut) {
        chains.retain(|c| !c.is_null());
    }
    each_object(listener, &mut |object| {
        take(object, &["transport_socket"]);
        if let Some(matched) = object.get_mut("filter_chain_match") {
            take(matched, &["transport_protocol", "server_names", "application_protocols"]);
        }
    });
}

fn is_encrypted(chain: &Value) -> bool {
    let matched = &chain["filter_chain_match"];
    let raw = kind(&chain["transport_socket"]["typed_config"]) == "RawBuffer";
    matched["transport_protocol"] == "tls"
        || !list(&matched["server_names"]).is_empty()
        || (chain["transport_socket"].is_object() && !raw)
}

fn chain(listener: &Value, place: &Place, configs: &BTreeMap<String, Value>) -> Option<Chain> {
    let found = listener.pointer(&place.pointer)?;
    let hcm = connection_manager(found)?;
    let rds = hcm["rds"]["route_config_name"].as_str();
    let config = match rds {
        Some(name) => configs.get(name)?.clone(),
        None => hcm.get("route_config").filter(|c| !list(&c["virtual_hosts"]).is_empty())?.clone(),
    };
    let (original_dst, outbound) = destination(listener, &found["filter_chain_match"])?;
    let name = text(&listener["name"]);
    Some(Chain {
        name: format!("{name} {}", place.path),
        listener: name,
        path: place.path.clone(),
        original_dst,
        outbound,
        config,
        rds: rds.map(str::to_owned),
        hcm: hcm.clone(),
    })
}

/// A connection that this chain gets, and whether this pod opened it.
fn destination(listener: &Value, matched: &Value) -> Option<(String, bool)> {
    let outbound = listener["traffic_direction"] != "INBOUND";
    if listener["api_listener"].is_object() {
        return Some((format!("{ELSEWHERE}:80"), true));
    }
    let socket = &listener["address"]["socket_address"];
    let redirected = listener["use_original_dst"] == true
        || list(&listener["listener_filters"])
            .iter()
            .any(|f| f["name"] == "envoy.filters.listener.original_dst");
    let port = matched["destination_port"].as_u64();
    let port = if redirected { port? } else { socket["port_value"].as_u64()? };
    let own: std::net::IpAddr = socket["address"].as_str()?.parse().ok()?;
    let range = list(&matched["prefix_ranges"]).first().and_then(|r| r["address_prefix"].as_str());
    let ip = match range {
        Some(ip) => ip.parse().ok()?,
        None if own.is_unspecified() || redirected => ELSEWHERE.parse().ok()?,
        None => own,
    };
    Some((std::net::SocketAddr::new(ip, u16::try_from(port).ok()?).to_string(), outbound))
}

fn cluster(resource: &Value, all: &[Value]) -> Cluster {
    let name = text(&resource["name"]);
    let service =
        resource["eds_cluster_config"]["service_name"].as_str().filter(|s| !s.is_empty()).unwrap_or(&name);
    let assignments = || all.iter().filter(|r| kind(r) == "ClusterLoadAssignment");
    let assignment = match resource["type"].as_str() {
        Some("EDS") => assignments().find(|a| a["cluster_name"] == service).cloned().unwrap_or_default(),
        _ => resource["load_assignment"].clone(),
    };
    let known = ["EDS", "STATIC", "STRICT_DNS", "LOGICAL_DNS"];
    let own_way = resource["type"].as_str().is_some_and(|t| !known.contains(&t))
        || resource["cluster_type"].is_object();
    let mut endpoints: Vec<Value> = list(&assignment["endpoints"])
        .iter()
        .flat_map(|locality| list(&locality["lb_endpoints"]))
        .filter(|e| e["endpoint"]["address"]["socket_address"].is_object())
        .map(|e| e["health_status"].clone())
        .collect();
    if own_way && endpoints.is_empty() {
        endpoints.push(Value::Null);
    }
    Cluster {
        original_dst: resource["type"] == "ORIGINAL_DST",
        endpoints,
        panic_threshold: resource["common_lb_config"]["healthy_panic_threshold"].clone(),
        circuit_breakers: resource["circuit_breakers"].clone(),
        name,
    }
}

impl Cluster {
    /// For Envoy, its endpoints at these addresses.
    pub fn for_envoy(&self, prefix: &str, addresses: &[String], port: u16) -> Value {
        let name = format!("{prefix}{}", self.name);
        let endpoint = |(health, address): (&Value, &String)| {
            let socket = json!({"address": address, "port_value": port});
            let mut endpoint = json!({"endpoint": {"address": {"socket_address": socket}}});
            if !health.is_null() {
                endpoint["health_status"] = health.clone();
            }
            endpoint
        };
        let endpoints: Vec<Value> = self.endpoints.iter().zip(addresses).map(endpoint).collect();
        let mut cluster = json!({"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": name,
            "type": "STATIC", "connect_timeout": "5s",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}});
        if !self.panic_threshold.is_null() {
            cluster["common_lb_config"] = json!({"healthy_panic_threshold": self.panic_threshold});
        }
        if !self.circuit_breakers.is_null() {
            cluster["circuit_breakers"] = self.circuit_breakers.clone();
        }
        cluster
    }
}

impl Chain {
    /// For Envoy: a listener at this address, whose clusters' names have this prefix.
    pub fn for_envoy(&self, name: &str, prefix: &str, address: &str, port: u16) -> Value {
        let mut hcm = self.hcm.clone();
        take(&mut hcm, &["rds", "route_config", "scoped_routes"]);
        hcm["stat_prefix"] = "judge".into();
        hcm["route_config"] = route_config(&self.config, prefix);
        let mut filters = list(&hcm["http_filters"]).to_vec();
        filters.retain(|f| kind(&f["typed_config"]) != "Router");
        filters.insert(0, telling_filter());
        filters.push(json!({"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}));
        hcm["http_filters"] = filters.into();
        each_object(&mut hcm, &mut |object| {
            if kind(object) == "HTTPFault" && object["delay"].is_object() {
                object["delay"]["percentage"] = json!({"numerator": 0});
            }
        });
        json!({"@type": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": name,
            "address": {"socket_address": {"address": address, "port_value": port}},
            "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager",
                "typed_config": hcm}]}]})
    }
}

fn telling_filter() -> Value {
    json!({"name": "judge", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        "mutations": {"response_mutations": [{"append": {"header": {"key": ROUTE, "value": "%ROUTE_NAME%"},
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}]}}})
}

fn route_config(config: &Value, prefix: &str) -> Value {
    let mut config = config.clone();
    take(&mut config, &["@type", "vhds"]);
    config["validate_clusters"] = false.into();
    for (host_at, host) in items(&mut config, "virtual_hosts").enumerate() {
        for (at, route) in items(host, "routes").enumerate() {
            route["name"] = format!("judge:{host_at}:{at}").into();
        }
    }
    each_object(&mut config, &mut |object| {
        if object["cluster"].is_string() {
            object["cluster"] = format!("{prefix}{}", text(&object["cluster"])).into();
        }
        for entry in items(object, "clusters") {
            entry["name"] = format!("{prefix}{}", text(&entry["name"])).into();
        }
    });
    config
}

fn items<'a>(value: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    value.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}
