//! Protobuf JSON: `{"@type": ..., ...}` documents to the bytes a control plane would have sent, and back.
//!
//! Messages unknown to `src/pb/proto` are kept as what they are: an `Any` with its type URL and no content, so that
//! the translation reports them by name just as it does when they come over gRPC.

use bytes::Bytes;
use once_cell::sync::Lazy;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage,
    prost::Message as _,
    prost_types::{DescriptorProto, FileDescriptorProto},
};
use serde_json::Value;

use super::{TYPE_URL_PREFIX, google::protobuf::Any, message_name};

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
    body.as_object_mut().expect("it has a member @type").remove("@type");
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let message =
        DynamicMessage::deserialize_with_options(message, body, &options).map_err(|e| e.to_string())?;
    Ok(Any { type_url: format!("{TYPE_URL_PREFIX}{name}"), value: Bytes::from(message.encode_to_vec()) })
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
    fn an_object_without_type_is_refused() {
        assert!(any_from_json(&serde_json::json!({"name": "a"})).is_err());
    }
}
