//! HTTP filter chains, and which of several for the same connections is served.
//!
//! Envoy looks into a connection to choose: TLS or not, its server name, its protocol. APISIX gets plaintext on the
//! ports where connections are redirected to, so the plaintext chain is the one that is served there.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::pb::{
    envoy::{
        config::{core::v3::transport_socket, listener::v3::FilterChain},
        extensions::filters::network::http_connection_manager::v3::{
            HttpConnectionManager, http_connection_manager::RouteSpecifier,
        },
    },
    message_name,
    path::Path,
};

use super::{manager::Manager, note::Notes, scope::Destination};

const RAW_BUFFER: &str = "envoy.extensions.transport_sockets.raw_buffer.";

/// A filter chain with an HTTP connection manager.
#[derive(Debug)]
pub(super) struct HttpChain {
    /// Where its connection manager stands.
    pub path: String,
    pub destination: Destination,
    pub encrypted: bool,
    pub routes: RouteSpecifier,
    pub manager: Arc<Manager>,
}

impl HttpChain {
    pub fn new(
        path: &Path<'_>,
        destination: Destination,
        encrypted: bool,
        hcm: HttpConnectionManager,
        notes: &mut Notes,
    ) -> Option<Self> {
        let unguarded = notes.guards_chain(path);
        let manager = Arc::new(Manager::read(&hcm, unguarded, path, notes));
        let Some(routes) = hcm.route_specifier else {
            notes.traffic(path, "neither rds nor route_config: nothing is served");
            return None;
        };
        Some(Self { path: path.to_string(), destination, encrypted, routes, manager })
    }
}

/// Whether a chain is for TLS connections.
pub(super) fn is_encrypted(chain: &FilterChain) -> bool {
    let for_tls = chain
        .filter_chain_match
        .as_ref()
        .is_some_and(|m| m.transport_protocol == "tls" || !m.server_names.is_empty());
    for_tls
        || chain.transport_socket.as_ref().is_some_and(|socket| match &socket.config_type {
            Some(transport_socket::ConfigType::TypedConfig(any)) => {
                !message_name(&any.type_url).starts_with(RAW_BUFFER)
            }
            None => false,
        })
}

/// One plaintext chain for each destination; all encrypted ones where there is no plaintext chain, since they differ
/// by server name and so by their virtual hosts. Chains with the same routes never stand against each other.
pub(super) fn served(chains: Vec<HttpChain>, notes: &mut Notes) -> Vec<HttpChain> {
    let plain: HashSet<Destination> =
        chains.iter().filter(|c| !c.encrypted).map(|c| c.destination.clone()).collect();
    let (mut winners, others): (Vec<_>, Vec<_>) =
        chains.into_iter().partition(|c| !c.encrypted || !plain.contains(&c.destination));

    let mut first: HashMap<Destination, usize> = HashMap::new();
    let mut kept: Vec<HttpChain> = Vec::new();
    for chain in winners.drain(..) {
        match first.get(&chain.destination) {
            Some(&at) if !chain.encrypted && kept[at].routes != chain.routes => {
                leave_out(&chain, &kept[at], notes);
            }
            _ => {
                first.entry(chain.destination.clone()).or_insert(kept.len());
                kept.push(chain);
            }
        }
    }
    for chain in others {
        let winner = &kept[first[&chain.destination]];
        if winner.routes != chain.routes {
            leave_out(&chain, winner, notes);
        }
    }
    kept
}

fn leave_out(chain: &HttpChain, winner: &HttpChain, notes: &mut Notes) {
    notes.traffic(
        &Path::ROOT.field(&chain.path),
        format!("left out: {} serves the same connections", winner.path),
    );
}
