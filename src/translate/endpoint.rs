//! A ClusterLoadAssignment to the endpoints that can be reached, and these to the nodes of an upstream.
//!
//! In: the assignment, and how its cluster reads it. Out: localities of hosts with weight, health and host name.
//! Mapping rows 117 to 125. Never here: how endpoints are checked.

mod check;
mod load;

use std::net::IpAddr;

use crate::{
    apisix::is_host,
    pb::{
        envoy::{
            config::{
                core::v3::{HealthStatus, SocketAddress, address, socket_address::PortSpecifier},
                endpoint::v3::{
                    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
                    cluster_load_assignment::Policy, lb_endpoint::HostIdentifier,
                },
            },
            r#type::v3::{FractionalPercent, fractional_percent::DenominatorType},
        },
        path::Path,
    },
};

use super::{
    cluster::{self, Labels, Socket, Sockets},
    note::Notes,
};

pub(super) use load::{nodes, small_weights};

/// Envoy's default `overprovisioning_factor`, in percent.
const OVERPROVISIONING: u32 = 140;

/// Whether the weights of localities count: in Envoy only where the cluster says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Localities {
    /// An endpoint's own weight is all.
    Alike,
    /// A locality gets its weight's share, which its endpoints divide.
    Weighted,
}

/// How a cluster reads its assignment.
#[derive(Debug)]
pub(super) struct Reading {
    pub localities: Localities,
    pub sockets: Sockets,
    /// An address is a host name too: of a cluster that resolves them.
    pub resolved: bool,
    /// Endpoints are checked.
    pub checked: bool,
    /// Endpoints stand in subsets.
    pub subsets: bool,
}

/// The endpoints of a cluster.
#[derive(Debug, Clone, Default)]
pub(super) struct Endpoints {
    pub localities: Vec<Locality>,
    /// A level takes all its load until fewer than 100/this of it are healthy; in percent.
    pub overprovisioning: u32,
    /// Health is counted by weight.
    pub weighted_health: bool,
    /// Where all are checked, if not on their own ports.
    pub check_port: Option<u32>,
}

/// Endpoints of one place.
#[derive(Debug, Clone)]
pub(super) struct Locality {
    /// 0 comes first.
    pub priority: u32,
    /// `None` where localities are alike.
    pub weight: Option<u32>,
    pub hosts: Vec<Host>,
}

/// An endpoint.
#[derive(Debug, Clone)]
pub(super) struct Host {
    pub host: String,
    pub port: u32,
    pub weight: u32,
    pub health: Health,
    /// Empty if it has none.
    pub hostname: String,
    pub socket: Socket,
    /// What subsets are made of, in a cluster that has some.
    pub labels: Labels,
}

impl Host {
    /// Its address has to be resolved.
    pub fn is_name(&self) -> bool {
        !self.host.starts_with('[') && self.host.parse::<IpAddr>().is_err()
    }
}

/// What the control plane says of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Healthy,
    /// It takes what healthy ones cannot.
    Degraded,
    /// It takes part in a panic only.
    Unhealthy,
    /// As unhealthy ones, but it is not counted among those that should be healthy.
    Draining,
}

impl Endpoints {
    /// All hosts.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.localities.iter().flat_map(|l| &l.hosts)
    }

    /// How many hosts want more than clear text, and how many there are.
    pub fn count_encrypted(&self) -> (usize, usize) {
        (self.hosts().filter(|h| h.socket != Socket::Clear).count(), self.hosts().count())
    }

    /// How all hosts are reached, in clear text if there are none; `None` where they differ.
    pub fn common_socket(&self) -> Option<Socket> {
        let first = self.hosts().next().map_or(Socket::Clear, |host| host.socket);
        self.hosts().all(|host| host.socket == first).then_some(first)
    }

    /// Puts the levels of another cluster behind its own.
    pub fn append(&mut self, other: Self) {
        let next = self.localities.iter().map(|l| l.priority.saturating_add(1)).max().unwrap_or(0);
        if self.localities.is_empty() {
            self.overprovisioning = other.overprovisioning;
            self.weighted_health = other.weighted_health;
            self.check_port = other.check_port;
        }
        self.localities.extend(
            other.localities.into_iter().map(|l| Locality { priority: l.priority.saturating_add(next), ..l }),
        );
    }
}

