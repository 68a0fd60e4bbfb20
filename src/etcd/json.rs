//! The gateway's JSON: messages of `src/pb/proto/etcd` as etcd writes them.
//!
//! In: JSON, as `decode` reads it. Out: snake case, 64-bit integers as text, bytes in base64, defaults left out; an
//! empty `kvs` above all, which APISIX would index (contract section 1).

mod decode;
mod write;

use bytes::{Buf as _, BytesMut};
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor, SerializeOptions};
use serde::{Serialize, Serializer, de::IgnoredAny};

pub(super) use decode::decode;
pub(super) use write::{Write, message as write_to};

use super::status::Refusal;
use crate::pb::json::descriptors;

/// One object of a request stream may be this long.
const MAX_OBJECT: usize = 64 << 10;

fn descriptor(name: &str) -> MessageDescriptor {
    let full_name = format!("etcdserverpb.{name}");
    descriptors().get_message_by_name(&full_name).expect("the gateway names messages of rpc.proto")
}

/// Writes a message that can be many megabytes.
pub(super) fn write(message: &impl Write) -> Vec<u8> {
    let mut text = Vec::with_capacity(message.size_hint());
    write::message(&mut text, message);
    text
}

/// The same as an object of a stream, with its newline.
pub(super) fn write_result(message: &impl Write) -> Vec<u8> {
    let mut text = Vec::with_capacity(message.size_hint());
    text.extend_from_slice(b"{\"result\":");
    write::message(&mut text, message);
    text.extend_from_slice(b"}\n");
    text
}

/// Writes the message `name`.
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
        etcdserverpb::{RangeResponse, WatchResponse},
        mvccpb,
    };

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
