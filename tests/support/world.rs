//! Random configurations and requests that most often hit something in them: few words, used everywhere.

pub mod request;

use proptest::{
    collection::vec,
    option,
    prelude::{Just, Strategy, any, prop_oneof},
    sample::select,
};
use serde_json::{Map, Value, json};

use super::exchange::Request;

const TYPES: &str = "type.googleapis.com/envoy";
const MANAGER: &str = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

const DOMAINS: [&str; 14] = [
    "a.com",
    "*.com",
    "x.b.com",
    "*.b.com",
    "a.*",
    "a.b.*",
    "*",
    "a.com:80",
    "B.com:81",
    "*.com:80",
    "a.com:*",
    "[::1]",
    "*-b.com",
    "10.0.0.1:80",
];
const AUTHORITIES: [&str; 20] = [
    "a.com",
    "A.COM",
    "a.com:80",
    "a.com:81",
    "b.com",
    "b.com:81",
    "c.com",
    "c.com:80",
    "x.b.com",
    "y.b.com",
    "y.b.com:80",
    "x-b.com",
    ".com",
    "a.org",
    "a.b.org",
    "a.b.org:80",
    "other",
    "[::1]",
    "[::1]:80",
    "10.0.0.1:80",
];
const TEXTS: [&str; 7] = ["/a", "/a/b", "/b", "/a/", "/a/b/", "/a.b", "/a:b"];
const PATHS: [&str; 18] = [
    "/", "/a", "/a/", "/a/b", "/ab", "/A", "/A/b", "/a/B", "/b", "/b/a", "/a/b/c", "/a/b/", "/a.b", "/axb",
    "/a:b", "/a;p=1", "/a/b+c", "/c",
];
const PATTERNS: [&str; 6] = ["/a|/b", "/a/.*", "/[ab]+", "/a(/b)?", ".*", "/(a|b)/(.*)"];
const VALUES: [&str; 13] = ["", "1", "12", "21", "A", "a", "3", "-1", "x1", "A1", "+1", "0x1", "1.0"];
const NAMES: [&str; 2] = ["x-a", "x-b"];
const QUERIES: [&str; 14] = [
    "", "?", "?q=1", "?q=a%20b", "?q=a+b", "?%71=1", "?q=2&q=1", "?q", "?q=", "?r=1&q=1", "?q=12", "?q=A",
    "?Q=1", "?q=1=2",
];

/// Resources: listeners, route configurations, clusters.
#[derive(Debug, Clone)]
pub struct World {
    configs: Vec<Config>,
    /// For each kind of listener the configuration it uses, if it is there.
    wildcard: Option<usize>,
    address: Option<usize>,
    other_address: Option<usize>,
    other_port: Option<usize>,
    inbound: Option<usize>,
}

#[derive(Debug, Clone)]
struct Config {
    ignore_port: bool,
    most_specific: bool,
    hosts: Vec<Host>,
    headers: Value,
}

#[derive(Debug, Clone)]
struct Host {
    domains: Vec<&'static str>,
    routes: Vec<Route>,
    headers: Value,
}

#[derive(Debug, Clone)]
struct Route {
    matched: Value,
    action: Action,
    headers: Value,
}

