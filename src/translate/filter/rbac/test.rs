//! Tests that permissions and principals share.

use super::policy::Unknown;
use crate::{
    apisix::{Condition, Operand, Operator, escape},
    pb::{
        envoy::{
            config::route::v3::{HeaderMatcher, header_matcher::HeaderMatchSpecifier},
            r#type::matcher::v3::{PathMatcher, StringMatcher, path_matcher, string_matcher::MatchPattern},
        },
        path::Path,
    },
    translate::{
        bounds::Bounds,
        matcher::{lines, text::TextTest},
        note::Notes,
    },
};

pub(super) const NO_NETWORK: &str = "cannot be told from the text of an address";
const DIALECT: &str = "a regular expression that PCRE may read otherwise";

/// The header is as the matcher wants it.
pub(super) fn header(
    matcher: &HeaderMatcher,
    unknown: &Unknown,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Bounds {
    let regex = match &matcher.header_match_specifier {
        Some(HeaderMatchSpecifier::SafeRegexMatch(regex)) => Some(regex.regex.as_str()),
        Some(HeaderMatchSpecifier::StringMatch(matcher)) => regex_of(matcher),
        _ => None,
    };
    if !regex.is_none_or(is_common) {
        return unknown.part(path, DIALECT, notes);
    }
    let mut found = Notes::default();
    let Some(bounds) = lines::bounds(matcher, path, &mut found) else {
        return unknown.part(path, "has no counterpart", notes);
    };
    notes.take(found);
    bounds
}

/// The path, without its query, is as the matcher wants it.
pub(super) fn path(matcher: &PathMatcher, unknown: &Unknown, path: &Path<'_>, notes: &mut Notes) -> Bounds {
    let tested = match &matcher.rule {
        Some(path_matcher::Rule::Path(matcher)) => on_path(matcher),
        None => Err("no known way to match"),
    };
    match tested {
        Ok(condition) => Bounds::when(condition),
        Err(why) => unknown.part(path, why, notes),
    }
}

/// As for routes: escapes are compared as they are sent, all else as nginx decodes it.
fn on_path(matcher: &StringMatcher) -> Result<Condition, &'static str> {
    let text = match &matcher.match_pattern {
        None => return Err("no known way to match"),
        Some(MatchPattern::SafeRegex(regex)) if !is_common(&regex.regex) => return Err(DIALECT),
        Some(MatchPattern::SafeRegex(regex)) if regex.regex.contains('%') => {
            return Err("compares escapes, which nginx decodes");
        }
        Some(MatchPattern::SafeRegex(_)) => "",
        Some(
            MatchPattern::Exact(text)
            | MatchPattern::Prefix(text)
            | MatchPattern::Suffix(text)
            | MatchPattern::Contains(text),
        ) => text,
    };
    if text.contains('%') {
        return Ok(as_sent(matcher, &escape(text)));
    }
    let test = TextTest::of(matcher, &Path::ROOT, &mut Notes::default()).ok_or("no known way to match")?;
    Ok(test.on("uri"))
}

fn as_sent(matcher: &StringMatcher, text: &str) -> Condition {
    const BEFORE: &str = "[^?#]*";
    const QUERY: &str = r"(?:[?#].*)?\z";
    let pattern = match &matcher.match_pattern {
        Some(MatchPattern::Exact(_)) => format!("^{text}{QUERY}"),
        Some(MatchPattern::Suffix(_)) => format!("^{BEFORE}{text}{QUERY}"),
        Some(MatchPattern::Contains(_)) => format!("^{BEFORE}{text}"),
        _ => format!("^{text}"),
    };
    let operator = if matcher.ignore_case { Operator::MatchesIgnoringCase } else { Operator::Matches };
    Condition::test("real_request_uri", operator, Operand::Text(pattern))
}

fn regex_of(matcher: &StringMatcher) -> Option<&str> {
    match &matcher.match_pattern {
        Some(MatchPattern::SafeRegex(regex)) => Some(&regex.regex),
        _ => None,
    }
}

/// Whether RE2 and PCRE read it alike. One that PCRE refuses would never match, and so open a DENY rule.
pub(super) fn is_common(regex: &str) -> bool {
    regex.is_ascii() && [r"\x{", r"\p", r"\P", r"\C", "(?U"].iter().all(|form| !regex.contains(form))
}
