//! A small model of how APISIX chooses a route: `radixtree_host_uri` and `lua-resty-expr` (contract sections 6 and 8),
//! as far as our objects use them.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
};

use apisix_mesh::apisix::{Directory, Key};
use bytes::Bytes;
use serde_json::Value;

/// A request, as nginx variables see it.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `host`, without port
    pub host: String,
    /// `uri`, without query
    pub path: String,
    vars: BTreeMap<String, String>,
}

impl Request {
    /// GET `http://host/path?query` on a connection that was opened to `original_dst`.
    pub fn get(original_dst: &str, authority: &str, target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        let mut request = Self { host: host.to_lowercase(), path: path.to_owned(), vars: BTreeMap::new() };
        for (name, value) in [
            ("connection_original_dst", original_dst),
            ("http_host", authority),
            ("host", host),
            ("uri", path),
            ("real_request_uri", target),
            ("request_method", "GET"),
            ("scheme", "http"),
            ("server_addr", "127.0.0.1"),
        ] {
            request = request.var(name, value);
        }
        for (name, value) in query.split('&').filter_map(|p| p.split_once('=')) {
            request = request.var(&format!("arg_{name}"), value);
        }
        request
    }

    /// With another variable.
    pub fn var(mut self, name: &str, value: &str) -> Self {
        self.vars.insert(name.to_owned(), value.to_owned());
        self
    }
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The names of the upstreams that it may go to.
    Upstreams(Vec<String>),
    /// The nodes of an upstream in the route itself.
    Nodes(Vec<String>),
    /// Answered by a plugin.
    Answer(u64),
    /// No route.
    NoRoute,
}

/// Chooses as APISIX does: hosts from exact to longest suffix to none; in each, exact paths, then longer prefixes,
/// then higher priorities; a route whose conditions fail is passed over.
pub fn choose(objects: &BTreeMap<Key, Bytes>, request: &Request) -> Outcome {
    let mut candidates: Vec<(Rank, Value)> = objects
        .iter()
        .filter(|(key, _)| key.directory() == Directory::Routes)
        .map(|(_, bytes)| serde_json::from_slice::<Value>(bytes).unwrap())
        .filter_map(|route| Some((rank(&route, request)?, route)))
        .filter(|(_, route)| list(route, "vars").iter().all(|c| holds(c, request)))
        .collect();
    candidates.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
    if let [first, second, ..] = candidates.as_slice() {
        assert_ne!(first.0, second.0, "no order between {} and {}", first.1, second.1);
    }
    candidates.first().map_or(Outcome::NoRoute, |(_, route)| outcome(route, objects))
}

/// Host length (exact above all), exact path, length of the path text, priority.
type Rank = (usize, bool, usize, i64);

fn rank(route: &Value, request: &Request) -> Option<Rank> {
    let hosts = list(route, "hosts");
    let host = if hosts.is_empty() {
        0
    } else {
        hosts.iter().filter_map(|h| host_rank(h.as_str().unwrap(), &request.host)).max()?
    };
    let (exact, length) =
        list(route, "uris").iter().filter_map(|u| path_rank(u.as_str().unwrap(), &request.path)).max()?;
    Some((host, exact, length, route["priority"].as_i64().unwrap()))
}

fn host_rank(pattern: &str, host: &str) -> Option<usize> {
    match pattern.strip_prefix('*') {
        Some(suffix) => (host.len() > suffix.len() && host.ends_with(suffix)).then_some(1 + suffix.len()),
        None => (pattern == host).then_some(usize::MAX),
    }
}

fn path_rank(pattern: &str, path: &str) -> Option<(bool, usize)> {
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix).then_some((false, prefix.len())),
        None => (pattern == path).then_some((true, pattern.len())),
    }
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn holds(condition: &Value, request: &Request) -> bool {
    let parts = condition.as_array().unwrap();
    match parts[0].as_str().unwrap() {
        "AND" => return parts[1..].iter().all(|c| holds(c, request)),
        "!AND" => return !parts[1..].iter().all(|c| holds(c, request)),
        "OR" => return parts[1..].iter().any(|c| holds(c, request)),
        _ => {}
    }
    let value = request.vars.get(parts[0].as_str().unwrap());
    if parts[1] == "!" { !compare(value, &parts[2], &parts[3]) } else { compare(value, &parts[1], &parts[2]) }
}

fn compare(value: Option<&String>, operator: &Value, operand: &Value) -> bool {
    let Some(value) = value else { return operator == "==" && operand.is_null() };
    match operator.as_str().unwrap() {
        "==" => operand.as_str() == Some(value),
        "in" => operand.as_array().unwrap().iter().any(|o| o.as_str() == Some(value)),
        "~~" => matches(operand.as_str().unwrap(), value),
        "~*" => matches(&format!("(?i){}", operand.as_str().unwrap()), value),
        _ => false,
    }
}

/// PCRE and this crate read the patterns of these tests alike. Compiling is dear, so each is compiled once.
pub fn matches(pattern: &str, text: &str) -> bool {
    thread_local!(static COMPILED: RefCell<HashMap<String, regex::Regex>> = RefCell::default());
    COMPILED.with_borrow_mut(|compiled| {
        let regex = compiled.entry(pattern.to_owned()).or_insert_with(|| regex::Regex::new(pattern).unwrap());
        regex.is_match(text)
    })
}

fn outcome(route: &Value, objects: &BTreeMap<Key, Bytes>) -> Outcome {
    let name = |id: &Value| {
        let key = Key::new(Directory::Upstreams, id.as_str().unwrap());
        let upstream: Value = serde_json::from_slice(&objects[&key]).unwrap();
        upstream["name"].as_str().unwrap().to_owned()
    };
    let plugins = route.get("plugins").cloned().unwrap_or_default();
    if let Some(status) = plugins["fault-injection"]["abort"]["http_status"].as_u64() {
        return Outcome::Answer(status);
    }
    if let Some(status) = plugins["redirect"]["ret_code"].as_u64() {
        return Outcome::Answer(status);
    }
    if let Some(entries) = plugins["traffic-split"]["rules"][0]["weighted_upstreams"].as_array() {
        let mut names: Vec<_> = entries.iter().map(|e| name(&e["upstream_id"])).collect();
        names.sort();
        return Outcome::Upstreams(names);
    }
    if let Some(inline) = route.get("upstream") {
        let node = |n: &Value| format!("{}:{}", n["host"].as_str().unwrap(), n["port"]);
        return Outcome::Nodes(list(inline, "nodes").iter().map(node).collect());
    }
    Outcome::Upstreams(vec![name(&route["upstream_id"])])
}
