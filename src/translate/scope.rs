//! Which connections a route configuration is for, as conditions on `$connection_original_dst`.
//!
//! In: the destinations of the filter chains that use it. Out: conditions that hold for just those connections.
//! APISIX accepts all connections on a few ports of its own; the original destination is what is left of Envoy's
//! listeners. Patterns are anchored, so that port 80 is not found in 1080 (contract section 6, row 8).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::apisix::Condition;

use super::config::ConfigKey;

/// `ip:port` or `[ip6]:port`, as the nginx module prints it.
const ORIGINAL_DST: &str = "connection_original_dst";
/// After iptables' REDIRECT a connection that a local process opened ends on the loopback address, one that came from
/// outside ends on the address of the interface it came by.
const SERVER_ADDR: &str = "server_addr";
const LOOPBACK: [&str; 2] = ["127.0.0.1", "::1"];
/// Routes of listeners with an address of their own go before those of wildcard listeners.
const SPECIFIC_BAND: i64 = 1_000_000_000;

/// Where connections were going that belong to a filter chain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Destination {
    /// Anywhere: an API listener.
    Anywhere,
    /// One address and port.
    Address { port: u16, text: String },
    /// A port of any address that has no listener of its own, coming from this pod.
    OutboundPort(u16),
    /// A port of this pod's own addresses, coming from outside.
    InboundPort(u16),
}

impl Destination {
    /// The port whose other uses matter to this one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Anywhere => None,
            Self::Address { port, .. } | Self::OutboundPort(port) | Self::InboundPort(port) => Some(*port),
        }
    }
}

/// The one port whose inbound connections these are, if they are no others.
pub(super) fn inbound_port(destinations: &BTreeSet<Destination>) -> Option<u16> {
    let mut all = destinations.iter();
    match (all.next(), all.next()) {
        (Some(Destination::InboundPort(port)), None) => Some(*port),
        _ => None,
    }
}

/// The conditions and the priority band of a route configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Scope {
    pub vars: Vec<Condition>,
    pub band: i64,
}

/// Who uses each port: wildcard listeners must leave alone what belongs to others.
#[derive(Debug, Default)]
pub(super) struct Ports(BTreeMap<u16, PortUse>);

#[derive(Debug, Default)]
struct PortUse {
    /// Addresses with a listener of their own, HTTP or not: Envoy picks the most specific address.
    specific: BTreeSet<(String, Arc<str>)>,
    outbound: BTreeSet<(ConfigKey, Arc<str>)>,
    inbound: BTreeSet<(ConfigKey, Arc<str>)>,
}

impl Ports {
    /// Records that `listener` has this address for itself.
    pub fn add_address(&mut self, listener: &Arc<str>, (port, text): &(u16, String)) {
        self.0.entry(*port).or_default().specific.insert((text.clone(), listener.clone()));
    }

    /// Takes back [`Ports::add_address`].
    pub fn remove_address(&mut self, listener: &Arc<str>, (port, text): &(u16, String)) {
        if let Some(port_use) = self.0.get_mut(port) {
            port_use.specific.remove(&(text.clone(), listener.clone()));
        }
    }

    /// Records that a chain of `listener` uses `config`.
    pub fn add_binding(&mut self, listener: &Arc<str>, config: &ConfigKey, destination: &Destination) {
        if let Some(bindings) = self.bindings(destination) {
            bindings.insert((config.clone(), listener.clone()));
        }
    }

    /// Takes back [`Ports::add_binding`].
    pub fn remove_binding(&mut self, listener: &Arc<str>, config: &ConfigKey, destination: &Destination) {
        if let Some(bindings) = self.bindings(destination) {
            bindings.remove(&(config.clone(), listener.clone()));
        }
    }

    fn bindings(&mut self, destination: &Destination) -> Option<&mut BTreeSet<(ConfigKey, Arc<str>)>> {
        match destination {
            Destination::OutboundPort(port) => Some(&mut self.0.entry(*port).or_default().outbound),
            Destination::InboundPort(port) => Some(&mut self.0.entry(*port).or_default().inbound),
            Destination::Anywhere | Destination::Address { .. } => None,
        }
    }

    /// The route configurations whose conditions read how this port is used.
    pub fn dependents(&self, port: u16) -> impl Iterator<Item = &ConfigKey> {
        self.0
            .get(&port)
            .into_iter()
            .flat_map(|p| p.outbound.iter().chain(&p.inbound))
            .map(|(config, _)| config)
    }

