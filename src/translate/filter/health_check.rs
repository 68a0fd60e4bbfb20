//! Health checks of the proxy itself: it answers them in place of its upstreams.
//!
//! In: the filter's configuration. Out: a case before the others that answers 200. Never here: how upstreams are, which
//! Envoy may let its answer depend on.

use std::sync::Arc;

use super::Filter;
use crate::{
    apisix::{Abort, Condition},
    pb::{envoy::extensions::filters::http::health_check::v3::HealthCheck, path::Path},
    translate::{effect::Case, note::Notes},
};

/// Reads the filter. What passes through needs nothing here.
pub(super) fn read(bytes: &[u8], path: &Path<'_>, notes: &mut Notes) -> Option<Arc<dyn Filter>> {
    let config: HealthCheck = super::decode(bytes, path, notes)?;
    if config.pass_through_mode == Some(true) {
        return None;
    }
    let when = super::headers(&config.headers, path, notes)?;
    notes.approximated(path, "answers where a route is found");
    Some(Arc::new(Healthy { when }))
}

/// Which requests are answered.
#[derive(Debug)]
struct Healthy {
    when: Vec<Condition>,
}

impl Filter for Healthy {
    fn apply(&self, cases: &mut Vec<Case>) {
        let Some(last) = cases.last() else { return };
        let answer = last.answered(self.when.clone(), Abort::plain(200, None));
        if self.when.is_empty() {
            *cases = vec![answer];
        } else {
            answer.go_before(cases, "health check");
        }
    }
}
