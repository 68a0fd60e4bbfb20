//! JWT authentication: requests that need a token are not served, others are. Mapping rows 83 and 84.
//!
//! In: the filter's rules. Out: nothing where no request needs a token; else the requests that do are unguarded, which
//! the policy decides about. Never here: a token.

use std::sync::Arc;

use prost::Message;

use super::{Filter, unhonoured};
use crate::{
    apisix::Condition,
    pb::{
        envoy::{
            config::route::v3::RouteMatch,
            extensions::filters::http::jwt_authn::v3::{
                JwtAuthentication, JwtProvider, JwtRequirement, PerRouteConfig, RequirementRule,
                jwt_requirement::RequiresType, per_route_config::RequirementSpecifier,
                requirement_rule::RequirementType,
            },
        },
        path::Path,
    },
    translate::{
        Severity,
        bounds::{Bounds, Truth},
        effect::{Case, Effect},
        matcher,
        note::Notes,
    },
};

const LABEL: &str = "jwt_authn";

/// Reads the filter of a chain.
pub(super) fn read(bytes: &[u8], path: &Path<'_>, notes: &mut Notes) -> Option<Arc<dyn Filter>> {
    let config = match JwtAuthentication::decode(bytes) {
        Ok(config) => config,
        Err(error) => {
            notes.add(Severity::Security, path, format!("not decodable: {error}"));
            return Some(unhonoured());
        }
    };
    // The first rule that matches decides; without one, no token is needed.
    let rules = config.rules.iter().enumerate().rev();
    let needed = rules.fold(Bounds::constant(false), |rest, (at, rule)| {
        let matches = matches(rule.r#match.as_ref());
        let needed = needs_token(rule, &config);
        if needed {
            notes.add(Severity::Security, &path.item("rules", at), "tokens are not checked");
        } else if rule.requirement_type.is_some() {
            notes
                .traffic(&path.item("rules", at), "no token is looked at, so none is passed on or taken out");
        }
        Bounds::any([Bounds::all([matches.clone(), Bounds::constant(needed)]), Bounds::all([!matches, rest])])
    });
    match needed.at_most {
        Truth::Never => None,
        Truth::Always => Some(unhonoured()),
        Truth::When(condition) => Some(Arc::new(NeedsToken { when: vec![condition] })),
    }
}

/// Reads what a route says.
pub(super) fn read_route(bytes: &[u8], path: &Path<'_>, notes: &mut Notes) -> Option<Arc<dyn Filter>> {
    match PerRouteConfig::decode(bytes) {
        Ok(PerRouteConfig { requirement_specifier: Some(RequirementSpecifier::Disabled(true)) }) => None,
        // A requirement by name stands among the chain's, which is not known here.
        Ok(_) => Some(unhonoured()),
        Err(error) => {
            notes.add(Severity::Security, path, format!("not decodable: {error}"));
            Some(unhonoured())
        }
    }
}

/// As Envoy's filter matches, which asks for less than a route does: what else is set leaves it unknown.
fn matches(matched: Option<&RouteMatch>) -> Bounds {
    let Some(matched) = matched else { return Bounds::unknown() };
    if matched.grpc.is_some() || matched.runtime_fraction.is_some() {
        return Bounds::unknown();
    }
    match matcher::translate(matched, &Path::ROOT, &mut Notes::default()) {
        Some(found) => {
            let conditions = found.path.condition().into_iter().chain(found.conditions);
            Bounds::all(conditions.map(Bounds::when).collect::<Vec<_>>())
        }
        None => Bounds::unknown(),
    }
}

fn needs_token(rule: &RequirementRule, config: &JwtAuthentication) -> bool {
    let requirement = match &rule.requirement_type {
        None => return false,
        Some(RequirementType::Requires(requirement)) => Some(requirement),
        Some(RequirementType::RequirementName(name)) => config.requirement_map.get(name),
    };
    // Headers with claims are taken from clients: without the filter anybody could write them.
    let writes = |p: &JwtProvider| !p.forward_payload_header.is_empty() || !p.claim_to_headers.is_empty();
    config.providers.values().any(writes) || !requirement.is_some_and(lets_all_pass)
}

fn lets_all_pass(requirement: &JwtRequirement) -> bool {
    match &requirement.requires_type {
        Some(RequiresType::AllowMissingOrFailed(_)) => true,
        Some(RequiresType::RequiresAny(list)) => list.requirements.iter().any(lets_all_pass),
        Some(RequiresType::RequiresAll(list)) => list.requirements.iter().all(lets_all_pass),
        _ => false,
    }
}

/// Requests that meet the conditions need a token.
#[derive(Debug)]
struct NeedsToken {
    when: Vec<Condition>,
}

impl Filter for NeedsToken {
    fn apply(&self, cases: &mut Vec<Case>) {
        let label = match cases.iter().filter(|case| case.label.starts_with(LABEL)).count() {
            0 => LABEL.to_owned(),
            others => format!("{LABEL} {others}"),
        };
        let effect = Effect { unguarded: true, stand_in: true, ..Effect::default() };
        cases.insert(0, Case { label, when: self.when.clone(), effect });
    }
}
