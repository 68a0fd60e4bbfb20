//! A RouteMatch to a path test and conditions.
//!
//! In: the match. Out: both, or nothing where a condition has no counterpart: leaving just that condition out would
//! send requests where they never should go. Mapping rows 11 to 33. Never here: which route is tried first.

mod cookie;
pub(super) mod header;
pub(super) mod lines;
mod listed;
mod path;
mod query;
pub(super) mod text;

use crate::{
    apisix::Condition,
    pb::{envoy::config::route::v3::RouteMatch, path::Path},
};

pub(super) use path::PathTest;

use super::{
    note::Notes,
    random::{Choice, Share},
};

/// What a request must be like.
#[derive(Debug, Clone)]
pub(super) struct Match {
    pub path: PathTest,
    pub conditions: Vec<Condition>,
}

impl Match {
    /// Every request is like that: no later route is ever reached.
    pub fn is_everything(&self) -> bool {
        self.conditions.is_empty() && self.path.is_everything()
    }
}

/// Translates the match at `path`; `None` when it has been noted that it cannot be done.
pub(super) fn translate(matched: &RouteMatch, path: &Path<'_>, notes: &mut Notes) -> Option<Match> {
    let unsupported = unsupported(matched);
    for field in &unsupported {
        notes.traffic(&path.field(field), "has no counterpart: route left out");
    }
    let Some(test) = PathTest::of(matched) else {
        notes.traffic(path, "no path, prefix or regex: route left out");
        return None;
    };
    if !unsupported.is_empty() {
        return None;
    }
    let mut conditions = Vec::new();
    if matched.grpc.is_some() {
        conditions.push(Condition::matches("http_content_type", r"^application/grpc(?:\+.*)?\z"));
    }
    for (at, header) in matched.headers.iter().enumerate() {
        conditions.extend(header::conditions(header, &path.item("headers", at), notes)?);
    }
    if let Some(fraction) = matched.runtime_fraction.as_ref().and_then(|f| f.default_value.as_ref()) {
        match Share::of(Choice::Route, fraction) {
            Share::None => return None,
            Share::Some(condition) => conditions.push(condition),
            Share::All => {}
        }
    }
    for (at, parameter) in matched.query_parameters.iter().enumerate() {
        conditions.push(query::condition(parameter, &path.item("query_parameters", at), notes)?);
    }
    for (at, cookie) in matched.cookies.iter().enumerate() {
        conditions.push(cookie::condition(cookie, &path.item("cookies", at), notes)?);
    }
    Some(Match { path: test, conditions })
}

fn unsupported(matched: &RouteMatch) -> Vec<&'static str> {
    let fields = [
        ("tls_context", matched.tls_context.is_some()),
        ("dynamic_metadata", !matched.dynamic_metadata.is_empty()),
        ("filter_state", !matched.filter_state.is_empty()),
    ];
    fields.into_iter().filter(|(_, present)| *present).map(|(name, _)| name).collect()
}