    /// The scope of a route configuration that is used for these destinations.
    pub fn scope(&self, destinations: &BTreeSet<Destination>) -> Scope {
        if destinations.contains(&Destination::Anywhere) {
            return Scope::default();
        }
        let specific = destinations.iter().any(|d| matches!(d, Destination::Address { .. }));
        let band = if specific { SPECIFIC_BAND } else { 0 };
        let mut alternatives: Vec<_> = destinations.iter().map(|d| self.conditions(d)).collect();
        let vars = match alternatives.len() {
            1 => alternatives.remove(0),
            _ => Condition::any(alternatives.into_iter().filter_map(Condition::all).collect())
                .into_iter()
                .collect(),
        };
        Scope { vars, band }
    }

    fn conditions(&self, destination: &Destination) -> Vec<Condition> {
        match destination {
            Destination::Anywhere => Vec::new(),
            Destination::Address { text, .. } => vec![Condition::equals(ORIGINAL_DST, text)],
            Destination::OutboundPort(port) => {
                let mut conditions = self.port_conditions(*port);
                if self.0.get(port).is_some_and(|port_use| !port_use.inbound.is_empty()) {
                    conditions.push(is_local());
                }
                conditions
            }
            // Whatever the outbound listeners: this pod's call of a port elsewhere that no listener has is not for it.
            Destination::InboundPort(port) => {
                let mut conditions = self.port_conditions(*port);
                conditions.push(!is_local());
                conditions
            }
        }
    }

    fn port_conditions(&self, port: u16) -> Vec<Condition> {
        let mut conditions = vec![Condition::matches(ORIGINAL_DST, format!(":{port}$"))];
        let specific = self.0.get(&port).into_iter().flat_map(|port_use| &port_use.specific);
        let taken: BTreeSet<&String> = specific.map(|(text, _)| text).collect();
        if !taken.is_empty() {
            let taken = taken.into_iter().cloned().collect();
            conditions.push(!Condition::is_in(ORIGINAL_DST, taken));
        }
        conditions
    }
}

fn is_local() -> Condition {
    Condition::is_in(SERVER_ADDR, LOOPBACK.map(str::to_owned).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(ports: &Ports, destinations: &[Destination]) -> String {
        serde_json::to_string(&ports.scope(&destinations.iter().cloned().collect()).vars).unwrap()
    }

    #[test]
    fn a_port_is_anchored() {
        let found = vars(&Ports::default(), &[Destination::OutboundPort(80)]);
        assert_eq!(found, r#"[["connection_original_dst","~~",":80$"]]"#);
    }

    #[test]
    fn a_wildcard_leaves_specific_addresses_alone() {
        let mut ports = Ports::default();
        let address = (80, "10.0.0.1:80".to_owned());
        ports.add_address(&"l".into(), &address);
        let found = vars(&ports, &[Destination::OutboundPort(80)]);
        assert!(found.contains(r#"["connection_original_dst","!","in",["10.0.0.1:80"]]"#), "{found}");
        ports.remove_address(&"l".into(), &address);
        assert!(!vars(&ports, &[Destination::OutboundPort(80)]).contains("10.0.0.1"));
    }

    #[test]
    fn one_port_in_both_directions_is_told_apart() {
        let mut ports = Ports::default();
        let config = ConfigKey::Rds("9080".into());
        ports.add_binding(&"out".into(), &config, &Destination::OutboundPort(9080));
        ports.add_binding(&"in".into(), &config, &Destination::InboundPort(9080));
        let outbound = vars(&ports, &[Destination::OutboundPort(9080)]);
        let inbound = vars(&ports, &[Destination::InboundPort(9080)]);
        assert!(outbound.contains(r#"["server_addr","in",["127.0.0.1","::1"]]"#), "{outbound}");
        assert!(inbound.contains(r#"["server_addr","!","in",["127.0.0.1","::1"]]"#), "{inbound}");
    }

    #[test]
    fn several_listeners_are_alternatives() {
        let both = [
            Destination::Address { port: 80, text: "10.0.0.1:80".into() },
            Destination::Address { port: 80, text: "10.0.0.2:80".into() },
        ];
        let found = vars(&Ports::default(), &both);
        assert!(found.starts_with(r#"[["OR",["connection_original_dst","==","10.0.0.1:80"],"#), "{found}");
        assert_eq!(vars(&Ports::default(), &[Destination::Anywhere, both[0].clone()]), "[]");
    }
}
