//! Upstreams: where requests go, and how one node is chosen.

use serde::Serialize;

use super::{
    Checks, Timeout, canonical,
    check::{
        Checked, MAX_INTEGER, Within, characters, demand, each, host, id, if_there, name, no_secret,
        node_host, one_or_more, port, timeout, unique, zero_or_more,
    },
};

/// The largest weight of a node. Pickers loop over weight steps and hash rings have 160 points for each.
pub const MAX_WEIGHT: u32 = 1000;

/// An object under `/upstreams`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Upstream {
    /// The tail of the key.
    pub id: String,
    /// 1 to 256 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Up to 256 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desc: Option<String>,
    /// All but its name.
    #[serde(flatten)]
    pub spec: InlineUpstream,
}

impl Upstream {
    /// The canonical JSON.
    pub fn to_bytes(&self) -> bytes::Bytes {
        canonical(self)
    }

    /// The first rule of APISIX that it breaks.
    pub fn check(&self) -> Checked {
        id(&self.id).within("id")?;
        if_there(&self.name, |text| name(text)).within("name")?;
        if_there(&self.desc, |text| characters(text, 0..=256, "must be 256 characters at most: cut it"))
            .within("desc")?;
        self.spec.check()
    }
}

/// An upstream that stands inside another object, where it has no id. A share of a traffic split keeps only the
/// balancer, the nodes, the timeout and what concerns the host and the scheme.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct InlineUpstream {
    /// How a node is chosen.
    #[serde(rename = "type")]
    pub balancer: Balancer,
    /// With [`Balancer::Chash`]: what `key` names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash_on: Option<HashOn>,
    /// With [`Balancer::Chash`]: what is hashed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// No two of the same host, port and priority; none at all answers 503.
    pub nodes: Vec<Node>,
    /// For every node; a part of a traffic split has its route's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Timeout>,
    /// Always sent: APISIX's default is one less than there are nodes.
    pub retries: u32,
    /// Seconds for all tries together; 0 for no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_timeout: Option<f64>,
    /// How nodes are spoken to; http when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// With [`Scheme::Https`] and [`Scheme::Grpcs`]: what is shown to nodes. An upstream inside another object shows
    /// nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ClientTls>,
    /// The Host header that nodes see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pass_host: Option<PassHost>,
    /// With [`PassHost::Rewrite`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_host: Option<String>,
    /// How it is found out whether a node is healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checks: Option<Checks>,
    /// Connections of its own that are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive_pool: Option<KeepalivePool>,
}

impl InlineUpstream {
    /// Answers 503.
    pub fn without_nodes() -> Self {
        Self::default()
    }

    /// The one node.
    pub fn of_node(host: &str, port: u16, timeout: Timeout) -> Self {
        let node = Node { host: host.to_owned(), port: port.into(), weight: 1, priority: 0 };
        Self { nodes: vec![node], timeout: Some(timeout), ..Self::default() }
    }
}

impl InlineUpstream {
    pub(super) fn check(&self) -> Checked {
        each(&self.nodes, Node::check).within("nodes")?;
        let places: Vec<_> = self.nodes.iter().map(|n| (&n.host, n.port, n.priority)).collect();
        unique(&places).within("nodes")?;
        if self.balancer == Balancer::Chash {
            self.check_key().within("key")?;
        }
        if_there(&self.timeout, timeout).within("timeout")?;
        if_there(&self.retry_timeout, |n| zero_or_more(*n)).within("retry_timeout")?;
        if_there(&self.tls, |tls| id(&tls.client_cert_id).within("client_cert_id")).within("tls")?;
        if_there(&self.upstream_host, |text| host(text)).within("upstream_host")?;
        let named = self.pass_host != Some(PassHost::Rewrite) || self.upstream_host.is_some();
        demand(named, &self.upstream_host, "must be there with pass_host: rewrite")
            .within("upstream_host")?;
        if_there(&self.checks, Checks::check).within("checks")?;
        if_there(&self.keepalive_pool, KeepalivePool::check).within("keepalive_pool")
    }

