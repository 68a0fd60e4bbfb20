//! A model of APISIX 3.18: which route our objects give a request, and what becomes of it.
//!
//! In: objects, as they stand in the store, and requests. Out: outcomes. It rests on `apisix-contract.md` sections 6 to 8
//! and on the code of APISIX, lua-resty-radixtree 2.9, lua-resty-expr 1.3, lua-nginx-module and nginx 1.29; the tests in
//! `tests/apisix_model.rs` name what each rule rests on. What it does not know is a panic, "not modelled": an object must
//! never be judged by half of what it says.
//!
//! Headers that every proxy adds or changes on its own (Connection, X-Forwarded-*, X-Real-IP ...) are left out.

mod expression;
mod nginx;
mod pattern;
mod plugin;
mod radixtree;
mod template;
mod upstream;
mod variable;

use std::collections::{BTreeMap, BTreeSet};

use apisix_mesh::apisix::{Directory, Key};
use bytes::Bytes;
use serde_json::Value;

use self::{
    expression::{Expression, Network},
    pattern::Pattern,
    plugin::{Flow, Plugin, Share},
    radixtree::Radixtree,
    upstream::{UNAVAILABLE, Upstream},
    variable::{Context, Names},
};
use super::exchange::{Answer, Forward, Outcome, Request};

/// Headers that belong to the connection or that a proxy writes itself.
const OF_THE_PROXY: [&str; 13] = [
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
];

/// The response headers of the upstream.
const UPSTREAM_HEADERS: [(&str, &str); 2] = [("x-upstream", "1"), ("x-both", "up")];

/// Objects, prepared to answer requests.
#[derive(Debug, Default)]
pub struct Apisix {
    names: Names,
    routes: Vec<Route>,
    upstreams: BTreeMap<String, Upstream>,
    /// By the reversed host.
    hosts: Radixtree<PathTree>,
    hostless: PathTree,
}

/// Candidates of one path text, by falling priority.
type PathTree = Radixtree<Vec<Candidate>>;

#[derive(Debug)]
struct Candidate {
    route: usize,
    priority: i64,
    /// Length of the whole path text.
    length: usize,
    /// Of a path with a segment that begins with `*`, where it is not sure to match.
    pattern: Option<Pattern>,
}

#[derive(Debug)]
struct Route {
    id: String,
    name: String,
    methods: Vec<String>,
    remote_addrs: Vec<Network>,
    vars: Expression,
    plugins: Vec<Plugin>,
    upstream: Option<Share>,
}

const ROUTE_FIELDS: [&str; 20] = [
    "id",
    "name",
    "desc",
    "labels",
    "uri",
    "uris",
    "host",
    "hosts",
    "priority",
    "vars",
    "methods",
    "remote_addr",
    "remote_addrs",
    "timeout",
    "upstream_id",
    "upstream",
    "plugins",
    "enable_websocket",
    "status",
    "create_time",
];

impl Apisix {
    /// Prepares the routes and upstreams among the objects.
    pub fn new(objects: &BTreeMap<Key, Bytes>) -> Self {
        let mut apisix = Self::default();
        for (key, bytes) in objects {
            let value: Value = serde_json::from_slice(bytes).unwrap_or_else(|e| panic!("{key}: {e}"));
            match key.directory() {
                Directory::Routes => apisix.add_route(&value),
                // Who is shown to an upstream changes nothing of where a request goes.
                Directory::Ssls => {}
                Directory::Upstreams => {
                    apisix.upstreams.insert(key.id().to_owned(), Upstream::new(&value));
                }
            }
        }
        apisix
    }

    /// What becomes of a request.
    pub fn answer(&self, request: &Request) -> Outcome {
        let Some(context) = Context::new(request, &self.names) else {
            return Outcome::Answer(Answer::status(400));
        };
        let Some(route) = self.route(&context) else { return Outcome::Answer(Answer::status(404)) };
        context.route.replace((route.id.clone(), route.name.clone()));
        let mut flow = Flow::default();
        if let Some(answer) = plugin::run(&route.plugins, &mut flow, &context) {
            return respond(answer, route, &flow, &context);
        }
        self.forward(route, &flow, &context)
    }

