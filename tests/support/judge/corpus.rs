//! The requests that a chain is tried with: those its routes ask for, those they nearly ask for, and some more.

use serde_json::{Value, json};

use super::{
    prepare::{Chain, list},
    random::Random,
    sample,
};
use crate::support::exchange::Request;

/// Of one chain, at least.
pub const LEAST: usize = 20;
const MOST: usize = 80;

/// The same for each run.
pub fn requests(chain: &Chain) -> Vec<Request> {
    let mut corpus =
        Corpus { chain, random: Random::named(&chain.name), plain: Vec::new(), others: Vec::new() };
    corpus.virtual_hosts();
    corpus.filters();
    corpus.strangers();
    corpus.finish()
}

struct Corpus<'a> {
    chain: &'a Chain,
    random: Random,
    /// What routes ask for.
    plain: Vec<Request>,
    /// What they nearly ask for.
    others: Vec<Request>,
}

impl Corpus<'_> {
    fn get(&self, authority: &str, target: &str) -> Request {
        Request { outbound: self.chain.outbound, ..Request::get(&self.chain.original_dst, authority, target) }
    }

    fn virtual_hosts(&mut self) {
        for host in list(&self.chain.config["virtual_hosts"]) {
            let hosts: Vec<String> =
                list(&host["domains"]).iter().filter_map(|d| Some(sample::of_domain(d.as_str()?))).collect();
            let Some(first) = hosts.first() else { continue };
            for route in list(&host["routes"]) {
                let request = self.wanted(first, &route["match"]);
                self.near_paths(&request);
                self.near_headers(&request, &route["match"]);
                self.near_queries(&request, &route["match"]);
                self.operations(&request, &[&self.chain.config.clone(), host, route]);
                self.plain.push(request);
            }
            let target = self.plain.last().map_or("/", |r| &r.target).to_owned();
            for authority in &hosts {
                // An IPv6 address has colons of its own, in brackets.
                let name_end = authority.find(']').map_or(0, |bracket| bracket + 1);
                let port = authority[name_end..].find(':').map_or(authority.len(), |colon| name_end + colon);
                let bare = &authority[..port];
                let upper = authority.to_ascii_uppercase();
                for variant in [authority, &format!("{bare}:8080"), &format!("sub.{bare}"), &upper] {
                    let request = self.get(variant, &target);
                    self.others.push(request);
                }
            }
        }
    }

    /// A request that `matched` takes, as far as that can be told without a solver.
    fn wanted(&mut self, authority: &str, matched: &Value) -> Request {
        let path = sample::of_path(matched, &mut self.random);
        let mut request = self.get(authority, &encoded(&path));
        let mut query = Vec::new();
        for parameter in list(&matched["query_parameters"]) {
            let value = match parameter.get("string_match") {
                Some(matcher) => sample::of_string_matcher(matcher, &mut self.random).unwrap_or_default(),
                None => "1".to_owned(),
            };
            query.push(format!("{}={}", parameter["name"].as_str().unwrap_or_default(), encoded(&value)));
        }
        if !query.is_empty() {
            request.target += &format!("?{}", query.join("&"));
        }
        if matched["grpc"].is_object() {
            request = request.header("content-type", "application/grpc").method("POST");
        }
        for matcher in list(&matched["headers"]) {
            let value = sample::of_header_matcher(matcher, &mut self.random);
            let value = if matcher["invert_match"] == true { Some("inverse".to_owned()) } else { value };
            request = with(request, matcher["name"].as_str().unwrap_or_default(), value.as_deref());
        }
        request
    }

    fn near_paths(&mut self, request: &Request) {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        let shorter = &path[..path.len() - usize::from(path.len() > 1)];
        let folded =
            if path.contains(char::is_lowercase) { path.to_uppercase() } else { path.to_lowercase() };
        let escaped = path.replacen('a', "%61", 1);
        for near in [
            format!("{path}x"),
            format!("{path}/"),
            format!("{path}/x"),
            format!("{path}.b/1"),
            shorter.to_owned(),
            folded,
            format!("{path}%20y"),
            format!("{path}/./z"),
            format!("{path}//z"),
            format!("{path}/q/../z"),
            format!("/{path}"),
            escaped,
        ] {
            self.others.push(Request { target: format!("{near}{query}"), ..request.clone() });
        }
        self.others.push(Request { target: format!("{path}?other=1"), ..request.clone() });
        self.others.push(Request { target: format!("{path}?"), ..request.clone() });
        self.others.push(request.clone().method("POST"));
        self.others.push(request.clone().method("HEAD"));
    }

    fn near_headers(&mut self, request: &Request, matched: &Value) {
        for matcher in list(&matched["headers"]) {
            let name = matcher["name"].as_str().unwrap_or_default();
            let value =
                sample::of_header_matcher(matcher, &mut self.random).unwrap_or_else(|| "any".to_owned());
            let folded =
                if value.contains(char::is_lowercase) { value.to_uppercase() } else { value.to_lowercase() };
            for near in
                [None, Some(""), Some("inverse"), Some(&value), Some(&folded), Some(&format!("{value}q"))]
            {
                self.others.push(with(request.clone(), name, near));
            }
            if !name.starts_with(':') {
                self.others.push(with(request.clone(), name, Some(&value)).header(name, "second"));
            }
        }
    }

    fn near_queries(&mut self, request: &Request, matched: &Value) {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        for parameter in list(&matched["query_parameters"]) {
            let name = parameter["name"].as_str().unwrap_or_default();
            for query in [
                String::new(),
                format!("?{name}"),
                format!("?{name}="),
                format!("?{query}&{name}=second"),
                format!("?{name}=second&{query}"),
                format!("?{query}x"),
                format!("?{}", query.to_uppercase()),
            ] {
                self.others.push(Request { target: format!("{path}{query}"), ..request.clone() });
            }
        }
    }

    /// Headers that are added, set or removed stand in some requests already.
    fn operations(&mut self, request: &Request, owners: &[&Value]) {
        let added =
            owners.iter().flat_map(|o| list(&o["request_headers_to_add"])).map(|a| &a["header"]["key"]);
        let removed = owners.iter().flat_map(|o| list(&o["request_headers_to_remove"]));
        let mut all = request.clone();
        for name in added.chain(removed).filter_map(Value::as_str).filter(|n| !n.starts_with(':')) {
            all = with(all, &name.to_ascii_lowercase(), Some("old"));
        }
        self.others.push(all);
    }

    /// What CORS and RBAC look at, wherever it stands.
    fn filters(&mut self) {
        let mut found = Vec::new();
        collect(&json!([self.chain.hcm["http_filters"], self.chain.config]), &mut found);
        let bases: Vec<Request> = self.plain.iter().take(8).cloned().collect();
        for (name, matcher) in found {
            let value = match name.as_str() {
                ORIGIN => sample::of_string_matcher(&matcher, &mut self.random),
                PATH => sample::of_string_matcher(&matcher, &mut self.random),
                _ => sample::of_header_matcher(&matcher, &mut self.random),
            };
            let Some(value) = value else { continue };
            for base in &bases {
                match name.as_str() {
                    PATH => self.others.push(Request { target: encoded(&value), ..base.clone() }),
                    ORIGIN => {
                        let simple = base.clone().header(ORIGIN, &value);
                        let asking = simple.clone().header("access-control-request-method", "GET");
                        self.others.extend([simple, asking.method("OPTIONS")]);
                        self.others.push(base.clone().header(ORIGIN, "http://stranger.example"));
                    }
                    name => self.others.push(with(base.clone(), name, Some(&value))),
                }
            }
        }
    }

    fn strangers(&mut self) {
        for (authority, target) in
            [("stranger.example", "/"), ("192.0.2.9:1234", "/a/b?c=d"), ("localhost", "/zzz")]
        {
            let request = self.get(authority, target);
            self.others.push(request);
        }
        for plain in self.plain.clone().iter().take(4) {
            self.others.push(Request { authority: "stranger.example".to_owned(), ..plain.clone() });
        }
        while self.plain.len() + self.others.len() < 2 * LEAST {
            let target = format!("/{}", self.random.number());
            let request = self.get("stranger.example", &target);
            self.others.push(request);
        }
    }

    fn finish(mut self) -> Vec<Request> {
        self.random.shuffle(&mut self.others);
        let wanted = (self.plain.len() * 4).clamp(LEAST + 4, MOST);
        let mut requests: Vec<Request> = Vec::new();
        for request in self.plain.into_iter().chain(self.others) {
            if requests.len() < wanted && !requests.contains(&request) {
                requests.push(request);
            }
        }
        for (at, request) in requests.iter_mut().enumerate() {
            request.request_id =
                format!("{:016x}{:016x}", Random::new(at as u64).number(), self.random.number());
        }
        requests
    }
}

