//! Finds what nothing reads: fields marked `unread` in `src/pb/proto`, extensions, and numbers that stand nowhere.
//!
//! In: the encoded message and its name. Out: one call for each finding, with its path. Never here: what a finding
//! means for traffic; extensions are graded by who asks.

use std::collections::HashMap;

use once_cell::sync::Lazy;

use super::{
    TYPE_URL_PREFIX, message_name,
    path::Path,
    wire::{self, WireField, WireValue},
};

/// How much it matters that a field is not read, as `src/pb/proto/apisix_mesh/unread.proto` grades it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// A request ends the same way without it.
    Ignored,
    /// A request may end elsewhere, differently, or later.
    Traffic,
    /// Somebody may get in, or read, who should not.
    Security,
}

/// A message of `src/pb/proto`, as `build.rs` tells of it.
#[derive(Debug)]
pub struct Message {
    /// The full name.
    pub name: &'static str,
    /// All fields, the unread ones too.
    pub fields: &'static [Field],
}

/// A field of a [`Message`].
#[derive(Debug)]
pub struct Field {
    /// The number on the wire.
    pub number: u32,
    /// The name in the `.proto` file.
    pub name: &'static str,
    /// A list or map.
    pub repeated: bool,
    /// What is in it.
    pub kind: Kind,
}

/// What a field holds, for a walker.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Something that nothing reads.
    Unread(Severity),
    /// The message at this place in [`MESSAGES`].
    Message(usize),
    /// An extension.
    Any,
    /// Extensions by name.
    AnyMap,
    /// A value that is read, with nothing below it.
    Leaf,
}

include!(concat!(env!("OUT_DIR"), "/unread.rs"));

/// Something present that nothing reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding<'a> {
    /// A field marked `unread`.
    Field(Severity),
    /// A number that Envoy's API did not have when `src/pb/proto` was written.
    UnknownField(u32),
    /// An extension; `optional` when its sender allows to leave it out.
    Extension {
        /// As in the `Any`, or in the TypedStruct that it holds.
        type_url: &'a str,
        /// In a TypedStruct: nothing reads it, whatever it is.
        in_words: bool,
        /// `is_optional` beside it.
        optional: bool,
    },
}

/// Deeper than any message Envoy accepts; it bounds the stack against a hostile one.
const MAX_DEPTH: usize = 48;
/// Fields beyond this many in one message share a counter, which only blurs an index in a path.
const COUNTED: usize = 72;
/// `is_optional` and `disabled` say what an unsupported filter is worth.
const HTTP_FILTER: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter";
const IS_OPTIONAL: u32 = 6;
const DISABLED: u32 = 7;
/// The same around a filter's configuration for one route.
const FILTER_CONFIG: &str = "envoy.config.route.v3.FilterConfig";
const CONFIG_IS_OPTIONAL: u32 = 2;
const CONFIG_DISABLED: u32 = 3;
/// Declared for those who read them, and findings all the same: nothing honours them in full.
const TLS_CONTEXTS: &str = "envoy.extensions.transport_sockets.tls.";

static BY_NAME: Lazy<HashMap<&'static str, usize>> =
    Lazy::new(|| MESSAGES.iter().enumerate().map(|(at, m)| (m.name, at)).collect());

/// Calls `found` for everything in the encoded `message` that nothing reads, in wire order.
pub fn walk(message: &str, bytes: &[u8], found: &mut dyn FnMut(&Path<'_>, Finding<'_>)) {
    if let Some(&at) = BY_NAME.get(message) {
        walk_message(&MESSAGES[at], bytes, &Path::ROOT, MAX_DEPTH, found);
    }
}

fn walk_message(
    message: &'static Message,
    bytes: &[u8],
    path: &Path<'_>,
    depth: usize,
    found: &mut dyn FnMut(&Path<'_>, Finding<'_>),
) {
    if depth == 0 || is_disabled(message, bytes) {
        return;
    }
    let mut counts = [0usize; COUNTED];
    for WireField { number, value, .. } in wire::fields(bytes) {
        let Ok(at) = message.fields.binary_search_by_key(&number, |f| f.number) else {
            found(path, Finding::UnknownField(number));
            continue;
        };
        let field = &message.fields[at];
        let count = &mut counts[at.min(COUNTED - 1)];
        let here = if field.repeated { path.item(field.name, *count) } else { path.field(field.name) };
        *count += 1;
        match (field.kind, value) {
            (Kind::Unread(severity), _) => found(&here, Finding::Field(severity)),
            (Kind::Message(inner), WireValue::Bytes(bytes)) => {
                walk_message(&MESSAGES[inner], bytes, &here, depth - 1, found);
            }
            (Kind::Any, WireValue::Bytes(any)) => {
                walk_any(any, is_optional(message, bytes), &here, depth - 1, found);
            }
            (Kind::AnyMap, WireValue::Bytes(entry)) => {
                let here = path.entry(field.name, text(entry, 1));
                walk_any(bytes_of(entry, 2), false, &here, depth - 1, found);
            }
            _ => {}
        }
    }
}