#[derive(Debug, Clone)]
enum Action {
    /// To a cluster of the route's own, with further fields.
    Cluster(Value),
    /// By weights, to clusters of its own; 0 is a cluster that nobody knows.
    Split(Vec<(bool, u32)>, Value),
    Unknown(&'static str),
    Redirect(Value),
    Answer(u32, Option<&'static str>),
}

/// Any world.
pub fn world() -> impl Strategy<Value = World> {
    let used = || option::weighted(0.5, 0..2usize);
    (vec(config(), 2), option::weighted(0.9, 0..2usize), used(), used(), used(), used()).prop_map(
        |(configs, wildcard, address, other_address, other_port, inbound)| World {
            configs,
            wildcard,
            address,
            other_address,
            other_port,
            inbound,
        },
    )
}

/// Each domain belongs to one virtual host, as Envoy demands.
fn config() -> impl Strategy<Value = Config> {
    let hosts = (vec(0..6usize, DOMAINS.len()), vec((vec(route(), 0..6), operations()), 4));
    (any::<bool>(), any::<bool>(), hosts, operations()).prop_map(
        |(ignore_port, most_specific, (owners, hosts), headers)| {
            let domains_of = |host: usize| -> Vec<&'static str> {
                DOMAINS
                    .into_iter()
                    .zip(&owners)
                    .filter(|(_, owner)| **owner == host)
                    .map(|(d, _)| d)
                    .collect()
            };
            let host = |(at, (routes, headers))| Host { domains: domains_of(at), routes, headers };
            let hosts =
                hosts.into_iter().enumerate().map(host).filter(|host| !host.domains.is_empty()).collect();
            Config { ignore_port, most_specific, hosts, headers }
        },
    )
}

fn route() -> impl Strategy<Value = Route> {
    (matched(), action(), operations()).prop_map(|(matched, action, headers)| Route {
        matched,
        action,
        headers,
    })
}

fn matched() -> impl Strategy<Value = Value> {
    let conditions = (
        vec(header(), 0..2),
        vec(query(), 0..2),
        option::weighted(0.05, Just(json!({"grpc": {}}))),
        option::weighted(
            0.1,
            (0..=100u32).prop_map(|n| json!({"runtimeFraction": {"defaultValue": {"numerator": n}}})),
        ),
    );
    (path(), option::weighted(0.4, conditions)).prop_map(|(mut matched, conditions)| {
        if let Some((headers, queries, grpc, fraction)) = conditions {
            extend(&mut matched, &json!({"headers": headers, "queryParameters": queries}));
            grpc.iter().chain(&fraction).for_each(|more| extend(&mut matched, more));
        }
        matched
    })
}

fn path() -> impl Strategy<Value = Value> {
    let text = || select(TEXTS.to_vec());
    let plain = prop_oneof![
        text().prop_map(|t| json!({"path": t})),
        text().prop_map(|t| json!({"prefix": t})),
        Just(json!({"prefix": "/"})),
        Just(json!({"prefix": ""})),
        select(vec!["/a", "/a/b", "/b"]).prop_map(|t| json!({"pathSeparatedPrefix": t})),
    ];
    let folded = (plain, any::<bool>()).prop_map(|(mut path, sensitive)| {
        path["caseSensitive"] = json!(sensitive);
        path
    });
    prop_oneof![
        4 => text().prop_map(|t| json!({"prefix": t})),
        2 => text().prop_map(|t| json!({"path": t})),
        1 => Just(json!({"prefix": "/"})),
        2 => folded,
        1 => select(PATTERNS.to_vec()).prop_map(|p| json!({"safeRegex": {"regex": p}})),
    ]
}

fn header() -> impl Strategy<Value = Value> {
    let texts = || select(vec!["", "1", "2", "A", "a", "12"]);
    let string = (texts(), select(vec!["exact", "prefix", "suffix", "contains"]), any::<bool>())
        .prop_map(|(text, kind, fold)| string_match(kind, text, fold));
    let specifier = prop_oneof![
        string.prop_map(|string| json!({"stringMatch": string})),
        select(vec!["1|2", ".*", "[0-9]+", "", "^$", "a?"])
            .prop_map(|p| json!({"stringMatch": {"safeRegex": {"regex": p}}})),
        (texts(), select(vec!["exactMatch", "prefixMatch", "suffixMatch", "containsMatch"]))
            .prop_map(|(text, kind)| json!({kind: text})),
        (-2..3i64, 0..20i64)
            .prop_map(|(start, more)| json!({"rangeMatch": {"start": start, "end": start + more}})),
    ];
    let of_value = (specifier, any::<bool>(), any::<bool>()).prop_map(|(mut matcher, invert, as_empty)| {
        matcher["invertMatch"] = json!(invert);
        matcher["treatMissingHeaderAsEmpty"] = json!(as_empty);
        matcher
    });
    let presence = (
        select(vec![json!({}), json!({"presentMatch": true}), json!({"presentMatch": false})]),
        any::<bool>(),
    )
        .prop_map(|(mut matcher, invert)| {
            matcher["invertMatch"] = json!(invert);
            matcher
        });
    let named = (prop_oneof![3 => of_value, 1 => presence], select(NAMES.to_vec())).prop_map(
        |(mut matcher, name)| {
            matcher["name"] = json!(name);
            matcher
        },
    );
    let method = (select(vec!["GET", "POST"]), any::<bool>()).prop_map(
        |(method, invert)| json!({"name": ":method", "stringMatch": {"exact": method}, "invertMatch": invert}),
    );
    let authority = select(vec!["a.com", "a.com:80"])
        .prop_map(|host| json!({"name": ":authority", "stringMatch": {"exact": host}}));
    let whole = select(vec!["/a?q=1", "/a"])
        .prop_map(|path| json!({"name": ":path", "stringMatch": {"prefix": path}}));
    prop_oneof![8 => named, 2 => method, 1 => authority, 1 => whole]
}

/// An empty text is no pattern but of `exact`: Envoy refuses it.
fn string_match(kind: &str, text: &str, fold: bool) -> Value {
    let kind = if text.is_empty() { "exact" } else { kind };
    json!({kind: text, "ignoreCase": fold})
}

fn query() -> impl Strategy<Value = Value> {
    let specifier = prop_oneof![
        Just(json!({})),
        Just(json!({"presentMatch": true})),
        (
            select(vec!["", "1", "A", "2"]),
            select(vec!["exact", "prefix", "suffix", "contains"]),
            any::<bool>()
        )
            .prop_map(|(text, kind, fold)| json!({"stringMatch": string_match(kind, text, fold)})),
        select(vec!["1|2", "[0-9]*", ".+"]).prop_map(|p| json!({"stringMatch": {"safeRegex": {"regex": p}}})),
    ];
    specifier.prop_map(|mut matcher| {
        matcher["name"] = json!("q");
        matcher
    })
}

fn action() -> impl Strategy<Value = Action> {
    let share = || (any::<bool>(), select(vec![0u32, 1, 50, 99]));
    prop_oneof![
        6 => rewrites().prop_map(Action::Cluster),
        1 => (vec(share(), 1..4), rewrites())
            .prop_filter("a weight", |(shares, _)| shares.iter().any(|(_, weight)| *weight > 0))
            .prop_map(|(shares, rewrites)| Action::Split(shares, rewrites)),
        1 => select(vec!["SERVICE_UNAVAILABLE", "NOT_FOUND", "INTERNAL_SERVER_ERROR"]).prop_map(Action::Unknown),
        2 => redirect().prop_map(Action::Redirect),
        1 => (select(vec![200, 204, 403, 503]), option::of(select(vec!["text", "a \"$host\" 100% ${uri}"])))
            .prop_map(|(status, body)| Action::Answer(status, body)),
    ]
}

fn rewrites() -> impl Strategy<Value = Value> {
    let path = prop_oneof![
        5 => Just(json!({})),
        2 => select(vec!["/n", "/", "/n/", "/n?x=1", "/$uri", "/$1${2}"]).prop_map(|to| json!({"prefixRewrite": to})),
        2 => regex_rewrite(),
    ];
    let host = prop_oneof![
        4 => Just(json!({})),
        1 => select(vec!["new.com", "new.com:81"]).prop_map(|to| json!({"hostRewriteLiteral": to})),
        1 => select(vec!["x-a", "x-c"]).prop_map(|name| json!({"hostRewriteHeader": name})),
    ];
    (path, host).prop_map(|(mut path, host)| {
        extend(&mut path, &host);
        path
    })
}

fn regex_rewrite() -> impl Strategy<Value = Value> {
    let rewrites =
        vec![("^/a(/?)(.*)", r"/\2"), ("^/(.)", r"/x\1\1"), ("/[ab]+$", "/$"), ("/.*", r"/n\0"), ("b", "c")];
    select(rewrites)
        .prop_map(|(regex, to)| json!({"regexRewrite": {"pattern": {"regex": regex}, "substitution": to}}))
}

fn redirect() -> impl Strategy<Value = Value> {
    let path = prop_oneof![
        2 => Just(json!({})),
        1 => select(vec!["/new", "/new?x=1"]).prop_map(|to| json!({"pathRedirect": to})),
        1 => select(vec!["/n", "/", "/$uri"]).prop_map(|to| json!({"prefixRewrite": to})),
        1 => regex_rewrite(),
    ];
    let scheme = select(vec![json!({}), json!({"httpsRedirect": true}), json!({"schemeRedirect": "http"})]);
    let host = select(vec![json!({}), json!({"hostRedirect": "new.com"})]);
    let port =
        select(vec![json!({}), json!({}), json!({"portRedirect": 8443}), json!({"portRedirect": 443})]);
    let codes = vec!["MOVED_PERMANENTLY", "FOUND", "SEE_OTHER", "TEMPORARY_REDIRECT", "PERMANENT_REDIRECT"];
    (path, scheme, host, port, any::<bool>(), select(codes)).prop_map(
        |(path, scheme, host, port, strip, code)| {
            let mut redirect = json!({"stripQuery": strip, "responseCode": code});
            [path, scheme, host, port].iter().for_each(|more| extend(&mut redirect, more));
            redirect
        },
    )
}

/// Header operations of one level.
fn operations() -> impl Strategy<Value = Value> {
    let names = || select(vec!["x-a", "x-b", "X-New", "x-both"]);
    let actions =
        vec!["APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS"];
    let values = vec!["1", "n", "$uri", "100%%", "a:b/", ""];
    let add = move || {
        let option = (names(), select(values.clone()), select(actions.clone()), any::<bool>());
        let option = option.prop_map(|(name, value, action, keep)| {
            json!({"header": {"key": name, "value": value}, "appendAction": action, "keepEmptyValue": keep})
        });
        vec(option, 0..3)
    };
    let level = (add(), vec(names(), 0..2), add(), vec(names(), 0..2)).prop_map(
        |(add, remove, add_up, remove_up)| {
            json!({"requestHeadersToAdd": add, "requestHeadersToRemove": remove,
            "responseHeadersToAdd": add_up, "responseHeadersToRemove": remove_up})
        },
    );
    prop_oneof![4 => Just(json!({})), 1 => level]
}

fn extend(value: &mut Value, more: &Value) {
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
}

impl World {
    /// The resources as JSON.
    pub fn document(&self) -> Value {
        let mut document = Vec::new();
        for (at, config) in self.configs.iter().enumerate() {
            let (config, clusters) = config.json(&format!("r{at}"));
            let mut typed = json!({"@type": format!("{TYPES}.config.route.v3.RouteConfiguration")});
            extend(&mut typed, &config);
            document.push(typed);
            document.extend(clusters.iter().map(|name| cluster(name)));
        }
        let outbound = [
            (self.wildcard, "0.0.0.0", 80),
            (self.address, "10.0.0.1", 80),
            (self.other_address, "10.0.0.2", 80),
            (self.other_port, "0.0.0.0", 81),
        ];
        for (used, address, port) in outbound {
            if let Some(used) = used {
                let chain =
                    json!({"filters": [manager(json!({"rds": {"routeConfigName": format!("r{used}")}}))]});
                document.push(listener(address, port, json!({"filterChains": [chain]})));
            }
        }
        if let Some(used) = self.inbound {
            let (config, _) = self.configs[used].json(&format!("r{used}"));
            let chain = json!({"filterChainMatch": {"destinationPort": 80},
                "filters": [manager(json!({"routeConfig": config}))]});
            let more =
                json!({"filterChains": [chain], "trafficDirection": "INBOUND", "useOriginalDst": true});
            document.push(listener("0.0.0.0", 15006, more));
        }
        Value::Array(document)
    }
}

fn listener(address: &str, port: u16, more: Value) -> Value {
    let mut listener = json!({"@type": format!("{TYPES}.config.listener.v3.Listener"),
        "name": format!("{address}_{port}"),
        "address": {"socketAddress": {"address": address, "portValue": port}}});
    extend(&mut listener, &more);
    listener
}

fn manager(routes: Value) -> Value {
    let mut config = json!({"@type": format!("{TYPES}.{MANAGER}")});
    extend(&mut config, &routes);
    json!({"name": "hcm", "typedConfig": config})
}

fn cluster(name: &str) -> Value {
    let address = json!({"socketAddress": {"address": "10.9.9.9", "portValue": 9000}});
    json!({"@type": format!("{TYPES}.config.cluster.v3.Cluster"), "name": name, "type": "STATIC",
        "connectTimeout": "1s", "loadAssignment": {"clusterName": name, "endpoints": [{"lbEndpoints":
        [{"endpoint": {"address": address}}]}]}})
}

impl Config {
    /// The configuration and the clusters that are known in it.
    fn json(&self, name: &str) -> (Value, Vec<String>) {
        let mut clusters = Vec::new();
        let mut hosts = Vec::new();
        for (at, host) in self.hosts.iter().enumerate() {
            let routes: Vec<Value> = host
                .routes
                .iter()
                .enumerate()
                .map(|(route_at, route)| route.json(&format!("{name}-{at}-{route_at}"), &mut clusters))
                .collect();
            let mut json = json!({"name": format!("h{at}"), "domains": host.domains, "routes": routes});
            extend(&mut json, &host.headers);
            hosts.push(json);
        }
        let mut config = json!({"name": name, "virtualHosts": hosts,
            "ignorePortInHostMatching": self.ignore_port, "mostSpecificHeaderMutationsWins": self.most_specific});
        extend(&mut config, &self.headers);
        (config, clusters)
    }
}

impl Route {
    fn json(&self, id: &str, clusters: &mut Vec<String>) -> Value {
        let mut route = json!({"match": self.matched});
        extend(&mut route, &self.headers);
        match &self.action {
            Action::Cluster(rewrites) => {
                clusters.push(id.to_owned());
                route["route"] = json!({"cluster": id, "timeout": "0s"});
                extend(&mut route["route"], rewrites);
            }
            Action::Split(shares, rewrites) => {
                let entry = |(at, (known, weight)): (usize, &(bool, u32))| {
                    let name = format!("{id}-{at}");
                    if *known {
                        clusters.push(name.clone());
                    }
                    json!({"name": name, "weight": weight})
                };
                let entries: Vec<Value> = shares.iter().enumerate().map(entry).collect();
                route["route"] = json!({"weightedClusters": {"clusters": entries}, "timeout": "0s"});
                extend(&mut route["route"], rewrites);
            }
            Action::Unknown(code) => {
                route["route"] =
                    json!({"cluster": "nobody", "clusterNotFoundResponseCode": code, "timeout": "0s"});
            }
            Action::Redirect(redirect) => route["redirect"] = redirect.clone(),
            Action::Answer(status, body) => {
                let mut answer = Map::from_iter([("status".to_owned(), json!(status))]);
                answer.extend(body.map(|body| ("body".to_owned(), json!({"inlineString": body}))));
                route["directResponse"] = Value::Object(answer);
            }
        }
        route
    }
}
