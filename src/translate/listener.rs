//! A Listener to the route configurations it uses, and for which connections.
//!
//! In: the listener. Out: bindings of route configurations to destinations, and the configurations that stand inside
//! it. Mapping rows 8 and 127 to 137. Never here: what the route configurations say.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use bytes::Bytes;
use prost::Message;

use crate::{
    pb::{
        envoy::{
            config::{
                core::v3::{CidrRange, TrafficDirection, address, socket_address::PortSpecifier},
                listener::v3::{FilterChain, Listener, filter, listener_filter},
                route::v3::RouteConfiguration,
            },
            extensions::filters::network::http_connection_manager::v3::{
                HttpConnectionManager, http_connection_manager::RouteSpecifier,
            },
        },
        google::protobuf::Any,
        message_name,
        path::Path,
    },
    xds::Resource,
};

use super::{
    chain::{self, HttpChain},
    config::ConfigKey,
    manager::Manager,
    note::{Note, Notes},
    scope::Destination,
};

const HCM: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ORIGINAL_DST: &str = "envoy.extensions.filters.listener.original_dst.";

/// The result of one listener.
#[derive(Debug, Default)]
pub(super) struct ListenerUnit {
    /// The configurations it uses, for which connections, and who serves these.
    pub bindings: BTreeMap<(ConfigKey, Destination), Arc<Manager>>,
    pub inline: Vec<InlineConfig>,
    /// The address it has for itself.
    pub address: Option<(u16, String)>,
    pub notes: Vec<Note>,
}

/// A route configuration that stands inside a listener.
#[derive(Debug)]
pub(super) struct InlineConfig {
    pub key: ConfigKey,
    /// Where it stands, for the issues in it.
    pub path: String,
    pub bytes: Bytes,
}

/// Translates the listener of this resource.
pub(super) fn translate(resource: &Resource) -> ListenerUnit {
    let mut notes = Notes::default();
    let mut unit = match Listener::decode(resource.bytes.clone()) {
        Ok(listener) => {
            notes.unread("envoy.config.listener.v3.Listener", &resource.bytes);
            decoded(&resource.name, &listener, &mut notes)
        }
        Err(error) => {
            notes.traffic(&Path::ROOT, format!("not decodable: {error}"));
            ListenerUnit::default()
        }
    };
    unit.notes = notes.into_vec();
    unit
}

fn decoded(name: &Arc<str>, listener: &Listener, notes: &mut Notes) -> ListenerUnit {
    let mut unit = ListenerUnit::default();
    let mut chains = Vec::new();
    let root = Path::root(name);
    if let Some(any) = listener.api_listener.as_ref().and_then(|api| api.api_listener.as_ref()) {
        let path = root.field("api_listener");
        let path = path.field("api_listener");
        if let Some(hcm) = http_connection_manager(any, &path, notes) {
            chains.extend(HttpChain::new(&path, Destination::Anywhere, false, hcm, notes));
        }
    } else if let Some(address) = Address::of(listener, notes) {
        for (at, filter_chain) in listener.filter_chains.iter().enumerate() {
            let path = root.item("filter_chains", at);
            chains.extend(address.http_chain(filter_chain, &path, notes));
        }
        if let Some(filter_chain) = &listener.default_filter_chain {
            chains.extend(address.http_chain(filter_chain, &root.field("default_filter_chain"), notes));
        }
        unit.address = address.own();
    }
    for chain in chain::served(chains, notes) {
        bind(&mut unit, name, chain);
    }
    unit
}

fn bind(unit: &mut ListenerUnit, listener: &Arc<str>, chain: HttpChain) {
    let key = match chain.routes {
        RouteSpecifier::Rds(rds) => ConfigKey::Rds(rds.route_config_name.into()),
        RouteSpecifier::RouteConfig(config) => inline_key(unit, listener, &config, &chain.path),
    };
    // Chains of one destination with the same routes differ in what they do besides: the first is the one served.
    unit.bindings.entry((key, chain.destination)).or_insert(chain.manager);
}

/// Chains often repeat one configuration, for TLS and plaintext: it becomes one.
fn inline_key(
    unit: &mut ListenerUnit,
    listener: &Arc<str>,
    config: &RouteConfiguration,
    path: &str,
) -> ConfigKey {
    let bytes = Bytes::from(config.encode_to_vec());
    let same_name = || unit.inline.iter().filter(|held| held.key.name() == config.name);
    if let Some(held) = same_name().find(|held| held.bytes == bytes) {
        return held.key.clone();
    }
    let key = ConfigKey::Inline {
        listener: listener.clone(),
        name: config.name.as_str().into(),
        ordinal: same_name().count(),
    };
    unit.inline.push(InlineConfig { key: key.clone(), path: format!("{path}.route_config"), bytes });
    key
}

/// A listener's address, and how connections come to it.
struct Address {
    port: u16,
    /// `None` for all addresses.
    ip: Option<IpAddr>,
    /// Connections come redirected, and their original destination chooses the chain.
    original_dst: bool,
    inbound: bool,
}

