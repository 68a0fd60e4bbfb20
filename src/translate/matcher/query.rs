//! Query parameter matchers. Mapping rows 29 and 30: Envoy compares the first value, as it was sent.

use crate::{
    apisix::{Condition, escape},
    pb::{
        envoy::config::route::v3::{
            QueryParameterMatcher, query_parameter_matcher::QueryParameterMatchSpecifier as Specifier,
        },
        path::Path,
    },
};

use super::{super::note::Notes, listed::Listed};

/// The query as it was sent.
const QUERY: &str = "args";

/// The condition of one matcher; `None` when it has been noted that there is none.
pub(super) fn condition(
    matcher: &QueryParameterMatcher,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Option<Condition> {
    let name = escape(&matcher.name);
    let present = || Condition::matches(QUERY, format!(r"(?:^|&){name}(?:[=&]|\z)"));
    match &matcher.query_parameter_match_specifier {
        None | Some(Specifier::PresentMatch(true)) => Some(present()),
        Some(Specifier::PresentMatch(false)) => Some(!present()),
        Some(Specifier::StringMatch(string)) => {
            let first = Listed {
                variable: QUERY,
                separator: '&',
                before: format!(r"^(?:(?!{name}(?:[=&]|\z))[^&]*&)*{name}(?:=|(?=&|\z))"),
                after: "",
            };
            first.condition(string, &path.field("string_match"), notes)
        }
    }
}
