//! How endpoints are spoken to, and how long connections are kept.
//!
//! Mapping rows 106, 111 and 112. In: the cluster, with its `HttpProtocolOptions`. Out: scheme and keep-alive
//! pool of its upstream. Never here: TLS.

use prost::Message;

use crate::{
    apisix::{InlineUpstream, KeepalivePool, Scheme},
    pb::{
        envoy::{
            config::{
                cluster::v3::{Cluster, cluster::ClusterProtocolSelection},
                core::v3,
            },
            extensions::upstreams::http::v3::{
                HttpProtocolOptions,
                http_protocol_options::{UpstreamProtocolOptions, explicit_http_config::ProtocolConfig},
            },
        },
        path::Path,
    },
    translate::note::Notes,
};

use super::seconds;

const HTTP: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const ONLY_HTTP1: &str = "endpoints are spoken to with HTTP/1.1";
/// nginx's gRPC module speaks HTTP/2 in clear text, and APISIX gives it this type.
const AS_GRPC: &str = "HTTP/2 is spoken as gRPC: requests get the Content-Type application/grpc";

/// Sets what the cluster says of its connections.
pub(super) fn apply(cluster: &Cluster, upstream: &mut InlineUpstream, notes: &mut Notes) {
    let path = Path::ROOT.entry("typed_extension_protocol_options", HTTP);
    match cluster.typed_extension_protocol_options.get(HTTP) {
        Some(any) => match HttpProtocolOptions::decode(any.value.clone()) {
            Ok(options) => {
                upstream.scheme = scheme(&options, &path, notes);
                let common = options.common_http_protocol_options.unwrap_or_default();
                upstream.keepalive_pool = pool(common.max_requests_per_connection, &common);
            }
            Err(error) => notes.traffic(&path, format!("not decodable: {error}")),
        },
        None => {
            upstream.scheme = untyped_scheme(cluster, notes);
            let common = cluster.common_http_protocol_options.unwrap_or_default();
            let requests = cluster.max_requests_per_connection.or(common.max_requests_per_connection);
            upstream.keepalive_pool = pool(requests, &common);
        }
    }
}

fn scheme(options: &HttpProtocolOptions, path: &Path<'_>, notes: &mut Notes) -> Option<Scheme> {
    match options.upstream_protocol_options.as_ref()? {
        UpstreamProtocolOptions::ExplicitHttpConfig(config) => {
            let path = path.field("explicit_http_config");
            match config.protocol_config {
                Some(ProtocolConfig::Http2ProtocolOptions(_)) => {
                    notes.approximated(&path.field("http2_protocol_options"), AS_GRPC);
                    Some(Scheme::Grpc)
                }
                Some(ProtocolConfig::Http3ProtocolOptions(_)) => {
                    notes.traffic(&path.field("http3_protocol_options"), ONLY_HTTP1);
                    None
                }
                Some(ProtocolConfig::HttpProtocolOptions(_)) | None => None,
            }
        }
        UpstreamProtocolOptions::UseDownstreamProtocolConfig(_) => {
            notes.approximated(&path.field("use_downstream_protocol_config"), ONLY_HTTP1);
            None
        }
        UpstreamProtocolOptions::AutoConfig(_) => {
            notes.approximated(&path.field("auto_config"), ONLY_HTTP1);
            None
        }
    }
}

/// The fields that `HttpProtocolOptions` replaced.
fn untyped_scheme(cluster: &Cluster, notes: &mut Notes) -> Option<Scheme> {
    if cluster.protocol_selection() == ClusterProtocolSelection::UseDownstreamProtocol {
        notes.approximated(&Path::ROOT.field("protocol_selection"), ONLY_HTTP1);
        return None;
    }
    cluster.http2_protocol_options?;
    notes.approximated(&Path::ROOT.field("http2_protocol_options"), AS_GRPC);
    Some(Scheme::Grpc)
}

/// 0 means no bound in Envoy; APISIX's own numbers then only close connections sooner.
fn pool(requests: Option<u32>, common: &v3::HttpProtocolOptions) -> Option<KeepalivePool> {
    let requests = requests.filter(|n| *n > 0);
    let idle_timeout = common.idle_timeout.as_ref().and_then(seconds);
    let asked = requests.is_some() || idle_timeout.is_some();
    asked.then_some(KeepalivePool { size: None, idle_timeout, requests })
}
