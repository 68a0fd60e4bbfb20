//! Query parameter matchers. Mapping rows 29 and 30: Envoy compares the first value as it was sent.
//!
//! APISIX's `arg_` variables are decoded, and one without `=` reads as true, so the query itself is searched. Only a
//! regular expression that could run over the end of the value is given the decoded one.

use crate::{
    apisix::{Condition, Operand, Operator, escape},
    pb::{
        envoy::{
            config::route::v3::{
                QueryParameterMatcher, query_parameter_matcher::QueryParameterMatchSpecifier as Specifier,
            },
            r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern},
        },
        path::Path,
    },
};

use super::{
    super::note::Notes,
    text::{self, TextTest},
};

const QUERY: &str = "args";
/// Behind a value.
const END: &str = r"(?:&|\z)";

/// The conditions of one matcher; `None` when it has been noted that there are none.
pub(super) fn conditions(
    matcher: &QueryParameterMatcher,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Option<Vec<Condition>> {
    let name = matcher.name.as_str();
    let condition = match &matcher.query_parameter_match_specifier {
        None | Some(Specifier::PresentMatch(true)) => first(name, ""),
        Some(Specifier::PresentMatch(false)) => !first(name, ""),
        Some(Specifier::StringMatch(string)) => {
            value(name, string, &path.field("string_match"), notes).or_else(|| {
                // Notes what is wrong with it.
                TextTest::of(string, path, notes).map(|test| test.on(QUERY))
            })?
        }
    };
    Some(vec![condition])
}

fn value(name: &str, string: &StringMatcher, path: &Path<'_>, notes: &mut Notes) -> Option<Condition> {
    let literal = |text: &str| match string.ignore_case {
        true => format!("(?i:{})", escape(text)),
        false => escape(text),
    };
    let pattern = match string.match_pattern.as_ref()? {
        MatchPattern::SafeRegex(regex) => return Some(regular(name, &regex.regex, path, notes)),
        MatchPattern::Exact(text)
        | MatchPattern::Prefix(text)
        | MatchPattern::Suffix(text)
        | MatchPattern::Contains(text)
            if text.contains('&') =>
        {
            return Some(Condition::is_in(QUERY, Vec::new()));
        }
        MatchPattern::Exact(text) if text.is_empty() => format!("=?{END}"),
        MatchPattern::Exact(text) => format!("={}{END}", literal(text)),
        MatchPattern::Prefix(text) | MatchPattern::Suffix(text) | MatchPattern::Contains(text)
            if text.is_empty() =>
        {
            String::new()
        }
        MatchPattern::Prefix(text) => format!("={}", literal(text)),
        MatchPattern::Suffix(text) => format!("=[^&]*{}{END}", literal(text)),
        MatchPattern::Contains(text) => format!("=[^&]*{}", literal(text)),
    };
    Some(first(name, &pattern))
}

fn regular(name: &str, regex: &str, path: &Path<'_>, notes: &mut Notes) -> Condition {
    let empty_passes = text::matches_nothing(regex);
    if !text::may_match_char(regex, '&') {
        let value = format!("=(?:{regex}){END}");
        return first(name, &if empty_passes { format!("(?:{value}|{END})") } else { value });
    }
    notes.approximated(path, "compared after decoding; Envoy compares what was sent");
    let variable = format!("arg_{name}");
    let flag = Condition::test(&variable, Operator::Equal, Operand::True);
    let matches = Condition::matches(variable, text::whole(regex));
    match empty_passes {
        true => Condition::Any(vec![flag, matches]),
        false => Condition::All(vec![!flag, matches]),
    }
}

/// The first parameter of this name is followed by the pattern.
fn first(name: &str, pattern: &str) -> Condition {
    let name = escape(name);
    let named = format!(r"{name}(?:[=&]|\z)");
    let then = if pattern.is_empty() { named.clone() } else { format!("{name}{pattern}") };
    Condition::matches(QUERY, format!("^(?:(?!{named})[^&]*&)*{then}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::envoy::r#type::matcher::v3::RegexMatcher;

    fn of(pattern: MatchPattern) -> String {
        let string = StringMatcher { match_pattern: Some(pattern), ignore_case: false };
        let matcher = QueryParameterMatcher {
            name: "q".to_owned(),
            query_parameter_match_specifier: Some(Specifier::StringMatch(string)),
        };
        let conditions = conditions(&matcher, &Path::ROOT, &mut Notes::default()).unwrap();
        serde_json::to_string(&conditions).unwrap()
    }

    fn regex(text: &str) -> MatchPattern {
        MatchPattern::SafeRegex(RegexMatcher { regex: text.to_owned() })
    }

    #[test]
    fn the_value_is_compared_as_it_was_sent() {
        let skipped = r"^(?:(?!q(?:[=&]|\\z))[^&]*&)*q";
        let expected = |rest: &str| format!(r#"[["args","~~","{skipped}{rest}"]]"#);
        assert_eq!(of(MatchPattern::Exact("a b".to_owned())), expected(r"=a b(?:&|\\z)"));
        assert_eq!(of(MatchPattern::Exact(String::new())), expected(r"=?(?:&|\\z)"));
        assert_eq!(of(MatchPattern::Prefix("a".to_owned())), expected("=a"));
        assert_eq!(of(MatchPattern::Suffix("a".to_owned())), expected(r"=[^&]*a(?:&|\\z)"));
        assert_eq!(of(MatchPattern::Contains("a&".to_owned())), r#"[["args","in",[]]]"#);
        assert_eq!(of(regex("[0-9]+")), expected(r"=(?:[0-9]+)(?:&|\\z)"));
        assert_eq!(of(regex("[0-9]*")), expected(r"(?:=(?:[0-9]*)(?:&|\\z)|(?:&|\\z))"));
    }

    #[test]
    fn a_pattern_that_could_leave_the_value_gets_the_decoded_one() {
        assert_eq!(of(regex("a.*")), r#"[["AND",["arg_q","!","==",true],["arg_q","~~","^(?:a.*)\\z"]]]"#);
        assert_eq!(of(regex(".*")), r#"[["OR",["arg_q","==",true],["arg_q","~~","^(?:.*)\\z"]]]"#);
    }
}
