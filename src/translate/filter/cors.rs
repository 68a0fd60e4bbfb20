//! CORS: which web pages may read the answers. Mapping rows 66 to 68.
//!
//! In: the policy of a route or a virtual host. Out: a case before the others that answers preflight requests, and the
//! cors plugin for all other requests from an origin that is allowed. Requests without an origin, or from one that is
//! not allowed, go on as if there were no policy, as in Envoy. Never here: routes that answer without a cluster, which
//! Envoy's filter passes over.

use std::{collections::BTreeMap, sync::Arc};

use super::Filter;
use crate::{
    apisix::{Abort, Condition, Cors as Plugin, Meta, literal},
    pb::{
        envoy::{
            extensions::filters::http::cors::v3::CorsPolicy,
            r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern},
        },
        path::Path,
    },
    translate::{
        effect::Case,
        matcher::text::TextTest,
        note::Notes,
        random::{Choice, Share},
    },
};

const ORIGIN: &str = "http_origin";
const ASKED_METHOD: &str = "http_access_control_request_method";
const ASKED_NETWORK: &str = "http_access_control_request_private_network";

/// Reads the filter of a chain, which says nothing: policies stand in routes.
pub(super) fn read(_: &[u8], _: &Path<'_>, _: &mut Notes) -> Option<Arc<dyn Filter>> {
    None
}

/// Reads the policy of a route.
pub(super) fn read_policy(bytes: &[u8], path: &Path<'_>, notes: &mut Notes) -> Option<Arc<dyn Filter>> {
    let config: CorsPolicy = super::decode(bytes, path, notes)?;
    let chosen = match &config.filter_enabled {
        None => Share::All,
        Some(share) => Share::of(Choice::Filter, &share.default_value.unwrap_or_default()),
    };
    let share = match chosen {
        Share::None => return None,
        Share::Some(condition) => Some(condition),
        Share::All => None,
    };
    let allowed = origins(&config.allow_origin_string_match, path, notes);
    if config.allow_origin_string_match.is_empty() {
        notes
            .traffic(&path.field("allow_origin_string_match"), "empty: what other levels allow is not taken");
    }
    let mut policy = Policy { share, allowed, config };
    if policy.config.expose_headers == "*" && policy.config.allow_credentials == Some(true) {
        notes.approximated(&path.field("expose_headers"), "* says nothing beside credentials: left out");
        policy.config.expose_headers.clear();
    }
    if policy.allowed.is_some() {
        notes.approximated(path, "answers also carry Vary: Origin and a Max-Age");
    }
    Some(Arc::new(policy))
}

/// When the origin is allowed; `None` for never.
fn origins(matchers: &[StringMatcher], path: &Path<'_>, notes: &mut Notes) -> Option<Condition> {
    if matchers.iter().any(takes_the_star) {
        return Some(Condition::matches(ORIGIN, "."));
    }
    let mut tests = Vec::new();
    for (at, matcher) in matchers.iter().enumerate() {
        let path = path.item("allow_origin_string_match", at);
        if matcher.match_pattern.is_none() {
            notes.traffic(&path, "no known way to match: allows no origin");
        } else if let Some(test) = TextTest::of(matcher, &path, notes) {
            tests.push(test.on(ORIGIN));
        }
    }
    Condition::any(tests)
}

/// Envoy allows every origin where a matcher takes the text `*`.
fn takes_the_star(matcher: &StringMatcher) -> bool {
    match &matcher.match_pattern {
        Some(MatchPattern::Exact(text)) => text == "*",
        Some(MatchPattern::Prefix(text) | MatchPattern::Suffix(text) | MatchPattern::Contains(text)) => {
            text.is_empty() || text == "*"
        }
        // The usual ways to write everything. Others are tested on the origin itself.
        Some(MatchPattern::SafeRegex(regex)) => {
            matches!(regex.regex.trim_start_matches('^').trim_end_matches('$'), ".*" | ".+" | "." | r"\*")
        }
        None => false,
    }
}

/// A policy that is on.
#[derive(Debug)]
struct Policy {
    /// For which share of all requests.
    share: Option<Condition>,
    allowed: Option<Condition>,
    config: CorsPolicy,
}

impl Filter for Policy {
    fn apply(&self, cases: &mut Vec<Case>) {
        let Some(last) = cases.last().filter(|last| !last.effect.direct) else { return };
        // Case by case, and the last to be put before the others is the first to be tried.
        let mut before = Vec::new();
        if self.config.forward_not_matching_preflights == Some(false) {
            before.push(("preflight not allowed", self.preflight(last, None, BTreeMap::new())));
        }
        if let Some(allowed) = &self.allowed {
            let origin = header("Allow-Origin", "$http_origin".to_owned());
            before.push(("preflight", self.preflight(last, Some(allowed), BTreeMap::from([origin.clone()]))));
            if self.config.allow_private_network_access == Some(true) {
                let network = header("Allow-Private-Network", "true".to_owned());
                let mut case = self.preflight(last, Some(allowed), BTreeMap::from([origin, network]));
                case.when.push(Condition::equals(ASKED_NETWORK, "true"));
                before.push(("preflight private", case));
            }
            self.allow(allowed, cases);
        }
        for (label, case) in before {
            case.go_before(cases, label);
        }
    }
}