impl Address {
    fn of(listener: &Listener, notes: &mut Notes) -> Option<Self> {
        let path = Path::ROOT.field("address");
        let socket = match listener.address.as_ref()?.address.as_ref()? {
            address::Address::SocketAddress(socket) => socket,
            address::Address::Pipe(_) => {
                notes.traffic(&path, "a pipe cannot be listened on: listener left out");
                return None;
            }
        };
        let port = match socket.port_specifier {
            Some(PortSpecifier::PortValue(port)) => u16::try_from(port).ok(),
            _ => None,
        };
        let ip = socket.address.parse::<IpAddr>().ok();
        let (Some(port), Some(ip)) = (port, ip) else {
            notes.traffic(&path, "an IP address and a port number are needed: listener left out");
            return None;
        };
        Some(Self {
            port,
            ip: (!ip.is_unspecified()).then_some(ip),
            original_dst: listener.use_original_dst.unwrap_or(false) || has_original_dst_filter(listener),
            inbound: listener.traffic_direction == TrafficDirection::Inbound as i32,
        })
    }

    fn own(&self) -> Option<(u16, String)> {
        self.ip.filter(|_| !self.original_dst).map(|ip| (self.port, socket_text(ip, self.port)))
    }

    fn http_chain(&self, chain: &FilterChain, path: &Path<'_>, notes: &mut Notes) -> Option<HttpChain> {
        let (at, any) = chain
            .filters
            .iter()
            .enumerate()
            .find_map(|(at, f)| match &f.config_type {
                Some(filter::ConfigType::TypedConfig(any)) if message_name(&any.type_url) == HCM => {
                    Some((at, any))
                }
                _ => None,
            })
            .or_else(|| {
                notes.traffic(path, "not HTTP: connections of this chain are not served");
                None
            })?;
        let filter = path.item("filters", at);
        let filter = filter.field("typed_config");
        let hcm = http_connection_manager(any, &filter, notes)?;
        let destination = self.destination(chain, path, notes)?;
        HttpChain::new(&filter, destination, chain::is_encrypted(chain), hcm, notes)
    }

    fn destination(&self, chain: &FilterChain, path: &Path<'_>, notes: &mut Notes) -> Option<Destination> {
        let path = path.field("filter_chain_match");
        let matched = chain.filter_chain_match.as_ref();
        let chain_port = matched.and_then(|m| m.destination_port);
        let port = match chain_port.map(u16::try_from) {
            None if self.original_dst => {
                notes.traffic(
                    &path,
                    "serves what no other chain does, which has no condition in APISIX: chain left out",
                );
                return None;
            }
            None => self.port,
            Some(Ok(port)) if self.original_dst || port == self.port => port,
            Some(_) => {
                notes.traffic(
                    &path.field("destination_port"),
                    "no connection to this listener has it: chain left out",
                );
                return None;
            }
        };
        let ranges = matched.map_or(&[][..], |m| m.prefix_ranges.as_slice());
        if let Some(ip) = self.ip.filter(|_| !self.original_dst).or_else(|| single_address(ranges)) {
            return Some(Destination::Address { port, text: socket_text(ip, port) });
        }
        if ranges.iter().any(|range| range.prefix_len.unwrap_or(0) > 0) {
            notes.traffic(&path.field("prefix_ranges"), "served for every address of the port");
        }
        match self.inbound && self.original_dst {
            true => Some(Destination::InboundPort(port)),
            false => Some(Destination::OutboundPort(port)),
        }
    }
}

fn has_original_dst_filter(listener: &Listener) -> bool {
    listener.listener_filters.iter().any(|f| {
        f.name == "envoy.filters.listener.original_dst"
            || matches!(&f.config_type, Some(listener_filter::ConfigType::TypedConfig(any))
                if message_name(&any.type_url).starts_with(ORIGINAL_DST))
    })
}

fn single_address(ranges: &[CidrRange]) -> Option<IpAddr> {
    let [range] = ranges else { return None };
    let ip = range.address_prefix.parse::<IpAddr>().ok()?;
    let whole = if ip.is_ipv4() { 32 } else { 128 };
    (range.prefix_len == Some(whole)).then_some(ip)
}

fn socket_text(ip: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(ip, port).to_string()
}

fn http_connection_manager(any: &Any, path: &Path<'_>, notes: &mut Notes) -> Option<HttpConnectionManager> {
    if message_name(&any.type_url) != HCM {
        return None;
    }
    HttpConnectionManager::decode(any.value.clone())
        .map_err(|error| notes.traffic(path, format!("not decodable: {error}")))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_the_nginx_module_prints_them() {
        assert_eq!(socket_text("2001:DB8::1".parse().unwrap(), 80), "[2001:db8::1]:80");
        assert_eq!(socket_text("10.0.0.1".parse().unwrap(), 80), "10.0.0.1:80");
    }
}
