//! Health checks to the active checks of an upstream.
//!
//! Mapping rows 109 and 110. In: the first of a cluster's health checks, as Envoy takes only one. Out: APISIX's
//! probes. Never here: what is learnt from real requests.

use std::collections::BTreeSet;

use crate::{
    apisix::{Active, ActiveHealthy, ActiveUnhealthy, CheckType, is_host},
    pb::{
        envoy::{
            config::{
                cluster::v3::Cluster,
                core::v3::{
                    HealthCheck, RequestMethod,
                    health_check::{HealthChecker, HttpHealthCheck},
                },
            },
            r#type::v3::{CodecClientType, Int64Range},
        },
        google::protobuf::Duration,
        path::Path,
    },
    translate::note::Notes,
};

use super::{panic_threshold, seconds};

/// The largest counter of APISIX's checks.
pub(super) const MAX_COUNT: u32 = 254;
const HEALTHY_AFTER: u32 = 1;
const UNHEALTHY_AFTER: u32 = 1;

/// The probes of a cluster.
pub(super) fn active(cluster: &Cluster, name: &str, notes: &mut Notes) -> Option<Active> {
    let check = cluster.health_checks.first()?;
    let path = Path::ROOT.item("health_checks", 0);
    if cluster.health_checks.len() > 1 {
        notes.traffic(&Path::ROOT.field("health_checks"), "only the first is done");
    }
    let active = match check.health_checker.as_ref()? {
        HealthChecker::TcpHealthCheck(_) => Active { kind: CheckType::Tcp, ..times(check, &path, notes) },
        HealthChecker::HttpHealthCheck(http) => {
            let active = times(check, &path, notes);
            with_http(active, http, name, &path.field("http_health_check"), notes)?
        }
        HealthChecker::GrpcHealthCheck(_) => {
            notes.traffic(&path.field("grpc_health_check"), UNCHECKED);
            return None;
        }
        HealthChecker::CustomHealthCheck(_) => {
            notes.traffic(&path.field("custom_health_check"), UNCHECKED);
            return None;
        }
    };
    notes.approximated(
        &path,
        "an endpoint is used until a check has failed, not from the first that passed on",
    );
    note_panic(cluster, notes);
    Some(active)
}

const UNCHECKED: &str = "not done: all endpoints are taken for healthy";

/// What APISIX does when too few endpoints are healthy.
pub(super) fn note_panic(cluster: &Cluster, notes: &mut Notes) {
    let threshold = panic_threshold(cluster);
    let path = Path::ROOT.field("common_lb_config");
    let detail = if threshold > 0.0 {
        format!("all endpoints are used when none is healthy, not when fewer than {threshold}% are")
    } else {
        "all endpoints are used when none is healthy, instead of a 503".to_owned()
    };
    notes.approximated(&path.field("healthy_panic_threshold"), detail);
}

fn times(check: &HealthCheck, path: &Path<'_>, notes: &mut Notes) -> Active {
    let interval = whole_seconds(check.interval.as_ref(), &path.field("interval"), notes);
    let unhealthy_interval =
        check.unhealthy_interval.map(|d| whole_seconds(Some(&d), &path.field("unhealthy_interval"), notes));
    let failures = count(check.unhealthy_threshold, UNHEALTHY_AFTER);
    Active {
        timeout: check.timeout.as_ref().and_then(seconds),
        healthy: Some(ActiveHealthy {
            interval: Some(interval),
            successes: Some(count(check.healthy_threshold, HEALTHY_AFTER)),
            ..ActiveHealthy::default()
        }),
        unhealthy: Some(ActiveUnhealthy {
            interval: Some(unhealthy_interval.unwrap_or(interval)),
            tcp_failures: Some(failures),
            timeouts: Some(failures),
            ..ActiveUnhealthy::default()
        }),
        ..Active::default()
    }
}

fn count(threshold: Option<u32>, default: u32) -> u32 {
    threshold.unwrap_or(default).clamp(1, MAX_COUNT)
}

/// APISIX's intervals are whole seconds.
fn whole_seconds(duration: Option<&Duration>, path: &Path<'_>, notes: &mut Notes) -> u32 {
    let asked = duration.and_then(seconds).unwrap_or(1.0);
    let whole = asked.ceil();
    if whole > asked {
        notes.approximated(path, format!("{asked} s becomes {whole} s"));
    }
    // `seconds` is at most a day.
    whole as u32
}

