//! Rules that every text and number of an object keeps to. An object that breaks one would be refused by APISIX, or
//! fail its requests later; each type says in its `check` which rules its fields keep to.
//!
//! In: an object. Out: the first rule it breaks, and where. Never here: what to do about it.

use std::{
    fmt::{self, Write},
    net::{Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
};

use super::{Timeout, is_host, is_node_host};

/// The most characters of a value that a [`Violation`] shows.
const SHOWN: usize = 80;
/// Numbers go through Lua's doubles.
pub(super) const MAX_INTEGER: u64 = 1 << 53;
pub(super) const STATUSES: RangeInclusive<u32> = 200..=599;

/// A rule that an object breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    path: String,
    value: String,
    rule: &'static str,
}

impl Violation {
    /// The field, such as `plugins.redirect.uri`.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}", self.path, self.value, self.rule)
    }
}

impl std::error::Error for Violation {}

/// The outcome of a check.
pub type Checked = Result<(), Violation>;

/// The rule says what `value` must be.
pub(super) fn demand(holds: bool, value: impl fmt::Debug, rule: &'static str) -> Checked {
    if holds {
        return Ok(());
    }
    Err(Violation { path: String::new(), value: short(value), rule })
}

fn short(value: impl fmt::Debug) -> String {
    let mut short = Short(String::new());
    if write!(short, "{value:?}").is_err() {
        short.0.push_str("...");
    }
    short.0
}

/// Takes no more than [`SHOWN`] characters.
struct Short(String);

impl Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let left = SHOWN - self.0.chars().count();
        self.0.extend(text.chars().take(left));
        if text.chars().nth(left).is_some() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Puts the way to a field before what is already known of its place.
pub(super) trait Within {
    fn within(self, field: &str) -> Self;
    fn item(self, at: usize) -> Self;
    fn key(self, name: &str) -> Self;
}

impl Within for Checked {
    fn within(self, field: &str) -> Self {
        self.map_err(|broken| {
            let dot = if broken.path.is_empty() || broken.path.starts_with('[') { "" } else { "." };
            Violation { path: format!("{field}{dot}{}", broken.path), ..broken }
        })
    }

    fn item(self, at: usize) -> Self {
        self.within(&format!("[{at}]"))
    }

    fn key(self, name: &str) -> Self {
        match self {
            Ok(()) => Ok(()),
            broken => broken.within(&format!("[{}]", short(name))),
        }
    }
}

/// Each item keeps to the rule.
pub(super) fn each<T>(items: &[T], rule: impl Fn(&T) -> Checked) -> Checked {
    items.iter().enumerate().try_for_each(|(at, item)| rule(item).item(at))
}

/// What is there keeps to the rule.
pub(super) fn if_there<T>(value: &Option<T>, rule: impl Fn(&T) -> Checked) -> Checked {
    value.as_ref().map_or(Ok(()), rule)
}

pub(super) fn unique<T: Ord + fmt::Debug>(items: &[T]) -> Checked {
    let mut sorted: Vec<&T> = items.iter().collect();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => demand(false, pair[0], "must stand here once"),
        None => Ok(()),
    }
}

pub(super) fn not_empty<T: fmt::Debug>(items: &[T]) -> Checked {
    demand(!items.is_empty(), items, "must have an entry, or be left out")
}

/// Of APISIX's own alphabet.
pub(super) fn id(text: &str) -> Checked {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let holds = (1..=64).contains(&text.len()) && text.bytes().all(legal);
    demand(holds, text, "must be 1 to 64 of a-z, A-Z, 0-9, -, _ and .")
}

pub(super) fn characters(text: &str, range: RangeInclusive<usize>, rule: &'static str) -> Checked {
    demand(range.contains(&text.chars().count()), text, rule)
}

/// A text in a plugin that must say something.
pub(super) fn text_of_one_or_more(text: &str) -> Checked {
    no_secret(text)?;
    demand(!text.is_empty(), text, "must not be empty")
}

/// What the host patterns of plugins take: `[0-9a-zA-Z-.]+`.
pub(super) fn is_dns_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}

pub(super) fn name(text: &str) -> Checked {
    characters(text, 1..=256, "must be 1 to 256 characters: cut it")
}

pub(super) fn statuses(list: &[u32], range: RangeInclusive<u32>) -> Checked {
    each(list, |status| demand(range.contains(status), status, "is not among the statuses that count here"))?;
    unique(list)
}

