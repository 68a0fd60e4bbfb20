//! Permissions: what a request asks for.

use super::{policy::Unknown, test};
use crate::{
    apisix::Condition,
    pb::{
        envoy::{
            config::{
                core::v3::CidrRange,
                rbac::v3::{Permission, permission::Rule},
            },
            r#type::v3::Int32Range,
        },
        path::Path,
    },
    translate::{bounds::Bounds, network::Network, note::Notes},
};

/// `ip:port` or `[ip6]:port`, as the nginx module prints it.
const ORIGINAL_DST: &str = "connection_original_dst";

/// The request asks for it.
pub(super) fn test(permission: &Permission, unknown: &Unknown, path: &Path<'_>, notes: &mut Notes) -> Bounds {
    let mut each = |rules: &[Permission], field: &str| -> Vec<Bounds> {
        let path = path.field(field);
        rules
            .iter()
            .enumerate()
            .map(|(at, rule)| test(rule, unknown, &path.item("rules", at), notes))
            .collect()
    };
    let field = match &permission.rule {
        Some(Rule::AndRules(set)) => return Bounds::all(each(&set.rules, "and_rules")),
        Some(Rule::OrRules(set)) => return Bounds::any(each(&set.rules, "or_rules")),
        Some(Rule::NotRule(rule)) => return !test(rule, unknown, &path.field("not_rule"), notes),
        Some(Rule::Any(any)) => return Bounds::constant(*any),
        Some(Rule::Header(header)) => return test::header(header, unknown, &path.field("header"), notes),
        Some(Rule::UrlPath(matcher)) => return test::path(matcher, unknown, &path.field("url_path"), notes),
        Some(Rule::DestinationIp(range)) => {
            return destination_ip(range)
                .unwrap_or_else(|| unknown.part(&path.field("destination_ip"), test::NO_NETWORK, notes));
        }
        Some(Rule::DestinationPort(port)) => {
            return Bounds::when(Condition::matches(ORIGINAL_DST, format!(r":{port}\z")));
        }
        Some(Rule::DestinationPortRange(range)) => return destination_ports(range),
        Some(Rule::Metadata(_)) => "metadata",
        Some(Rule::RequestedServerName(_)) => "requested_server_name",
        Some(Rule::Matcher(_)) => "matcher",
        Some(Rule::UriTemplate(_)) => "uri_template",
        Some(Rule::SourcedMetadata(_)) => "sourced_metadata",
        None => return unknown.part(path, "no known rule", notes),
    };
    unknown.part(&path.field(field), "has no counterpart", notes)
}

/// `None` where the text of an address does not tell.
pub(super) fn destination_ip(range: &CidrRange) -> Option<Bounds> {
    let pattern = Network::of(range)?.pattern()?;
    Some(Bounds::when(Condition::matches(ORIGINAL_DST, format!(r"^\[?{pattern}\]?:[0-9]+\z"))))
}

/// From `start` to before `end`.
fn destination_ports(range: &Int32Range) -> Bounds {
    let (start, end) = (range.start.clamp(0, 65536), range.end.clamp(0, 65536));
    match end - start {
        ..=0 => Bounds::constant(false),
        65536 => Bounds::constant(true),
        _ => {
            let ports = numbers(start as u32, end as u32 - 1).join("|");
            Bounds::when(Condition::matches(ORIGINAL_DST, format!(r":(?:{ports})\z")))
        }
    }
}

/// Patterns for the decimal numbers from `low` to `high`.
fn numbers(low: u32, high: u32) -> Vec<String> {
    let mut patterns = Vec::new();
    let mut at = low;
    while at <= high {
        // The largest block of ten, a hundred, ... numbers that begins here, has one length and stays in the range.
        let mut block = 1;
        while at > 0 && at.is_multiple_of(block * 10) && at + block * 10 - 1 <= high {
            block *= 10;
        }
        let free = block.ilog10();
        let tail = if free == 0 { String::new() } else { format!("[0-9]{{{free}}}") };
        let end = (0..9)
            .map(|n| at + (n + 1) * block - 1)
            .take_while(|end| *end <= high && (end / block) / 10 == (at / block) / 10);
        let last = end.last().unwrap_or(at + block - 1) / block;
        let first = at / block;
        let digits = if first == last {
            first.to_string()
        } else {
            let stem = if first >= 10 { (first / 10).to_string() } else { String::new() };
            format!("{stem}[{}-{}]", first % 10, last % 10)
        };
        patterns.push(digits + &tail);
        at = (last + 1) * block;
    }
    patterns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_ports_of_a_range_match() {
        for (low, high) in [(0, 9), (80, 80), (8000, 8999), (1, 65535), (79, 8081), (0, 65534), (99, 101)] {
            let pattern = format!("^(?:{})$", numbers(low, high).join("|"));
            assert!(pattern.len() < 400, "{pattern}");
            let pattern = regex::Regex::new(&pattern).unwrap();
            for port in 0..=65536u32 {
                assert_eq!(
                    pattern.is_match(&port.to_string()),
                    (low..=high).contains(&port),
                    "{port} {pattern}"
                );
            }
        }
    }
}