const ORIGIN: &str = "origin";
const PATH: &str = ":path";

/// Origins, paths and headers that filters ask for.
fn collect(value: &Value, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(members) => {
            for origin in list(&value["allow_origin_string_match"]) {
                found.push((ORIGIN.to_owned(), origin.clone()));
            }
            if let Some(path) = value["url_path"].get("path") {
                found.push((PATH.to_owned(), path.clone()));
            }
            if let Some(name) = value["header"]["name"].as_str() {
                found.push((name.to_owned(), value["header"].clone()));
            }
            members.values().for_each(|v| collect(v, found));
        }
        Value::Array(items) => items.iter().for_each(|v| collect(v, found)),
        _ => {}
    }
}

/// The request with this one value of a header or pseudo-header, or without it.
fn with(mut request: Request, name: &str, value: Option<&str>) -> Request {
    match (name, value) {
        (":method", Some(value)) => {
            let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"].contains(&value);
            request.method = if known { value } else { "PATCH" }.to_owned();
        }
        (":authority", Some(value)) => request.authority = token(value),
        (":path", Some(value)) if value.starts_with('/') => request.target = encoded(value),
        (name, value) if !name.starts_with(':') => {
            request.headers.retain(|(n, _)| n != name);
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        _ => {}
    }
    request
}

/// What may stand where a method or a host is expected.
fn token(text: &str) -> String {
    let kept: String = text.chars().filter(|c| c.is_ascii_alphanumeric() || "-.:".contains(*c)).collect();
    if kept.is_empty() { "x".to_owned() } else { kept }
}

/// What may stand in a request line as it is.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&byte) {
            encoded.push(byte as char);
        } else {
            encoded += &format!("%{byte:02X}");
        }
    }
    encoded
}
