//! The gateway's JSON: messages of `src/pb/proto/etcd` as etcd writes them.
//!
//! In: JSON with names in snake or camel case, numbers as numbers or text, enums by name or number, and fields that
//! nobody knows. Out: snake case, 64-bit integers as text, bytes in base64, defaults left out; an empty `kvs` above
//! all, which APISIX would index (contract section 1).

use bytes::{Buf as _, BytesMut};
use prost::Message;
use prost_reflect::{
    DeserializeOptions, DynamicMessage, EnumDescriptor, Kind, MessageDescriptor, SerializeOptions,
};
use serde::{Deserialize as _, Serialize, Serializer, de::IgnoredAny};
use serde_json::Value;

use super::status::Refusal;
use crate::pb::json::descriptors;

/// One object of a request stream may be this long.
const MAX_OBJECT: usize = 64 << 10;

fn descriptor(name: &str) -> MessageDescriptor {
    let full_name = format!("etcdserverpb.{name}");
    descriptors().get_message_by_name(&full_name).expect("the gateway names messages of rpc.proto")
}

/// Reads the message `name`. No text is an empty message, and what follows the object does not count.
pub(super) fn decode<M: Message + Default>(name: &str, text: &[u8]) -> Result<M, Refusal> {
    if text.trim_ascii().is_empty() {
        return Ok(M::default());
    }
    let descriptor = descriptor(name);
    let value = Value::deserialize(&mut serde_json::Deserializer::from_slice(text)).map_err(bad_body)?;
    refuse_unknown_names(&descriptor, &value)?;
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let message = DynamicMessage::deserialize_with_options(descriptor, value, &options).map_err(bad_body)?;
    message.transcode_to().map_err(bad_body)
}

fn bad_body(error: impl std::fmt::Display) -> Refusal {
    Refusal::BadBody(error.to_string())
}

/// The parser takes an enum's unknown name for an unknown field, and would answer something else than was asked.
fn refuse_unknown_names(descriptor: &MessageDescriptor, value: &Value) -> Result<(), Refusal> {
    for (name, value) in value.as_object().into_iter().flatten() {
        let field = descriptor.get_field_by_name(name).or_else(|| descriptor.get_field_by_json_name(name));
        let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        match field.map(|field| field.kind()) {
            Some(Kind::Message(inner)) => {
                values.iter().try_for_each(|it| refuse_unknown_names(&inner, it))?
            }
            Some(Kind::Enum(names)) => values.iter().try_for_each(|it| refuse_unknown_name(&names, it))?,
            _ => {}
        }
    }
    Ok(())
}

fn refuse_unknown_name(names: &EnumDescriptor, value: &Value) -> Result<(), Refusal> {
    match value.as_str() {
        Some(name) if names.get_value_by_name(name).is_none() => {
            Err(bad_body(format!("unknown value {name:?} for enum {}", names.full_name())))
        }
        _ => Ok(()),
    }
}

/// Writes the message `name`, straight to text: a listing can be many megabytes.
pub(super) fn encode<M: Message>(name: &str, message: &M) -> String {
    text(&Written::new(name, message))
}

/// Writes the message `name` as an object of a stream.
pub(super) fn encode_result<M: Message>(name: &str, message: &M) -> String {
    text(&StreamResult { result: Written::new(name, message) })
}

fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("every field of the messages has a JSON form")
}

#[derive(Serialize)]
struct StreamResult {
    result: Written,
}

struct Written(DynamicMessage);

impl Written {
    fn new<M: Message>(name: &str, message: &M) -> Self {
        let mut dynamic = DynamicMessage::new(descriptor(name));
        dynamic.transcode_from(message).expect("a message reads back as the type it was written from");
        Self(dynamic)
    }
}

impl Serialize for Written {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(true);
        self.0.serialize_with_options(serializer, &options)
    }
}

/// Cuts a byte stream into JSON objects, however the bytes come.
#[derive(Debug, Default)]
pub(super) struct Objects {
    received: BytesMut,
}

impl Objects {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// The next complete object, as it came.
    pub(super) fn next(&mut self) -> Option<Result<BytesMut, Refusal>> {
        let mut values = serde_json::Deserializer::from_slice(&self.received).into_iter::<IgnoredAny>();
        match values.next()? {
            Ok(_) => {
                let length = values.byte_offset();
                Some(Ok(self.received.split_to(length)))
            }
            Err(error) if error.is_eof() && self.received.len() <= MAX_OBJECT => None,
            Err(error) => {
                self.received.advance(self.received.len());
                Some(Err(Refusal::BadBody(error.to_string())))
            }
        }
    }

    /// What is wrong with the end of the bytes: an object that was begun.
    pub(super) fn end(&self) -> Option<Refusal> {
        let text = || Refusal::BadBody("unexpected EOF".to_owned());
        (!self.received.trim_ascii().is_empty()).then(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::{
        etcdserverpb::{RangeRequest, RangeResponse, WatchResponse},
        mvccpb,
    };

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
        ] {
            assert_eq!(range(text).as_ref(), Ok(&expected), "{text}");
        }
        assert_eq!(range("  "), Ok(RangeRequest::default()));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for text in
            ["{", "[]", r#"{"key":"@@@"}"#, r#"{"key":7}"#, r#"{"limit":"x"}"#, r#"{"sort_order":"UP"}"#]
        {
            assert!(matches!(range(text), Err(Refusal::BadBody(_))), "{text}");
        }
    }

    #[test]
    fn defaults_are_left_out_and_numbers_are_text() {
        assert_eq!(encode("RangeResponse", &RangeResponse::default()), "{}");
        let delete = mvccpb::Event {
            r#type: 1,
            kv: Some(mvccpb::KeyValue { key: "a".into(), mod_revision: 7, ..Default::default() }),
            prev_kv: None,
        };
        let response = WatchResponse { watch_id: -1, events: vec![delete], ..WatchResponse::default() };
        assert_eq!(
            encode_result("WatchResponse", &response),
            r#"{"result":{"watch_id":"-1","events":[{"type":"DELETE","kv":{"key":"YQ==","mod_revision":"7"}}]}}"#
        );
    }

    #[test]
    fn objects_are_found_however_the_bytes_come() {
        let text = br#"{"a":"}{"} {"b":{"c":1}}{"#;
        let mut objects = Objects::default();
        let mut found = Vec::new();
        for byte in text {
            objects.push(&[*byte]);
            while let Some(object) = objects.next() {
                found.push(String::from_utf8(object.unwrap().to_vec()).unwrap().trim().to_owned());
            }
        }
        assert_eq!(found, [r#"{"a":"}{"}"#, r#"{"b":{"c":1}}"#]);
    }

    #[test]
    fn an_object_without_end_is_refused() {
        let mut objects = Objects::default();
        objects.push(b"{\"a\":\"");
        objects.push(&vec![b'x'; MAX_OBJECT]);
        assert!(matches!(objects.next(), Some(Err(_))));
        assert!(objects.next().is_none());
    }
}
