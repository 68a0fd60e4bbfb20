//! Is a pattern one that PCRE2 compiles as APISIX asks it to: bytes, not UTF-8, with offsets of two bytes? Is a
//! replacement one that `ngx.re.sub` reads?
//!
//! No compiler: it follows brackets, repetitions and escapes, and adds up an upper bound of the compiled size.
//! Never here: whether two patterns mean the same.

use super::check::{Checked, demand, no_secret};

/// PCRE2 gives up at 65,535, and counts a little more than is counted here.
const MAX_COMPILED: usize = 60_000;
/// PCRE2's `PARENS_NEST_LIMIT`.
const MAX_DEPTH: usize = 250;
const MAX_REPEAT: usize = 65_535;

const LITERAL: usize = 2;
const CLASS: usize = 36;
const GROUP: usize = 10;
const ALTERNATIVE: usize = 3;
const REPEAT: usize = 8;

/// In a plugin's configuration it may not name a secret either.
pub(super) fn plugin_pattern(text: &str) -> Checked {
    no_secret(text)?;
    pattern(text)
}

pub(super) fn pattern(text: &str) -> Checked {
    match Scan::of(text) {
        Ok(()) => Ok(()),
        Err(rule) => demand(false, text, rule),
    }
}

/// `$1`, `${1}` and `$$` are all that follows a dollar.
pub(super) fn replacement(text: &str) -> Checked {
    no_secret(text)?;
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let after = &rest[at + 1..];
        let digits = |t: &str| t.bytes().take_while(u8::is_ascii_digit).count();
        let taken = match after.as_bytes().first() {
            Some(b'$') => 1,
            Some(b'{') => match digits(&after[1..]) {
                0 => 0,
                n if after[1 + n..].starts_with('}') => n + 2,
                _ => 0,
            },
            _ => digits(after),
        };
        demand(taken > 0, text, "must have a group's number after each $, or another $")?;
        rest = &after[taken..];
    }
    Ok(())
}

type Scanned<T> = Result<T, &'static str>;

/// What a repetition would repeat.
#[derive(Clone, Copy)]
enum Atom {
    /// One character or class: its repetition is a number.
    Single,
    /// A group of this size: its repetition is as many copies.
    Group(usize),
}

/// An open group.
#[derive(Default)]
struct Open {
    size: usize,
    last: Option<Atom>,
}

struct Scan<'a> {
    rest: &'a [u8],
    open: Vec<Open>,
    names: Vec<&'a [u8]>,
}

impl<'a> Scan<'a> {
    fn of(text: &'a str) -> Scanned<()> {
        let mut scan = Self { rest: text.as_bytes(), open: vec![Open::default()], names: Vec::new() };
        while let Some((&byte, rest)) = scan.rest.split_first() {
            scan.rest = rest;
            scan.step(byte)?;
        }
        match scan.open.len() {
            1 => Ok(()),
            _ => Err("must close its groups"),
        }
    }

    fn step(&mut self, byte: u8) -> Scanned<()> {
        match byte {
            b'\\' => self.escape(),
            b'[' => self.class(),
            b'(' => self.group(),
            b')' => self.close(),
            b'|' => {
                self.top().last = None;
                self.grow(ALTERNATIVE)
            }
            b'*' | b'+' => self.repeat(1),
            b'?' => self.repeat(1),
            b'{' => match self.bounds()? {
                Some(times) => self.repeat(times),
                None => self.atom(LITERAL),
            },
            b'^' | b'$' => {
                self.top().last = None;
                self.grow(1)
            }
            _ => self.atom(LITERAL),
        }
    }

    fn top(&mut self) -> &mut Open {
        self.open.last_mut().expect("the pattern itself is never closed")
    }

    fn grow(&mut self, by: usize) -> Scanned<()> {
        let top = self.top();
        top.size = top.size.saturating_add(by);
        if top.size > MAX_COMPILED { Err("is too large for PCRE2: shorten it") } else { Ok(()) }
    }

    fn atom(&mut self, size: usize) -> Scanned<()> {
        self.top().last = Some(Atom::Single);
        self.grow(size)
    }

    /// A `?` or `+` behind a repetition only says how it repeats.
    fn repeat(&mut self, times: usize) -> Scanned<()> {
        let Some(atom) = self.top().last.take() else {
            return Err("must have something before each repetition");
        };
        if let [b'?' | b'+', rest @ ..] = self.rest {
            self.rest = rest;
        }
        match atom {
            Atom::Single => self.grow(REPEAT),
            Atom::Group(size) => {
                let copies = times.saturating_sub(1).saturating_mul(size);
                self.grow(copies.saturating_add(times.max(1).saturating_mul(REPEAT)))
            }
        }
    }