/// What an extension is, also where it is written down as a TypedStruct: a type URL, and JSON in place of the message,
/// which nothing reads.
pub fn extension_type<'a>(type_url: &'a str, value: &'a [u8]) -> &'a str {
    let in_words = matches!(message_name(type_url), "udpa.type.v1.TypedStruct" | "xds.type.v3.TypedStruct");
    let inner = if in_words { text(value, 1) } else { "" };
    if inner.is_empty() { type_url } else { inner }
}

/// Extensions that are declared in `src/pb/proto` are read there; all others are findings.
fn walk_any(
    any: &[u8],
    optional: bool,
    path: &Path<'_>,
    depth: usize,
    found: &mut dyn FnMut(&Path<'_>, Finding<'_>),
) {
    let content = bytes_of(any, 2);
    let type_url = extension_type(text(any, 1), content);
    let name = message_name(type_url);
    let in_words = type_url != text(any, 1);
    let is_read =
        name == FILTER_CONFIG || (name.starts_with("envoy.extensions.") && !name.starts_with(TLS_CONTEXTS));
    match BY_NAME.get(name).filter(|_| !in_words && is_read) {
        Some(&at) => walk_message(&MESSAGES[at], content, path, depth, found),
        None => {
            let type_url = if type_url.is_empty() { TYPE_URL_PREFIX } else { type_url };
            found(path, Finding::Extension { type_url, in_words, optional });
        }
    }
}

fn is_disabled(message: &Message, bytes: &[u8]) -> bool {
    match message.name {
        HTTP_FILTER => is_set(bytes, DISABLED),
        FILTER_CONFIG => is_set(bytes, CONFIG_DISABLED),
        _ => false,
    }
}

fn is_optional(message: &Message, bytes: &[u8]) -> bool {
    match message.name {
        HTTP_FILTER => is_set(bytes, IS_OPTIONAL),
        FILTER_CONFIG => is_set(bytes, CONFIG_IS_OPTIONAL),
        _ => false,
    }
}

fn is_set(message: &[u8], number: u32) -> bool {
    wire::fields(message).any(|f| f.number == number && matches!(f.value, WireValue::Varint(n) if n != 0))
}

fn bytes_of(message: &[u8], number: u32) -> &[u8] {
    let last = wire::fields(message).filter(|f| f.number == number).last();
    match last.map(|f| f.value) {
        Some(WireValue::Bytes(bytes)) => bytes,
        _ => &[],
    }
}

fn text(message: &[u8], number: u32) -> &str {
    std::str::from_utf8(bytes_of(message, number)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pb::json::any_from_json;

    fn findings(json: serde_json::Value) -> Vec<String> {
        let any = any_from_json(&json).unwrap();
        let mut all = Vec::new();
        walk(message_name(&any.type_url), &any.value, &mut |path, f| all.push(format!("{path}: {f:?}")));
        all
    }

    #[test]
    fn an_unread_field_is_found_with_its_indexes() {
        let found = findings(serde_json::json!({
            "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            "virtualHosts": [{"name": "a", "domains": ["*"]}, {"name": "b", "domains": ["b"], "routes": [
                {"match": {"prefix": "/"}, "route": {"cluster": "c", "rateLimits": [{}, {}]}}]}],
        }));
        assert_eq!(
            found,
            [
                "virtual_hosts[1].routes[0].route.rate_limits[0]: Field(Traffic)",
                "virtual_hosts[1].routes[0].route.rate_limits[1]: Field(Traffic)",
            ]
        );
    }

    #[test]
    fn extensions_are_followed_or_named() {
        let hcm = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
        let filter = |extra: &str| {
            let mut filter = serde_json::json!({"name": "f", "typedConfig": {"@type": "t/acme.Guard"}});
            if !extra.is_empty() {
                filter[extra] = true.into();
            }
            filter
        };
        let found = findings(serde_json::json!({
            "@type": "type.googleapis.com/envoy.config.listener.v3.FilterChain",
            "filters": [{"name": "hcm", "typedConfig": {"@type": format!("type.googleapis.com/{hcm}"),
                "httpFilters": [filter(""), filter("isOptional"), filter("disabled")]}}],
        }));
        let at = "filters[0].typed_config.http_filters";
        let url = "type.googleapis.com/acme.Guard";
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].starts_with(&format!("{at}[0].typed_config")) && found[0].contains("optional: false")
        );
        assert!(
            found[1].starts_with(&format!("{at}[1].typed_config")) && found[1].contains("optional: true")
        );
        assert!(found.iter().all(|f| f.contains("acme.Guard")), "{url}: {found:?}");
    }

    #[test]
    fn extensions_of_a_map_are_named_by_their_key() {
        let found = findings(serde_json::json!({
            "@type": "type.googleapis.com/envoy.config.route.v3.Route",
            "typedPerFilterConfig": {"rbac": {"@type": "type.googleapis.com/acme.Guard"}},
        }));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("typed_per_filter_config[\"rbac\"]: Extension"), "{found:?}");
    }

    #[test]
    fn a_number_from_the_future_is_found() {
        let mut all = Vec::new();
        walk("envoy.config.cluster.v3.Cluster", &[0xf8, 0x7f, 0x01], &mut |_, f| all.push(format!("{f:?}")));
        assert_eq!(all, ["UnknownField(2047)"]);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for message in MESSAGES {
                walk(message.name, &bytes, &mut |_, _| {});
            }
        }
    }
}
