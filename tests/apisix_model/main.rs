//! The model of APISIX does what APISIX does. Each test names a rule, and what the rule rests on: a section of
//! `apisix-contract.md`, or the file of APISIX, of its libraries or of nginx that says so.

mod plugins;
mod routing;
#[path = "../support/mod.rs"]
mod support;

use std::{collections::BTreeMap, time::Instant};

use apisix_mesh::apisix::{Directory, Key};
use serde_json::{Value, json};
use support::{
    apisix::Apisix,
    exchange::{Answer, Forward, Outcome, Request},
};

/// Routes, each given the id and name `r<n>`, priorities and the upstream `u` where they have none.
pub fn apisix(routes: &[Value]) -> Apisix {
    let mut objects = BTreeMap::new();
    for name in ["u", "v"] {
        let upstream = json!({"id": name, "name": name, "type": "roundrobin", "nodes":
            [{"host": "10.0.0.9", "port": 8080, "weight": 1}]});
        objects.insert(Key::new(Directory::Upstreams, name), upstream.to_string().into());
    }
    for (at, route) in routes.iter().enumerate() {
        let mut route = route.clone();
        let id = format!("r{at}");
        for (field, value) in [
            ("id", json!(id)),
            ("name", json!(id)),
            ("uris", json!(["/*"])),
            ("priority", json!(0)),
            ("upstream_id", json!("u")),
        ] {
            if route.get(field).is_none() {
                route[field] = value;
            }
        }
        objects.insert(Key::new(Directory::Routes, &id), route.to_string().into());
    }
    Apisix::new(&objects)
}

pub fn get(authority: &str, target: &str) -> Request {
    Request::get("10.0.0.1:80", authority, target)
}

pub fn matched(routes: &[Value], authority: &str, target: &str) -> Option<String> {
    apisix(routes).matched(&get(authority, target)).map(str::to_owned)
}

/// The route that a path finds.
pub fn by_path(uris: &[&str], target: &str) -> Option<String> {
    let routes: Vec<_> =
        uris.iter().enumerate().map(|(at, u)| json!({"uris": [u], "priority": at})).collect();
    matched(&routes, "a", target)
}

pub fn by_host(hosts: &[&str], authority: &str) -> Option<String> {
    let routes: Vec<_> = hosts.iter().map(|h| json!({"hosts": [h]})).collect();
    matched(&routes, authority, "/")
}

/// Whether a condition holds.
pub fn holds(condition: Value, request: &Request) -> bool {
    apisix(&[json!({"vars": [condition]})]).matched(request).is_some()
}

pub fn r(at: usize) -> Option<String> {
    Some(format!("r{at}"))
}

pub fn forwarded(plugins: Value, request: &Request) -> Forward {
    match apisix(&[json!({"plugins": plugins})]).answer(request) {
        Outcome::Forward(forward) => forward,
        Outcome::Answer(answer) => panic!("{answer:?}"),
    }
}

pub fn answered(plugins: Value, request: &Request) -> Answer {
    match apisix(&[json!({"plugins": plugins})]).answer(request) {
        Outcome::Answer(answer) => answer,
        Outcome::Forward(forward) => panic!("{forward:?}"),
    }
}

pub fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
}
