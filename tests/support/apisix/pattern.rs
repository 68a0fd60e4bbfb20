//! Regular expressions as `ngx.re` runs them: PCRE, on bytes, found anywhere. An invalid one never matches.
//!
//! Compiling is dear and the tests repeat patterns, so each is compiled once in a thread.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use pcre2::bytes::{Regex, RegexBuilder};

/// A compiled pattern.
#[derive(Debug, Clone)]
pub struct Pattern(Rc<Option<Regex>>);

impl Pattern {
    /// With the options `jo`.
    pub fn new(text: &str) -> Self {
        Self::build(text, false)
    }

    /// With the options `joi`.
    pub fn ignoring_case(text: &str) -> Self {
        Self::build(text, true)
    }

    fn build(text: &str, caseless: bool) -> Self {
        thread_local!(static COMPILED: RefCell<HashMap<(String, bool), Pattern>> = RefCell::default());
        COMPILED.with_borrow_mut(|compiled| {
            if let Some(pattern) = compiled.get(&(text.to_owned(), caseless)) {
                return pattern.clone();
            }
            let pattern = Self(Rc::new(RegexBuilder::new().caseless(caseless).build(text).ok()));
            compiled.insert((text.to_owned(), caseless), pattern.clone());
            pattern
        })
    }

    /// Whether it is a pattern at all.
    pub fn is_valid(&self) -> bool {
        self.0.is_some()
    }

    /// `ngx.re.find`.
    pub fn is_found(&self, text: &str) -> bool {
        self.0.as_ref().as_ref().is_some_and(|regex| regex.is_match(text.as_bytes()).unwrap_or(false))
    }

    /// `ngx.re.match`: where the first match is, and its groups.
    pub fn captures(&self, text: &str) -> Option<(std::ops::Range<usize>, Vec<Option<String>>)> {
        let captures = self.0.as_ref().as_ref()?.captures(text.as_bytes()).ok()??;
        let text_of = |m: pcre2::bytes::Match<'_>| String::from_utf8_lossy(m.as_bytes()).into_owned();
        let groups = (0..captures.len()).map(|at| captures.get(at).map(text_of)).collect();
        let whole = captures.get(0)?;
        Some((whole.start()..whole.end(), groups))
    }

    /// `ngx.re.sub`: the first match replaced by a template of `$1`, `${1}` and `$$`.
    pub fn substitute(&self, text: &str, template: &str) -> Option<String> {
        let (range, groups) = self.captures(text)?;
        Some(format!("{}{}{}", &text[..range.start], replacement(template, &groups), &text[range.end..]))
    }
}

fn replacement(template: &str, groups: &[Option<String>]) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            text.push('$');
            rest = after;
            continue;
        }
        let braced = rest.starts_with('{');
        let digits = if braced { &rest[1..] } else { rest };
        let end = digits.bytes().take_while(u8::is_ascii_digit).count();
        let number = digits[..end].parse::<usize>().unwrap_or_else(|_| {
            panic!("{template:?} is no replacement for ngx.re.sub: APISIX refuses the route")
        });
        rest = &digits[end..];
        if braced {
            rest = rest.strip_prefix('}').unwrap_or_else(|| panic!("{template:?}: no closing brace"));
        }
        text.push_str(groups.get(number).and_then(Option::as_deref).unwrap_or_default());
    }
    text + rest
}