impl Policy {
    /// Answers the preflight requests of these origins, of all without any.
    fn preflight(
        &self,
        last: &Case,
        allowed: Option<&Condition>,
        mut headers: BTreeMap<String, String>,
    ) -> Case {
        let mut when = vec![
            Condition::equals("request_method", "OPTIONS"),
            Condition::matches(ASKED_METHOD, "."),
            allowed.cloned().unwrap_or_else(|| Condition::matches(ORIGIN, ".")),
        ];
        when.extend(self.share.clone());
        let config = &self.config;
        let asked = |text: &str, variable: &str| match text {
            "*" => format!("${variable}"),
            text => literal(text),
        };
        headers.extend([
            header("Allow-Methods", asked(&config.allow_methods, ASKED_METHOD)),
            header("Allow-Headers", asked(&config.allow_headers, "http_access_control_request_headers")),
            header("Max-Age", literal(&config.max_age)),
        ]);
        headers.extend(self.credentials());
        headers.retain(|_, value| !value.is_empty());
        last.answered(when, Abort { http_status: 200, headers, ..Abort::default() })
    }

    /// Lets pages of these origins read what the cases answer.
    fn allow(&self, allowed: &Condition, cases: &mut Vec<Case>) {
        let mut when = vec![allowed.clone()];
        when.extend(self.share.clone());
        for case in std::mem::take(cases) {
            if case.effect.answers() {
                // The plugin has not seen the request when such an answer leaves.
                cases.push(self.allowed_answer(&case, &when));
                cases.push(case);
            } else {
                cases.push(self.with_plugin(case, &when));
            }
        }
    }

    fn allowed_answer(&self, case: &Case, when: &[Condition]) -> Case {
        let mut allowed = case.clone();
        allowed.label = format!("{} cors", case.label).trim_start().to_owned();
        allowed.when.extend_from_slice(when);
        let fault = allowed.effect.plugins.fault_injection.as_mut();
        if let Some(abort) = fault.and_then(|fault| fault.abort.as_mut()) {
            abort.headers.extend([header("Allow-Origin", "$http_origin".to_owned())]);
            abort.headers.extend(self.credentials());
            if !self.config.expose_headers.is_empty() {
                abort.headers.extend([header("Expose-Headers", literal(&self.config.expose_headers))]);
            }
        }
        allowed
    }

    fn with_plugin(&self, mut case: Case, when: &[Condition]) -> Case {
        let mut filter = when.to_vec();
        // The plugin answers each of these; those that are no preflight requests go on in Envoy.
        filter.push(!Condition::equals("request_method", "OPTIONS"));
        let config = &self.config;
        case.effect.plugins.cors = Some(Plugin {
            // Each that gets here is allowed.
            allow_origins: Some("**".to_owned()),
            allow_origins_by_regex: Vec::new(),
            // A header without a value is not sent.
            allow_methods: Some(String::new()),
            allow_headers: Some(String::new()),
            expose_headers: Some(config.expose_headers.clone()).filter(|text| !text.is_empty()),
            max_age: config.max_age.parse().ok(),
            allow_credential: config.allow_credentials == Some(true),
            meta: Some(Meta::filter(filter)),
        });
        case
    }

    fn credentials(&self) -> Option<(String, String)> {
        (self.config.allow_credentials == Some(true)).then(|| header("Allow-Credentials", "true".to_owned()))
    }
}

fn header(name: &str, value: String) -> (String, String) {
    (format!("Access-Control-{name}"), value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::envoy::r#type::matcher::v3::RegexMatcher;

    fn allowed(patterns: Vec<MatchPattern>) -> String {
        let matcher = |pattern| StringMatcher { match_pattern: Some(pattern), ignore_case: false };
        let matchers: Vec<_> = patterns.into_iter().map(matcher).collect();
        serde_json::to_string(&origins(&matchers, &Path::ROOT, &mut Notes::default())).unwrap()
    }

    #[test]
    fn one_of_the_origins_is_enough() {
        let a = || MatchPattern::Exact("https://a.com".to_owned());
        assert_eq!(allowed(vec![a()]), r#"["http_origin","==","https://a.com"]"#);
        let regex = MatchPattern::SafeRegex(RegexMatcher { regex: "https://.+".to_owned() });
        assert_eq!(
            allowed(vec![a(), regex]),
            r#"["OR",["http_origin","==","https://a.com"],["http_origin","~~","^(?:https://.+)\\z"]]"#
        );
        assert_eq!(allowed(vec![]), "null");
    }

    #[test]
    fn a_matcher_that_takes_the_star_takes_everything() {
        let every = r#"["http_origin","~~","."]"#;
        let regex = |text: &str| MatchPattern::SafeRegex(RegexMatcher { regex: text.to_owned() });
        for pattern in [MatchPattern::Exact("*".to_owned()), MatchPattern::Prefix(String::new()), regex(".*")]
        {
            assert_eq!(allowed(vec![pattern]), every);
        }
        assert_ne!(allowed(vec![regex(".*a")]), every);
    }
}
