//! For random virtual hosts and routes, every request ends where Envoy's rules send it: one virtual host by its
//! domains, in it the first route that matches, and nothing else.

mod support;

use apisix_mesh::translate::translate;
use proptest::{prelude::*, sample::select};
use serde_json::{Value, json};
use support::{
    load,
    router::{Outcome, Request, choose, matches},
};

const PREFIX: &str = "type.googleapis.com/envoy";
const DOMAINS: [&str; 7] = ["a.com", "*.com", "x.b.com", "*.b.com", "a.*", "a.b.*", "*"];
const HOSTS: [&str; 7] = ["a.com", "c.com", "x.b.com", "y.b.com", "a.org", "a.b.org", "other"];
const PATHS: [&str; 8] = ["/", "/a", "/a/", "/a/b", "/ab", "/A/b", "/b", "/a/b/c"];

#[derive(Debug, Clone)]
enum Test {
    Exact(&'static str),
    Prefix(&'static str),
    Separated(&'static str),
    AnyCasePrefix(&'static str),
    Regex(&'static str),
}

#[derive(Debug, Clone)]
struct Route {
    test: Test,
    /// Asks for the header `x`.
    header: bool,
}

#[derive(Debug, Clone)]
struct Host {
    domains: Vec<&'static str>,
    routes: Vec<Route>,
}

impl Test {
    fn json(&self) -> Value {
        match self {
            Self::Exact(text) => json!({"path": text}),
            Self::Prefix(text) => json!({"prefix": text}),
            Self::Separated(text) => json!({"pathSeparatedPrefix": text}),
            Self::AnyCasePrefix(text) => json!({"prefix": text, "caseSensitive": false}),
            Self::Regex(text) => json!({"safeRegex": {"regex": text}}),
        }
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(text) => path == *text,
            Self::Prefix(text) => path.starts_with(text),
            Self::Separated(text) => {
                path.strip_prefix(text).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::AnyCasePrefix(text) => path.to_lowercase().starts_with(&text.to_lowercase()),
            Self::Regex(text) => matches(&format!("^(?:{text})$"), path),
        }
    }
}

fn test() -> impl Strategy<Value = Test> {
    let literals = || select(vec!["/a", "/a/b", "/b", "/a/"]);
    prop_oneof![
        literals().prop_map(Test::Exact),
        literals().prop_map(Test::Prefix),
        Just(Test::Prefix("/")),
        select(vec!["/a", "/a/b"]).prop_map(Test::Separated),
        select(vec!["/A", "/a/B"]).prop_map(Test::AnyCasePrefix),
        select(vec!["/a|/b", "/a/.*", "/[ab]+"]).prop_map(Test::Regex),
    ]
}

/// Each domain belongs to at most one virtual host, as Envoy demands.
fn hosts() -> impl Strategy<Value = Vec<Host>> {
    let routes = || prop::collection::vec((test(), any::<bool>()), 0..6);
    let owners = prop::collection::vec(0..5usize, DOMAINS.len());
    (owners, [routes(), routes(), routes(), routes()]).prop_map(|(owners, routes)| {
        let host = |(at, routes): (usize, Vec<(Test, bool)>)| Host {
            domains: DOMAINS.into_iter().zip(&owners).filter(|(_, o)| **o == at).map(|(d, _)| d).collect(),
            routes: routes.into_iter().map(|(test, header)| Route { test, header }).collect(),
        };
        routes.into_iter().enumerate().map(host).filter(|h| !h.domains.is_empty()).collect()
    })
}

/// Exact, then the longest suffix, then the longest prefix, then `*`.
fn envoy_domain_rank(domain: &str, host: &str) -> Option<(u8, usize)> {
    match (domain, domain.strip_prefix('*'), domain.strip_suffix('*')) {
        ("*", _, _) => Some((0, 0)),
        (_, Some(suffix), _) => {
            (host.len() > suffix.len() && host.ends_with(suffix)).then_some((2, suffix.len()))
        }
        (_, _, Some(prefix)) => {
            (host.len() > prefix.len() && host.starts_with(prefix)).then_some((1, prefix.len()))
        }
        _ => (domain == host).then_some((3, 0)),
    }
}

fn envoy(hosts: &[Host], host: &str, path: &str, header: bool) -> Outcome {
    let ranked = hosts
        .iter()
        .enumerate()
        .filter_map(|(at, h)| Some((h.domains.iter().filter_map(|d| envoy_domain_rank(d, host)).max()?, at)));
    let Some((_, at)) = ranked.max() else { return Outcome::NoRoute };
    let first = hosts[at].routes.iter().position(|r| r.test.matches(path) && (header || !r.header));
    first.map_or(Outcome::Answer(404), |route| Outcome::Upstreams(vec![format!("c{at}-{route}")]))
}

fn document(hosts: &[Host]) -> Value {
    let hcm = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let mut document = vec![json!({"@type": format!("{PREFIX}.config.listener.v3.Listener"), "name": "l",
        "address": {"socketAddress": {"address": "0.0.0.0", "portValue": 80}},
        "filterChains": [{"filters": [{"name": "hcm", "typedConfig":
            {"@type": format!("{PREFIX}.{hcm}"), "rds": {"routeConfigName": "r"}}}]}]})];
    let mut virtual_hosts = Vec::new();
    for (at, host) in hosts.iter().enumerate() {
        let mut routes = Vec::new();
        for (route_at, route) in host.routes.iter().enumerate() {
            let name = format!("c{at}-{route_at}");
            let mut matched = route.test.json();
            if route.header {
                matched["headers"] = json!([{"name": "x", "presentMatch": true}]);
            }
            routes.push(json!({"match": matched, "route": {"cluster": name}}));
            document.push(json!({"@type": format!("{PREFIX}.config.cluster.v3.Cluster"), "name": name}));
        }
        virtual_hosts.push(json!({"name": format!("h{at}"), "domains": host.domains, "routes": routes}));
    }
    document.push(json!({"@type": format!("{PREFIX}.config.route.v3.RouteConfiguration"), "name": "r",
        "virtualHosts": virtual_hosts, "ignorePortInHostMatching": true}));
    Value::Array(document)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_end_where_envoy_sends_them(hosts in hosts()) {
        let objects = translate(&load::snapshot(load::resources(&document(&hosts)))).objects;
        for host in HOSTS {
            for path in PATHS {
                for header in [false, true] {
                    let request = Request::get("10.0.0.1:80", host, path);
                    let request = if header { request.var("http_x", "1") } else { request };
                    let ours = choose(&objects, &request);
                    prop_assert_eq!(ours, envoy(&hosts, host, path, header), "{}{} header: {}", host, path, header);
                }
            }
        }
    }
}
