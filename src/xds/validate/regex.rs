//! Is a pattern one that RE2, Envoy's only engine, compiles?
//!
//! `regex-syntax` has RE2's grammar but for a few spellings, which are rewritten first: RE2 takes a `{` that opens
//! no repetition for itself, knows `\Q...\E`, `\C` and octal numbers, and has no nested classes, class operators or repeated repetitions. A pattern
//! that does not compile must be refused as Envoy refuses it: in APISIX it would fail each request instead.

use regex_syntax::ParserBuilder;

/// RE2's limit for `x{n}`.
const MAX_REPETITION: u32 = 1000;

const POSIX_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

/// The parser's words on why `pattern` is none.
pub fn check(pattern: &str) -> Result<(), String> {
    let rewritten = rewrite(pattern)?;
    // RE2 works on bytes where asked to (\C), so a match need not be UTF-8.
    ParserBuilder::new().utf8(false).nest_limit(1000).build().parse(&rewritten).map(|_| ()).map_err(|e| {
        match e {
            regex_syntax::Error::Parse(e) => e.kind().to_string(),
            regex_syntax::Error::Translate(e) => e.kind().to_string(),
            other => other.to_string(),
        }
    })
}

fn rewrite(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    let mut repeated = Repeated::No;
    while let Some(c) = rest.chars().next() {
        let before = (rest, out.len());
        rest = match c {
            '\\' => escape(rest, &mut out)?,
            '[' => class(rest, &mut out)?,
            '{' => braces(rest, &mut out)?,
            '(' => group(rest, &mut out)?,
            _ => {
                out.push(c);
                &rest[c.len_utf8()..]
            }
        };
        let literal_brace = c == '{' && out[before.1..].starts_with('\\');
        repeated = repeated.then(if literal_brace { 'a' } else { c })?;
    }
    Ok(out)
}

/// RE2 takes one repetition operator and one `?` after it, `regex-syntax` any number.
#[derive(Clone, Copy, PartialEq)]
enum Repeated {
    No,
    Once,
    Lazily,
}

impl Repeated {
    fn then(self, c: char) -> Result<Self, String> {
        match (self, c) {
            (Self::Once, '?') => Ok(Self::Lazily),
            (Self::No, '*' | '+' | '?' | '{') => Ok(Self::Once),
            (_, '*' | '+' | '?' | '{') => Err("two repetition operators in a row".to_owned()),
            _ => Ok(Self::No),
        }
    }
}

/// Copies the opening of a group; RE2 has the flags i, m, s and U only.
fn group<'a>(text: &'a str, out: &mut String) -> Result<&'a str, String> {
    out.push('(');
    let Some(inner) = text.strip_prefix("(?") else { return Ok(&text[1..]) };
    let flags = &inner[..inner.find([':', ')', '<', '=', '!', 'P']).unwrap_or(inner.len())];
    if let Some(flag) = flags.chars().find(|flag| !"imsU-".contains(*flag)) {
        return Err(format!("(?{flag}) is no group flag"));
    }
    out.push('?');
    Ok(inner)
}

/// Copies the escape at the start of `text`; gives what follows it.
fn escape<'a>(text: &'a str, out: &mut String) -> Result<&'a str, String> {
    if text.starts_with("\\u") || text.starts_with("\\U") {
        return Err(format!("{} is no escape", &text[..2]));
    }
    if let Some(quoted) = text.strip_prefix("\\Q") {
        let (literal, rest) = quoted.split_once("\\E").unwrap_or((quoted, ""));
        out.push_str(&regex_syntax::escape(literal));
        return Ok(rest);
    }
    if let Some(rest) = text.strip_prefix("\\C") {
        out.push_str("(?s-u:.)");
        return Ok(rest);
    }
    let digits = text[1..].bytes().take(3).take_while(|b| (b'0'..=b'7').contains(b)).count();
    if digits > 1 || text.starts_with("\\0") {
        let octal = u32::from_str_radix(&text[1..=digits], 8).unwrap_or_default();
        out.push_str(&format!("\\x{{{octal:x}}}"));
        return Ok(&text[1 + digits..]);
    }
    let mut end = text.char_indices().nth(2).map_or(text.len(), |(i, _)| i);
    // `\p{Greek}` and `\x{10FFFF}`: these braces are no repetition.
    if (text.starts_with("\\p{") || text.starts_with("\\P{") || text.starts_with("\\x{"))
        && let Some(close) = text.find('}')
    {
        end = close + 1;
    }
    out.push_str(&text[..end]);
    Ok(&text[end..])
}

