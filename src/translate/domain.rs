//! The domains of a virtual host to `hosts` and conditions.
//!
//! In: domains. Out: groups, each of which becomes its own set of routes. Mapping rows 1 to 6. Envoy compares the
//! whole Host header, port and all, unless told to ignore the port; APISIX compares names without ports, so the port
//! becomes a condition. Envoy's order, exact before `*.suffix` before `prefix.*` before `*`, is APISIX's own order of
//! hosts, except for `prefix.*`, which goes among the routes without hosts.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    apisix::{Condition, Operand, Operator, escape, is_host},
    pb::path::Path,
};

use super::note::Notes;

/// Room for the routes of one virtual host between two priorities.
const STEP: i64 = 100_000;

/// Domains of one virtual host that need the same conditions.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DomainGroup {
    /// Tells the groups of a virtual host apart, whatever their order.
    pub label: String,
    /// Empty for all hosts.
    pub hosts: Vec<String>,
    pub vars: Vec<Condition>,
    /// Added to the priorities of its routes.
    pub base: i64,
}

/// Whether this domain is `prefix.*`, which forces an order on all routes without hosts.
pub(super) fn is_prefix(domain: &str) -> bool {
    domain.len() > 1 && domain.ends_with('*')
}

/// The groups of `domains`, sorted.
pub(super) fn groups(domains: &[String], ignore_port: bool, notes: &mut Notes) -> Vec<DomainGroup> {
    let mut ports_of: BTreeMap<String, BTreeSet<Option<u16>>> = BTreeMap::new();
    let mut hostless = BTreeMap::new();
    for (at, domain) in domains.iter().enumerate() {
        let path = Path::ROOT.item("domains", at);
        let domain = domain.to_ascii_lowercase();
        if domain == "*" {
            hostless.insert(String::new(), everything());
        } else if is_prefix(&domain) {
            let prefix = &domain[..domain.len() - 1];
            hostless.insert(domain.clone(), starting_with(prefix, ignore_port));
        } else {
            let (name, port) = split_port(&domain);
            // Nginx drops the trailing dot of a name.
            let name = name.trim_end_matches('.');
            if ignore_port && port.is_some() {
                notes.traffic(&path, "has a port, but ports are ignored: matches nothing");
            } else if is_host(name) {
                ports_of.entry(name.to_owned()).or_default().insert(port);
            } else {
                notes.traffic(&path, format!("{name:?} is no host name: domain left out"));
            }
        }
    }
    let mut by_ports: BTreeMap<BTreeSet<Option<u16>>, Vec<String>> = BTreeMap::new();
    for (name, ports) in ports_of {
        by_ports.entry(ports).or_default().push(name);
    }
    let hosted = by_ports.into_iter().map(|(ports, hosts)| DomainGroup {
        label: format!("{ports:?}"),
        vars: not_the_suffix_alone(&hosts)
            .into_iter()
            .chain((!ignore_port).then(|| with_port(&ports)))
            .collect(),
        hosts,
        base: 0,
    });
    hosted.chain(hostless.into_values()).collect()
}

/// Envoy's star stands for something, APISIX's for nothing as well.
fn not_the_suffix_alone(hosts: &[String]) -> Option<Condition> {
    let suffixes = hosts.iter().filter_map(|host| host.strip_prefix('*'));
    let bare: Vec<String> = suffixes.map(str::to_owned).filter(|suffix| !hosts.contains(suffix)).collect();
    (!bare.is_empty()).then(|| !Condition::is_in("host", bare))
}

fn everything() -> DomainGroup {
    DomainGroup { label: "*".to_owned(), hosts: Vec::new(), vars: Vec::new(), base: 0 }
}

/// The prefix may reach into the port, where ports are compared.
fn starting_with(prefix: &str, ignore_port: bool) -> DomainGroup {
    let variable = if ignore_port { "host" } else { "http_host" };
    let pattern = Operand::Text(format!("^{}.", escape(prefix)));
    DomainGroup {
        label: format!("{prefix}*"),
        hosts: Vec::new(),
        vars: vec![Condition::test(variable, Operator::MatchesIgnoringCase, pattern)],
        base: STEP * (1 + prefix.len() as i64),
    }
}

/// The Host header has one of these ports, or none where `None` is among them.
fn with_port(ports: &BTreeSet<Option<u16>>) -> Condition {
    let numbers: Vec<String> = ports.iter().flatten().map(u16::to_string).collect();
    // Nginx drops the trailing dot of a name, for Envoy it is another name.
    let name = r"^(?:\[[^\]]*\]|[^:]*[^:.])";
    let pattern = match (numbers.is_empty(), ports.contains(&None)) {
        (true, _) => format!(r"{name}\z"),
        (false, true) => format!(r"{name}(?::(?:{}))?\z", numbers.join("|")),
        (false, false) => format!(r"{name}:(?:{})\z", numbers.join("|")),
    };
    Condition::matches("http_host", pattern)
}

fn split_port(domain: &str) -> (&str, Option<u16>) {
    match domain.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && (!name.contains(':') || name.ends_with(']')) => {
            port.parse().map_or((domain, None), |port| (name, Some(port)))
        }
        _ => (domain, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups_of(domains: &[&str], ignore_port: bool) -> Vec<DomainGroup> {
        let domains: Vec<String> = domains.iter().map(|d| (*d).to_owned()).collect();
        groups(&domains, ignore_port, &mut Notes::default())
    }

    #[test]
    fn names_with_the_same_ports_share_their_routes() {
        let found = groups_of(&["a", "a:80", "b:80", "b", "C.d"], false);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].hosts, ["c.d"]);
        assert_eq!(found[1].hosts, ["a", "b"]);
    }

    #[test]
    fn no_condition_where_ports_are_ignored() {
        let found = groups_of(&["a", "a.", "*.b"], true);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].hosts, ["*.b", "a"]);
        assert_eq!(serde_json::to_string(&found[0].vars).unwrap(), r#"[["host","!","in",[".b"]]]"#);
    }

    #[test]
    fn a_longer_prefix_goes_first() {
        let found = groups_of(&["*", "a.*", "a.b.*"], true);
        let base = |label: &str| found.iter().find(|g| g.label == label).unwrap().base;
        assert!(base("a.b.*") > base("a.*") && base("a.*") > base("*"));
    }

    #[test]
    fn ports_are_told_from_addresses() {
        assert_eq!(split_port("[::1]:80"), ("[::1]", Some(80)));
        assert_eq!(split_port("[::1]"), ("[::1]", None));
        assert_eq!(split_port("a:http"), ("a:http", None));
    }
}