    /// The larger number of `{n}`, `{n,}` or `{n,m}`; without these a brace stands for itself.
    fn bounds(&mut self) -> Scanned<Option<usize>> {
        let Some(end) = self.rest.iter().take(16).position(|b| *b == b'}') else { return Ok(None) };
        let inner = std::str::from_utf8(&self.rest[..end]).unwrap_or_default();
        let (low, high) = inner.split_once(',').unwrap_or((inner, inner));
        let number = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
        if !number(low) || !(high.is_empty() || number(high)) {
            return Ok(None);
        }
        let low = low.parse::<usize>().unwrap_or(usize::MAX);
        let high = if high.is_empty() { low } else { high.parse().unwrap_or(usize::MAX) };
        if low > high || high > MAX_REPEAT {
            return Err("must repeat from a smaller number to a larger one, up to 65535");
        }
        self.rest = &self.rest[end + 1..];
        Ok(Some(high))
    }

    fn group(&mut self) -> Scanned<()> {
        if let [b'?', rest @ ..] = self.rest {
            self.rest = rest;
            match rest {
                [b'#', ..] => return Err("must have no comments"),
                [b'P', b'<', rest @ ..] => self.name(rest)?,
                [b'<', b'=' | b'!', rest @ ..] | [b'=' | b'!' | b'>' | b'|', rest @ ..] => self.rest = rest,
                [b'<', rest @ ..] => self.name(rest)?,
                _ => return self.flags(),
            }
        } else if self.rest.starts_with(b"*") {
            return Err("must have no (*VERBS)");
        }
        self.open()
    }

    /// The name of a group, which follows.
    fn name(&mut self, text: &'a [u8]) -> Scanned<()> {
        let length = text.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
        let name = &text[..length];
        let begins = name.first().is_some_and(|b| !b.is_ascii_digit());
        if text.get(length) != Some(&b'>') || !begins || length > 32 {
            return Err("must name its groups in 1 to 32 letters, digits and _");
        }
        if self.names.contains(&name) {
            return Err("must not give two groups one name");
        }
        self.names.push(name);
        self.rest = &text[length + 1..];
        Ok(())
    }

    /// `(?i)` for the rest of a group, or `(?i:` for a group.
    fn flags(&mut self) -> Scanned<()> {
        let flags = self.rest.iter().take_while(|b| b"imsxnJU-".contains(b)).count();
        let end = self.rest.get(flags);
        self.rest = &self.rest[(flags + 1).min(self.rest.len())..];
        match end {
            Some(b':') => self.open(),
            Some(b')') => {
                self.top().last = None;
                Ok(())
            }
            _ => Err("has a group that PCRE2 does not know"),
        }
    }

    fn open(&mut self) -> Scanned<()> {
        if self.open.len() > MAX_DEPTH {
            return Err("must not nest more than 250 groups");
        }
        self.open.push(Open::default());
        Ok(())
    }

    fn close(&mut self) -> Scanned<()> {
        if self.open.len() < 2 {
            return Err("must open its groups");
        }
        let inner = self.open.pop().map_or(0, |group| group.size);
        let size = inner.saturating_add(GROUP);
        self.top().last = Some(Atom::Group(size));
        self.grow(size)
    }

    fn escape(&mut self) -> Scanned<()> {
        let Some((&byte, rest)) = self.rest.split_first() else { return Err("must not end in a backslash") };
        self.rest = rest;
        match byte {
            b'Q' => self.quoted(),
            b'x' => {
                self.hexadecimal()?;
                self.atom(LITERAL)
            }
            b'p' | b'P' => {
                self.property()?;
                self.atom(LITERAL + 2)
            }
            b'b' | b'B' | b'A' | b'z' | b'Z' | b'G' => {
                self.top().last = None;
                self.grow(1)
            }
            b'E' => Ok(()),
            b'1'..=b'9' if !self.rest.first().is_some_and(u8::is_ascii_digit) => {
                Err("must have no references to groups")
            }
            b'u' | b'U' | b'l' | b'L' | b'c' | b'N' => Err("has an escape that PCRE2 does not know"),
            _ => self.atom(LITERAL),
        }
    }

    fn quoted(&mut self) -> Scanned<()> {
        let end = self.rest.windows(2).position(|w| w == b"\\E");
        let (literal, rest) = match end {
            Some(end) => (end, &self.rest[end + 2..]),
            None => (self.rest.len(), &[][..]),
        };
        self.rest = rest;
        self.grow(literal.saturating_mul(LITERAL))?;
        self.top().last = (literal > 0).then_some(Atom::Single);
        Ok(())
    }

    /// Patterns are bytes: there is no character above 255.
    fn hexadecimal(&mut self) -> Scanned<()> {
        let [b'{', rest @ ..] = self.rest else { return Ok(()) };
        let Some(end) = rest.iter().position(|b| *b == b'}') else { return Ok(()) };
        let digits = std::str::from_utf8(&rest[..end]).unwrap_or_default();
        self.rest = &rest[end + 1..];
        match u32::from_str_radix(digits, 16) {
            Ok(0..=0xff) => Ok(()),
            _ => Err("must name no character above \\xff"),
        }
    }

