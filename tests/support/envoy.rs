//! A model of Envoy: which virtual host and route a request finds, and what becomes of it.
//!
//! In: resources, read with Envoy's own types, and requests. Out: what Envoy does. It shares nothing with
//! `src/translate`, which it is there to judge; it rests on Envoy's documentation and on what the real Envoy was seen to
//! do. What it does not know is a panic, "not modelled".
//!
//! Connections come redirected, as Istio sets them up: an outbound one belongs to the listener of its original
//! destination, or else to that of the port; an inbound one to the filter chain of its port in the inbound listener.

#![allow(deprecated, reason = "Envoy still reads the fields that it has replaced")]

mod action;
mod headers;
mod matcher;
mod text;
mod virtual_hosts;

use std::collections::{BTreeMap, BTreeSet};

use apisix_mesh::xds::{Resource, ResourceType};
use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::Cluster,
            core::v3::{TrafficDirection, address, socket_address},
            listener::v3::{FilterChain, Listener, filter},
            route::v3::RouteConfiguration,
        },
        extensions::filters::network::http_connection_manager::v3::{
            HttpConnectionManager, http_connection_manager::RouteSpecifier,
        },
    },
    google::protobuf::Any,
};
use prost::Message;

use self::virtual_hosts::VirtualHosts;
use super::exchange::{Answer, Outcome, Request};

/// Resources, prepared to decide.
#[derive(Debug, Default)]
pub struct Envoy {
    chains: Vec<Chain>,
    configs: Vec<Config>,
    clusters: BTreeSet<String>,
}

#[derive(Debug)]
struct Chain {
    takes: Takes,
    config: usize,
}

/// Which connections a filter chain is for.
#[derive(Debug, PartialEq)]
enum Takes {
    Address(String),
    OutboundPort(String),
    InboundPort(String),
}

#[derive(Debug)]
struct Config {
    place: Place,
    message: RouteConfiguration,
    hosts: VirtualHosts,
}

/// Where in the resources something was decided, as issues tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub kind: ResourceType,
    pub resource: String,
    /// Of the route configuration in the resource: empty, or with a dot at its end.
    pub prefix: String,
    pub host: Option<usize>,
    pub route: Option<usize>,
}

/// What Envoy does with a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// One, or one for each cluster that a weighted choice may fall on, with its weight.
    pub outcomes: Vec<(u32, Outcome)>,
    pub place: Place,
}

impl Envoy {
    /// Reads the resources.
    pub fn new<'a>(resources: impl IntoIterator<Item = &'a (ResourceType, Resource)>) -> Self {
        let mut envoy = Self::default();
        let mut by_name = BTreeMap::new();
        let mut listeners = Vec::new();
        for (kind, resource) in resources {
            let bytes = resource.bytes.clone();
            match kind {
                ResourceType::Cluster => drop(envoy.clusters.insert(Cluster::decode(bytes).unwrap().name)),
                ResourceType::RouteConfiguration => {
                    let message = RouteConfiguration::decode(bytes).unwrap();
                    let name = message.name.clone();
                    let place = Place::of(*kind, &name, String::new());
                    by_name.insert(name, envoy.add_config(message, place));
                }
                ResourceType::Listener => listeners.push(Listener::decode(bytes).unwrap()),
                ResourceType::ClusterLoadAssignment => {}
            }
        }
        listeners.iter().for_each(|listener| envoy.add_listener(listener, &by_name));
        envoy
    }

    /// What becomes of a request; `None` when no HTTP filter chain takes its connection.
    pub fn decide(&self, request: &Request) -> Option<Decision> {
        let config = &self.configs[self.config(request)?];
        let mut place = config.place.clone();
        let not_found =
            |place| Some(Decision { outcomes: vec![(1, Outcome::Answer(Answer::status(404)))], place });
        let Some(host) = config.hosts.find(&request.authority) else { return not_found(place) };
        place.host = Some(host);
        let host = &config.message.virtual_hosts[host];
        assert!(host.matcher.is_none(), "not modelled: a matcher tree");
        let Some(at) = host.routes.iter().position(|route| matcher::matches(route, request)) else {
            return not_found(place);
        };
        place.route = Some(at);
        let chosen = action::Chosen {
            config: &config.message,
            host,
            route: &host.routes[at],
            clusters: &self.clusters,
        };
        Some(Decision { outcomes: chosen.outcomes(request), place })
    }

    fn config(&self, request: &Request) -> Option<usize> {
        let (_, port) = request.original_dst.rsplit_once(':').expect("ip:port");
        let find =
            |takes: Takes| self.chains.iter().find(|chain| chain.takes == takes).map(|chain| chain.config);
        if !request.outbound {
            return find(Takes::InboundPort(port.to_owned()));
        }
        find(Takes::Address(request.original_dst.clone()))
            .or_else(|| find(Takes::OutboundPort(port.to_owned())))
    }

    fn add_config(&mut self, message: RouteConfiguration, place: Place) -> usize {
        let hosts = VirtualHosts::new(&message);
        self.configs.push(Config { place, message, hosts });
        self.configs.len() - 1
    }

    fn add_listener(&mut self, listener: &Listener, by_name: &BTreeMap<String, usize>) {
        let Some(address::Address::SocketAddress(socket)) =
            listener.address.as_ref().and_then(|a| a.address.as_ref())
        else {
            panic!("not modelled: the address of listener {:?}", listener.name)
        };
        let Some(socket_address::PortSpecifier::PortValue(port)) = socket.port_specifier else {
            panic!("not modelled: the port of listener {:?}", listener.name)
        };
        let inbound = listener.traffic_direction == TrafficDirection::Inbound as i32;
        for (at, chain) in listener.filter_chains.iter().enumerate() {
            let Some((filter, manager)) = manager(chain) else { continue };
            let config = match manager.route_specifier.expect("routes") {
                RouteSpecifier::Rds(rds) => match by_name.get(&rds.route_config_name) {
                    Some(config) => *config,
                    None => continue,
                },
                RouteSpecifier::RouteConfig(config) => {
                    let prefix = format!("filter_chains[{at}].filters[{filter}].typed_config.route_config.");
                    self.add_config(config, Place::of(ResourceType::Listener, &listener.name, prefix))
                }
                RouteSpecifier::ScopedRoutes(_) => panic!("not modelled: scoped routes"),
            };
            let takes = match (
                inbound,
                chain.filter_chain_match.as_ref().and_then(|m| m.destination_port.as_ref()),
            ) {
                (true, Some(port)) => Takes::InboundPort(port.value.to_string()),
                (false, None) if socket.address == "0.0.0.0" => Takes::OutboundPort(port.to_string()),
                (false, None) => Takes::Address(format!("{}:{port}", socket.address)),
                _ => panic!("not modelled: chain {at} of listener {:?}", listener.name),
            };
            self.chains.push(Chain { takes, config });
        }
    }
}

impl Place {
    fn of(kind: ResourceType, resource: &str, prefix: String) -> Self {
        Self { kind, resource: resource.to_owned(), prefix, host: None, route: None }
    }
}

fn manager(chain: &FilterChain) -> Option<(usize, HttpConnectionManager)> {
    chain.filters.iter().enumerate().find_map(|(at, filter)| match &filter.config_type {
        Some(filter::ConfigType::TypedConfig(Any { type_url, value }))
            if type_url.ends_with(".HttpConnectionManager") =>
        {
            Some((at, HttpConnectionManager::decode(value.as_slice()).unwrap()))
        }
        _ => None,
    })
}