    /// The matched route's name.
    pub fn matched(&self, request: &Request) -> Option<&str> {
        self.route(&Context::new(request, &self.names)?).map(|route| route.name.as_str())
    }

    /// The matched route's id.
    pub fn matched_id(&self, request: &Request) -> Option<&str> {
        self.route(&Context::new(request, &self.names)?).map(|route| route.id.as_str())
    }

    fn add_route(&mut self, value: &Value) {
        for field in value.as_object().expect("a route is an object").keys() {
            assert!(ROUTE_FIELDS.contains(&field.as_str()), "not modelled: route field {field:?}");
        }
        if value["status"] == 0 {
            return;
        }
        let route = Route::new(value, &mut self.names);
        let at = self.routes.len();
        let uris = texts(value, "uris", "uri");
        let hosts = texts(value, "hosts", "host");
        let priority = value["priority"].as_i64().unwrap_or(0);
        for uri in &uris {
            for host in &hosts {
                let reversed: Vec<u8> = host.bytes().rev().collect();
                insert(self.hosts.at(&reversed), uri, priority, at);
            }
            if hosts.is_empty() {
                insert(&mut self.hostless, uri, priority, at);
            }
        }
        self.routes.push(route);
    }

    /// `radixtree_host_uri`: hosts from the most special to the most general, then the routes without; in each its
    /// tree of paths.
    fn route(&self, context: &Context<'_>) -> Option<&Route> {
        let reversed: Vec<u8> = context.host.bytes().rev().collect();
        let trees = self.hosts.candidates(&reversed);
        let found = trees.chain([&self.hostless]).find_map(|tree| self.route_in(tree, context));
        found.map(|at| &self.routes[at])
    }

    fn route_in(&self, tree: &PathTree, context: &Context<'_>) -> Option<usize> {
        let matches = |candidate: &&Candidate| {
            self.routes[candidate.route].matches(context)
                && candidate.pattern.as_ref().is_none_or(|pattern| covers(pattern, &context.uri))
        };
        tree.candidates(context.uri.as_bytes()).find_map(|list| {
            let mut left = list.iter();
            let first = left.find(matches)?;
            let rival = left.take_while(|next| next.priority == first.priority).find(matches);
            if let Some(rival) = rival.filter(|rival| rival.route != first.route) {
                panic!(
                    "no order between {} and {}",
                    self.routes[first.route].name, self.routes[rival.route].name
                );
            }
            Some(first.route)
        })
    }

    fn forward(&self, route: &Route, flow: &Flow, context: &Context<'_>) -> Outcome {
        let own = || route.upstream.clone().into_iter().collect();
        let mut shares: Vec<Share> = flow.shares.clone().unwrap_or_else(own);
        for share in &mut shares {
            if let Share::RouteOwn = share {
                *share =
                    route.upstream.clone().expect("a share of the route's own upstream, which it has not");
            }
        }
        let mut clusters = BTreeSet::new();
        let mut hosts = BTreeSet::new();
        for share in &shares {
            let upstream = match share {
                Share::Inline(upstream) => upstream,
                Share::Id(id) => match self.upstreams.get(id) {
                    Some(upstream) => upstream,
                    // traffic-split looks all of its upstreams up before it chooses.
                    None => {
                        return respond(
                            Answer::status(if flow.shares.is_some() { 500 } else { 502 }),
                            route,
                            flow,
                            context,
                        );
                    }
                },
                Share::RouteOwn => unreachable!("replaced above"),
            };
            if upstream.has_nodes {
                clusters.extend(upstream.targets.iter().cloned());
                hosts.insert(upstream.host());
            } else {
                clusters.insert(UNAVAILABLE.to_owned());
            }
        }
        if hosts.is_empty() {
            return respond(Answer::status(503), route, flow, context);
        }
        let passed = || flow.host.clone().unwrap_or_else(|| context.request.authority.clone());
        let hosts: BTreeSet<String> = hosts.into_iter().map(|host| host.unwrap_or_else(passed)).collect();
        let given = UPSTREAM_HEADERS.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let (response_headers, _) = plugin::filter_headers(&route.plugins, flow, context, given);
        Outcome::Forward(Forward {
            clusters,
            method: flow.method.clone().unwrap_or_else(|| context.request.method.clone()),
            authority: hosts.into_iter().collect::<Vec<_>>().join(" or "),
            target: flow.uri.clone().unwrap_or_else(|| context.request.target.clone()),
            headers: upstream_headers(context),
            response_headers,
        })
    }
}

