//! String matchers on a value that stands in a list of names and values: a query, or cookies.
//!
//! nginx's and APISIX's variables for them are decoded, or are the last of several; Envoy takes the first, as it was
//! sent. So the whole list is matched.

use crate::{
    apisix::{Condition, escape},
    pb::{
        envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern},
        path::Path,
    },
};

use super::super::{
    note::Notes,
    pattern::{Start, confine},
};

/// A place in a list.
pub(super) struct Listed {
    /// The variable that holds the list.
    pub variable: &'static str,
    /// Stands between entries, and in none of them.
    pub separator: char,
    /// A pattern from the beginning of the list to before the value.
    pub before: String,
    /// A pattern for what may stand between a value and the separator.
    pub after: &'static str,
}

impl Listed {
    /// The condition of a StringMatcher on the value; `None` when it has been noted that there is none.
    pub fn condition(
        &self,
        matcher: &StringMatcher,
        path: &Path<'_>,
        notes: &mut Notes,
    ) -> Option<Condition> {
        let Some(pattern) = &matcher.match_pattern else {
            notes.traffic(path, "no known way to match: route left out");
            return None;
        };
        let (separator, after) = (escape(&self.separator.to_string()), self.after);
        let end = format!(r"{after}(?:{separator}|\z)");
        let text = |text: &str| if text.contains(self.separator) { "(?!)".to_owned() } else { escape(text) };
        let value = match pattern {
            MatchPattern::Exact(exact) => format!("{}{end}", text(exact)),
            MatchPattern::Prefix(prefix) => text(prefix),
            MatchPattern::Suffix(suffix) => format!("[^{separator}]*{}{end}", text(suffix)),
            MatchPattern::Contains(part) => format!("[^{separator}]*{}", text(part)),
            MatchPattern::SafeRegex(regex) => {
                let Some(confined) = confine(&regex.regex, self.separator, Start::Here) else {
                    notes.traffic(path, "only RE2 reads it: route left out");
                    return None;
                };
                format!("(?:{}){end}", confined.pattern)
            }
        };
        // Envoy has no case folding for regular expressions.
        let folded = matcher.ignore_case && !matches!(pattern, MatchPattern::SafeRegex(_));
        let flags = if folded { "(?i:" } else { "(?:" };
        Some(Condition::matches(self.variable, format!("{}{flags}{value})", self.before)))
    }
}
