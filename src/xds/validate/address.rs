//! Addresses: hosts, ports, prefixes.

use std::net::IpAddr;

use super::place::{FieldError, Place};
use crate::pb::envoy::config::{
    core::v3::{Address, CidrRange, SocketAddress, address, socket_address::PortSpecifier},
    endpoint::v3::{ClusterLoadAssignment, lb_endpoint::HostIdentifier},
};

/// An address that something listens on or connects to.
pub fn check(place: &Place<'_>, address: &Address) -> Result<(), FieldError> {
    match &address.address {
        Some(address::Address::SocketAddress(socket)) => check_socket(&place.field("socket_address"), socket),
        Some(address::Address::Pipe(pipe)) => place.field("pipe").field("path").not_empty(&pipe.path),
        None if place.has_any(&["envoy_internal_address"]) => Ok(()),
        None => Err(place.error("one of socket_address, pipe, envoy_internal_address is required")),
    }
}

fn check_socket(place: &Place<'_>, socket: &SocketAddress) -> Result<(), FieldError> {
    place.field("address").not_empty(&socket.address)?;
    match &socket.port_specifier {
        // Envoy takes 0 as "any free port"; nobody could be told which one.
        Some(PortSpecifier::PortValue(port)) => check_port(&place.field("port_value"), *port),
        Some(PortSpecifier::NamedPort(name)) => place.field("named_port").not_empty(name),
        None => Err(place.field("port_value").error("is required")),
    }
}

/// A port number.
pub fn check_port(place: &Place<'_>, port: u32) -> Result<(), FieldError> {
    if (1..=65535).contains(&port) {
        return Ok(());
    }
    Err(place.error(format!("{port} is not a port (1-65535)")))
}

/// An address range. Envoy cuts a too long prefix of an IPv4 address, so only the limit of IPv6 is checked.
pub fn check_cidr(place: &Place<'_>, range: &CidrRange) -> Result<(), FieldError> {
    let prefix = place.field("address_prefix");
    prefix.not_empty(&range.address_prefix)?;
    if range.address_prefix.parse::<IpAddr>().is_err() {
        return Err(prefix.error(format!("{:?} is not an IP address", range.address_prefix)));
    }
    match range.prefix_len {
        Some(len) if len > 128 => Err(place.field("prefix_len").error(format!("{len} is more than 128"))),
        _ => Ok(()),
    }
}

/// EDS and STATIC clusters take IP addresses only; names are for the DNS types.
pub fn endpoints_are_ips(place: &Place<'_>, assignment: &ClusterLoadAssignment) -> Result<(), FieldError> {
    for (i, locality) in assignment.endpoints.iter().enumerate() {
        let place = place.item("endpoints", i);
        for (j, lb_endpoint) in locality.lb_endpoints.iter().enumerate() {
            let Some(HostIdentifier::Endpoint(endpoint)) = &lb_endpoint.host_identifier else { continue };
            let Some(Address { address: Some(address::Address::SocketAddress(socket)) }) = &endpoint.address
            else {
                continue;
            };
            let place = place.item("lb_endpoints", j);
            let place = place.field("endpoint");
            let place = place.field("address");
            is_ip(&place.field("socket_address"), socket)?;
        }
    }
    Ok(())
}

/// Names of hosts and ports need somebody to resolve them.
fn is_ip(place: &Place<'_>, socket: &SocketAddress) -> Result<(), FieldError> {
    let named_port = matches!(socket.port_specifier, Some(PortSpecifier::NamedPort(_)));
    let is_ip = socket.address.parse::<IpAddr>().is_ok();
    if (is_ip && !named_port) || place.has_any(&["resolver_name"]) {
        return Ok(());
    }
    if is_ip {
        return Err(place.field("named_port").error("only a port_value is taken here"));
    }
    let cure = "a name needs a STRICT_DNS or LOGICAL_DNS cluster";
    Err(place.field("address").error(format!("{:?} is not an IP address; {cure}", socket.address)))
}
