//! String matchers on any variable, with Envoy's rules for values that are missing.

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
