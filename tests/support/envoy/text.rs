//! String matchers, and RE2's full match. Patterns are compiled once in a thread.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use regex::Regex;

/// A pattern as RE2 reads it.
pub fn compiled(pattern: &str) -> Rc<Regex> {
    thread_local!(static COMPILED: RefCell<HashMap<String, Rc<Regex>>> = RefCell::default());
    COMPILED.with_borrow_mut(|compiled| {
        if let Some(regex) = compiled.get(pattern) {
            return regex.clone();
        }
        let regex = Rc::new(Regex::new(pattern).unwrap_or_else(|e| panic!("RE2 refuses {pattern:?}: {e}")));
        compiled.insert(pattern.to_owned(), regex.clone());
        regex
    })
}

/// Whether a pattern matches the whole text.
pub fn full_match(pattern: &str, text: &str) -> bool {
    compiled(&format!(r"\A(?:{pattern})\z")).is_match(text)
}

/// Whether a string matcher matches.
pub fn matches(matcher: &StringMatcher, text: &str) -> bool {
    let fold = |text: &str| if matcher.ignore_case { text.to_ascii_lowercase() } else { text.to_owned() };
    let value = fold(text);
    match matcher.match_pattern.as_ref().expect("a pattern") {
        MatchPattern::Exact(text) => value == fold(text),
        MatchPattern::Prefix(text) => value.starts_with(&fold(text)),
        MatchPattern::Suffix(text) => value.ends_with(&fold(text)),
        MatchPattern::Contains(part) => value.contains(&fold(part)),
        MatchPattern::SafeRegex(regex) => full_match(&regex.regex, text),
        MatchPattern::Custom(_) => panic!("not modelled: a custom matcher"),
    }
}
