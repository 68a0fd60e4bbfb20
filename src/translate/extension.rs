//! What it is worth that an extension is not supported, by its type. The one table of all extensions.

use crate::pb::message_name;

use super::Severity;

/// Beginnings of type names, the first that fits decides. `None`: honoured, or reported by who reads it.
const TABLE: &[(&str, Option<Severity>)] = &[
    ("envoy.extensions.filters.http.router.", None),
    ("envoy.extensions.filters.http.buffer.", None),
    ("envoy.extensions.filters.http.compressor.", None),
    ("envoy.extensions.compression.", None),
    ("envoy.extensions.filters.http.cors.", None),
    ("envoy.extensions.filters.http.fault.", None),
    ("envoy.extensions.filters.http.health_check.", None),
    ("envoy.extensions.filters.http.local_ratelimit.", None),
    ("envoy.extensions.transport_sockets.raw_buffer.", None),
    // Parts of matchers: who reads the matcher says what becomes of them.
    ("envoy.extensions.matching.", None),
    ("envoy.type.matcher.", None),
    ("envoy.config.rbac.", None),
    ("envoy.extensions.load_balancing_policies.", None),
    ("envoy.extensions.filters.http.upstream_codec.", None),
    ("envoy.extensions.filters.listener.original_dst.", None),
    ("envoy.extensions.filters.listener.tls_inspector.", Some(Severity::Ignored)),
    ("envoy.extensions.filters.listener.http_inspector.", Some(Severity::Ignored)),
    ("envoy.extensions.filters.http.grpc_stats.", Some(Severity::Ignored)),
    ("envoy.extensions.filters.http.alpn.", Some(Severity::Ignored)),
    ("istio.envoy.config.filter.http.alpn.", Some(Severity::Ignored)),
    ("envoy.config.filter.http.alpn.", Some(Severity::Ignored)),
    ("envoy.tcp.metadataexchange.", Some(Severity::Ignored)),
    ("io.istio.http.peer_metadata.", Some(Severity::Ignored)),
    ("stats.PluginConfig", Some(Severity::Ignored)),
    ("envoy.extensions.access_loggers.", Some(Severity::Ignored)),
    ("envoy.extensions.filters.network.tcp_proxy.", Some(Severity::Traffic)),
    ("envoy.extensions.filters.http.rbac.", Some(Severity::Security)),
    ("envoy.extensions.filters.network.rbac.", Some(Severity::Security)),
    ("envoy.extensions.filters.http.jwt_authn.", Some(Severity::Security)),
    ("envoy.extensions.filters.http.ext_authz.", Some(Severity::Security)),
    ("envoy.extensions.filters.network.ext_authz.", Some(Severity::Security)),
    ("envoy.extensions.filters.http.oauth2.", Some(Severity::Security)),
    ("envoy.extensions.filters.http.basic_auth.", Some(Severity::Security)),
    ("envoy.extensions.filters.http.api_key_auth.", Some(Severity::Security)),
    ("envoy.extensions.filters.http.csrf.", Some(Severity::Security)),
    // Guards behind it read the headers that it writes, which anybody else could write too.
    ("envoy.extensions.filters.http.geoip.", Some(Severity::Security)),
    ("istio.envoy.config.filter.http.authn.", Some(Severity::Security)),
    ("envoy.extensions.transport_sockets.", Some(Severity::Security)),
];

/// How much it matters that this extension is left out; what nobody knows may touch traffic.
pub(super) fn severity(type_url: &str) -> Option<Severity> {
    let name = message_name(type_url);
    match TABLE.iter().find(|(beginning, _)| name.starts_with(beginning)) {
        Some((_, severity)) => *severity,
        None => Some(Severity::Traffic),
    }
}

/// Beginnings of the type names that guard something.
pub(super) fn guarding() -> impl Iterator<Item = &'static str> {
    TABLE
        .iter()
        .filter(|(_, severity)| *severity == Some(Severity::Security))
        .map(|(beginning, _)| *beginning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_guards_is_security_and_what_nobody_knows_is_traffic() {
        let of = |name: &str| severity(&format!("type.googleapis.com/{name}"));
        assert_eq!(of("envoy.extensions.filters.http.rbac.v3.RBAC"), Some(Severity::Security));
        assert_eq!(of("envoy.extensions.filters.http.router.v3.Router"), None);
        assert_eq!(
            of("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"),
            Some(Severity::Security)
        );
        assert_eq!(of("acme.Filter"), Some(Severity::Traffic));
    }
}
