//! Protobuf JSON: `{"@type": ..., ...}` documents to the bytes a control plane would have sent, and back.
//!
//! Messages unknown to `src/pb/proto` are kept as what they are: an `Any` with its type URL and no content, so that
//! the translation reports them by name just as it does when they come over gRPC.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use once_cell::sync::Lazy;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, ReflectMessage as _,
    prost::Message as _,
    prost_types::{DescriptorProto, FileDescriptorProto},
};
use serde_json::Value;

use super::{
    TYPE_URL_PREFIX,
    google::protobuf::Any,
    message_name,
    wire::{self, WireValue},
};

static POOL: Lazy<DescriptorPool> = Lazy::new(|| {
    DescriptorPool::decode(include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin")).as_slice())
        .expect("build.rs wrote the set it had just compiled")
});

/// Every message and field of `src/pb/proto`, the unread ones too.
pub fn descriptors() -> &'static DescriptorPool {
    &POOL
}

/// Reads one `{"@type": ..., ...}` object.
///
/// Field names may be camelCase or snake_case; fields unknown to `src/pb/proto` are skipped. The error text holds
/// the place in the document as far as the parser knows it.
pub fn any_from_json(value: &Value) -> Result<Any, String> {
    let name = match value.get("@type").and_then(Value::as_str) {
        Some(url) => message_name(url),
        None => return Err("an object with \"@type\" is expected".to_owned()),
    };
    let pool = pool_for(value)?;
    let message = pool.get_message_by_name(name).ok_or_else(|| format!("{name:?} is no message name"))?;
    let mut body = value.clone();
    drop_empty_configs(&mut body);
    body.as_object_mut().expect("it has a member @type").remove("@type");
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let message =
        DynamicMessage::deserialize_with_options(message, body, &options).map_err(|e| e.to_string())?;
    let value = sort_maps(&message.encode_to_vec(), &message.descriptor());
    Ok(Any { type_url: format!("{TYPE_URL_PREFIX}{name}"), value: Bytes::from(value) })
}

/// Envoy writes and reads `{}` for an extension that is not there, which protobuf's JSON has no word for.
fn drop_empty_configs(value: &mut Value) {
    let is_wrapper =
        value.get("@type").and_then(Value::as_str).is_some_and(|url| message_name(url) == WRAPPER);
    match value {
        Value::Object(members) => {
            members.retain(|name, inner| {
                !(is_wrapper && name == "config" && inner.as_object().is_some_and(serde_json::Map::is_empty))
            });
            members.values_mut().for_each(drop_empty_configs);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_empty_configs),
        _ => {}
    }
}

/// Stands around the configuration of a filter for one route.
const WRAPPER: &str = "envoy.config.route.v3.FilterConfig";

/// The same message with the entries of its maps in the order of their bytes, so that one document gives the same
/// bytes each time it is read.
fn sort_maps(message: &[u8], descriptor: &MessageDescriptor) -> Vec<u8> {
    let is_any = descriptor.full_name() == "google.protobuf.Any";
    let packed = if is_any { packed_type(message) } else { None };
    let mut sorted = Vec::with_capacity(message.len());
    let mut entries: BTreeMap<u32, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for field in wire::fields(message) {
        let declared = descriptor.get_field(field.number);
        let inner = match (&declared, &packed) {
            (_, Some(packed)) if field.number == ANY_VALUE => Some(packed.clone()),
            (Some(declared), _) => declared.kind().as_message().cloned(),
            (None, _) => None,
        };
        let (Some(inner), WireValue::Bytes(bytes)) = (inner, field.value) else {
            sorted.extend_from_slice(field.raw);
            continue;
        };
        let mut whole = Vec::with_capacity(field.raw.len());
        let bytes = sort_maps(bytes, &inner);
        prost::encoding::encode_key(field.number, prost::encoding::WireType::LengthDelimited, &mut whole);
        prost::encoding::encode_varint(bytes.len() as u64, &mut whole);
        whole.extend_from_slice(&bytes);
        if declared.is_some_and(|d| d.is_map()) {
            entries.entry(field.number).or_default().insert(whole);
        } else {
            sorted.extend_from_slice(&whole);
        }
    }
    sorted.extend(entries.into_values().flatten().flatten());
    sorted
}