/// Copies the class at the start of `text`, with everything escaped that only `regex-syntax` finds special.
fn class<'a>(text: &'a str, out: &mut String) -> Result<&'a str, String> {
    out.push('[');
    let mut rest = &text[1..];
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    // A `]` that comes first stands for itself.
    if let Some(after) = rest.strip_prefix(']') {
        out.push_str("\\]");
        rest = after;
    }
    while let Some(c) = rest.chars().next() {
        match c {
            ']' => {
                out.push(']');
                return Ok(&rest[1..]);
            }
            '\\' => rest = escape(rest, out)?,
            '-' if rest.starts_with("--") => {
                out.push_str("-\\-");
                rest = &rest[2..];
            }
            '[' if let Some((name, after)) = posix_class(rest) => {
                let name = name.trim_start_matches('^');
                if !POSIX_CLASSES.contains(&name) {
                    return Err(format!("[:{name}:] is no character class"));
                }
                out.push_str(&rest[..rest.len() - after.len()]);
                rest = after;
            }
            '[' | '&' | '~' => {
                out.push('\\');
                out.push(c);
                rest = &rest[1..];
            }
            _ => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    Ok(rest)
}

/// The name in the `[:name:]` at the start of `text`, and what follows it.
fn posix_class(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix("[:")?.split_once(":]")
}

/// Copies `{n}`, `{n,}` or `{n,m}`; any other brace stands for itself.
fn braces<'a>(text: &'a str, out: &mut String) -> Result<&'a str, String> {
    let close = text.find('}');
    let counts = close.map(|close| &text[1..close]).filter(|inner| is_repetition(inner));
    let (Some(close), Some(counts)) = (close, counts) else {
        out.push_str("\\{");
        return Ok(&text[1..]);
    };
    for count in counts.split(',').filter(|n| !n.is_empty()) {
        if count.parse::<u32>().ok().is_none_or(|n| n > MAX_REPETITION) {
            return Err(format!("repetition {{{counts}}} is over {MAX_REPETITION}"));
        }
    }
    out.push_str(&text[..=close]);
    Ok(&text[close + 1..])
}

fn is_repetition(inner: &str) -> bool {
    let (min, max) = inner.split_once(',').unwrap_or((inner, "0"));
    !min.is_empty() && (min.bytes().all(|b| b.is_ascii_digit())) && max.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn what_re2_compiles_is_taken() {
        for pattern in [
            "/api/v[0-9]+/.*",
            "(?i)^foo$",
            "/users/{id}",
            "{",
            "a{,3}",
            "x{2,5}",
            r"\Qa.b(\E.*",
            r"\Q(",
            r"[a[b]",
            r"[[:]",
            "[]a]",
            "[^]]",
            "[[:alpha:]_]+",
            "[a&&b]",
            r"\pN\p{Greek}",
            r"\x{41}",
            r"\C",
            r"\d\.\/\-\_",
            "(?P<n>a)",
            "a|",
            "()",
        ] {
            assert_eq!(check(pattern), Ok(()), "{pattern}");
        }
    }

    #[test]
    fn what_re2_refuses_is_refused() {
        for pattern in [
            "(",
            "a)",
            "[",
            "*a",
            "a{1001}",
            r"(a)\1",
            "(?=a)",
            "(?<!a)b",
            r"\",
            r"\p{Nope}",
            "[z-a]",
            "a**",
            "x*+",
            "a*??",
            "a{2}{3}",
            "(?x)a b",
            "(?u)a",
            "(?R)a",
            "(?s-u:.)",
            "[[:foo:]]",
            "[a--b]",
            r"\u{41}",
            r"\Z",
            r"\h",
            r"\8",
            r"\é",
            r"\e",
        ] {
            assert!(check(pattern).is_err(), "{pattern}");
        }
    }
}