impl Route {
    fn new(value: &Value, names: &mut Names) -> Self {
        let id = value["id"].as_str().expect("an id").to_owned();
        let upstream = match (value.get("upstream_id"), value.get("upstream")) {
            (Some(id), _) => Some(Share::Id(id.as_str().unwrap().to_owned())),
            (None, Some(upstream)) => Some(Share::Inline(Upstream::new(upstream))),
            (None, None) => None,
        };
        Self {
            name: value["name"].as_str().unwrap_or(&id).to_owned(),
            id,
            methods: texts(value, "methods", "method"),
            remote_addrs: texts(value, "remote_addrs", "remote_addr")
                .iter()
                .map(|a| Network::new(a))
                .collect(),
            vars: value.get("vars").map_or(Expression::always(), |vars| Expression::new(vars, names)),
            plugins: plugin::plugins(value.get("plugins"), names),
            upstream,
        }
    }

    fn matches(&self, context: &Context<'_>) -> bool {
        let request = context.request;
        let remote = || request.remote_addr.parse().expect("an address");
        (self.methods.is_empty() || self.methods.contains(&request.method))
            && (self.remote_addrs.is_empty() || self.remote_addrs.iter().any(|net| net.contains(remote())))
            && self.vars.holds(context)
    }
}

fn insert(tree: &mut PathTree, uri: &str, priority: i64, route: usize) {
    let list = tree.at(uri.as_bytes());
    let before = |other: &Candidate| (priority, uri.len()) > (other.priority, other.length);
    let place = list.iter().position(before).unwrap_or(list.len());
    list.insert(place, Candidate { route, priority, length: uri.len(), pattern: path_pattern(uri) });
}

/// A path with a segment that begins with `*` or `:` is a PCRE after all, its other segments as they stand.
fn path_pattern(uri: &str) -> Option<Pattern> {
    let segments: Vec<&str> = uri.split('/').collect();
    if !segments.iter().any(|segment| segment.starts_with([':', '*'])) {
        return None;
    }
    let plain =
        |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_'));
    if uri.strip_suffix('*').is_some_and(plain) {
        return None;
    }
    let parts: Vec<&str> = segments
        .into_iter()
        .map(|segment| match segment.as_bytes().first() {
            Some(b':') => r"([^\/]+)",
            Some(b'*') => r"((.|\n)*)",
            _ => segment,
        })
        .collect();
    Some(Pattern::new(&parts.join(r"\/")))
}

/// The match must be the whole path.
fn covers(pattern: &Pattern, uri: &str) -> bool {
    pattern.captures(uri).is_some_and(|(range, _)| range == (0..uri.len()))
}

/// A list, or the one text of another field.
fn texts(value: &Value, list: &str, one: &str) -> Vec<String> {
    match (value.get(list), value.get(one)) {
        (Some(list), _) => {
            list.as_array().expect("a list").iter().map(|item| item.as_str().unwrap().to_owned()).collect()
        }
        (None, Some(one)) => vec![one.as_str().unwrap().to_owned()],
        (None, None) => Vec::new(),
    }
}

fn respond(answer: Answer, route: &Route, flow: &Flow, context: &Context<'_>) -> Outcome {
    let (headers, parts) = plugin::filter_headers(&route.plugins, flow, context, answer.headers);
    let body = parts.body.or(answer.body);
    Outcome::Answer(Answer { status: parts.status.unwrap_or(answer.status), headers, body })
}

/// As they go up: sorted, without those of the proxy unless a plugin set them.
fn upstream_headers(context: &Context<'_>) -> Vec<(String, String)> {
    let held = context.headers.borrow();
    let sent = &context.request.headers;
    let own = |header: &(String, String)| OF_THE_PROXY.contains(&header.0.as_str()) && sent.contains(header);
    let mut headers: Vec<_> = held.iter().filter(|header| !own(header)).cloned().collect();
    headers.sort();
    headers
}
