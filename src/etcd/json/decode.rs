//! Requests of the gateway, read with just the leniency of etcd's own.
//!
//! In: a JSON document. Out: a message, or what is wrong. Never here: a guess; what etcd 3.5 refuses is refused.
//!
//! Names are snake or camel case; numbers are numbers or text; enums are names or numbers; null is as good as
//! nothing; fields that nobody knows are skipped.

use base64::{
    Engine as _, alphabet,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};
use prost::Message;
use prost_reflect::{DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, Value};
use serde::Deserialize as _;
use serde_json::Value as Json;

use super::descriptor;
use crate::etcd::status::Refusal;

/// Go's: padded, but what the last character says beyond the last byte does not count.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Reads the message `name`. No text is an empty message, and what follows the object does not count.
pub(in crate::etcd) fn decode<M: Message + Default>(name: &str, text: &[u8]) -> Result<M, Refusal> {
    if text.trim_ascii().is_empty() {
        return Ok(M::default());
    }
    let json = Json::deserialize(&mut serde_json::Deserializer::from_slice(text)).map_err(bad_body)?;
    let message = match json {
        Json::Null => return Ok(M::default()),
        json => message(&descriptor(name), &json).map_err(Refusal::BadBody)?,
    };
    message.transcode_to().map_err(bad_body)
}

fn bad_body(error: impl std::fmt::Display) -> Refusal {
    Refusal::BadBody(error.to_string())
}

fn message(descriptor: &MessageDescriptor, json: &Json) -> Result<DynamicMessage, String> {
    let Json::Object(members) = json else { return Err(mismatch(json, "map[string]json.RawMessage")) };
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        // Where both spellings are there, etcd prefers the camel's.
        let json = members.get(field.json_name()).or_else(|| members.get(field.name()));
        let Some(json) = json.filter(|json| !json.is_null()) else { continue };
        let value = if field.is_list() { list(&field, json)? } else { single(&field, json)? };
        message.set_field(&field, value);
    }
    Ok(message)
}

fn list(field: &FieldDescriptor, json: &Json) -> Result<Value, String> {
    let Json::Array(items) = json else { return Err(mismatch(json, "[]json.RawMessage")) };
    items.iter().map(|item| single(field, item)).collect::<Result<_, _>>().map(Value::List)
}

fn single(field: &FieldDescriptor, json: &Json) -> Result<Value, String> {
    match field.kind() {
        Kind::Message(inner) => message(&inner, json).map(Value::Message),
        Kind::Enum(names) => enumeration(&names, json),
        Kind::Bool => json.as_bool().map(Value::Bool).ok_or_else(|| mismatch(json, "bool")),
        Kind::String => text(json),
        Kind::Bytes => bytes(json),
        Kind::Uint64 => integer(json, "uint64").map(Value::U64),
        // The requests have no other kinds of numbers.
        _ => integer(json, "int64").map(Value::I64),
    }
}

fn text(json: &Json) -> Result<Value, String> {
    json.as_str().map(|text| Value::String(text.to_owned())).ok_or_else(|| mismatch(json, "string"))
}

/// A number, or the text of one.
fn integer<N: serde::de::DeserializeOwned>(json: &Json, kind: &str) -> Result<N, String> {
    let number = match json {
        Json::String(text) => serde_json::from_str(text).ok(),
        Json::Number(_) => N::deserialize(json).ok(),
        _ => None,
    };
    number.ok_or_else(|| mismatch(json, kind))
}

/// A name, or any number, also one without a name.
fn enumeration(names: &EnumDescriptor, json: &Json) -> Result<Value, String> {
    let go_name = go_name(names);
    match json {
        Json::String(name) => match names.get_value_by_name(name) {
            Some(value) => Ok(Value::EnumNumber(value.number())),
            None => Err(format!("unknown value {name:?} for enum {go_name}")),
        },
        _ => integer(json, &go_name).map(Value::EnumNumber),
    }
}

