//! What the library knows of itself, for people: one JSON object.
//!
//! In: the state of every stage. Out: `{"version", "pid", "role", "ready", "revision", "objects", "etcd", "state", "xds",
//! "routing", "issues"}`. Never here: a decision.

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    config::Config,
    state::Found,
    store::{Snapshot, Store},
    translate::{Issue, Routing, Severity},
    xds::SourceStatus,
};

/// An issue as it is shown.
#[derive(Serialize)]
struct ShownIssue<'a> {
    resource: String,
    path: &'a str,
    severity: Severity,
    detail: &'a str,
}

/// Issues as `translate` and `status` show them.
pub fn shown(issues: &[Issue]) -> Value {
    let issues = issues.iter().map(|issue| ShownIssue {
        resource: format!("{} {}", issue.kind.noun(), issue.resource),
        path: &issue.path,
        severity: issue.severity,
        detail: &issue.detail,
    });
    json!(issues.collect::<Vec<_>>())
}

/// The report of a process that follows a host.
pub fn follower(config: &Config, snapshot: &Snapshot) -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "role": "follower",
        "ready": snapshot.is_ready(),
        "revision": snapshot.revision(),
        "objects": snapshot.len(),
        "state": {"directory": config.state_dir},
    })
}

/// The whole report of a host.
pub fn report(
    config: &Config,
    store: &Store,
    source: &SourceStatus,
    found: Option<&Found>,
    issues: &[Issue],
    routing: Routing,
) -> Value {
    let snapshot = store.snapshot();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "role": "host",
        "ready": snapshot.is_ready(),
        "revision": snapshot.revision(),
        "objects": snapshot.len(),
        "etcd": {"listen": config.etcd_listen, "prefix": config.etcd_prefix},
        "state": found.map(|found| json!({"directory": config.state_dir, "found": found})),
        "xds": source,
        "routing": routing,
        "issues": shown(issues),
    })
}
