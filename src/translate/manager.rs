//! An HttpConnectionManager: what it does to every request, whatever its route.
//!
//! In: the message. Out: its filters, ready to be applied to routes, and its other rules. Mapping rows 52, 64 and 138
//! to 140. Never here: which connections it serves, and its routes.

use xxhash_rust::xxh3::xxh3_64;

use crate::pb::{
    envoy::{
        config::route::v3::route_action,
        extensions::filters::network::http_connection_manager::v3::{
            HttpConnectionManager,
            http_connection_manager::{
                ForwardClientCertDetails, PathWithEscapedSlashesAction, StripPortMode, UpgradeConfig,
            },
        },
    },
    path::Path,
};

use super::{client::ClientAddress, cluster, filter::Filters, header::Level, note::Notes};

const WEBSOCKET: &str = "websocket";
/// Who a client is, as the proxy that has seen its certificate tells.
const CLIENT_CERT: &str = "x-forwarded-client-cert";

/// The rules of one connection manager.
#[derive(Debug, Default)]
pub(super) struct Manager {
    /// Of all that its routes come from: two of the same are one.
    pub hash: u64,
    pub filters: Filters,
    /// What it does to the headers of every request.
    pub headers: Level,
    /// Domains are compared without ports.
    pub ignores_port: bool,
    /// Requests may become websockets, unless their route forbids it.
    pub websocket: bool,
    /// Whom guards take for the client.
    pub client: ClientAddress,
    /// Something that guards the whole chain is not honoured.
    pub unguarded: bool,
}

impl Manager {
    /// Reads the message at `path`. Everything that nothing reads must have been noted.
    pub fn read(
        manager: &HttpConnectionManager,
        unguarded: bool,
        path: &Path<'_>,
        notes: &mut Notes,
    ) -> Self {
        let filters = Filters::read(&manager.http_filters, path, notes);
        let websocket = websocket(&manager.upgrade_configs, path, notes);
        let ignores_port = ignores_port(manager, path, notes);
        paths(manager, path, notes);
        addresses(manager, path, notes);
        limits(manager, path, notes);
        let headers = headers(manager);
        let client = ClientAddress::read(manager, path, notes);
        // Of the filters as they came, not as they were read: what does nothing today may do something tomorrow.
        let text = format!(
            "{:?} {client:?} {headers:?} {ignores_port} {websocket} {unguarded}",
            manager.http_filters
        );
        Self { hash: xxh3_64(text.as_bytes()), filters, client, headers, ignores_port, websocket, unguarded }
    }

    /// Whether requests of a route may become websockets, after what the route at `path` says of it.
    pub fn allows_websocket(
        &self,
        upgrades: &[route_action::UpgradeConfig],
        path: &Path<'_>,
        notes: &mut Notes,
    ) -> bool {
        let mut allowed = self.websocket;
        for (at, upgrade) in upgrades.iter().enumerate() {
            let enabled = upgrade.enabled != Some(false);
            if upgrade.upgrade_type.eq_ignore_ascii_case(WEBSOCKET) {
                allowed = enabled;
            } else if enabled {
                not_passed_on(&upgrade.upgrade_type, &path.item("upgrade_configs", at), notes);
            }
        }
        allowed
    }
}

/// Whether websockets are allowed. Without them Envoy refuses such a request, APISIX serves it as any other.
fn websocket(upgrades: &[UpgradeConfig], path: &Path<'_>, notes: &mut Notes) -> bool {
    let mut allowed = false;
    for (at, upgrade) in upgrades.iter().enumerate() {
        let enabled = upgrade.enabled != Some(false);
        if upgrade.upgrade_type.eq_ignore_ascii_case(WEBSOCKET) {
            allowed = enabled;
        } else if enabled {
            not_passed_on(&upgrade.upgrade_type, &path.item("upgrade_configs", at), notes);
        }
    }
    allowed
}