fn with_http(
    active: Active,
    http: &HttpHealthCheck,
    name: &str,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Option<Active> {
    if http.codec_client_type() != CodecClientType::Http1 {
        notes.traffic(&path.field("codec_client_type"), UNCHECKED);
        return None;
    }
    if !is_request_target(&http.path) {
        notes.traffic(&path.field("path"), format!("{:?} is no path: {UNCHECKED}", http.path));
        return None;
    }
    let expected = statuses(&http.expected_statuses);
    let expected = if http.expected_statuses.is_empty() { BTreeSet::from([200]) } else { expected };
    if expected.is_empty() {
        notes.traffic(&path.field("expected_statuses"), format!("no status from 200 to 599: {UNCHECKED}"));
        return None;
    }
    let others = REGISTERED.iter().copied().filter(|status| !expected.contains(status)).collect();
    // Any other status is unhealthy at once, if it is not retriable.
    let at_once = http.retriable_statuses.is_empty();
    if !at_once {
        let detail = "all statuses that are not expected count as retriable ones do";
        notes.approximated(&path.field("retriable_statuses"), detail);
    }
    let failures = active.unhealthy.as_ref().and_then(|u| u.tcp_failures);
    Some(Active {
        kind: CheckType::Http,
        host: host(http, name, path, notes),
        http_method: method(http),
        http_path: Some(if http.path.is_empty() { "/".to_owned() } else { http.path.clone() }),
        req_headers: headers(http, path, notes),
        healthy: active
            .healthy
            .map(|h| ActiveHealthy { http_statuses: expected.iter().copied().collect(), ..h }),
        unhealthy: active.unhealthy.map(|u| ActiveUnhealthy {
            http_statuses: others,
            http_failures: if at_once { Some(1) } else { failures },
            ..u
        }),
        ..active
    })
}

/// The probe is written as text, line by line.
fn is_request_target(path: &str) -> bool {
    path.is_empty() || (path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic()))
}

/// Envoy's default is the name of the cluster.
fn host(http: &HttpHealthCheck, name: &str, path: &Path<'_>, notes: &mut Notes) -> Option<String> {
    let host = if http.host.is_empty() { name } else { &http.host };
    if is_host(host) && !host.contains('*') {
        return Some(host.to_owned());
    }
    notes.approximated(&path.field("host"), format!("{host:?} is no host name: the address is sent"));
    None
}

fn method(http: &HttpHealthCheck) -> Option<String> {
    match http.method() {
        RequestMethod::MethodUnspecified | RequestMethod::Get => None,
        other => Some(other.as_str_name().to_owned()),
    }
}

fn headers(http: &HttpHealthCheck, path: &Path<'_>, notes: &mut Notes) -> Vec<String> {
    let mut lines = BTreeSet::new();
    for (at, option) in http.request_headers_to_add.iter().enumerate() {
        let Some(header) = &option.header else { continue };
        let is_text = |text: &str| text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'%');
        if is_text(&header.value) && is_text(&header.key) && header.raw_value.is_empty() {
            lines.insert(format!("{}: {}", header.key, header.value));
        } else {
            notes.approximated(&path.item("request_headers_to_add", at), "not sent");
        }
    }
    lines.into_iter().collect()
}

/// What ranges hold of the statuses that occur; a status that a range names alone counts always.
fn statuses(ranges: &[Int64Range]) -> BTreeSet<u32> {
    let within = |status: i64, range: &Int64Range| range.start <= status && status < range.end;
    let registered = REGISTERED.iter().copied();
    let alone = ranges.iter().filter(|r| r.end.checked_sub(r.start) == Some(1));
    registered
        .filter(|status| ranges.iter().any(|range| within(i64::from(*status), range)))
        .chain(alone.filter_map(|r| u32::try_from(r.start).ok().filter(|s| (200..600).contains(s))))
        .collect()
}

/// The statuses that are registered, and those that proxies in wide use add. APISIX wants statuses one by one, and an
/// object of hundreds for each cluster helps nobody.
pub(super) const REGISTERED: &[u32] = &[
    200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 306, 307, 308, 400, 401,
    402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 423, 424,
    425, 426, 428, 429, 431, 451, 499, 500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511, 520, 521, 522,
    523, 524, 525, 526, 527, 530,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_become_statuses() {
        let of = |ranges: &[(i64, i64)]| {
            let ranges: Vec<_> =
                ranges.iter().map(|(start, end)| Int64Range { start: *start, end: *end }).collect();
            statuses(&ranges).into_iter().collect::<Vec<_>>()
        };
        assert_eq!(of(&[(200, 203)]), [200, 201, 202]);
        assert_eq!(of(&[(250, 251), (100, 101), (i64::MIN, i64::MAX)]).len(), REGISTERED.len() + 1);
        assert_eq!(of(&[(i64::MAX, i64::MIN), (700, 701)]), [0; 0]);
    }

    #[test]
    fn a_probe_has_one_line_for_its_path() {
        assert!(is_request_target("/a?b=c") && is_request_target(""));
        assert!(!is_request_target("/a b") && !is_request_target("/a\r\nX: y") && !is_request_target("a"));
    }
}
