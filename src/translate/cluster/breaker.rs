//! How many requests a cluster takes at a time. Mapping row 105.
//!
//! In: the thresholds of the cluster's circuit breakers. Out: a bound for each route, since nothing in APISIX bounds an
//! upstream: one route alone gets as far as in Envoy, several get further. Never here: Envoy's bounds where no
//! threshold is told.

use crate::{
    pb::{
        envoy::config::{
            cluster::v3::{Cluster, circuit_breakers::Thresholds},
            core::v3::RoutingPriority,
        },
        path::Path,
    },
    translate::note::Notes,
};

/// Of each threshold that is not told among others that are.
const DEFAULT: u32 = 1024;

/// How many requests may be under way; `None` for any number, which is the largest in Istio's words.
pub(super) fn max_requests(cluster: &Cluster, http2: bool, notes: &mut Notes) -> Option<u32> {
    let breakers = cluster.circuit_breakers.as_ref()?;
    let path = Path::ROOT.field("circuit_breakers");
    for (at, thresholds) in breakers.per_host_thresholds.iter().enumerate() {
        let path = path.item("per_host_thresholds", at);
        note_requests(thresholds, &path, notes);
        note_others(thresholds, &path, notes);
    }
    let mut bound = None;
    for (at, thresholds) in breakers.thresholds.iter().enumerate() {
        let path = path.item("thresholds", at);
        note_others(thresholds, &path, notes);
        if thresholds.priority() == RoutingPriority::Default && bound.is_none() {
            bound = Some(in_flight(thresholds, http2));
        } else {
            note_requests(thresholds, &path, notes);
        }
    }
    let bound = bound.filter(|bound| *bound != u32::MAX)?;
    let detail = match bound {
        0 => "no request is let through: its routes answer 503".to_owned(),
        bound => format!(
            "a route to it alone answers 503 beyond {bound} requests at a time; others are not bounded"
        ),
    };
    notes.approximated(&path.field("thresholds"), detail);
    Some(bound)
}

/// Each request of HTTP/1.1 has a connection, or waits for one; every request waits until there is a connection.
fn in_flight(thresholds: &Thresholds, http2: bool) -> u32 {
    let or_default = |bound: Option<u32>| bound.unwrap_or(DEFAULT);
    let waiting = or_default(thresholds.max_pending_requests);
    let requests = or_default(thresholds.max_requests);
    match http2 {
        _ if waiting == 0 => 0,
        true => requests,
        // However low the bound, there is one connection.
        false => requests.min(or_default(thresholds.max_connections).max(1).saturating_add(waiting)),
    }
}

fn note_requests(thresholds: &Thresholds, path: &Path<'_>, notes: &mut Notes) {
    note_bound("max_connections", thresholds.max_connections, path, notes);
    note_bound("max_pending_requests", thresholds.max_pending_requests, path, notes);
    note_bound("max_requests", thresholds.max_requests, path, notes);
}

/// What bounds something else than requests.
fn note_others(thresholds: &Thresholds, path: &Path<'_>, notes: &mut Notes) {
    note_bound("max_retries", thresholds.max_retries, path, notes);
    note_bound("max_connection_pools", thresholds.max_connection_pools, path, notes);
    if thresholds.retry_budget.is_some() {
        notes.traffic(&path.field("retry_budget"), "retries have no budget");
    }
}

fn note_bound(field: &str, bound: Option<u32>, path: &Path<'_>, notes: &mut Notes) {
    if let Some(bound) = bound.filter(|bound| *bound != u32::MAX) {
        notes.traffic(&path.field(field), format!("not enforced: there may be more than {bound}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_bound_counts() {
        let of = |connections, pending, requests, http2| {
            let thresholds = Thresholds {
                max_connections: connections,
                max_pending_requests: pending,
                max_requests: requests,
                ..Thresholds::default()
            };
            in_flight(&thresholds, http2)
        };
        let max = Some(u32::MAX);
        assert_eq!(of(max, max, max, false), u32::MAX);
        assert_eq!(of(Some(100), Some(10), max, false), 110);
        assert_eq!(of(Some(100), Some(10), max, true), u32::MAX);
        assert_eq!(of(Some(100), Some(10), Some(7), false), 7);
        assert_eq!(of(Some(100), None, max, false), 1124);
        assert_eq!(of(max, max, None, true), 1024);
        assert_eq!(of(Some(0), Some(1), max, false), 2);
        assert_eq!(of(max, Some(0), max, false), 0);
        assert_eq!(of(max, max, Some(0), true), 0);
    }
}