/// Reads an assignment.
pub(super) fn read(
    assignment: &ClusterLoadAssignment,
    reading: &Reading,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Endpoints {
    let mut endpoints = Endpoints { overprovisioning: OVERPROVISIONING, ..Endpoints::default() };
    if let Some(policy) = &assignment.policy {
        let path = path.field("policy");
        read_policy(policy, &mut endpoints, &path, notes);
    }
    for (at, locality) in assignment.endpoints.iter().enumerate() {
        let path = path.item("endpoints", at);
        endpoints.localities.push(read_locality(locality, reading, &path, notes));
    }
    if reading.checked {
        endpoints.check_port = check::port(assignment, path, notes);
    }
    note_further_addresses(assignment, path, notes);
    endpoints
}

fn read_policy(policy: &Policy, endpoints: &mut Endpoints, path: &Path<'_>, notes: &mut Notes) {
    // Envoy accepts no factor of 0.
    endpoints.overprovisioning = policy.overprovisioning_factor.unwrap_or(OVERPROVISIONING).max(1);
    endpoints.weighted_health = policy.weighted_priority_health;
    for (at, drop) in policy.drop_overloads.iter().enumerate() {
        let percent = drop.drop_percentage.as_ref().map_or(0.0, percent);
        if percent > 0.0 {
            let detail = format!("{percent}% of requests ({}) are to be refused, none is", drop.category);
            notes.traffic(&path.item("drop_overloads", at), detail);
        }
    }
}

fn percent(fraction: &FractionalPercent) -> f64 {
    let whole = match fraction.denominator() {
        DenominatorType::Hundred => 100.0,
        DenominatorType::TenThousand => 10_000.0,
        DenominatorType::Million => 1_000_000.0,
    };
    (f64::from(fraction.numerator) / whole * 100.0).min(100.0)
}

fn read_locality(
    locality: &LocalityLbEndpoints,
    reading: &Reading,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Locality {
    let mut hosts = Vec::with_capacity(locality.lb_endpoints.len());
    for (at, endpoint) in locality.lb_endpoints.iter().enumerate() {
        let path = path.item("lb_endpoints", at);
        if let Some(host) = read_host(endpoint, locality, reading, &path, notes) {
            hosts.push(host);
        }
    }
    let weight =
        (reading.localities == Localities::Weighted).then(|| locality.load_balancing_weight.unwrap_or(0));
    Locality { priority: locality.priority, weight, hosts }
}

fn read_host(
    lb_endpoint: &LbEndpoint,
    locality: &LocalityLbEndpoints,
    reading: &Reading,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Option<Host> {
    // A name for an endpoint that stands elsewhere is reported as the unread field that it is.
    let Some(HostIdentifier::Endpoint(endpoint)) = &lb_endpoint.host_identifier else { return None };
    let path = path.field("endpoint");
    let (host, port) = host_and_port(endpoint, &path, notes)?;
    let hostname = if reading.resolved && endpoint.hostname.is_empty() {
        host.clone()
    } else {
        endpoint.hostname.clone()
    };
    Some(Host {
        host,
        port,
        weight: lb_endpoint.load_balancing_weight.unwrap_or(1).max(1),
        health: health(lb_endpoint.health_status),
        hostname,
        socket: reading.sockets.of_endpoint(lb_endpoint.metadata.as_ref(), locality.metadata.as_ref()),
        labels: if reading.subsets { cluster::labels(lb_endpoint.metadata.as_ref()) } else { Labels::new() },
    })
}

fn health(status: i32) -> Health {
    match HealthStatus::try_from(status) {
        Ok(HealthStatus::Unhealthy | HealthStatus::Timeout) => Health::Unhealthy,
        Ok(HealthStatus::Draining) => Health::Draining,
        Ok(HealthStatus::Degraded) => Health::Degraded,
        Ok(HealthStatus::Unknown | HealthStatus::Healthy) | Err(_) => Health::Healthy,
    }
}

fn host_and_port(endpoint: &Endpoint, path: &Path<'_>, notes: &mut Notes) -> Option<(String, u32)> {
    let path = path.field("address");
    let problem = match endpoint.address.as_ref()?.address.as_ref() {
        Some(address::Address::SocketAddress(socket)) => match node_address(socket) {
            Ok(found) => return Some(found),
            Err(problem) => problem,
        },
        Some(address::Address::Pipe(pipe)) => format!("{:?} is no IP address", pipe.path),
        // An internal address is reported as the unread field that it is.
        None => return None,
    };
    notes.traffic(&path, format!("{problem}: endpoint left out"));
    None
}

fn node_address(socket: &SocketAddress) -> Result<(String, u32), String> {
    let Some(PortSpecifier::PortValue(port @ 1..=65535)) = socket.port_specifier else {
        return Err("a port from 1 to 65535 is needed".to_owned());
    };
    let host = match socket.address.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) => format!("[{v6}]"),
        Ok(IpAddr::V4(v4)) => v4.to_string(),
        Err(_) => socket.address.clone(),
    };
    if is_host(&host) && !host.contains('*') {
        Ok((host, port))
    } else {
        Err(format!("{host:?} is no host name"))
    }
}

/// Once for all endpoints: where pods have two addresses, each endpoint has a further one.
fn note_further_addresses(assignment: &ClusterLoadAssignment, path: &Path<'_>, notes: &mut Notes) {
    let has_more = |endpoint: &LbEndpoint| match &endpoint.host_identifier {
        Some(HostIdentifier::Endpoint(endpoint)) => !endpoint.additional_addresses.is_empty(),
        None => false,
    };
    if assignment.endpoints.iter().flat_map(|l| &l.lb_endpoints).any(has_more) {
        let path = path.field("endpoints");
        let path = path.field("lb_endpoints");
        let path = path.field("endpoint");
        notes.approximated(&path.field("additional_addresses"), "only the first address is tried");
    }
}
