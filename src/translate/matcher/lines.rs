//! Header matchers where each line of a header is matched by itself, as Envoy's RBAC does.
//!
//! nginx shows the lines of a header as one text, with `, ` between them, which one line may hold too. In: the matcher.
//! Out: what holds only if a line surely matches, and what holds whenever a line may. Never here: which of them guards.

use regex_syntax::hir::{Class, Hir, HirKind};

use crate::{
    apisix::{Condition, Operand, Operator, escape},
    pb::{
        envoy::{
            config::route::v3::{HeaderMatcher, header_matcher::HeaderMatchSpecifier as Specifier},
            r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern},
        },
        path::Path,
    },
    translate::{
        bounds::{Bounds, Truth},
        note::Notes,
    },
};

use super::{
    header::{self, Test},
    text::{self, TextTest},
};

const WHOLE_NUMBER: &str = "[+-]?[0-9]{1,18}";

/// The bounds of one matcher; `None` when it has been noted that there are none.
pub(in crate::translate) fn bounds(
    matcher: &HeaderMatcher,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Option<Bounds> {
    let joined = header::conditions(matcher, path, notes)?;
    let exact = || Some(Bounds { at_least: truth(joined.clone()), at_most: truth(joined.clone()) });
    let variable = header::variable(&matcher.name)?;
    let Some(separator) = separator(&variable) else { return exact() };
    let tests = match &matcher.header_match_specifier {
        None | Some(Specifier::PresentMatch(_)) => return exact(),
        Some(Specifier::RangeMatch(_)) => of_range(&variable, separator, matcher),
        Some(specifier) => of_text(&variable, separator, &header::string(specifier))?,
    };
    let with_missing = |condition| {
        let test = Test { condition, empty_passes: tests.empty_passes };
        truth(header::with_missing(test, &variable, matcher))
    };
    // What an inverted matcher asks of several lines is left open: surely is that none matches, maybe that one does not.
    let bounds = if matcher.invert_match {
        Bounds { at_least: with_missing(tests.some), at_most: with_missing(tests.every) }
    } else {
        Bounds { at_least: with_missing(tests.surely), at_most: with_missing(tests.some) }
    };
    if bounds.at_least != bounds.at_most {
        let detail =
            format!("nginx joins the lines of a header: one that holds {separator:?} is taken for several");
        notes.approximated(path, detail);
    }
    Some(bounds)
}

/// What can be told of the lines from all of them, joined. Each fails for a missing header.
struct Lines {
    /// One matches for sure.
    surely: Condition,
    /// One may match.
    some: Condition,
    /// All match for sure.
    every: Condition,
    empty_passes: bool,
}

/// What nginx puts between the lines of a header; `None` where there is one line only.
fn separator(variable: &str) -> Option<&'static str> {
    match variable {
        "http_host" => None,
        "http_cookie" => Some("; "),
        _ => variable.starts_with("http_").then_some(", "),
    }
}

fn truth(conditions: Vec<Condition>) -> Truth {
    Condition::all(conditions).map_or(Truth::Always, Truth::When)
}

/// One of the lines is found by the pattern, which holds no anchors.
fn among(pattern: &str, separator: &str) -> String {
    format!(r"(?:^|{separator})(?:{pattern})(?:{separator}|\z)")
}

/// The text is of one line for sure.
fn alone(variable: &str, separator: &str) -> Condition {
    !Condition::matches(variable, separator)
}

/// A text with separators is no number, so that a match is of one line.
fn of_range(variable: &str, separator: &str, matcher: &HeaderMatcher) -> Lines {
    let plain =
        HeaderMatcher { invert_match: false, treat_missing_header_as_empty: false, ..matcher.clone() };
    let tests = header::conditions(&plain, &Path::ROOT, &mut Notes::default()).unwrap_or_default();
    let whole = Condition::All(tests);
    let several = Condition::All(vec![
        Condition::matches(variable, separator),
        Condition::matches(variable, among(WHOLE_NUMBER, separator)),
    ]);
    let some = Condition::Any(vec![whole.clone(), several]);
    Lines { surely: whole.clone(), some, every: whole, empty_passes: false }
}

