//! How endpoints are reached: `transport_socket`, and `transport_socket_matches` by an endpoint's metadata.
//!
//! Mapping rows 113 to 118. In: the cluster, then the metadata of each endpoint. Out: clear text, TLS that checks nobody,
//! or that it is not supported. Never here: a certificate, of which an upstream has the name alone.

use std::collections::HashMap;

use prost::Message;

use crate::{
    apisix::{CheckType, ClientTls, InlineUpstream, Scheme, Ssl},
    config::UpstreamTls,
    pb::{
        envoy::{
            config::{
                cluster::v3::Cluster,
                core::v3::{Metadata, TransportSocket, transport_socket::ConfigType},
            },
            extensions::transport_sockets::{
                proxy_protocol::v3::ProxyProtocolUpstreamTransport,
                tls::v3::{CommonTlsContext, UpstreamTlsContext},
            },
        },
        google::protobuf::Value,
        message_name,
        path::Path,
    },
    translate::{Policy, Severity, endpoint::Endpoints, note::Notes},
};

/// The key of an endpoint's metadata that chooses its socket.
const METADATA: &str = "envoy.transport_socket_match";
const RAW_BUFFER: &str = "envoy.extensions.transport_sockets.raw_buffer.";
const PROXY_PROTOCOL: &str = "envoy.extensions.transport_sockets.proxy_protocol.";
const TLS: &str = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
/// What Istio calls the workload's own certificate.
const WORKLOAD: &str = "default";
/// Sockets stand in sockets.
const MAX_DEPTH: usize = 4;

/// How an endpoint is reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::translate) enum Socket {
    /// In clear text.
    #[default]
    Clear,
    /// Over TLS that checks nobody.
    Tls,
    /// The same, and the workload's certificate is shown.
    MutualTls,
    /// It wants more than it would get.
    Unsupported,
}

impl Socket {
    /// Makes of an upstream of clear text one that is reached this way.
    pub fn apply(self, upstream: &mut InlineUpstream, notes: &mut Notes) {
        if !matches!(self, Self::Tls | Self::MutualTls) {
            return;
        }
        upstream.scheme = match upstream.scheme {
            Some(Scheme::Grpc | Scheme::Grpcs) => Some(Scheme::Grpcs),
            Some(Scheme::Http | Scheme::Https) | None => Some(Scheme::Https),
        };
        if self == Self::MutualTls {
            upstream.tls = Some(ClientTls { client_cert_id: Ssl::WORKLOAD.to_owned() });
        }
        let Some(checks) = upstream.checks.as_mut().filter(|checks| checks.active.kind == CheckType::Http)
        else {
            return;
        };
        if self == Self::Tls {
            checks.active.kind = CheckType::Https;
            checks.active.https_verify_certificate = Some(false);
        } else {
            checks.active.kind = CheckType::Tcp;
            let detail = "probes show no certificate: an endpoint that takes connections is healthy";
            notes.approximated(&Path::ROOT.field("health_checks"), detail);
        }
    }
}

/// A socket of a cluster, and what is to be said of it.
#[derive(Debug, Clone, Default)]
struct Read {
    socket: Socket,
    detail: String,
}

/// The sockets of a cluster.
#[derive(Debug, Clone, Default)]
pub(in crate::translate) struct Sockets {
    matches: Vec<(HashMap<String, Value>, Read)>,
    otherwise: Read,
    /// Some socket begins with a PROXY header.
    proxy_header: bool,
}

