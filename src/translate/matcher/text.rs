//! String matchers on any variable, with Envoy's rules for values that are missing.

use regex_syntax::{
    ParserBuilder,
    hir::{Hir, HirKind, Look},
};

use crate::{
    apisix::{Condition, Operand, Operator, escape},
    pb::{
        envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern},
        path::Path,
    },
};

use super::super::note::Notes;

/// What a value must be like.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::translate) enum TextTest {
    Exact(String),
    ExactIgnoringCase(String),
    /// Found anywhere unless anchored.
    Pattern(String),
    PatternIgnoringCase(String),
}

/// `^(?:re)\z`: RE2 matches the whole value, PCRE searches; `$` would allow a newline at the end.
pub(in crate::translate) fn whole(regex: &str) -> String {
    format!(r"^(?:{regex})\z")
}

/// Whether a regular expression matches the empty text.
pub(super) fn matches_nothing(regex: &str) -> bool {
    parsed(regex).is_some_and(|hir| is_nothing(&hir))
}

fn is_nothing(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Empty => true,
        HirKind::Literal(_) | HirKind::Class(_) => false,
        HirKind::Look(look) => !matches!(
            look,
            Look::WordAscii
                | Look::WordUnicode
                | Look::WordStartAscii
                | Look::WordEndAscii
                | Look::WordStartUnicode
                | Look::WordEndUnicode
        ),
        HirKind::Repetition(repetition) => repetition.min == 0 || is_nothing(&repetition.sub),
        HirKind::Capture(capture) => is_nothing(&capture.sub),
        HirKind::Concat(parts) => parts.iter().all(is_nothing),
        HirKind::Alternation(parts) => parts.iter().any(is_nothing),
    }
}

/// `None` for RE2's own spellings.
pub(super) fn parsed(regex: &str) -> Option<Hir> {
    ParserBuilder::new().utf8(false).nest_limit(1000).build().parse(regex).ok()
}

impl TextTest {
    /// The test of a StringMatcher; `None` when it has been noted that there is none.
    pub fn of(matcher: &StringMatcher, path: &Path<'_>, notes: &mut Notes) -> Option<Self> {
        let Some(pattern) = &matcher.match_pattern else {
            notes.traffic(path, "no known way to match: route left out");
            return None;
        };
        Some(match (pattern, matcher.ignore_case) {
            (MatchPattern::Exact(text), false) => Self::Exact(text.clone()),
            (MatchPattern::Exact(text), true) => Self::ExactIgnoringCase(text.clone()),
            (MatchPattern::Prefix(text), case) => Self::pattern(Self::prefix(text), case),
            (MatchPattern::Suffix(text), case) => Self::pattern(Self::suffix(text), case),
            (MatchPattern::Contains(text), case) => Self::pattern(escape(text), case),
            // Envoy has no case folding for regular expressions.
            (MatchPattern::SafeRegex(regex), _) => Self::Pattern(whole(&regex.regex)),
        })
    }

    pub fn prefix(text: &str) -> String {
        format!("^{}", escape(text))
    }

    pub fn suffix(text: &str) -> String {
        format!(r"{}\z", escape(text))
    }

    fn pattern(pattern: String, ignore_case: bool) -> Self {
        if ignore_case { Self::PatternIgnoringCase(pattern) } else { Self::Pattern(pattern) }
    }

    /// The test itself; a missing variable fails it.
    pub fn on(self, variable: &str) -> Condition {
        match self {
            Self::Exact(text) => Condition::equals(variable, text),
            Self::ExactIgnoringCase(text) => {
                let pattern = format!(r"^{}\z", escape(&text));
                Condition::test(variable, Operator::MatchesIgnoringCase, Operand::Text(pattern))
            }
            Self::Pattern(pattern) => Condition::matches(variable, pattern),
            Self::PatternIgnoringCase(pattern) => {
                Condition::test(variable, Operator::MatchesIgnoringCase, Operand::Text(pattern))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matches_the_empty_text() {
        for regex in ["", ".*", "^$", "a?", "(a|)", "x{0,3}", "^.*$", r"\B", "(?:a*)+"] {
            assert!(matches_nothing(regex), "{regex}");
        }
        for regex in [".", "a+", r"\b", "^.+$", "a|b", "(a)"] {
            assert!(!matches_nothing(regex), "{regex}");
        }
    }
}
