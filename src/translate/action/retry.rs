//! Retry policies to the retries of an upstream. Mapping rows 43 to 46.
//!
//! nginx goes on to another endpoint when a connection fails or times out, and when an answer does not come; a
//! request that may have had an effect it sends again only if nothing of it was sent. It asks for no status. In: the
//! policy of the route or its virtual host. Out: how often, and for how long each.

use crate::{
    pb::{envoy::config::route::v3::RetryPolicy, path::Path},
    translate::{cluster::seconds, note::Notes},
};

/// Conditions that nginx retries on, and no others with them.
const CONNECTION: &[&str] = &["connect-failure", "refused-stream", "reset", "reset-before-request"];
/// Conditions that hold for connections that fail, and for some answers.
const CONNECTION_OR_STATUS: &[&str] = &["5xx", "gateway-error"];

/// What a route wants of retries.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Retries {
    /// Further tries.
    pub count: u32,
    /// Seconds for each try.
    pub per_try: Option<f64>,
}

/// Reads the policy at `path`.
pub(super) fn read(policy: &RetryPolicy, path: &Path<'_>, notes: &mut Notes) -> Retries {
    let conditions: Vec<&str> = policy.retry_on.split(',').map(str::trim).filter(|c| !c.is_empty()).collect();
    let wanted = policy.num_retries.unwrap_or(1);
    let is = |list: &[&str]| conditions.iter().any(|c| list.contains(c));
    let count = match (wanted, is(CONNECTION) || is(CONNECTION_OR_STATUS)) {
        (0, _) => 0,
        (_, false) => {
            if !conditions.is_empty() {
                let detail = format!("{}: answers are not asked, nothing is retried", policy.retry_on);
                notes.traffic(&path.field("retry_on"), detail);
            }
            0
        }
        (wanted, true) => {
            let detail = format!("{}: retried when a connection fails or times out alone", policy.retry_on);
            notes.approximated(&path.field("retry_on"), detail);
            wanted
        }
    };
    // Envoy bounds a try also where there is but one.
    let bounds = [&policy.per_try_timeout, &policy.per_try_idle_timeout];
    let per_try = bounds.into_iter().flatten().filter_map(seconds).reduce(f64::min);
    Retries { count, per_try }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{pb::google::protobuf::Duration, translate::Severity};

    fn of(retry_on: &str, num_retries: Option<u32>) -> (u32, Vec<Severity>) {
        let mut notes = Notes::default();
        let policy = RetryPolicy { retry_on: retry_on.to_owned(), num_retries, ..RetryPolicy::default() };
        let count = read(&policy, &Path::ROOT, &mut notes).count;
        (count, notes.into_vec().into_iter().map(|n| n.severity).collect())
    }

    #[test]
    fn what_fails_on_the_way_is_retried() {
        assert_eq!(of("connect-failure", None), (1, vec![Severity::Approximated]));
        assert_eq!(of("retriable-4xx, 5xx", Some(3)), (3, vec![Severity::Approximated]));
    }

    #[test]
    fn answers_are_not() {
        assert_eq!(of("retriable-status-codes,cancelled", Some(3)), (0, vec![Severity::Traffic]));
        assert_eq!(of("connect-failure", Some(0)), (0, vec![]));
        assert_eq!(of("", Some(3)), (0, vec![]));
    }

    #[test]
    fn the_shorter_bound_of_a_try_counts() {
        let seconds = |seconds| Some(Duration { seconds, nanos: 0 });
        let policy = RetryPolicy {
            per_try_timeout: seconds(5),
            per_try_idle_timeout: seconds(2),
            ..RetryPolicy::default()
        };
        assert_eq!(
            read(&policy, &Path::ROOT, &mut Notes::default()),
            Retries { count: 0, per_try: Some(2.0) }
        );
    }
}
