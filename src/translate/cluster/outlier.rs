//! Outlier detection to the passive checks of an upstream.
//!
//! Mapping rows 107 and 108. In: the cluster. Out: what real requests say of an endpoint, and the probe that brings it
//! back. Never here: probes that a cluster asks for itself.
//!
//! APISIX counts per kind of failure and never forgets an endpoint's state by itself: only a good probe ends an
//! ejection. Where the cluster has no probes, endpoints that are out are connected to every `base_ejection_time`, and
//! those that are in hardly ever.

use crate::{
    apisix::{Active, ActiveHealthy, ActiveUnhealthy, CheckType, Passive, PassiveHealthy, PassiveUnhealthy},
    pb::{
        envoy::config::cluster::v3::{Cluster, OutlierDetection},
        path::Path,
    },
    translate::note::Notes,
};

use super::{
    health::{self, MAX_COUNT, REGISTERED},
    seconds,
};

/// Envoy's defaults.
const CONSECUTIVE: u32 = 5;
const ENFORCING: u32 = 100;
const BASE_EJECTION: f64 = 30.0;
const MAX_EJECTION_PERCENT: u32 = 10;
/// Seconds between probes of endpoints that nobody wants probed.
const SELDOM: u32 = 3600;

/// Counters; 0 is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limits {
    statuses: Statuses,
    http: u32,
    local: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Statuses {
    Any5xx,
    Gateway,
}

/// The passive checks of a cluster.
pub(super) fn passive(cluster: &Cluster, notes: &mut Notes) -> Option<Passive> {
    let detection = cluster.outlier_detection.as_ref()?;
    let path = Path::ROOT.field("outlier_detection");
    note_other_ways(detection, &path, notes);
    let limits = limits(detection, &path, notes);
    if limits.http == 0 && limits.local == 0 {
        return None;
    }
    let detail = "statuses, failed connections and timeouts are counted each on its own, and an endpoint is out until \
                  a probe succeeds, each time for as long";
    notes.approximated(&path, detail);
    let percent = detection.max_ejection_percent.unwrap_or(MAX_EJECTION_PERCENT);
    if percent < 100 {
        notes.approximated(&path.field("max_ejection_percent"), format!("more than {percent}% may be out"));
    }
    if cluster.health_checks.is_empty() {
        health::note_panic(cluster, notes);
    }
    Some(checks(limits))
}

/// The probes that bring an endpoint back, for a cluster that has none.
pub(super) fn readmission(cluster: &Cluster) -> Active {
    let base =
        cluster.outlier_detection.as_ref().and_then(|d| d.base_ejection_time.as_ref()).and_then(seconds);
    Active {
        kind: CheckType::Tcp,
        healthy: Some(ActiveHealthy {
            interval: Some(SELDOM),
            successes: Some(1),
            ..ActiveHealthy::default()
        }),
        unhealthy: Some(ActiveUnhealthy {
            // `seconds` is at most a day.
            interval: Some(base.unwrap_or(BASE_EJECTION).ceil() as u32),
            tcp_failures: Some(MAX_COUNT),
            timeouts: Some(MAX_COUNT),
            ..ActiveUnhealthy::default()
        }),
        ..Active::default()
    }
}

fn checks(limits: Limits) -> Passive {
    let bad = |status: &u32| match limits.statuses {
        Statuses::Any5xx => *status >= 500,
        Statuses::Gateway => (502..=504).contains(status),
    };
    // A counter of 0 switches a test off, so that the list may stay.
    let (unhealthy, healthy) = REGISTERED.iter().partition(|status| bad(status));
    Passive {
        kind: CheckType::Http,
        // Any good answer ends a row of failures; so many in a row bring nobody back.
        healthy: Some(PassiveHealthy { http_statuses: healthy, successes: Some(MAX_COUNT) }),
        unhealthy: Some(PassiveUnhealthy {
            http_statuses: unhealthy,
            http_failures: Some(limits.http),
            tcp_failures: Some(limits.local),
            timeouts: Some(limits.local),
        }),
    }
}

fn limits(detection: &OutlierDetection, path: &Path<'_>, notes: &mut Notes) -> Limits {
    let mut limit = |enforcing: Option<u32>, default, field: &str, count: Option<u32>| {
        let enforcing = enforcing.unwrap_or(default);
        if (1..ENFORCING).contains(&enforcing) {
            notes.approximated(&path.field(field), format!("{enforcing}% is taken for 100%"));
        }
        if enforcing == 0 { 0 } else { count.unwrap_or(CONSECUTIVE).min(MAX_COUNT) }
    };
    let any = limit(
        detection.enforcing_consecutive_5xx,
        ENFORCING,
        "enforcing_consecutive_5xx",
        detection.consecutive_5xx,
    );
    let gateway = limit(
        detection.enforcing_consecutive_gateway_failure,
        0,
        "enforcing_consecutive_gateway_failure",
        detection.consecutive_gateway_failure,
    );
    let local = limit(
        detection.enforcing_consecutive_local_origin_failure,
        ENFORCING,
        "enforcing_consecutive_local_origin_failure",
        detection.consecutive_local_origin_failure,
    );
    // Without the split, a failed connection counts as a status of 503.
    let either = if any == 0 || gateway == 0 { any.max(gateway) } else { any.min(gateway) };
    let local = if detection.split_external_local_origin_errors { local } else { either };
    if any > 0 && gateway > 0 && gateway < any {
        let detail = format!("502, 503 and 504 count with all 5xx: {any} in a row");
        notes.approximated(&path.field("consecutive_gateway_failure"), detail);
    }
    if any > 0 {
        Limits { statuses: Statuses::Any5xx, http: any, local }
    } else {
        Limits { statuses: Statuses::Gateway, http: gateway, local }
    }
}

/// Ways to be ejected that APISIX has not.
fn note_other_ways(detection: &OutlierDetection, path: &Path<'_>, notes: &mut Notes) {
    for (field, enforcing, default) in [
        ("enforcing_success_rate", detection.enforcing_success_rate, ENFORCING),
        ("enforcing_failure_percentage", detection.enforcing_failure_percentage, 0),
        ("enforcing_failure_percentage_local_origin", detection.enforcing_failure_percentage_local_origin, 0),
    ] {
        if enforcing.unwrap_or(default) > 0 {
            notes.traffic(&path.field(field), "only failures in a row count");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(detection: OutlierDetection) -> Limits {
        limits(&detection, &Path::ROOT, &mut Notes::default())
    }

    #[test]
    fn defaults_are_envoys() {
        assert_eq!(
            of(OutlierDetection::default()),
            Limits { statuses: Statuses::Any5xx, http: CONSECUTIVE, local: CONSECUTIVE }
        );
    }

    #[test]
    fn nothing_enforced_is_nothing_counted() {
        let detection =
            OutlierDetection { enforcing_consecutive_5xx: Some(0), ..OutlierDetection::default() };
        assert_eq!(of(detection), Limits { statuses: Statuses::Gateway, http: 0, local: 0 });
    }

    #[test]
    fn gateway_failures_alone() {
        let detection = OutlierDetection {
            enforcing_consecutive_5xx: Some(0),
            enforcing_consecutive_gateway_failure: Some(100),
            consecutive_gateway_failure: Some(3),
            ..OutlierDetection::default()
        };
        assert_eq!(of(detection), Limits { statuses: Statuses::Gateway, http: 3, local: 3 });
        let passive = checks(of(detection)).unhealthy.unwrap();
        assert_eq!(passive.http_statuses, [502, 503, 504]);
    }
}
