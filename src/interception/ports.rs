//! The values of the interception flags, from text.
//!
//! Every character that reaches iptables passes here, so nothing but digits, commas and user names gets through.

use std::{collections::BTreeSet, fmt, str::FromStr};

/// A flag's value that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not a TCP port.
    #[error("{0:?} is not a port; give numbers from 1 to 65535 with commas between, such as 80,9080")]
    Port(String),
    /// Not a user.
    #[error("{0:?} is not a user; give a user name or a numeric uid")]
    User(String),
}

/// A user, by name or by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User(String);

impl Default for User {
    fn default() -> Self {
        Self("nobody".into())
    }
}

impl FromStr for User {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        if starts_well && text.chars().all(fits) {
            Ok(Self(text.into()))
        } else {
            Err(ParseError::User(text.into()))
        }
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Ports by number: a comma list. The empty text is the empty list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortList(BTreeSet<u16>);

impl PortList {
    /// The most ports one `multiport` match takes.
    const MULTIPORT_LIMIT: usize = 15;

    /// The list as `--dports` values, cut to what one rule can hold.
    pub(super) fn multiports(&self) -> Vec<String> {
        let numbers: Vec<String> = self.0.iter().map(u16::to_string).collect();
        numbers.chunks(Self::MULTIPORT_LIMIT).map(|chunk| chunk.join(",")).collect()
    }
}

impl FromStr for PortList {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        text.split(',').map(|item| port(item.trim())).collect::<Result<_, _>>().map(Self)
    }
}

fn port(text: &str) -> Result<u16, ParseError> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits && number != 0 => Ok(number),
        _ => Err(ParseError::Port(text.into())),
    }
}

/// Which ports to capture: `*` for all, else a list, which may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ports {
    /// Every port.
    All,
    /// These and no others.
    These(PortList),
}

impl Default for Ports {
    fn default() -> Self {
        Self::These(PortList::default())
    }
}

impl FromStr for Ports {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text.trim() {
            "*" => Ok(Self::All),
            list => list.parse().map(Self::These),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_list_is_numbers_with_commas() {
        assert_eq!("80, 9080,80".parse(), Ok(PortList([80, 9080].into())));
        assert_eq!("".parse(), Ok(PortList::default()));
        for bad in ["0", "65536", "-1", "+80", "80,", "http", "80;90", "80 90", "*"] {
            assert!(bad.parse::<PortList>().is_err(), "{bad:?} must be refused");
        }
    }

    #[test]
    fn an_error_names_the_value_and_the_cure() {
        let error = "80,http".parse::<Ports>().unwrap_err().to_string();
        assert_eq!(
            error,
            r#""http" is not a port; give numbers from 1 to 65535 with commas between, such as 80,9080"#
        );
    }

    #[test]
    fn a_star_is_every_port() {
        assert_eq!("*".parse(), Ok(Ports::All));
        assert_eq!("".parse(), Ok(Ports::default()));
    }

    #[test]
    fn a_user_cannot_carry_another_argument() {
        for good in ["nobody", "0", "www-data", "_apt", "a.b"] {
            assert!(good.parse::<User>().is_ok(), "{good:?} must pass");
        }
        for bad in ["", "-j", "a b", "a\n-F", "a\"b"] {
            assert!(bad.parse::<User>().is_err(), "{bad:?} must be refused");
        }
    }

    #[test]
    fn fifteen_ports_fit_one_rule() {
        let list = |n: u16| PortList((1..=n).collect());
        assert_eq!(list(0).multiports(), Vec::<String>::new());
        assert_eq!(list(15).multiports().len(), 1);
        assert_eq!(list(16).multiports()[1], "16");
    }
}
