//! Networks to conditions: on a variable that holds an address, and on text that holds one among other things.
//!
//! In: CidrRanges. Out: conditions or patterns. Never here: whose address it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{apisix::Condition, pb::envoy::config::core::v3::CidrRange};

/// Any IPv4 address, and what looks like an IPv6 address, as patterns.
pub(super) const IPV4: &str = r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}";
pub(super) const IPV6: &str = "[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*";

/// A network, with nothing behind its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network {
    ip: IpAddr,
    length: u8,
}

impl Network {
    /// `None` for what is no network. Without a length all addresses of the family are meant, as in Envoy.
    pub fn of(range: &CidrRange) -> Option<Self> {
        let length = u8::try_from(range.prefix_len.unwrap_or(0)).ok()?;
        let ip = match range.address_prefix.parse().ok()? {
            IpAddr::V4(ip) if length <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & mask))
            }
            IpAddr::V6(ip) if length <= 128 => {
                let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask))
            }
            _ => return None,
        };
        Some(Self { ip, length })
    }

    /// From `address/length`.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let range = CidrRange { address_prefix: address.to_owned(), prefix_len: length.parse().ok() };
        Self::of(&range)
    }

    /// All of the list; `None` where one is no network.
    pub fn list(ranges: &[CidrRange]) -> Option<Vec<Self>> {
        ranges.iter().map(Self::of).collect()
    }

    /// The address in this variable belongs to the network.
    pub fn contains(self, variable: &str) -> Condition {
        match (self.ip, self.length) {
            // Whole families are told by their looks; ipmatch is for real prefixes.
            (IpAddr::V4(_), 0) => Condition::matches(variable, format!(r"^{IPV4}\z")),
            (IpAddr::V6(_), 0) => Condition::matches(variable, ":"),
            (ip, length) => Condition::is_within(variable, vec![format!("{ip}/{length}")]),
        }
    }

    /// A pattern for the text of its addresses as an operating system prints them; `None` where text does not tell.
    pub fn pattern(self) -> Option<String> {
        match (self.ip, self.length) {
            (IpAddr::V4(_), 0) => Some(IPV4.to_owned()),
            (IpAddr::V4(ip), length) => Some(ipv4_pattern(ip, length)),
            (IpAddr::V6(_), 0) => Some(IPV6.to_owned()),
            (IpAddr::V6(_), _) => None,
        }
    }
}

fn ipv4_pattern(ip: Ipv4Addr, length: u8) -> String {
    let octets = ip.octets().into_iter().enumerate().map(|(at, octet)| {
        let free = (8 * (at + 1)).saturating_sub(usize::from(length)).min(8);
        match free {
            0 => octet.to_string(),
            8 => "[0-9]{1,3}".to_owned(),
            _ => {
                let all: Vec<String> = (octet..=octet | ((1 << free) - 1)).map(|o| o.to_string()).collect();
                format!("(?:{})", all.join("|"))
            }
        }
    });
    octets.collect::<Vec<_>>().join(r"\.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        Network::parse(text).unwrap()
    }

    #[test]
    fn text_of_an_ipv4_network_is_told() {
        for (text, inside, outside) in [
            ("10.1.2.3/32", &["10.1.2.3"][..], &["10.1.2.30", "110.1.2.3", "10.1.2.4"][..]),
            ("10.1.0.0/16", &["10.1.0.0", "10.1.255.9"], &["10.2.0.0", "10.11.0.0"]),
            ("172.16.0.0/12", &["172.16.0.1", "172.31.9.9"], &["172.32.0.1", "172.15.0.1"]),
            ("10.0.0.4/30", &["10.0.0.4", "10.0.0.7"], &["10.0.0.3", "10.0.0.8"]),
            ("0.0.0.0/0", &["1.2.3.4"], &["::1"]),
        ] {
            let pattern = regex::Regex::new(&format!(r"^{}\z", network(text).pattern().unwrap())).unwrap();
            assert!(inside.iter().all(|a| pattern.is_match(a)), "{text}: {pattern}");
            assert!(!outside.iter().any(|a| pattern.is_match(a)), "{text}: {pattern}");
        }
        assert_eq!(network("2001:db8::/32").pattern(), None);
    }

    #[test]
    fn a_variable_is_asked_for_prefixes_and_families() {
        let json = |text: &str| serde_json::to_string(&network(text).contains("x")).unwrap();
        assert_eq!(json("10.1.2.3/8"), r#"["x","ipmatch",["10.0.0.0/8"]]"#);
        assert_eq!(json("2001:db8::1/32"), r#"["x","ipmatch",["2001:db8::/32"]]"#);
        assert_eq!(json("::/0"), r#"["x","~~",":"]"#);
    }

    #[test]
    fn what_is_no_network_is_none() {
        for (address_prefix, length) in [("a", 1), ("1.2.3.4", 33), ("::1", 129), ("1.2.3.4", 1000)] {
            let range = CidrRange { address_prefix: address_prefix.to_owned(), prefix_len: Some(length) };
            assert_eq!(Network::of(&range), None, "{range:?}");
        }
    }
}