/// As etcd names an enum inside a message: `etcdserverpb.RangeRequest_SortOrder`.
fn go_name(names: &EnumDescriptor) -> String {
    match names.parent_message() {
        Some(parent) => format!("{}_{}", parent.full_name(), names.name()),
        None => names.full_name().to_owned(),
    }
}

/// Base64 of the standard alphabet, padded, perhaps in lines; or each byte as a number.
fn bytes(json: &Json) -> Result<Value, String> {
    let text = match json {
        Json::String(text) => text,
        Json::Array(items) => return items.iter().map(byte).collect::<Result<_, _>>().map(Value::Bytes),
        _ => return Err(mismatch(json, "[]uint8")),
    };
    let is_in_lines = text.contains(['\r', '\n']);
    let decoded =
        if is_in_lines { BASE64.decode(text.replace(['\r', '\n'], "")) } else { BASE64.decode(text) };
    decoded.map(|bytes| Value::Bytes(bytes.into())).map_err(|error| format!("illegal base64 data: {error}"))
}

fn byte(json: &Json) -> Result<u8, String> {
    match json {
        Json::Null => Ok(0),
        Json::String(_) => Err(mismatch(json, "uint8")),
        _ => integer(json, "uint8"),
    }
}

fn mismatch(json: &Json, wanted: &str) -> String {
    let found = match json {
        Json::Null => "null",
        Json::Bool(_) => "bool",
        Json::Number(number) => {
            return format!("json: cannot unmarshal number {number} into Go value of type {wanted}");
        }
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    };
    format!("json: cannot unmarshal {found} into Go value of type {wanted}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::etcdserverpb::RangeRequest;

    fn range(text: &str) -> Result<RangeRequest, Refusal> {
        decode("RangeRequest", text.as_bytes())
    }

    #[test]
    fn every_way_to_write_a_request_is_read() {
        let expected = RangeRequest {
            key: "a".into(),
            range_end: "b".into(),
            limit: 3,
            sort_order: 2,
            sort_target: 3,
            ..RangeRequest::default()
        };
        for text in [
            r#"{"key":"YQ==","range_end":"Yg==","limit":3,"sort_order":2,"sort_target":3}"#,
            r#"{"key":"YQ==","rangeEnd":"Yg==","limit":"3","sortOrder":"DESCEND","sortTarget":"MOD","x":[{}]}"#,
            r#"{"key":"YQ==","range_end":"Yg==","limit":3,"sort_order":2,"sort_target":3} trailing"#,
            r#"{"key":"YQ==","rangeEnd":"Yg==","range_end":"eA==","limit":" 3","sort_order":2,"sort_target":3}"#,
            r#"{"key":"YR==","range_end":[98],"limit":3,"sort_order":2,"sort_target":3}"#,
            r#"{"key":"Y\nQ==","range_end":"Yg==","limit":3,"sort_order":2,"sort_target":3,"revision":null}"#,
        ] {
            assert_eq!(range(text).as_ref(), Ok(&expected), "{text}");
        }
        assert_eq!(range("  "), Ok(RangeRequest::default()));
        assert_eq!(range("null"), Ok(RangeRequest::default()));
        assert_eq!(
            range(r#"{"sort_order":77}"#),
            Ok(RangeRequest { sort_order: 77, ..RangeRequest::default() })
        );
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for text in [
            "{",
            "[]",
            r#"{"key":"@@@"}"#,
            r#"{"key":"_w=="}"#,
            r#"{"key":"YQ"}"#,
            r#"{"key":7}"#,
            r#"{"limit":"x"}"#,
            r#"{"limit":3.0}"#,
            r#"{"limit":"0x3"}"#,
            r#"{"limit":9223372036854775808}"#,
            r#"{"keys_only":"true"}"#,
            r#"{"sort_order":"UP"}"#,
            r#"{"sort_order":"2"}"#,
        ] {
            assert!(matches!(range(text), Err(Refusal::BadBody(_))), "{text}");
        }
    }
}