fn of_text(variable: &str, separator: &str, matcher: &StringMatcher) -> Option<Lines> {
    let pattern = matcher.match_pattern.as_ref()?;
    let whole = TextTest::of(matcher, &Path::ROOT, &mut Notes::default())?.on(variable);
    let one_line = Condition::All(vec![whole.clone(), alone(variable, separator)]);
    let found = |pattern: String| {
        let operator = if matcher.ignore_case { Operator::MatchesIgnoringCase } else { Operator::Matches };
        Condition::test(variable, operator, Operand::Text(pattern))
    };
    let (some, empty_passes) = match pattern {
        MatchPattern::Exact(text) => (found(among(&escape(text), separator)), text.is_empty()),
        MatchPattern::Prefix(text) => (found(format!("(?:^|{separator}){}", escape(text))), text.is_empty()),
        MatchPattern::Suffix(text) => {
            (found(format!(r"{}(?:{separator}|\z)", escape(text))), text.is_empty())
        }
        MatchPattern::Contains(text) => (whole.clone(), text.is_empty()),
        MatchPattern::SafeRegex(regex) => {
            let some = match without_anchors(&regex.regex) {
                // Envoy has no case folding for regular expressions.
                Some(regex) => Condition::matches(variable, among(regex, separator)),
                None => Condition::Any(vec![whole.clone(), Condition::matches(variable, separator)]),
            };
            (some, text::matches_nothing(&regex.regex))
        }
    };
    let (surely, every) = match pattern {
        MatchPattern::Exact(text) if !text.contains(separator) => (whole.clone(), whole),
        MatchPattern::Exact(_) => (one_line.clone(), one_line),
        MatchPattern::Prefix(text) | MatchPattern::Suffix(text) | MatchPattern::Contains(text) => {
            (if stays_in_line(text, separator) { whole } else { one_line.clone() }, one_line)
        }
        MatchPattern::SafeRegex(regex) if holds_no(&regex.regex, separator) => (whole.clone(), whole),
        MatchPattern::SafeRegex(_) => (one_line.clone(), one_line),
    };
    Some(Lines { surely, some, every, empty_passes })
}

/// Where it is found in the joined text, it is found in one line.
fn stays_in_line(text: &str, separator: &str) -> bool {
    !text.contains(|c| separator.starts_with(c)) && !text.starts_with(' ')
}

/// The same regular expression for a whole line, which needs no anchors; `None` if it has some that matter.
fn without_anchors(regex: &str) -> Option<&str> {
    let regex = regex.strip_prefix('^').unwrap_or(regex);
    let regex = match regex.strip_suffix('$') {
        Some(before) if !before.ends_with('\\') => before,
        _ => regex,
    };
    let anchored = text::parsed(regex)?.properties().look_set().contains_anchor();
    (!anchored).then_some(regex)
}

/// Nothing that it matches holds the separator.
fn holds_no(regex: &str, separator: &str) -> bool {
    let Some(first) = separator.bytes().next() else { return false };
    text::parsed(regex).is_some_and(|hir| !may_hold(&hir, first))
}