/// The number of `google.protobuf.Any.value`.
const ANY_VALUE: u32 = 2;

fn packed_type(any: &[u8]) -> Option<MessageDescriptor> {
    let any = Any::decode(any).ok()?;
    POOL.get_message_by_name(message_name(&any.type_url))
}

/// The pool, and in it an empty message for each `@type` under `value` that it does not know.
fn pool_for(value: &Value) -> Result<DescriptorPool, String> {
    let mut unknown = Vec::new();
    collect_unknown_types(value, &mut unknown);
    let mut pool = POOL.clone();
    for name in unknown {
        if pool.get_message_by_name(&name).is_some() {
            continue;
        }
        let (package, message) = name.rsplit_once('.').unwrap_or(("", &name));
        pool.add_file_descriptor_proto(FileDescriptorProto {
            name: Some(format!("unknown/{name}.proto")),
            package: Some(package.to_owned()),
            message_type: vec![DescriptorProto { name: Some(message.to_owned()), ..Default::default() }],
            syntax: Some("proto3".to_owned()),
            ..Default::default()
        })
        .map_err(|e| format!("\"@type\" {name:?}: {e}"))?;
    }
    Ok(pool)
}

fn collect_unknown_types(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            if let Some(url) = members.get("@type").and_then(Value::as_str) {
                let name = message_name(url);
                if POOL.get_message_by_name(name).is_none() {
                    found.push(name.to_owned());
                }
            }
            members.values().for_each(|v| collect_unknown_types(v, found));
        }
        Value::Array(items) => items.iter().for_each(|v| collect_unknown_types(v, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::envoy::config::{cluster::v3::Cluster, listener::v3::FilterChain};

    #[test]
    fn both_spellings_of_a_field_are_read() {
        for name in ["connectTimeout", "connect_timeout"] {
            let any = any_from_json(&serde_json::json!({
                "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "a", name: "1.5s",
            }))
            .unwrap();
            let cluster = Cluster::decode(any.value).unwrap();
            let timeout = cluster.connect_timeout.unwrap();
            assert_eq!((timeout.seconds, timeout.nanos), (1, 500_000_000), "{name}");
        }
    }

    #[test]
    fn an_unknown_extension_keeps_its_type_url() {
        let any = any_from_json(&serde_json::json!({
            "@type": "type.googleapis.com/envoy.config.listener.v3.FilterChain",
            "filters": [{"name": "x", "typedConfig": {"@type": "type.googleapis.com/acme.Filter", "a": {"b": 1}}}],
        }))
        .unwrap();
        let chain = FilterChain::decode(any.value).unwrap();
        assert!(format!("{chain:?}").contains("type.googleapis.com/acme.Filter"));
    }

    #[test]
    fn a_document_gives_the_same_bytes_each_time() {
        let filters: serde_json::Map<_, _> = (0..20)
            .map(|i| (format!("filter-{i}"), serde_json::json!({"@type": "type.googleapis.com/acme.Filter"})))
            .collect();
        let host = serde_json::json!({"name": "h", "domains": ["*"], "typed_per_filter_config": filters});
        let document = serde_json::json!({
            "@type": "type.googleapis.com/envoy.config.listener.v3.Filter",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
                "virtual_hosts": [host],
            },
        });
        let first = any_from_json(&document).unwrap();
        assert!(String::from_utf8_lossy(&first.value).contains("filter-19"));
        for _ in 0..20 {
            assert_eq!(any_from_json(&document).unwrap(), first);
        }
    }

    #[test]
    fn an_object_without_type_is_refused() {
        assert!(any_from_json(&serde_json::json!({"name": "a"})).is_err());
    }
}
