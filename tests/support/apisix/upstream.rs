//! Where a request may go: an upstream by its id or in place (`apisix/upstream.lua`, `apisix/balancer.lua`).

use std::collections::BTreeSet;

use serde_json::Value;

/// The share of a split that is answered with 503.
pub const UNAVAILABLE: &str = "503";

/// What of an upstream decides where and under which name a request goes.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// The cluster's name, or the nodes of an upstream without one.
    pub targets: BTreeSet<String>,
    pub has_nodes: bool,
    pass_host: PassHost,
}

#[derive(Debug, Clone)]
enum PassHost {
    Pass,
    /// The host of each node.
    Node(BTreeSet<String>),
    Rewrite(String),
}

impl Upstream {
    /// Reads an upstream.
    pub fn new(value: &Value) -> Self {
        assert!(value.get("service_name").is_none(), "not modelled: {value}");
        let nodes = value["nodes"].as_array().unwrap_or_else(|| panic!("not modelled: {value}"));
        let address = |node: &Value| format!("{}:{}", node["host"].as_str().unwrap(), node["port"]);
        let addresses: BTreeSet<String> = nodes.iter().map(address).collect();
        let targets = value["name"].as_str().map_or(addresses, |name| BTreeSet::from([name.to_owned()]));
        let standard = match value["scheme"].as_str() {
            None | Some("http" | "grpc") => 80,
            Some("https" | "grpcs") => 443,
            Some(other) => panic!("not modelled: scheme {other}"),
        };
        let host_of = |node: &Value| match node["port"].as_u64() {
            Some(port) if port == standard => node["host"].as_str().unwrap().to_owned(),
            _ => address(node),
        };
        let pass_host = match value["pass_host"].as_str() {
            None | Some("pass") => PassHost::Pass,
            Some("node") => PassHost::Node(nodes.iter().map(host_of).collect()),
            Some("rewrite") => PassHost::Rewrite(value["upstream_host"].as_str().unwrap().to_owned()),
            Some(other) => panic!("not modelled: pass_host {other}"),
        };
        Self { targets, has_nodes: !nodes.is_empty(), pass_host }
    }

    /// The Host header that goes up instead; several of different nodes stand side by side.
    pub fn host(&self) -> Option<String> {
        match &self.pass_host {
            PassHost::Pass => None,
            PassHost::Node(hosts) => Some(hosts.iter().cloned().collect::<Vec<_>>().join(" or ")),
            PassHost::Rewrite(host) => Some(host.clone()),
        }
    }
}