fn may_hold(hir: &Hir, byte: u8) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => false,
        HirKind::Literal(literal) => literal.0.contains(&byte),
        HirKind::Class(Class::Bytes(class)) => {
            class.iter().any(|range| (range.start()..=range.end()).contains(&byte))
        }
        HirKind::Class(Class::Unicode(class)) => {
            class.iter().any(|range| (range.start()..=range.end()).contains(&char::from(byte)))
        }
        HirKind::Repetition(repetition) => may_hold(&repetition.sub, byte),
        HirKind::Capture(capture) => may_hold(&capture.sub, byte),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().any(|part| may_hold(part, byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::envoy::r#type::matcher::v3::RegexMatcher;

    fn of(name: &str, pattern: MatchPattern, invert_match: bool) -> (String, String) {
        let matcher = StringMatcher { match_pattern: Some(pattern), ignore_case: false };
        let matcher = HeaderMatcher {
            name: name.to_owned(),
            invert_match,
            header_match_specifier: Some(Specifier::StringMatch(matcher)),
            ..HeaderMatcher::default()
        };
        let bounds = bounds(&matcher, &Path::ROOT, &mut Notes::default()).unwrap();
        let json = |truth| match truth {
            Truth::When(condition) => serde_json::to_string(&condition).unwrap(),
            other => format!("{other:?}"),
        };
        (json(bounds.at_least), json(bounds.at_most))
    }

    fn exact(text: &str) -> MatchPattern {
        MatchPattern::Exact(text.to_owned())
    }

    fn regex(text: &str) -> MatchPattern {
        MatchPattern::SafeRegex(RegexMatcher { regex: text.to_owned() })
    }

    #[test]
    fn one_of_several_lines_may_match() {
        let (least, most) = of("x", exact("a"), false);
        assert_eq!(least, r#"["http_x","==","a"]"#);
        assert_eq!(most, r#"["http_x","~~","(?:^|, )(?:a)(?:, |\\z)"]"#);
        let (least, most) = of("x", MatchPattern::Prefix("a".to_owned()), false);
        assert_eq!(least, r#"["http_x","~~","^a"]"#);
        assert_eq!(most, r#"["http_x","~~","(?:^|, )a"]"#);
        let (least, most) = of("x", MatchPattern::Contains("a".to_owned()), false);
        assert_eq!(least, most);
    }

    #[test]
    fn of_an_inverted_matcher_no_line_matches_or_one_does_not() {
        let (least, most) = of("x", exact("a"), true);
        let there = r#"["AND",["http_x","!","==",null],"#;
        assert_eq!(least, format!(r#"{there}["http_x","!","~~","(?:^|, )(?:a)(?:, |\\z)"]]"#));
        assert_eq!(most, format!(r#"{there}["http_x","!","==","a"]]"#));
        let (_, most) = of("x", MatchPattern::Prefix("a".to_owned()), true);
        assert_eq!(most, format!(r#"{there}["!AND",["http_x","~~","^a"],["http_x","!","~~",", "]]]"#));
    }

    #[test]
    fn a_text_that_spans_lines_is_in_none_for_sure() {
        let one_line = r#","http_x","!","~~",", "]"#.replacen(",\"", "[\"", 1);
        for pattern in [exact("a, b"), regex("a.*"), MatchPattern::Prefix("a,".to_owned())] {
            let (least, _) = of("x", pattern, false);
            assert!(least.ends_with(&format!("{one_line}]")), "{least}");
        }
        let (least, _) = of("x", regex("a[b-d]+|e"), false);
        assert_eq!(least, r#"["http_x","~~","^(?:a[b-d]+|e)\\z"]"#);
    }

    #[test]
    fn anchors_of_a_regular_expression_are_those_of_a_line() {
        let (_, most) = of("x", regex("^a.*$"), false);
        assert_eq!(most, r#"["http_x","~~","(?:^|, )(?:a.*)(?:, |\\z)"]"#);
        let (_, most) = of("x", regex("^a|^b"), false);
        assert_eq!(most, r#"["OR",["http_x","~~","^(?:^a|^b)\\z"],["http_x","~~",", "]]"#);
        assert_eq!(without_anchors(r"a\$"), Some(r"a\$"));
        assert_eq!(without_anchors("^*"), None);
    }

    #[test]
    fn what_has_one_line_only_is_matched_as_it_is() {
        for name in [":authority", ":path", ":method", "host"] {
            let (least, most) = of(name, exact("a"), false);
            assert_eq!(least, most, "{name}");
        }
        let (_, most) = of("cookie", exact("a"), false);
        assert_eq!(most, r#"["http_cookie","~~","(?:^|; )(?:a)(?:; |\\z)"]"#);
    }

    #[test]
    fn a_number_may_be_among_lines() {
        let range = crate::pb::envoy::r#type::v3::Int64Range { start: 1, end: 9 };
        let matcher = HeaderMatcher {
            name: "x".to_owned(),
            header_match_specifier: Some(Specifier::RangeMatch(range)),
            ..HeaderMatcher::default()
        };
        let bounds = bounds(&matcher, &Path::ROOT, &mut Notes::default()).unwrap();
        assert_ne!(bounds.at_least, bounds.at_most);
    }
}
