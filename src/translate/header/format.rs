//! Values with `%COMMAND%`s, taken apart.

use crate::pb::path::Path;

use super::{Side, command};
use crate::translate::note::Notes;

/// A part of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    /// A header of the message whose headers are changed, in lower case: another operation may have changed it.
    Header(String),
    /// One of nginx's variables, which may have no value.
    Optional(String),
    /// One of nginx's variables, which always has a value.
    Variable(&'static str),
    Route,
    Cluster,
}

impl Part {
    pub fn may_be_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Header(_) | Self::Optional(_) => true,
            Self::Variable(_) | Self::Route | Self::Cluster => false,
        }
    }
}

/// A command: `%NAME%`, `%NAME(argument)%`, `%NAME(argument):length%`.
pub(super) struct Command<'a> {
    pub name: &'a str,
    pub argument: Option<&'a str>,
    pub length: Option<usize>,
}

/// The parts of a value; `None` when it has been noted that it cannot be made.
pub(super) fn parse(side: Side, text: &str, path: &Path<'_>, notes: &mut Notes) -> Option<Vec<Part>> {
    if text.bytes().any(|b| (b < b' ' && b != b'\t') || b == 0x7f) {
        notes.traffic(path, "control characters: header left out");
        return None;
    }
    let mut parts: Vec<Part> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        push(&mut parts, Part::Text(rest[..at].to_owned()));
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            push(&mut parts, Part::Text("%".to_owned()));
            rest = after;
            continue;
        }
        let Some((found, after)) = Command::take(rest) else {
            notes.traffic(path, format!("{text:?} has a % that begins no command: header left out"));
            return None;
        };
        // APISIX takes no variable behind a backslash.
        let escaped = matches!(parts.last(), Some(Part::Text(text)) if text.ends_with('\\'));
        let Some(made) = command::parts(side, &found, path, notes).filter(|_| !escaped) else {
            notes.traffic(path, format!("%{}% cannot be had here: header left out", found.name));
            return None;
        };
        made.into_iter().for_each(|part| push(&mut parts, part));
        rest = after;
    }
    push(&mut parts, Part::Text(rest.to_owned()));
    Some(parts)
}

fn push(parts: &mut Vec<Part>, part: Part) {
    match (parts.last_mut(), part) {
        (_, Part::Text(more)) if more.is_empty() => {}
        (Some(Part::Text(text)), Part::Text(more)) => text.push_str(&more),
        (_, part) => parts.push(part),
    }
}

impl<'a> Command<'a> {
    /// The command behind a `%`, and what follows it.
    fn take(text: &'a str) -> Option<(Self, &'a str)> {
        let end = text.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))?;
        let (name, mut rest) = text.split_at(end);
        let mut argument = None;
        if let Some(inside) = rest.strip_prefix('(') {
            let (inside, after) = inside.split_once(')')?;
            argument = Some(inside);
            rest = after;
        }
        let mut length = None;
        if let Some(digits) = rest.strip_prefix(':') {
            let (digits, _) = digits.split_once('%')?;
            length = Some(digits.parse().ok()?);
            rest = &rest[1 + digits.len()..];
        }
        let rest = rest.strip_prefix('%')?;
        (!name.is_empty()).then_some((Self { name, argument, length }, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(side: Side, text: &str) -> Option<Vec<Part>> {
        parse(side, text, &Path::ROOT, &mut Notes::default())
    }

    #[test]
    fn text_and_commands_alternate() {
        assert_eq!(
            parts(Side::Request, "100%% of %REQ(X-A)%, %ROUTE_NAME%"),
            Some(vec![
                Part::Text("100% of ".to_owned()),
                Part::Header("x-a".to_owned()),
                Part::Text(", ".to_owned()),
                Part::Route,
            ])
        );
        assert_eq!(parts(Side::Request, ""), Some(vec![]));
    }

    #[test]
    fn what_envoy_refuses_is_left_out() {
        for text in
            ["%", "100%", "%REQ(x", "%REQ()%", "%REQ(x):abc%", "%REQ(a?b?c)%", "%req(x)%", "%NOPE%", "a\nb"]
        {
            assert_eq!(parts(Side::Request, text), None, "{text:?}");
        }
    }

    #[test]
    fn a_variable_behind_a_backslash_would_not_be_replaced() {
        assert_eq!(parts(Side::Request, r"a\%REQ(x)%"), None);
    }
}
