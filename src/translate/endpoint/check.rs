//! What endpoints say of their own health checks. APISIX checks all of an upstream's nodes the same way.
//!
//! In: the assignment of a cluster that checks. Out: the port of the probes.

use std::collections::BTreeSet;

use crate::{
    pb::{
        envoy::config::endpoint::v3::{
            ClusterLoadAssignment, Endpoint, endpoint::HealthCheckConfig, lb_endpoint::HostIdentifier,
        },
        path::Path,
    },
    translate::note::Notes,
};

/// The one port that all endpoints are to be checked on, if it is not their own.
pub(super) fn port(assignment: &ClusterLoadAssignment, path: &Path<'_>, notes: &mut Notes) -> Option<u32> {
    let mut ports = BTreeSet::new();
    for (at, locality) in assignment.endpoints.iter().enumerate() {
        let path = path.item("endpoints", at);
        for (at, endpoint) in locality.lb_endpoints.iter().enumerate() {
            let Some(HostIdentifier::Endpoint(Endpoint { health_check_config, .. })) =
                &endpoint.host_identifier
            else {
                continue;
            };
            let path = path.item("lb_endpoints", at);
            let path = path.field("endpoint");
            let config = health_check_config.clone().unwrap_or_default();
            note(&config, &path.field("health_check_config"), notes);
            ports.insert(config.port_value);
        }
    }
    let port = ports.pop_first()?;
    if ports.is_empty() {
        return (1..=65535).contains(&port).then_some(port);
    }
    let path = path.field("endpoints");
    let path = path.field("lb_endpoints");
    let path = path.field("endpoint");
    let path = path.field("health_check_config");
    notes.approximated(
        &path.field("port_value"),
        "they differ: each endpoint is checked where it takes requests",
    );
    None
}

fn note(config: &HealthCheckConfig, path: &Path<'_>, notes: &mut Notes) {
    if config.disable_active_health_check {
        notes.approximated(&path.field("disable_active_health_check"), "it is checked as all are");
    }
    if !config.hostname.is_empty() {
        notes.approximated(&path.field("hostname"), "its probes have the Host header of all");
    }
    if config.address.is_some() {
        notes.approximated(&path.field("address"), "it is checked where it takes requests");
    }
}
