//! Query parameter matchers. Mapping rows 29 and 30: APISIX sees the first value, decoded; Envoy the first, as sent.

use crate::{
    apisix::{Condition, Operand, Operator},
    pb::{
        envoy::config::route::v3::{
            QueryParameterMatcher, query_parameter_matcher::QueryParameterMatchSpecifier as Specifier,
        },
        path::Path,
    },
};

use super::{super::note::Notes, text::TextTest};

/// The conditions of one matcher; `None` when it has been noted that there are none.
pub(super) fn conditions(
    matcher: &QueryParameterMatcher,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Option<Vec<Condition>> {
    let variable = format!("arg_{}", matcher.name);
    let condition = match &matcher.query_parameter_match_specifier {
        // `?q` reads as true and `?q=` as an empty text: both are there.
        None | Some(Specifier::PresentMatch(true)) => {
            !Condition::test(variable, Operator::Equal, Operand::Null)
        }
        Some(Specifier::PresentMatch(false)) => Condition::absent(variable),
        Some(Specifier::StringMatch(string)) => {
            let path = path.field("string_match");
            let test = TextTest::of(string, &path, notes)?;
            if matches!(&test, TextTest::Exact(text) | TextTest::ExactIgnoringCase(text) if text.contains(['%', '+']))
            {
                notes.approximated(&path, "compared after decoding; Envoy compares what was sent");
            }
            test.on(&variable)
        }
    };
    Some(vec![condition])
}
