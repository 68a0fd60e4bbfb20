//! A ClusterLoadAssignment to the nodes of an upstream.
//!
//! In: the assignment. Out: nodes, each host, port and priority once, with small weights. Mapping rows 119 to 125.
//! Never here: health checks, and the localities themselves.

use std::{collections::BTreeMap, net::IpAddr};

use crate::{
    apisix::{MAX_WEIGHT, Node, is_host},
    pb::{
        envoy::config::{
            core::v3::{HealthStatus, SocketAddress, address, socket_address::PortSpecifier},
            endpoint::v3::{
                ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
            },
        },
        path::Path,
    },
};

use super::note::Notes;

/// Whether the weights of localities count: in Envoy only where the cluster says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Localities {
    /// An endpoint's own weight is all.
    Alike,
    /// A locality gets its weight's share, which its endpoints divide.
    Weighted,
}

/// The nodes of an assignment, sorted.
pub(super) fn nodes(
    assignment: &ClusterLoadAssignment,
    localities: Localities,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Vec<Node> {
    let mut shares: BTreeMap<(i64, String, u32), f64> = BTreeMap::new();
    let weighted = localities == Localities::Weighted
        && assignment.endpoints.iter().any(|l| l.load_balancing_weight.unwrap_or(0) > 0);
    for (at, locality) in assignment.endpoints.iter().enumerate() {
        let path = path.item("endpoints", at);
        let unit = if weighted { share_of_one(locality) } else { 1.0 };
        for (at, endpoint) in locality.lb_endpoints.iter().enumerate().filter(|(_, e)| takes_traffic(e)) {
            let path = path.item("lb_endpoints", at);
            if let Some((host, port)) = host_and_port(endpoint, &path, notes) {
                let share = shares.entry((-i64::from(locality.priority), host, port)).or_default();
                *share += unit * f64::from(weight(endpoint));
            }
        }
    }
    shares.retain(|_, share| *share > 0.0);
    let weights = small_weights(&shares.values().copied().collect::<Vec<_>>());
    let node = |(((priority, host, port), _), weight)| Node { host, port, weight, priority };
    let mut nodes: Vec<Node> = shares.into_iter().zip(weights).map(node).collect();
    nodes.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.cmp(b)));
    nodes
}

/// What a weight of 1 in this locality is worth: the locality's weight over the sum of its endpoints'.
fn share_of_one(locality: &LocalityLbEndpoints) -> f64 {
    let sum: u64 =
        locality.lb_endpoints.iter().filter(|e| takes_traffic(e)).map(|e| u64::from(weight(e))).sum();
    f64::from(locality.load_balancing_weight.unwrap_or(0)) / (sum.max(1) as f64)
}

fn weight(endpoint: &LbEndpoint) -> u32 {
    endpoint.load_balancing_weight.unwrap_or(1).max(1)
}

fn takes_traffic(endpoint: &LbEndpoint) -> bool {
    !matches!(
        HealthStatus::try_from(endpoint.health_status),
        Ok(HealthStatus::Unhealthy | HealthStatus::Draining | HealthStatus::Timeout)
    )
}

fn host_and_port(endpoint: &LbEndpoint, path: &Path<'_>, notes: &mut Notes) -> Option<(String, u32)> {
    let address = match &endpoint.host_identifier {
        Some(HostIdentifier::Endpoint(endpoint)) => endpoint.address.as_ref()?.address.as_ref(),
        None => return None,
    };
    match address {
        Some(address::Address::SocketAddress(socket)) => match node_address(socket) {
            Ok(found) => Some(found),
            Err(problem) => {
                notes.traffic(
                    &path.field("endpoint").field("address"),
                    format!("{problem}: endpoint left out"),
                );
                None
            }
        },
        Some(address::Address::Pipe(pipe)) => {
            let detail = format!("{:?} is no IP address: endpoint left out", pipe.path);
            notes.traffic(&path.field("endpoint").field("address"), detail);
            None
        }
        // An internal address is reported as the unread field that it is.
        None => None,
    }
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

/// Whole numbers with the proportions of `shares`, as small as they can be and never above [`MAX_WEIGHT`].
pub(super) fn small_weights(shares: &[f64]) -> Vec<u32> {
    let largest = shares.iter().copied().fold(0.0, f64::max);
    if largest <= 0.0 {
        return vec![0; shares.len()];
    }
    // Exact where a small denominator makes all shares whole; the proportions within a thousandth elsewhere.
    let smallest = shares.iter().copied().filter(|s| *s > 0.0).fold(f64::MAX, f64::min);
    let whole = (1..=60)
        .map(|n| f64::from(n) / smallest)
        .find(|scale| largest * scale <= f64::from(MAX_WEIGHT) && shares.iter().all(|s| is_whole(s * scale)));
    let scale = whole.unwrap_or(f64::from(MAX_WEIGHT) / largest);
    let weights: Vec<u32> = shares
        .iter()
        .map(|s| if *s > 0.0 { ((s * scale).round() as u32).clamp(1, MAX_WEIGHT) } else { 0 })
        .collect();
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    weights.into_iter().map(|w| w / divisor).collect()
}

fn is_whole(n: f64) -> bool {
    (n - n.round()).abs() < 1e-6
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_small_and_keep_their_proportions() {
        assert_eq!(small_weights(&[90.0, 10.0]), [9, 1]);
        assert_eq!(small_weights(&[100.0, 100.0]), [1, 1]);
        assert_eq!(small_weights(&[2.0 / 3.0, 1.0]), [2, 3]);
        assert_eq!(small_weights(&[4_000_000_000.0, 1.0]), [1000, 1]);
        assert_eq!(small_weights(&[37.0, 63.0]), [37, 63]);
        assert_eq!(small_weights(&[]), Vec::<u32>::new());
        assert_eq!(small_weights(&[0.0, 5.0]), [0, 1]);
    }
}
