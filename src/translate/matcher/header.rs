//! Header matchers, with pseudo headers and Envoy's rules for missing headers. Mapping rows 18 to 28.

use crate::{
    apisix::{Condition, Operand, Operator},
    pb::{
        envoy::{
            config::route::v3::{HeaderMatcher, header_matcher::HeaderMatchSpecifier as Specifier},
            r#type::{
                matcher::v3::{StringMatcher, string_matcher::MatchPattern},
                v3::Int64Range,
            },
        },
        path::Path,
    },
};

use super::{
    super::note::Notes,
    text::{self, TextTest},
};

/// The conditions of one matcher; `None` when it has been noted that there are none.
pub(in crate::translate) fn conditions(
    matcher: &HeaderMatcher,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Option<Vec<Condition>> {
    let Some(variable) = variable(&matcher.name) else {
        notes.traffic(&path.field("name"), format!("{:?} has no counterpart: route left out", matcher.name));
        return None;
    };
    if matcher.name.contains('_') {
        notes.approximated(&path.field("name"), "nginx does not tell _ from - in header names");
    }
    let test = match &matcher.header_match_specifier {
        None => return Some(presence(&variable, !matcher.invert_match, matcher)),
        Some(Specifier::PresentMatch(present)) => {
            return Some(presence(&variable, *present != matcher.invert_match, matcher));
        }
        Some(Specifier::RangeMatch(range)) => {
            Test { condition: in_range(&variable, range), empty_passes: false }
        }
        Some(Specifier::StringMatch(string)) => {
            string_test(&variable, string, &path.field("string_match"), notes)?
        }
        Some(specifier) => string_test(&variable, &string(specifier), path, notes)?,
    };
    Some(with_missing(test, &variable, matcher))
}

/// A condition that fails for a missing header, and whether an empty header would pass it.
pub(super) struct Test {
    pub condition: Condition,
    pub empty_passes: bool,
}

/// Where a missing header is taken for an empty one, each is there.
fn presence(variable: &str, present: bool, matcher: &HeaderMatcher) -> Vec<Condition> {
    match (present, matcher.treat_missing_header_as_empty) {
        (true, true) => Vec::new(),
        (false, true) => vec![Condition::is_in(variable, Vec::new())],
        (true, false) => vec![Condition::present(variable)],
        (false, false) => vec![Condition::absent(variable)],
    }
}

/// Envoy never lets a missing header match a test of its value, inverted or not, unless it is told to take a missing
/// header for an empty one. In APISIX a missing header fails a test and passes its negation.
pub(super) fn with_missing(test: Test, variable: &str, matcher: &HeaderMatcher) -> Vec<Condition> {
    let missing_matches = matcher.treat_missing_header_as_empty && test.empty_passes != matcher.invert_match;
    match (matcher.invert_match, missing_matches) {
        (false, false) => vec![test.condition],
        (false, true) => vec![Condition::Any(vec![Condition::absent(variable), test.condition])],
        (true, false) => vec![Condition::present(variable), !test.condition],
        (true, true) => vec![!test.condition],
    }
}

fn string_test(variable: &str, matcher: &StringMatcher, path: &Path<'_>, notes: &mut Notes) -> Option<Test> {
    let empty_passes = match matcher.match_pattern.as_ref() {
        Some(
            MatchPattern::Exact(text)
            | MatchPattern::Prefix(text)
            | MatchPattern::Suffix(text)
            | MatchPattern::Contains(text),
        ) => text.is_empty(),
        Some(MatchPattern::SafeRegex(regex)) => text::matches_nothing(&regex.regex),
        None => false,
    };
    Some(Test { condition: TextTest::of(matcher, path, notes)?.on(variable), empty_passes })
}

/// The StringMatcher, also of the fields that it has replaced.
pub(super) fn string(specifier: &Specifier) -> StringMatcher {
    let pattern = match specifier {
        Specifier::ExactMatch(text) => Some(MatchPattern::Exact(text.clone())),
        Specifier::PrefixMatch(text) => Some(MatchPattern::Prefix(text.clone())),
        Specifier::SuffixMatch(text) => Some(MatchPattern::Suffix(text.clone())),
        Specifier::ContainsMatch(text) => Some(MatchPattern::Contains(text.clone())),
        Specifier::SafeRegexMatch(regex) => Some(MatchPattern::SafeRegex(regex.clone())),
        Specifier::StringMatch(matcher) => return matcher.clone(),
        Specifier::RangeMatch(_) | Specifier::PresentMatch(_) => None,
    };
    StringMatcher { match_pattern: pattern, ignore_case: false }
}

/// From `start` to before `end`, for whole decimal numbers only.
fn in_range(variable: &str, range: &Int64Range) -> Condition {
    Condition::All(vec![
        Condition::matches(variable, r"^[+-]?[0-9]{1,18}\z"),
        Condition::test(variable, Operator::AtLeast, Operand::Number(range.start)),
        Condition::test(variable, Operator::Below, Operand::Number(range.end)),
    ])
}

/// The APISIX variable of a header.
pub(super) fn variable(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    Some(match name.as_str() {
        ":method" => "request_method".to_owned(),
        ":authority" | "host" => "http_host".to_owned(),
        ":scheme" => "scheme".to_owned(),
        ":path" => "real_request_uri".to_owned(),
        _ if name.is_empty() || name.starts_with(':') => return None,
        _ => format!("http_{}", name.replace('-', "_")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(matcher: HeaderMatcher) -> String {
        let conditions = conditions(&matcher, &Path::ROOT, &mut Notes::default());
        serde_json::to_string(&conditions).unwrap()
    }

    fn exact(text: &str) -> HeaderMatcher {
        HeaderMatcher {
            name: "X-A".to_owned(),
            header_match_specifier: Some(Specifier::StringMatch(StringMatcher {
                match_pattern: Some(MatchPattern::Exact(text.to_owned())),
                ignore_case: false,
            })),
            ..HeaderMatcher::default()
        }
    }

    #[test]
    fn a_missing_header_never_matches_a_value() {
        assert_eq!(of(exact("1")), r#"[["http_x_a","==","1"]]"#);
        let inverted = HeaderMatcher { invert_match: true, ..exact("1") };
        assert_eq!(of(inverted), r#"[["http_x_a","!","==",null],["http_x_a","!","==","1"]]"#);
    }

    #[test]
    fn a_missing_header_may_be_taken_for_an_empty_one() {
        let as_empty = |text, invert_match| HeaderMatcher {
            invert_match,
            treat_missing_header_as_empty: true,
            ..exact(text)
        };
        assert_eq!(of(as_empty("1", false)), r#"[["http_x_a","==","1"]]"#);
        assert_eq!(of(as_empty("1", true)), r#"[["http_x_a","!","==","1"]]"#);
        assert_eq!(of(as_empty("", false)), r#"[["OR",["http_x_a","==",null],["http_x_a","==",""]]]"#);
        let both = r#"[["http_x_a","!","==",null],["http_x_a","!","==",""]]"#;
        assert_eq!(of(as_empty("", true)), both);
    }

    #[test]
    fn presence_can_be_asked_in_four_ways() {
        let present = |present, invert_match| HeaderMatcher {
            invert_match,
            header_match_specifier: Some(Specifier::PresentMatch(present)),
            ..exact("")
        };
        let as_empty = |matcher| HeaderMatcher { treat_missing_header_as_empty: true, ..matcher };
        assert_eq!(of(as_empty(present(true, false))), "[]");
        assert_eq!(of(as_empty(present(true, true))), r#"[["http_x_a","in",[]]]"#);
        let (there, not_there) = (r#"[["http_x_a","!","==",null]]"#, r#"[["http_x_a","==",null]]"#);
        assert_eq!(of(present(true, false)), there);
        assert_eq!(of(present(true, true)), not_there);
        assert_eq!(of(present(false, false)), not_there);
        assert_eq!(of(present(false, true)), there);
        assert_eq!(of(HeaderMatcher { name: "x-a".to_owned(), ..HeaderMatcher::default() }), there);
    }

    #[test]
    fn pseudo_headers_have_variables_of_their_own() {
        assert_eq!(variable(":authority").as_deref(), Some("http_host"));
        assert_eq!(variable(":method").as_deref(), Some("request_method"));
        assert_eq!(variable(":nonsense"), None);
    }

    #[test]
    fn a_range_takes_whole_numbers_only() {
        let range = HeaderMatcher {
            header_match_specifier: Some(Specifier::RangeMatch(Int64Range { start: 1, end: 9 })),
            ..exact("")
        };
        let found = of(range);
        assert!(found.contains(r#"["http_x_a",">=",1],["http_x_a","<",9]"#), "{found}");
    }
}
