//! Which endpoints want TLS: `transport_socket`, and `transport_socket_matches` by an endpoint's metadata.
//!
//! Mapping rows 117 and 118. In: the cluster, then the metadata of each endpoint. Out: whether it is reached in clear text.
//! Never here: how TLS is done.

use std::collections::HashMap;

use prost::Message;

use crate::{
    pb::{
        envoy::{
            config::{
                cluster::v3::Cluster,
                core::v3::{Metadata, TransportSocket, transport_socket::ConfigType},
            },
            extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport,
        },
        google::protobuf::Value,
        message_name,
        path::Path,
    },
    translate::{Severity, note::Notes},
};

/// The key of an endpoint's metadata that chooses its socket.
const METADATA: &str = "envoy.transport_socket_match";
const RAW_BUFFER: &str = "envoy.extensions.transport_sockets.raw_buffer.";
const PROXY_PROTOCOL: &str = "envoy.extensions.transport_sockets.proxy_protocol.";
/// Sockets stand in sockets.
const MAX_DEPTH: usize = 4;

/// The sockets of a cluster.
#[derive(Debug, Clone, Default)]
pub(in crate::translate) struct Sockets {
    matches: Vec<(HashMap<String, Value>, bool)>,
    otherwise: bool,
    /// The first type that is not clear text.
    kind: String,
    /// Some socket begins with a PROXY header.
    proxy_header: bool,
}

impl Sockets {
    /// As the cluster has them.
    pub fn of(cluster: &Cluster) -> Self {
        let matches = cluster.transport_socket_matches.iter();
        let all =
            matches.clone().map(|m| m.transport_socket.as_ref()).chain([cluster.transport_socket.as_ref()]);
        let all: Vec<_> = all.flatten().collect();
        let kind = all.iter().find(|s| is_encrypted(s, MAX_DEPTH)).map(|s| kind(s).to_owned());
        let encrypted =
            |socket: &Option<TransportSocket>| socket.as_ref().is_some_and(|s| is_encrypted(s, MAX_DEPTH));
        Self {
            matches: matches
                .map(|m| (m.r#match.clone().unwrap_or_default().fields, encrypted(&m.transport_socket)))
                .collect(),
            otherwise: encrypted(&cluster.transport_socket),
            kind: kind.unwrap_or_default(),
            proxy_header: all.iter().any(|s| message_name(self::kind(s)).starts_with(PROXY_PROTOCOL)),
        }
    }

    /// Whether the endpoint with this metadata, in a locality with that, wants more than clear text. Envoy tries all
    /// matches on the endpoint's own metadata first.
    pub fn encrypt(&self, endpoint: Option<&Metadata>, locality: Option<&Metadata>) -> bool {
        self.first(endpoint).or_else(|| locality.and_then(|l| self.first(Some(l)))).unwrap_or(self.otherwise)
    }

    fn first(&self, metadata: Option<&Metadata>) -> Option<bool> {
        let labels = metadata.and_then(|m| m.filter_metadata.get(METADATA)).map(|s| &s.fields);
        let fits = |wanted: &HashMap<String, Value>| {
            wanted.iter().all(|(key, value)| labels.is_some_and(|l| l.get(key) == Some(value)))
        };
        self.matches.iter().find(|(wanted, _)| fits(wanted)).map(|(_, encrypted)| *encrypted)
    }

    /// Whether TLS is lost, noted for a cluster of which `encrypted` of `all` endpoints want it.
    pub fn note(&self, encrypted: usize, all: usize, notes: &mut Notes) -> bool {
        if self.proxy_header {
            notes.traffic(&Path::ROOT.field("transport_socket"), "no PROXY header is sent");
        }
        if self.matches.is_empty() {
            if self.otherwise {
                let path = Path::ROOT.field("transport_socket");
                notes.add(Severity::Security, &path, format!("not supported: {}", self.kind));
            }
            return self.otherwise;
        }
        if encrypted > 0 {
            let detail = format!("not supported: {}, which {encrypted} of {all} endpoints want", self.kind);
            notes.add(Severity::Security, &Path::ROOT.field("transport_socket_matches"), detail);
        }
        encrypted > 0
    }
}

fn is_encrypted(socket: &TransportSocket, depth: usize) -> bool {
    match &socket.config_type {
        Some(ConfigType::TypedConfig(any)) => {
            let name = message_name(&any.type_url);
            if name.starts_with(PROXY_PROTOCOL) && depth > 0 {
                let proxy = ProxyProtocolUpstreamTransport::decode(any.value.clone());
                let inner = proxy.ok().and_then(|proxy| proxy.transport_socket);
                return inner.is_none_or(|inner| is_encrypted(&inner, depth - 1));
            }
            !name.starts_with(RAW_BUFFER)
        }
        None => !matches!(socket.name.as_str(), "envoy.transport_sockets.raw_buffer" | "raw_buffer"),
    }
}

fn kind(socket: &TransportSocket) -> &str {
    match &socket.config_type {
        Some(ConfigType::TypedConfig(any)) => &any.type_url,
        None => &socket.name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::google::protobuf::{Struct, value::Kind};

    fn fields(pairs: &[(&str, &str)]) -> HashMap<String, Value> {
        let value = |v: &str| Value { kind: Some(Kind::StringValue(v.to_owned())) };
        pairs.iter().map(|(k, v)| ((*k).to_owned(), value(v))).collect()
    }

    fn metadata(pairs: &[(&str, &str)]) -> Metadata {
        Metadata { filter_metadata: [(METADATA.to_owned(), Struct { fields: fields(pairs) })].into() }
    }

    #[test]
    fn the_first_match_decides_and_the_locality_comes_second() {
        let matches = vec![(fields(&[("tlsMode", "istio")]), true), (fields(&[("a", "b")]), false)];
        let sockets = Sockets { matches, ..Sockets::default() };
        let istio = metadata(&[("tlsMode", "istio"), ("a", "b")]);
        let other = metadata(&[("a", "b")]);
        assert!(sockets.encrypt(Some(&istio), None));
        assert!(!sockets.encrypt(Some(&other), Some(&istio)));
        assert!(sockets.encrypt(None, Some(&istio)));
        assert!(!sockets.encrypt(None, None));
    }

    #[test]
    fn an_empty_match_fits_everything() {
        let sockets = Sockets { matches: vec![(HashMap::new(), true)], ..Sockets::default() };
        assert!(sockets.encrypt(None, None));
    }
}
