//! What the library knows of itself, for people: one JSON object.
//!
//! In: the state of every stage. Out: `{"version", "pid", "role", "ready", "revision", "objects", "state", "etcd", "xds",
//! "identity", "routing", "issues"}`, the last five from the host. Never here: a decision, a key.

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    apisix::Ssl,
    config::Config,
    identity::IdentityStatus,
    state::Found,
    store::Snapshot,
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

/// What is known in one process.
pub struct Report<'a> {
    /// Its settings.
    pub config: &'a Config,
    /// What it serves.
    pub snapshot: &'a Snapshot,
    /// What only the host knows.
    pub host: Option<Host<'a>>,
}

/// What only the host knows.
pub struct Host<'a> {
    /// What a former process left; `None` where nothing is kept.
    pub found: Option<&'a Found>,
    /// The state of the xDS source.
    pub source: &'a SourceStatus,
    /// The state of the workload's certificate, if there is to be one.
    pub identity: Option<&'a IdentityStatus>,
    /// What APISIX cannot do.
    pub issues: &'a [Issue],
    /// How routes were ordered.
    pub routing: Routing,
    /// Streams of watches on the etcd endpoint.
    pub watches: usize,
}

impl Report<'_> {
    /// `host`, or `follower` of another process.
    pub fn role(&self) -> &'static str {
        if self.host.is_some() { "host" } else { "follower" }
    }

    /// The report as `status` shows it.
    pub fn json(&self) -> Value {
        let Self { config, snapshot, host } = self;
        let mut report = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "role": self.role(),
            "ready": snapshot.is_ready(),
            "revision": snapshot.revision(),
            "objects": snapshot.len(),
        });
        if !config.state_dir.is_empty() {
            report["state"] = json!({"directory": config.state_dir});
        }
        if let Some(host) = host {
            if let Some(found) = host.found {
                report["state"]["found"] = json!(found);
            }
            report["etcd"] =
                json!({"listen": config.etcd_listen, "prefix": config.etcd_prefix, "watches": host.watches});
            report["xds"] = json!(host.source);
            if let Some(identity) = host.identity {
                report["identity"] = json!(identity);
                if config.publishes_key() {
                    let key = Ssl::workload_key();
                    let is_there = snapshot.get(key.as_str()).is_some();
                    report["identity"]["published_as"] = json!(is_there.then_some(key.as_str()));
                }
            }
            report["routing"] = json!(host.routing);
            report["issues"] = shown(host.issues);
        }
        report
    }
}