    fn property(&mut self) -> Scanned<()> {
        match self.rest {
            [b'{', rest @ ..] => match rest.iter().position(|b| *b == b'}') {
                Some(end) => self.rest = &rest[end + 1..],
                None => return Err("must close its \\p{}"),
            },
            [_, rest @ ..] => self.rest = rest,
            [] => return Err("must name a property after \\p"),
        }
        Ok(())
    }

    fn class(&mut self) -> Scanned<()> {
        if let [kind @ (b':' | b'.' | b'='), rest @ ..] = self.rest
            && let Some(end) = rest.iter().position(|b| *b == b']')
            && rest[..end].last() == Some(kind)
        {
            return Err("must have its [:class:] in a class");
        }
        if let [b'^', rest @ ..] = self.rest {
            self.rest = rest;
        }
        let mut first = true;
        while !self.rest.is_empty() {
            if !first && let [b']', rest @ ..] = self.rest {
                self.rest = rest;
                return self.atom(CLASS);
            }
            first = false;
            let low = self.class_item()?;
            if let [b'-', next, ..] = self.rest
                && *next != b']'
            {
                self.rest = &self.rest[1..];
                let high = self.class_item()?;
                if low.zip(high).is_none_or(|(low, high)| low > high) {
                    return Err("must have its ranges go from one character to a higher one");
                }
            }
        }
        Err("must close its [classes]")
    }

    /// The character, or `None` for a set of them.
    fn class_item(&mut self) -> Scanned<Option<u8>> {
        let Some((&byte, rest)) = self.rest.split_first() else { return Err("must close its [classes]") };
        self.rest = rest;
        match byte {
            b'\\' => self.class_escape(),
            b'[' if rest.first() == Some(&b':') => {
                if let Some(end) = rest.windows(2).position(|w| w == b":]") {
                    self.rest = &rest[end + 2..];
                    return Ok(None);
                }
                Ok(Some(byte))
            }
            _ => Ok(Some(byte)),
        }
    }

    fn class_escape(&mut self) -> Scanned<Option<u8>> {
        let Some((&byte, rest)) = self.rest.split_first() else { return Err("must not end in a backslash") };
        self.rest = rest;
        match byte {
            b'x' => {
                self.hexadecimal()?;
                Ok(Some(0))
            }
            b'p' | b'P' => {
                self.property()?;
                self.grow(LITERAL)?;
                Ok(None)
            }
            b'd' | b'D' | b'w' | b'W' | b's' | b'S' | b'h' | b'H' | b'v' | b'V' => Ok(None),
            b'a' | b'b' | b'e' | b'f' | b'n' | b'r' | b't' | b'0'..=b'9' => Ok(Some(0)),
            _ if byte.is_ascii_alphabetic() => Err("has an escape that a class does not know"),
            _ => Ok(Some(byte)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pcre_compiles_passes() {
        for good in [
            "",
            "^/a.*$",
            "a{,3}",
            "a{",
            "[]a]",
            "[[:alpha:]_]",
            "[.]b[.]",
            "[[:alpha:]_]",
            "(?i)a",
            "(?s-m:.)",
            r"\Qa(\E",
            r"\x{ff}\pL\p{Greek}",
            "(?P<a>b)(?<c>d)",
            "(?!a)(?<=b)",
            "a*?b+?c??d*+",
            "(a{2,3}){4}",
            "a|",
            "(|a)*",
            r"\.\*\\",
        ] {
            assert_eq!(pattern(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_pcre_refuses_does_not() {
        for bad in [
            "(",
            ")",
            "[a",
            "*",
            "a|*",
            "(*a)",
            r"\",
            r"\x{100}",
            r"\p{",
            r"\p",
            "a{3,2}",
            "a{65536}",
            "(?y)",
            "(?P<1",
            r"\U",
            r"\1",
            "$*",
            "[b-a]",
            r"[\z]",
            r"[a-\d]",
            "[:alpha:]",
            "(?P<a>)(?P<a>)",
            "(?#a)",
            "(?P<>a)",
        ] {
            assert!(pattern(bad).is_err(), "{bad}");
        }
        assert!(pattern(&"a".repeat(1 << 20)).is_err());
        assert!(pattern(&format!("{}{}", "(".repeat(300), ")".repeat(300))).is_err());
        assert!(pattern("(?:(?:abc){100}){1000}").is_err());
        assert!(pattern("(?:[a-z]{1000}){1000}").is_err());
    }

    #[test]
    fn a_replacement_names_groups_by_number() {
        for good in ["", "/a$1", "${12}b", "$$a", "a{1}"] {
            assert_eq!(replacement(good), Ok(()), "{good}");
        }
        for bad in ["$", "$a", "${a}", "${1", "a$1$", "$secret://a", "${}"] {
            assert!(replacement(bad).is_err(), "{bad}");
        }
    }
}
