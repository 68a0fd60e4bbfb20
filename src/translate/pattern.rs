//! RE2 patterns for a part of a text, as PCREs for the whole text.
//!
//! Envoy matches a path without its query, and a parameter without its neighbours; nginx's raw variables hold all of
//! it. In: a pattern, and the byte that ends the part. Out: a pattern that finds the same and never goes past that
//! byte, since the part holds none: it is taken out of every class, and the end of the text is before it too. Never
//! here: whether RE2 takes the pattern, which was checked when it came.

use regex_syntax::ast::{
    self, Assertion, AssertionKind, Ast, RepetitionKind, RepetitionOp, Span, Visitor, parse::Parser,
};

/// A pattern that stays within its part of the text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Confined {
    pub pattern: String,
    /// Only at the beginning of the text.
    pub anchored: bool,
    /// It is found at most once in the part.
    pub once: bool,
    /// How many groups it captures.
    pub groups: usize,
}

/// What the beginning of the part is in the whole text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// The beginning of the text.
    Text,
    /// Where the pattern is put: it says nothing more.
    Here,
}

/// `None` for the few spellings that only RE2 knows.
pub(super) fn confine(regex: &str, end: char, start: Start) -> Option<Confined> {
    let ast = Parser::new().parse(regex).ok()?;
    let (edits, groups) = ast::visit(&ast, Edits { end, start, list: Vec::new(), groups: 0 }).ok()?;
    let mut pattern = String::with_capacity(regex.len() * 2);
    let mut copied = 0;
    for (from, to, text) in edits {
        pattern.push_str(&regex[copied..from]);
        pattern.push_str(&text.replace("\u{0}", &regex[from..to]));
        copied = to;
    }
    pattern.push_str(&regex[copied..]);
    let anchored = begins_at_start(&ast);
    Some(Confined { pattern, anchored, once: anchored || reaches_end(&ast), groups })
}

/// A template of `ngx.re.sub` that comes out as it went in.
pub(super) fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

/// A substitution of RE2, `\1`, as a template of `ngx.re.sub`, where `groups` stand before its own.
pub(super) fn substitution(text: &str, groups: u32) -> String {
    let mut template = String::with_capacity(text.len() + 4);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek().and_then(|next| next.to_digit(10))) {
            ('\\', Some(group)) => {
                rest.next();
                let group = group + groups;
                let digit_follows = rest.peek().is_some_and(char::is_ascii_digit);
                template += &if digit_follows { format!("${{{group}}}") } else { format!("${group}") };
            }
            ('\\', None) => template.extend(rest.next()),
            ('$', _) => template.push_str("$$"),
            _ => template.push(c),
        }
    }
    template
}

/// Replacements of spans in the order of the pattern; a NUL stands for what there is.
struct Edits {
    end: char,
    start: Start,
    list: Vec<Edit>,
    groups: usize,
}

/// From where to where, and by what.
type Edit = (usize, usize, String);

impl Edits {
    fn replace(&mut self, span: &Span, text: String) {
        self.list.push((span.start.offset, span.end.offset, text));
    }

    fn at_end(&self) -> String {
        format!(r"\{}", self.end)
    }
}

impl Visitor for Edits {
    type Output = (Vec<Edit>, usize);
    type Err = ();

    fn finish(mut self) -> Result<Self::Output, ()> {
        self.list.sort();
        Ok((self.list, self.groups))
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), ()> {
        let end = self.at_end();
        match ast {
            Ast::Dot(span) => self.replace(span, format!("(?:(?!{end})\u{0})")),
            Ast::ClassBracketed(class) => self.replace(&class.span, format!("(?:(?!{end})\u{0})")),
            Ast::ClassPerl(class) if class.negated => {
                self.replace(&class.span, format!("(?:(?!{end})\u{0})"))
            }
            Ast::ClassUnicode(class) if class.negated => {
                self.replace(&class.span, format!("(?:(?!{end})\u{0})"));
            }
            Ast::Group(group) if group.is_capturing() => self.groups += 1,
            Ast::Literal(literal) if literal.c == self.end => self.replace(&literal.span, "(?!)".to_owned()),
            Ast::Assertion(assertion) if is_end(assertion) => {
                self.replace(&assertion.span, format!(r"(?={end}|\z)"));
            }
            Ast::Assertion(assertion) if is_start(assertion) && self.start == Start::Here => {
                self.replace(&assertion.span, "(?:)".to_owned());
            }
            _ => {}
        }
        Ok(())
    }
}

fn is_start(assertion: &Assertion) -> bool {
    matches!(assertion.kind, AssertionKind::StartLine | AssertionKind::StartText)
}

fn is_end(assertion: &Assertion) -> bool {
    matches!(assertion.kind, AssertionKind::EndLine | AssertionKind::EndText)
}

fn begins_at_start(ast: &Ast) -> bool {
    match ast {
        Ast::Assertion(assertion) => is_start(assertion),
        Ast::Concat(concat) => concat.asts.first().is_some_and(begins_at_start),
        Ast::Group(group) => begins_at_start(&group.ast),
        Ast::Alternation(alternation) => alternation.asts.iter().all(begins_at_start),
        _ => false,
    }
}

/// A match always ends where the part ends, so that no other follows.
fn reaches_end(ast: &Ast) -> bool {
    match ast {
        Ast::Assertion(assertion) => is_end(assertion),
        Ast::Concat(concat) => concat.asts.last().is_some_and(reaches_end),
        Ast::Group(group) => reaches_end(&group.ast),
        Ast::Alternation(alternation) => alternation.asts.iter().all(reaches_end),
        Ast::Repetition(repetition) => {
            let whole = matches!(
                repetition.op,
                RepetitionOp { kind: RepetitionKind::ZeroOrMore | RepetitionKind::OneOrMore, .. }
            );
            repetition.greedy && whole && matches!(*repetition.ast, Ast::Dot(_))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(regex: &str) -> Confined {
        confine(regex, '?', Start::Text).unwrap()
    }

    #[test]
    fn nothing_in_a_pattern_goes_past_the_end() {
        assert_eq!(path("/a.b").pattern, r"/a(?:(?!\?).)b");
        assert_eq!(path(r"[^/]+\D\d").pattern, r"(?:(?!\?)[^/])+(?:(?!\?)\D)\d");
        assert_eq!(path("^/p(/|$)(.*)").pattern, r"^/p(/|(?=\?|\z))((?:(?!\?).)*)");
        assert_eq!(path(r"a\?").pattern, "a(?!)");
        assert_eq!(confine("^a$", '&', Start::Here).unwrap().pattern, r"(?:)a(?=\&|\z)");
    }

    #[test]
    fn what_is_found_once_at_most_is_known() {
        for regex in ["^/a", "/a(/|$)(.*)", ".*", r"\A/a|^b", "a$"] {
            assert!(path(regex).once, "{regex}");
        }
        for regex in ["/a", "a*", "(^a|b)", ".*?", "[^/]*"] {
            assert!(!path(regex).once, "{regex}");
        }
        assert!(path("^/a").anchored && !path("/a$").anchored);
    }

    #[test]
    fn substitutions_keep_their_groups_and_their_dollars() {
        assert_eq!(substitution(r"/\2x\1", 0), "/$2x$1");
        assert_eq!(substitution(r"\12", 2), "${3}2");
        assert_eq!(substitution(r"$1\\\0", 0), r"$$1\$0");
        assert_eq!(literal("a$1"), "a$$1");
    }
}