fn not_passed_on(upgrade: &str, path: &Path<'_>, notes: &mut Notes) {
    notes.traffic(path, format!("upgrade {upgrade:?} is not passed on"));
}

/// Only plaintext is served, on which there is no certificate: a client that names one forges it. Envoy forwards it
/// nevertheless only where it is told to, always.
fn headers(manager: &HttpConnectionManager) -> Level {
    let mut headers = Level::default();
    if manager.forward_client_cert_details() != ForwardClientCertDetails::AlwaysForwardOnly {
        headers.remove_from_requests(CLIENT_CERT);
    }
    headers
}

fn ignores_port(manager: &HttpConnectionManager, path: &Path<'_>, notes: &mut Notes) -> bool {
    let any = manager.strip_port_mode == Some(StripPortMode::StripAnyHostPort(true));
    if any {
        notes.approximated(
            &path.field("strip_any_host_port"),
            "domains are compared without ports; upstreams see them",
        );
    }
    if manager.strip_matching_host_port {
        let detail = "domains are compared without ports, the listener's or not; upstreams see them";
        notes.traffic(&path.field("strip_matching_host_port"), detail);
    }
    if manager.strip_trailing_host_dot {
        notes.approximated(&path.field("strip_trailing_host_dot"), "upstreams see it");
    }
    any || manager.strip_matching_host_port
}

/// nginx compares the path decoded, normalised and with slashes merged, and passes it on as it came.
fn paths(manager: &HttpConnectionManager, path: &Path<'_>, notes: &mut Notes) {
    let as_sent = "routes see it so; upstreams get the path as the client sent it";
    let alike = manager.normalize_path == Some(true) && manager.merge_slashes;
    let detail = if alike { as_sent } else { "routes see the path decoded, normalised, its slashes merged" };
    notes.approximated(&path.field("normalize_path"), detail);
    let path = path.field("path_with_escaped_slashes_action");
    match manager.path_with_escaped_slashes_action() {
        PathWithEscapedSlashesAction::ImplementationSpecificDefault => {}
        PathWithEscapedSlashesAction::KeepUnchanged => {
            notes.approximated(&path, "routes see them unescaped");
        }
        PathWithEscapedSlashesAction::UnescapeAndForward => notes.approximated(&path, as_sent),
        PathWithEscapedSlashesAction::RejectRequest => notes.traffic(&path, "such requests are served"),
        PathWithEscapedSlashesAction::UnescapeAndRedirect => {
            notes.traffic(&path, "such requests are served, not redirected");
        }
    }
}

/// APISIX appends to X-Forwarded-For, and sets X-Forwarded-Port, whatever it is told.
fn addresses(manager: &HttpConnectionManager, path: &Path<'_>, notes: &mut Notes) {
    if manager.use_remote_address == Some(false) {
        let detail = "the client's address is appended to X-Forwarded-For all the same";
        notes.approximated(&path.field("use_remote_address"), detail);
    }
    if manager.skip_xff_append {
        let detail = "the client's address is appended to X-Forwarded-For all the same";
        notes.approximated(&path.field("skip_xff_append"), detail);
    }
    if manager.append_x_forwarded_port {
        let detail = "X-Forwarded-Port is that of the Host header";
        notes.approximated(&path.field("append_x_forwarded_port"), detail);
    }
}

/// What a client may take: nginx has these limits for all listeners alike.
fn limits(manager: &HttpConnectionManager, path: &Path<'_>, notes: &mut Notes) {
    for (name, duration) in [
        ("stream_idle_timeout", &manager.stream_idle_timeout),
        ("request_timeout", &manager.request_timeout),
        ("request_headers_timeout", &manager.request_headers_timeout),
    ] {
        if duration.as_ref().and_then(cluster::seconds).is_some() {
            notes.traffic(&path.field(name), "nginx has one for all listeners: not set");
        }
    }
    if manager.max_request_headers_kb.is_some() {
        notes.approximated(&path.field("max_request_headers_kb"), "nginx has one for all listeners: not set");
    }
}