    /// In a plugin's configuration, texts may not name secrets either.
    pub(super) fn check_in_plugin(&self) -> Checked {
        self.check()?;
        if_there(&self.key, |text| no_secret(text)).within("key")
    }

    /// The patterns of `upstream_hash_vars_schema` and its like.
    fn check_key(&self) -> Checked {
        let Some(key) = &self.key else { return demand(false, "", "must be there with type: chash") };
        let word = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        match self.hash_on.unwrap_or(HashOn::Vars) {
            HashOn::Vars => {
                let holds =
                    HASH_VARIABLES.contains(&key.as_str()) || key.strip_prefix("arg_").is_some_and(word);
                demand(holds, key, "must be one of APISIX's hash variables: use vars_combinations")
            }
            HashOn::Header | HashOn::Cookie => {
                demand(word(key), key, "must be a name of letters, digits, - and _")
            }
            HashOn::VarsCombinations => demand(!key.is_empty(), key, "must not be empty"),
        }
    }
}

/// What `hash_on: vars` takes, besides `arg_` and a name.
const HASH_VARIABLES: [&str; 10] = [
    "uri",
    "server_name",
    "server_addr",
    "request_uri",
    "remote_port",
    "remote_addr",
    "query_string",
    "host",
    "hostname",
    "mqtt_client_id",
];

impl KeepalivePool {
    fn check(&self) -> Checked {
        if_there(&self.size, |n| one_or_more(*n)).within("size")?;
        if_there(&self.idle_timeout, |n| zero_or_more(*n)).within("idle_timeout")?;
        if_there(&self.requests, |n| one_or_more(*n)).within("requests")
    }
}

impl Node {
    fn check(&self) -> Checked {
        node_host(&self.host).within("host")?;
        port(self.port).within("port")?;
        demand(self.weight <= MAX_WEIGHT, self.weight, "must be 1000 at most: divide all of them")
            .within("weight")?;
        demand(self.priority.unsigned_abs() <= MAX_INTEGER, self.priority, "is more than Lua can count")
            .within("priority")
    }
}

/// A file under `apisix/balancer`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Balancer {
    /// Smooth weighted round robin.
    #[default]
    #[serde(rename = "roundrobin")]
    RoundRobin,
    /// The fewest open connections for its weight.
    LeastConn,
    /// The same node for the same key: a ring of hashes.
    Chash,
}

/// What the key of [`Balancer::Chash`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HashOn {
    /// The name of one of the variables that APISIX allows here.
    Vars,
    /// The name of a header.
    Header,
    /// The name of a cookie.
    Cookie,
    /// A text with `$name` for variables.
    VarsCombinations,
}

/// How nodes are spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// HTTP/1.1
    Http,
    /// HTTP/1.1 over TLS
    Https,
    /// HTTP/2 with gRPC
    Grpc,
    /// HTTP/2 with gRPC over TLS
    Grpcs,
}

/// The client's side of TLS. APISIX checks no node's certificate: its `verify` is for Kafka alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClientTls {
    /// The id of an object under `/ssls` of the type `client`; where it is not there, requests are answered with 5xx.
    pub client_cert_id: String,
}

/// The Host header that nodes see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PassHost {
    /// The request's.
    Pass,
    /// The node's.
    Node,
    /// `upstream_host`.
    Rewrite,
}

/// Connections that are kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct KeepalivePool {
    /// 1 or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// Seconds, 0 or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<f64>,
    /// 1 or more: after as many, a connection is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
}

