//! RBAC: who may do what. Mapping rows 77 to 82.
//!
//! In: the filter's rules or matcher, for a chain or for one route. Out: a case tried before the others that answers
//! 403 where Envoy does. What APISIX cannot tell of a request is taken for the worse: a DENY policy applies whenever
//! the rest of it does, an ALLOW policy never does. Never here: rules that only count (shadow rules, LOG).

mod matcher;
mod permission;
mod policy;
mod principal;
mod test;

use std::sync::Arc;

use prost::Message;

use super::{Filter, unhonoured};
use crate::{
    apisix::{Condition, Plugins},
    pb::{
        envoy::{
            config::rbac::v3::{Rbac as Rules, rbac::Action},
            extensions::filters::http::rbac::v3::{Rbac, RbacPerRoute},
        },
        path::Path,
        unread::{self, Finding},
    },
    translate::{
        Severity,
        bounds::Truth,
        effect::{Case, Effect},
        note::Notes,
    },
};

/// Envoy's words.
const BODY: &str = "RBAC: access denied";
const FORBIDDEN: u32 = 403;
const LABEL: &str = "rbac";

/// Reads the filter of a chain.
pub(super) fn read(bytes: &[u8], path: &Path<'_>, notes: &mut Notes) -> Option<Arc<dyn Filter>> {
    match Rbac::decode(bytes) {
        Ok(config) => complete("envoy.extensions.filters.http.rbac.v3.RBAC", bytes, path, notes)
            .or_else(|| filter(&config, path, notes)),
        Err(error) => Some(undecodable(&error, path, notes)),
    }
}

/// Reads what a route says: without a configuration, that nothing is asked of it.
pub(super) fn read_route(bytes: &[u8], path: &Path<'_>, notes: &mut Notes) -> Option<Arc<dyn Filter>> {
    match RbacPerRoute::decode(bytes) {
        Ok(config) => complete("envoy.extensions.filters.http.rbac.v3.RBACPerRoute", bytes, path, notes)
            .or_else(|| filter(config.rbac.as_ref()?, &path.field("rbac"), notes)),
        Err(error) => Some(undecodable(&error, path, notes)),
    }
}

fn undecodable(error: &prost::DecodeError, path: &Path<'_>, notes: &mut Notes) -> Arc<dyn Filter> {
    notes.add(Severity::Security, path, format!("not decodable: {error}"));
    unhonoured()
}

/// A field from the future may narrow any rule.
fn complete(message: &str, bytes: &[u8], path: &Path<'_>, notes: &mut Notes) -> Option<Arc<dyn Filter>> {
    let mut unknown = false;
    unread::walk(message, bytes, &mut |_, finding| unknown |= matches!(finding, Finding::UnknownField(_)));
    if unknown {
        notes.add(Severity::Security, path, "holds a field that is newer than this library");
    }
    unknown.then(unhonoured)
}

/// A matcher goes before rules, as in Envoy; with neither, the filter does nothing.
fn filter(config: &Rbac, path: &Path<'_>, notes: &mut Notes) -> Option<Arc<dyn Filter>> {
    let denied = match (&config.matcher, &config.rules) {
        (Some(tree), _) => !matcher::allowed(tree, &path.field("matcher"), notes).at_least,
        (None, Some(rules)) => denied(rules, &path.field("rules"), notes),
        (None, None) => Truth::Never,
    };
    guard(denied)
}

/// Which requests the rules refuse.
fn denied(rules: &Rules, path: &Path<'_>, notes: &mut Notes) -> Truth {
    match Action::try_from(rules.action) {
        Ok(Action::Allow) => !policy::any(&rules.policies, Action::Allow, path, notes).at_least,
        Ok(Action::Deny) => policy::any(&rules.policies, Action::Deny, path, notes).at_most,
        Ok(Action::Log) => Truth::Never,
        Err(_) => {
            notes.guard_told(&path.field("action"), "not known: every request is refused");
            Truth::Always
        }
    }
}

fn guard(denied: Truth) -> Option<Arc<dyn Filter>> {
    match denied {
        Truth::Never => None,
        Truth::Always => Some(Arc::new(Guard { when: Vec::new() })),
        Truth::When(Condition::All(when)) => Some(Arc::new(Guard { when })),
        Truth::When(condition) => Some(Arc::new(Guard { when: vec![condition] })),
    }
}

/// Refuses the requests that meet all conditions.
#[derive(Debug)]
struct Guard {
    when: Vec<Condition>,
}

impl Filter for Guard {
    fn apply(&self, cases: &mut Vec<Case>) {
        let plugins = Plugins::answer(FORBIDDEN, Some(BODY.to_owned()));
        let effect = Effect { plugins, ..Effect::default() };
        if self.when.is_empty() {
            *cases = vec![Case::always(effect)];
            return;
        }
        let label = match cases.iter().filter(|case| case.label.starts_with(LABEL)).count() {
            0 => LABEL.to_owned(),
            others => format!("{LABEL} {others}"),
        };
        cases.insert(0, Case { label, when: self.when.clone(), effect });
    }
}
