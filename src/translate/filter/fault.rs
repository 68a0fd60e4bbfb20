//! Faults: some requests wait, some are answered, some both. Mapping rows 69 to 72.
//!
//! In: the filter's configuration, for a chain or for one route. Out: a delay for every case, and before the cases
//! one that aborts, for gRPC requests another, since Envoy answers them with a gRPC status. Delays come first, and
//! both are chosen apart, as in Envoy. Never here: faults that a request asks for by its headers.

use std::{collections::BTreeMap, sync::Arc};

use super::Filter;
use crate::{
    apisix::{Abort, Condition, Delay, FaultInjection, literal},
    pb::{
        envoy::{
            extensions::filters::{
                common::fault::v3::{FaultDelay, fault_delay::FaultDelaySecifier},
                http::fault::v3::{FaultAbort, HttpFault, fault_abort::ErrorType},
            },
            r#type::v3::FractionalPercent,
        },
        path::Path,
    },
    translate::{
        cluster,
        effect::Case,
        note::Notes,
        random::{Choice, Share},
    },
};

const BODY: &str = "fault filter abort";
const DOWNSTREAM_NODE: &str = "http_x_envoy_downstream_service_node";

/// Reads the filter, of a chain or of a route.
pub(super) fn read(bytes: &[u8], path: &Path<'_>, notes: &mut Notes) -> Option<Arc<dyn Filter>> {
    let config: HttpFault = super::decode(bytes, path, notes)?;
    if !config.upstream_cluster.is_empty() {
        notes.traffic(&path.field("upstream_cluster"), "not supported: no fault at all");
        return None;
    }
    let mut conditions = super::headers(&config.headers, path, notes)?;
    if !config.downstream_nodes.is_empty() {
        conditions.push(Condition::is_in(DOWNSTREAM_NODE, config.downstream_nodes));
    }
    let delay = config.delay.as_ref().and_then(|delay| delayed(delay, &conditions));
    let abort = config.abort.and_then(|abort| Aborted::of(abort, &conditions, &path.field("abort"), notes));
    (delay.is_some() || abort.is_some()).then(|| Arc::new(Fault { delay, abort }) as Arc<dyn Filter>)
}

/// The conditions for a share of the requests that meet these already; `None` for no request.
fn share(
    choice: Choice,
    percentage: Option<&FractionalPercent>,
    conditions: &[Condition],
) -> Option<Vec<Condition>> {
    // Without a percentage, Envoy takes 0.
    let chosen = match Share::of(choice, percentage?) {
        Share::None => return None,
        Share::Some(condition) => Some(condition),
        Share::All => None,
    };
    Some(chosen.into_iter().chain(conditions.iter().cloned()).collect())
}

fn delayed(delay: &FaultDelay, conditions: &[Condition]) -> Option<Delay> {
    let Some(FaultDelaySecifier::FixedDelay(fixed)) = &delay.fault_delay_secifier else { return None };
    let duration = cluster::seconds(fixed)?;
    let vars = share(Choice::Delay, delay.percentage.as_ref(), conditions)?;
    let vars = if vars.is_empty() { Vec::new() } else { vec![vars] };
    Some(Delay { duration, vars, percentage: None })
}

/// A fault that is there.
#[derive(Debug)]
struct Fault {
    delay: Option<Delay>,
    abort: Option<Aborted>,
}

/// Which requests are answered, and how.
#[derive(Debug)]
struct Aborted {
    when: Vec<Condition>,
    status: u32,
    grpc_status: u32,
    body: String,
}

impl Aborted {
    fn of(abort: FaultAbort, conditions: &[Condition], path: &Path<'_>, notes: &mut Notes) -> Option<Self> {
        let when = share(Choice::Abort, abort.percentage.as_ref(), conditions)?;
        let (status, grpc_status) = match abort.error_type? {
            ErrorType::HttpStatus(status) if (200..600).contains(&status) => (status, grpc_status(status)),
            ErrorType::HttpStatus(status) => {
                let detail = format!("{status} is not from 200 to 599: no request is aborted");
                notes.traffic(&path.field("http_status"), detail);
                return None;
            }
            ErrorType::GrpcStatus(status) => (200, status),
        };
        let body = if abort.response_body.is_empty() { BODY.to_owned() } else { abort.response_body };
        Some(Self { when, status, grpc_status, body })
    }

    /// The answer to a gRPC request has no body: its words go into a header.
    fn to_grpc(&self) -> Abort {
        let headers = BTreeMap::from([
            ("Content-Type".to_owned(), "application/grpc".to_owned()),
            ("grpc-message".to_owned(), literal(&grpc_message(&self.body))),
            ("grpc-status".to_owned(), self.grpc_status.to_string()),
        ]);
        Abort { http_status: 200, headers, ..Abort::default() }
    }

    fn apply(&self, cases: &mut Vec<Case>) {
        let Some(last) = cases.last() else { return };
        let plain = last.answered(self.when.clone(), Abort::plain(self.status, Some(literal(&self.body))));
        let mut when = self.when.clone();
        when.push(Condition::matches("http_content_type", r"^application/grpc(?:\+.*)?\z"));
        let grpc = last.answered(when, self.to_grpc());
        if self.when.is_empty() {
            *cases = vec![plain];
        } else {
            plain.go_before(cases, "abort");
        }
        grpc.go_before(cases, "grpc abort");
    }
}

impl Filter for Fault {
    fn apply(&self, cases: &mut Vec<Case>) {
        if let Some(abort) = &self.abort {
            abort.apply(cases);
        }
        if let Some(delay) = &self.delay {
            for case in cases.iter_mut() {
                let plugin = case.effect.plugins.fault_injection.get_or_insert_with(FaultInjection::default);
                plugin.delay = Some(delay.clone());
            }
        }
    }
}

/// The status of gRPC that Envoy takes for one of HTTP.
fn grpc_status(http_status: u32) -> u32 {
    match http_status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// Percent-encoded, as gRPC wants its messages.
fn grpc_message(text: &str) -> String {
    let mut message = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => message.push(char::from(byte)),
            _ => message.push_str(&format!("%{byte:02X}")),
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(grpc_message("100% \u{e9}\n"), "100%25 %C3%A9%0A");
        assert_eq!(grpc_message(BODY), BODY);
    }

    #[test]
    fn a_share_of_nothing_is_no_fault() {
        let percent = |numerator| FractionalPercent { numerator, denominator: 0 };
        assert_eq!(share(Choice::Abort, None, &[]), None);
        assert_eq!(share(Choice::Abort, Some(&percent(0)), &[]), None);
        assert_eq!(share(Choice::Abort, Some(&percent(100)), &[]), Some(vec![]));
        let both = share(Choice::Abort, Some(&percent(50)), &[Condition::present("http_a")]).unwrap();
        assert_eq!(both.len(), 2);
    }
}