/// A node of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Node {
    /// IPv4, `[IPv6]` or a domain name.
    pub host: String,
    /// 1 to 65535.
    pub port: u32,
    /// 0 to [`MAX_WEIGHT`]; 0 is never chosen.
    pub weight: u32,
    /// Higher goes first; lower ones only when no node above is left.
    #[serde(skip_serializing_if = "is_zero")]
    pub priority: i64,
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apisix::{ActiveHealthy, ActiveUnhealthy, Passive, PassiveHealthy, PassiveUnhealthy};

    fn node(host: &str) -> Node {
        Node { host: host.to_owned(), port: 80, weight: 1, priority: 0 }
    }

    fn full() -> Upstream {
        let mut checks = Checks::default();
        let active = &mut checks.active;
        active.timeout = Some(1.0);
        active.concurrency = Some(1);
        active.host = Some("a".to_owned());
        active.port = Some(80);
        active.http_method = Some("GET".to_owned());
        active.http_path = Some("/".to_owned());
        active.req_headers = vec!["a: b".to_owned()];
        active.healthy =
            Some(ActiveHealthy { interval: Some(1), http_statuses: vec![200], successes: Some(254) });
        active.unhealthy = Some(ActiveUnhealthy::default());
        let healthy = PassiveHealthy { http_statuses: vec![200], successes: Some(0) };
        let unhealthy = PassiveUnhealthy::default();
        checks.passive =
            Some(Passive { healthy: Some(healthy), unhealthy: Some(unhealthy), ..Passive::default() });
        let timeout = Timeout { connect: 1.0, send: 1.0, read: 1.0 };
        let spec = InlineUpstream {
            balancer: Balancer::Chash,
            hash_on: Some(HashOn::Vars),
            key: Some("arg_a".to_owned()),
            nodes: vec![node("a"), node("10.0.0.1"), node("[::1]")],
            timeout: Some(timeout),
            pass_host: Some(PassHost::Rewrite),
            upstream_host: Some("a.com".to_owned()),
            scheme: Some(Scheme::Https),
            tls: Some(ClientTls { client_cert_id: "a".to_owned() }),
            retry_timeout: Some(0.0),
            checks: Some(checks),
            keepalive_pool: Some(KeepalivePool { size: Some(1), idle_timeout: Some(0.0), requests: Some(1) }),
            ..InlineUpstream::default()
        };
        Upstream { id: "a".to_owned(), name: Some("a".to_owned()), desc: Some(String::new()), spec }
    }

    #[track_caller]
    fn broken(place: &str, change: impl FnOnce(&mut Upstream)) {
        let mut upstream = full();
        change(&mut upstream);
        let text = upstream.check().expect_err(place).to_string();
        assert!(text.starts_with(&format!("{place}: ")), "{text}");
    }

    #[test]
    fn one_in_full_passes_and_is_flat() {
        assert_eq!(full().check(), Ok(()));
        assert_eq!(serde_json::to_value(full()).unwrap()["type"], "chash");
    }

    #[test]
    fn names() {
        for id in ["", "a/b", "a#", &"a".repeat(65)] {
            broken("id", |u| u.id = id.to_owned());
        }
        broken("name", |u| u.name = Some(String::new()));
        broken("name", |u| u.name = Some("ü".repeat(257)));
        broken("desc", |u| u.desc = Some("a".repeat(257)));
    }

    #[test]
    fn nodes() {
        for host in ["", "*", "::1", "[a]", "a b", "a:80", "$secret://a"] {
            broken("nodes[0].host", |u| u.spec.nodes[0] = node(host));
        }
        broken("nodes[0].port", |u| u.spec.nodes[0].port = 0);
        broken("nodes[0].port", |u| u.spec.nodes[0].port = 65536);
        broken("nodes[1].weight", |u| u.spec.nodes[1].weight = 1001);
        broken("nodes[1].priority", |u| u.spec.nodes[1].priority = i64::MIN);
        broken("nodes", |u| u.spec.nodes[1] = node("a"));
    }

    #[test]
    fn hash_keys() {
        broken("key", |u| u.spec.key = None);
        let key = |on, key: &str| {
            broken("key", |u| (u.spec.hash_on, u.spec.key) = (Some(on), Some(key.to_owned())));
        };
        key(HashOn::Vars, "http_a");
        key(HashOn::Vars, "arg_");
        key(HashOn::Header, "a b");
        key(HashOn::Cookie, "");
        key(HashOn::VarsCombinations, "");
        let secret = InlineUpstream {
            hash_on: Some(HashOn::VarsCombinations),
            key: Some("$secret://a".to_owned()),
            ..full().spec
        };
        assert_eq!(secret.check(), Ok(()));
        assert!(secret.check_in_plugin().is_err());
    }

    #[test]
    fn times_and_pools() {
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            broken("timeout.connect", |u| u.spec.timeout.as_mut().unwrap().connect = bad);
            broken("timeout.send", |u| u.spec.timeout.as_mut().unwrap().send = bad);
            broken("timeout.read", |u| u.spec.timeout.as_mut().unwrap().read = bad);
        }
        broken("retry_timeout", |u| u.spec.retry_timeout = Some(-1.0));
        broken("upstream_host", |u| u.spec.upstream_host = None);
        broken("upstream_host", |u| u.spec.upstream_host = Some("a b".to_owned()));
        broken("keepalive_pool.size", |u| u.spec.keepalive_pool.as_mut().unwrap().size = Some(0));
        broken("keepalive_pool.idle_timeout", |u| {
            u.spec.keepalive_pool.as_mut().unwrap().idle_timeout = Some(-0.1)
        });
        broken("keepalive_pool.requests", |u| u.spec.keepalive_pool.as_mut().unwrap().requests = Some(0));
    }

    #[test]
    fn checks() {
        let active = |place: &str, change: &dyn Fn(&mut crate::apisix::Active)| {
            broken(&format!("checks.active.{place}"), |u| {
                change(&mut u.spec.checks.as_mut().unwrap().active)
            });
        };
        active("timeout", &|a| a.timeout = Some(0.0));
        active("concurrency", &|a| a.concurrency = Some(0));
        active("host", &|a| a.host = Some("a\r\n".to_owned()));
        active("port", &|a| a.port = Some(0));
        active("http_method", &|a| a.http_method = Some("get".to_owned()));
        for path in ["", "a", "/a b", "/\r\n"] {
            active("http_path", &|a| a.http_path = Some(path.to_owned()));
        }
        for header in ["", "a", "a b: c", "a: b\nc: d"] {
            active("req_headers[0]", &|a| a.req_headers = vec![header.to_owned()]);
        }
        active("req_headers", &|a| a.req_headers = vec!["a: b".to_owned(); 2]);
        active("healthy.interval", &|a| a.healthy.as_mut().unwrap().interval = Some(0));
        active("healthy.successes", &|a| a.healthy.as_mut().unwrap().successes = Some(255));
        active("healthy.http_statuses[0]", &|a| a.healthy.as_mut().unwrap().http_statuses = vec![600]);
        active("unhealthy.interval", &|a| a.unhealthy.as_mut().unwrap().interval = Some(0));
        active("unhealthy.tcp_failures", &|a| a.unhealthy.as_mut().unwrap().tcp_failures = Some(0));
        active("unhealthy.http_failures", &|a| a.unhealthy.as_mut().unwrap().http_failures = Some(0));
        active("unhealthy.timeouts", &|a| a.unhealthy.as_mut().unwrap().timeouts = Some(0));
        active("unhealthy.http_statuses", &|a| a.unhealthy.as_mut().unwrap().http_statuses = vec![500, 500]);
        let passive = |place: &str, change: &dyn Fn(&mut Passive)| {
            let place = format!("checks.passive.{place}");
            broken(&place, |u| change(u.spec.checks.as_mut().unwrap().passive.as_mut().unwrap()));
        };
        passive("healthy.successes", &|p| p.healthy.as_mut().unwrap().successes = Some(255));
        passive("healthy.http_statuses[0]", &|p| p.healthy.as_mut().unwrap().http_statuses = vec![199]);
        passive("unhealthy.tcp_failures", &|p| p.unhealthy.as_mut().unwrap().tcp_failures = Some(255));
        passive("unhealthy.http_failures", &|p| p.unhealthy.as_mut().unwrap().http_failures = Some(255));
        passive("unhealthy.timeouts", &|p| p.unhealthy.as_mut().unwrap().timeouts = Some(255));
        passive("unhealthy.http_statuses[0]", &|p| p.unhealthy.as_mut().unwrap().http_statuses = vec![0]);
    }
}
