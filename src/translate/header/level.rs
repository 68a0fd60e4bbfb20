//! What a configuration and a virtual host do to headers, besides their operations.

use crate::pb::{
    envoy::config::route::v3::{RouteConfiguration, VirtualHost},
    path::Path,
};

use super::operation::Level;
use crate::translate::note::Notes;

const ATTEMPTS: &str = "x-envoy-attempt-count";

/// Of a route configuration.
#[derive(Debug, Default)]
pub(in crate::translate) struct ConfigHeaders {
    pub(super) level: Level,
    /// What no client may send.
    pub(super) internal: Level,
    /// The route's operations come last, and so have the last word.
    pub(super) most_specific_wins: bool,
}

/// Of a virtual host.
#[derive(Debug, Default)]
pub(in crate::translate) struct HostHeaders {
    pub(super) level: Level,
    /// How often Envoy has tried.
    pub(super) attempts: Level,
}

impl ConfigHeaders {
    pub fn read(config: &RouteConfiguration, notes: &mut Notes) -> Self {
        let mut internal = Level::default();
        if !config.internal_only_headers.is_empty() {
            let path = Path::ROOT.field("internal_only_headers");
            notes.approximated(&path, "removed from all requests: nothing tells which come from inside");
        }
        config.internal_only_headers.iter().for_each(|name| internal.remove_from_requests(name));
        Self {
            level: Level::read(config, &Path::ROOT, notes),
            internal,
            most_specific_wins: config.most_specific_header_mutations_wins,
        }
    }
}

impl HostHeaders {
    pub fn read(host: &VirtualHost, notes: &mut Notes) -> Self {
        let mut attempts = Level::default();
        if host.include_request_attempt_count {
            attempts.set_in_requests(ATTEMPTS, "1");
            let path = Path::ROOT.field("include_request_attempt_count");
            notes.approximated(&path, "attempts are not counted: always 1");
        }
        if host.include_attempt_count_in_response {
            attempts.set_in_answers(ATTEMPTS, "1");
            let path = Path::ROOT.field("include_attempt_count_in_response");
            notes.approximated(&path, "attempts are not counted: always 1");
        }
        Self { level: Level::read(host, &Path::ROOT, notes), attempts }
    }
}