pub(super) fn answer(status: u32) -> Checked {
    demand(STATUSES.contains(&status), status, "must be from 200 to 599")
}

pub(super) fn above_zero(number: f64) -> Checked {
    demand(number.is_finite() && number > 0.0, number, "must be above 0")
}

pub(super) fn zero_or_more(number: f64) -> Checked {
    demand(number.is_finite() && number >= 0.0, number, "must be 0 or more")
}

pub(super) fn one_or_more(number: u32) -> Checked {
    demand(number >= 1, number, "must be 1 or more")
}

pub(super) fn host(text: &str) -> Checked {
    demand(is_host(text), text, "must be a host name, an address or *.suffix")
}

/// Where a connection can go.
pub(super) fn node_host(text: &str) -> Checked {
    demand(is_node_host(text), text, "must be a name, an IPv4 address or an [IPv6 address]")
}

pub(super) fn port(number: u32) -> Checked {
    demand((1..=65535).contains(&number), number, "must be from 1 to 65535")
}

pub(super) fn timeout(timeout: &Timeout) -> Checked {
    above_zero(timeout.connect).within("connect")?;
    above_zero(timeout.send).within("send")?;
    above_zero(timeout.read).within("read")
}

/// In a plugin's configuration, such a text is replaced by what it names (`secret.lua`).
pub(super) fn no_secret(text: &str) -> Checked {
    let is_env = text.get(..7).is_some_and(|head| head.eq_ignore_ascii_case("$env://"));
    let holds = !is_env && !text.starts_with("$secret://");
    demand(holds, text, "would be read as the name of a secret: write the $ another way")
}

/// A text that ends up in a request or answer line, a header or a URL.
pub(super) fn line(text: &str) -> Checked {
    no_secret(text)?;
    let holds = text.bytes().all(|b| b == b'\t' || (b >= b' ' && b != 0x7f));
    demand(holds, text, "must have no control characters: they would end the line")
}

/// The name of a header or cookie: a token of RFC 9110.
pub(super) fn token(text: &str) -> Checked {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    no_secret(text)?;
    demand(!text.is_empty() && text.bytes().all(legal), text, "must be a header's name")
}

/// An address or a network. One that is not stops every route from being built, not only its own.
pub(super) fn network(text: &str) -> Checked {
    let (address, mask) = match text.split_once('/') {
        Some((address, mask)) => (address, Some(mask)),
        None => (text, None),
    };
    let bits = if address.parse::<Ipv4Addr>().is_ok() {
        Some(32)
    } else if address.parse::<Ipv6Addr>().is_ok() && !address.contains('.') {
        Some(128)
    } else {
        None
    };
    let digits = |mask: &str| (1..=3).contains(&mask.len()) && mask.bytes().all(|b| b.is_ascii_digit());
    let holds = match (bits, mask) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(bits), Some(mask)) => digits(mask) && mask.parse::<u32>().is_ok_and(|mask| mask <= bits),
    };
    demand(holds, text, "must be an IPv4 or IPv6 address, or one with /bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_is_one_short_line_that_leads_to_the_field() {
        let broken = demand(false, "a\r\n".repeat(100), "must be short").item(3).within("b").within("a");
        let text = broken.unwrap_err().to_string();
        assert!(text.starts_with(r#"a.b[3]: "a\r\na"#), "{text}");
        assert!(text.ends_with("... must be short") && text.len() < 120, "{text}");
    }

    #[test]
    fn networks_are_exact() {
        for good in ["10.0.0.1", "10.0.0.0/8", "::1", "fe80::/10", "0.0.0.0/0"] {
            assert_eq!(network(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "10.0.0",
            "10.0.0.1/33",
            "::/129",
            ":/8",
            "10.0.0.1/",
            "10.0.0.1/+8",
            "010.0.0.1",
            "a",
            "::1%lo",
        ] {
            assert!(network(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn texts_of_one_line_name_no_secrets() {
        for good in ["", "a\tb", "ü", "$host", "a $secret://b", "$environment"] {
            assert_eq!(line(good), Ok(()), "{good}");
        }
        for bad in ["a\r\nb", "\0", "\x7f", "$secret://vault/1/a", "$env://A", "$Env://A"] {
            assert!(line(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn header_names_are_tokens() {
        assert_eq!(token("x-a_b"), Ok(()));
        for bad in ["", "a b", "a:b", "ü", "a\n"] {
            assert!(token(bad).is_err(), "{bad:?}");
        }
    }
}