impl Sockets {
    /// As the cluster has them, under this policy.
    pub fn of(cluster: &Cluster, policy: Policy) -> Self {
        let matches = cluster.transport_socket_matches.iter();
        let inner = matches.clone().filter_map(|m| m.transport_socket.as_ref());
        let proxy_header = inner
            .chain(&cluster.transport_socket)
            .any(|socket| message_name(kind(socket)).starts_with(PROXY_PROTOCOL));
        let read =
            |socket: &Option<TransportSocket>| socket.as_ref().map(|s| read(s, policy)).unwrap_or_default();
        Self {
            matches: matches
                .map(|m| (m.r#match.clone().unwrap_or_default().fields, read(&m.transport_socket)))
                .collect(),
            otherwise: read(&cluster.transport_socket),
            proxy_header,
        }
    }

    /// That of the endpoint with this metadata, in a locality with that. Envoy tries all matches on the endpoint's
    /// own metadata first.
    pub fn of_endpoint(&self, endpoint: Option<&Metadata>, locality: Option<&Metadata>) -> Socket {
        let read = self.first(endpoint).or_else(|| locality.and_then(|l| self.first(Some(l))));
        read.unwrap_or(&self.otherwise).socket
    }

    fn first(&self, metadata: Option<&Metadata>) -> Option<&Read> {
        let labels = metadata.and_then(|m| m.filter_metadata.get(METADATA)).map(|s| &s.fields);
        let fits = |wanted: &HashMap<String, Value>| {
            wanted.iter().all(|(key, value)| labels.is_some_and(|l| l.get(key) == Some(value)))
        };
        self.matches.iter().find(|(wanted, _)| fits(wanted)).map(|(_, read)| read)
    }

    /// That of the whole upstream, which has one scheme; what its endpoints want and do not get is noted.
    pub fn settle(&self, endpoints: &Endpoints, notes: &mut Notes) -> Socket {
        if self.proxy_header {
            notes.traffic(&Path::ROOT.field("transport_socket"), "no PROXY header is sent");
        }
        if self.matches.is_empty() {
            note(&self.otherwise, "", &Path::ROOT.field("transport_socket"), notes);
            return self.otherwise.socket;
        }
        let (encrypted, all) = endpoints.count_encrypted();
        let read = match endpoints.common_socket() {
            Some(socket) => self.read(socket),
            None if endpoints.hosts().any(|h| h.socket == Socket::Unsupported) => {
                self.read(Socket::Unsupported)
            }
            None => Read { socket: Socket::Unsupported, detail: ONE_SCHEME.to_owned() },
        };
        let who = format!(", which {encrypted} of {all} endpoints want");
        note(&read, &who, &Path::ROOT.field("transport_socket_matches"), notes);
        read.socket
    }

    /// The first that is so.
    fn read(&self, socket: Socket) -> Read {
        let mut all = self.matches.iter().map(|(_, read)| read).chain([&self.otherwise]);
        all.find(|read| read.socket == socket).cloned().unwrap_or_default()
    }
}

const ONE_SCHEME: &str = "not supported where endpoints differ, as an upstream has one scheme: TLS";

/// `who` wants it.
fn note(read: &Read, who: &str, path: &Path<'_>, notes: &mut Notes) {
    match read.socket {
        Socket::Clear => {}
        Socket::Tls | Socket::MutualTls => notes.guard_told(path, &read.detail),
        Socket::Unsupported => notes.add(Severity::Security, path, format!("{}{who}", read.detail)),
    }
}

fn read(socket: &TransportSocket, policy: Policy) -> Read {
    let unsupported =
        Read { socket: Socket::Unsupported, detail: format!("not supported: {}", kind(socket)) };
    let Some(socket) = innermost(socket) else { return unsupported };
    let any = match &socket.config_type {
        Some(ConfigType::TypedConfig(any)) => any,
        None if matches!(socket.name.as_str(), "envoy.transport_sockets.raw_buffer" | "raw_buffer") => {
            return Read::default();
        }
        None => return unsupported,
    };
    match message_name(&any.type_url) {
        name if name.starts_with(RAW_BUFFER) => Read::default(),
        TLS if policy.upstream_tls == UpstreamTls::Unverified => {
            let context = UpstreamTlsContext::decode(any.value.clone());
            context.map_or(unsupported, |context| unverified(&context, policy))
        }
        _ => unsupported,
    }
}

/// What stands in sockets with a PROXY header; `None` where nothing does, or too deep.
fn innermost(socket: &TransportSocket) -> Option<TransportSocket> {
    let mut socket = socket.clone();
    for _ in 0..=MAX_DEPTH {
        match &socket.config_type {
            Some(ConfigType::TypedConfig(any)) if message_name(&any.type_url).starts_with(PROXY_PROTOCOL) => {
                let proxy = ProxyProtocolUpstreamTransport::decode(any.value.clone()).ok()?;
                socket = proxy.transport_socket?;
            }
            _ => return Some(socket),
        }
    }
    None
}

/// TLS as APISIX does it.
fn unverified(context: &UpstreamTlsContext, policy: Policy) -> Read {
    let common = context.common_tls_context.clone().unwrap_or_default();
    let refused =
        |what: &str| Read { socket: Socket::Unsupported, detail: format!("not supported: TLS with {what}") };
    if shows_another(&common) {
        return refused("a client certificate other than the workload's");
    }
    let socket = match (common.tls_certificate_sds_secret_configs.is_empty(), policy.is_certified) {
        (true, _) => Socket::Tls,
        (false, true) => Socket::MutualTls,
        (false, false) => {
            return refused("the workload's certificate, which workload_certificates: true gets");
        }
    };
    let mut detail =
        "served over TLS that checks no endpoint, neither its root nor its names (upstream_tls: unverified)"
            .to_owned();
    if !context.sni.is_empty() {
        detail += &format!("; the SNI is the Host header's, not {:?}", context.sni);
    }
    if !common.alpn_protocols.is_empty() {
        detail += &format!("; ALPN {:?} is not offered", common.alpn_protocols.join(","));
    }
    if common.alpn_protocols.iter().any(|name| name.starts_with("istio")) {
        detail += ", and servers of Istio's in permissive mode close connections without it";
    }
    if common.tls_params.is_some() {
        detail += "; TLS versions and ciphers are nginx's";
    }
    Read { socket, detail }
}

fn shows_another(common: &CommonTlsContext) -> bool {
    !common.tls_certificates.is_empty()
        || common.custom_tls_certificate_selector.is_some()
        || common.tls_certificate_provider_instance.is_some()
        || common.tls_certificate_sds_secret_configs.iter().any(|secret| secret.name != WORKLOAD)
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
        let tls = Read { socket: Socket::Unsupported, detail: String::new() };
        let matches = vec![(fields(&[("tlsMode", "istio")]), tls), (fields(&[("a", "b")]), Read::default())];
        let sockets = Sockets { matches, ..Sockets::default() };
        let istio = metadata(&[("tlsMode", "istio"), ("a", "b")]);
        let other = metadata(&[("a", "b")]);
        assert_eq!(sockets.of_endpoint(Some(&istio), None), Socket::Unsupported);
        assert_eq!(sockets.of_endpoint(Some(&other), Some(&istio)), Socket::Clear);
        assert_eq!(sockets.of_endpoint(None, Some(&istio)), Socket::Unsupported);
        assert_eq!(sockets.of_endpoint(None, None), Socket::Clear);
    }

    #[test]
    fn an_empty_match_fits_everything() {
        let tls = Read { socket: Socket::Tls, detail: String::new() };
        let sockets = Sockets { matches: vec![(HashMap::new(), tls)], ..Sockets::default() };
        assert_eq!(sockets.of_endpoint(None, None), Socket::Tls);
    }
}
