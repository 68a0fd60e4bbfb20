//! What became of a request in Envoy, in the words that the model of APISIX uses, and where the two part.
//!
//! Taken as the same: a header line with commas and several lines; a target or location with an empty query and one
//! without; the `content-type: text/plain` that both give to an answer with a body, and one that has it from neither.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    backend::{ECHO, Received},
    client::Response,
    prepare::ROUTE,
};
use crate::support::exchange::{Answer, Forward, Outcome, Request};

/// Request headers that each proxy sets for itself, or that belong to one connection. A name that ends in a dash
/// stands for all that begin with it.
const REQUEST_NOISE: &[&str] = &[
    "x-envoy-",
    "x-request-id",
    "x-forwarded-for",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-real-ip",
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// The same of response headers.
const RESPONSE_NOISE: &[&str] =
    &["x-envoy-", "x-judge-", "connection", "content-length", "date", "server", "transfer-encoding"];

/// An outcome in Envoy, and the route that it took: the places of the virtual host and of the route.
pub fn of_envoy(
    response: &Response,
    clusters: &BTreeMap<std::net::Ipv4Addr, String>,
) -> (Outcome, Option<(usize, usize)>) {
    let header = |name: &str| response.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let headers = response.headers.clone();
    let received = header(ECHO).and_then(Received::decode);
    let outcome = match received {
        Some(received) => {
            let cluster = clusters.get(&received.endpoint).cloned().unwrap_or_default();
            Outcome::Forward(forward(&received.head, cluster, headers))
        }
        None => {
            let body = Some(response.body.clone()).filter(|b| !b.is_empty());
            Outcome::Answer(Answer { status: response.status, headers, body })
        }
    };
    (outcome, header(ROUTE).and_then(place))
}

fn place(told: &str) -> Option<(usize, usize)> {
    let (host, route) = told.strip_prefix("judge:")?.split_once(':')?;
    Some((host.parse().ok()?, route.parse().ok()?))
}

fn forward(head: &str, cluster: String, response_headers: Vec<(String, String)>) -> Forward {
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let mut word = || first.next().unwrap_or_default().to_owned();
    let (method, target) = (word(), word());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let authority =
        headers.iter().find(|(name, _)| name == "host").map(|(_, v)| v.clone()).unwrap_or_default();
    Forward { clusters: BTreeSet::from([cluster]), method, authority, target, headers, response_headers }
}

/// In what the outcomes differ.
pub fn differences(envoy: &Outcome, ours: &Outcome, request: &Request, answers_body: bool) -> Vec<String> {
    match (envoy, ours) {
        (Outcome::Forward(envoy), Outcome::Forward(ours)) => {
            let mut found = Vec::new();
            if !envoy.clusters.is_subset(&ours.clusters) {
                found.push("cluster".to_owned());
            }
            for (what, theirs, own) in [
                ("method", &envoy.method, &ours.method),
                ("target", &envoy.target, &ours.target),
                ("authority", &envoy.authority, &ours.authority),
            ] {
                if theirs.trim_end_matches('?') != own.trim_end_matches('?') {
                    found.push(what.to_owned());
                }
            }
            found.extend(parting("request header", REQUEST_NOISE, &envoy.headers, &ours.headers));
            found.extend(parting(
                "response header",
                RESPONSE_NOISE,
                &envoy.response_headers,
                &ours.response_headers,
            ));
            found
        }
        (Outcome::Answer(envoy), Outcome::Answer(ours)) => {
            let mut found = Vec::new();
            if envoy.status != ours.status {
                found.push("status".to_owned());
            }
            if answers_body
                && request.method != "HEAD"
                && envoy.body != ours.body.clone().filter(|b| !b.is_empty())
            {
                found.push("body".to_owned());
            }
            found.extend(parting("response header", RESPONSE_NOISE, &envoy.headers, &ours.headers));
            found
        }
        // A share of the requests that is answered so.
        (Outcome::Answer(envoy), Outcome::Forward(ours))
            if ours.clusters.contains(&envoy.status.to_string()) =>
        {
            Vec::new()
        }
        _ => vec!["kind".to_owned()],
    }
}

fn parting<'a>(
    what: &'a str,
    noise: &[&str],
    envoy: &[(String, String)],
    ours: &[(String, String)],
) -> impl Iterator<Item = String> + 'a {
    let (envoy, ours) = (by_name(envoy, noise), by_name(ours, noise));
    let names: BTreeSet<String> = envoy.keys().chain(ours.keys()).cloned().collect();
    names.into_iter().filter(move |n| envoy.get(n) != ours.get(n)).map(move |name| match name.as_str() {
        "location" => name,
        name => format!("{what} {name}"),
    })
}

/// Values by name; one line with commas is the same as several lines.
fn by_name(headers: &[(String, String)], noise: &[&str]) -> BTreeMap<String, Vec<String>> {
    let is_noise = |name: &str| noise.iter().any(|n| name == *n || (n.ends_with('-') && name.starts_with(n)));
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        let is_default = name == "content-type" && value == "text/plain";
        if !is_noise(&name) && !is_default {
            let value = if name == "location" { value.trim_end_matches('?') } else { value };
            found.entry(name).or_default().extend(value.split(',').map(|part| part.trim().to_owned()));
        }
    }
    found.values_mut().for_each(|values| values.sort());
    found
}

/// One line for people.
pub fn shown(outcome: &Outcome) -> String {
    let headers = |headers: &[(String, String)], noise| {
        let text: Vec<String> = by_name(headers, noise)
            .iter()
            .map(|(name, values)| format!("{name}: {}", values.join(",")))
            .collect();
        text.join("; ")
    };
    match outcome {
        Outcome::Forward(forward) => format!(
            "{} {} host {} to {:?} [{}] back [{}]",
            forward.method,
            forward.target,
            forward.authority,
            forward.clusters,
            headers(&forward.headers, REQUEST_NOISE),
            headers(&forward.response_headers, RESPONSE_NOISE)
        ),
        Outcome::Answer(answer) => {
            format!("{} [{}] {:?}", answer.status, headers(&answer.headers, RESPONSE_NOISE), answer.body)
        }
    }
}
