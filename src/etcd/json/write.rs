//! JSON of the two answers that can be long, straight from the message.
//!
//! In: a message. Out: the text that reflection would give, which a test compares; a list of APISIX's objects takes a
//! fiftieth of its time. Never here: a message that is short whatever happens; `json` writes those by their description.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    etcd::keyspace::Pair,
    pb::{
        etcdserverpb::{RangeResponse, ResponseHeader, WatchResponse},
        mvccpb::{Event, KeyValue, event::EventType},
    },
};

/// What the names and numbers of a pair or an event take at most, about.
const OVERHEAD: usize = 192;

/// A message that can write itself.
pub(in crate::etcd) trait Write {
    /// About as many bytes as it becomes, not less if its values are long.
    fn size_hint(&self) -> usize;

    /// Writes its fields.
    fn fields(&self, object: &mut Object);
}

/// An object that is being written; fields that have their default are left out.
pub(in crate::etcd) struct Object<'a> {
    text: &'a mut Vec<u8>,
    is_empty: bool,
}

/// Writes a message.
pub(in crate::etcd) fn message(text: &mut Vec<u8>, message: &impl Write) {
    text.push(b'{');
    message.fields(&mut Object { text, is_empty: true });
    text.push(b'}');
}

impl Object<'_> {
    fn name(&mut self, name: &str) {
        if !std::mem::take(&mut self.is_empty) {
            self.text.push(b',');
        }
        self.text.push(b'"');
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(b"\":");
    }

    fn unsigned(&mut self, name: &str, number: u64) {
        if number != 0 {
            self.name(name);
            self.text.push(b'"');
            self.digits(number);
            self.text.push(b'"');
        }
    }

    fn signed(&mut self, name: &str, number: i64) {
        if number != 0 {
            self.name(name);
            self.text.push(b'"');
            if number < 0 {
                self.text.push(b'-');
            }
            self.digits(number.unsigned_abs());
            self.text.push(b'"');
        }
    }

    fn digits(&mut self, mut number: u64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.text.extend_from_slice(&digits[at..]);
    }

    fn flag(&mut self, name: &str, flag: bool) {
        if flag {
            self.name(name);
            self.text.extend_from_slice(b"true");
        }
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.name(name);
        self.text.push(b'"');
        let start = self.text.len();
        self.text.resize(start + base64_size(bytes), 0);
        let written = STANDARD.encode_slice(bytes, &mut self.text[start..]);
        debug_assert_eq!(written, Ok(self.text.len() - start));
        self.text.push(b'"');
    }

    fn text(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.name(name);
            self.text.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
        }
    }

    fn message(&mut self, name: &str, inner: Option<&impl Write>) {
        if let Some(inner) = inner {
            self.name(name);
            message(self.text, inner);
        }
    }

    fn messages(&mut self, name: &str, inner: &[impl Write]) {
        let Some((first, others)) = inner.split_first() else { return };
        self.name(name);
        self.text.push(b'[');
        message(self.text, first);
        for other in others {
            self.text.push(b',');
            message(self.text, other);
        }
        self.text.push(b']');
    }
}

fn base64_size(bytes: &[u8]) -> usize {
    bytes.len().div_ceil(3) * 4
}

impl Write for ResponseHeader {
    fn size_hint(&self) -> usize {
        OVERHEAD
    }

    fn fields(&self, object: &mut Object) {
        object.unsigned("cluster_id", self.cluster_id);
        object.unsigned("member_id", self.member_id);
        object.signed("revision", self.revision);
        object.unsigned("raft_term", self.raft_term);
    }
}

impl Write for KeyValue {
    fn size_hint(&self) -> usize {
        OVERHEAD + base64_size(&self.key) + base64_size(&self.value)
    }

    fn fields(&self, object: &mut Object) {
        object.bytes("key", &self.key);
        object.signed("create_revision", self.create_revision);
        object.signed("mod_revision", self.mod_revision);
        object.signed("version", self.version);
        object.bytes("value", &self.value);
        object.signed("lease", self.lease);
    }
}

/// As the pair's message is written.
impl Write for Pair<'_> {
    fn size_hint(&self) -> usize {
        OVERHEAD + (self.prefix.len() + self.key.len() + self.value.len()) / 3 * 4
    }

    fn fields(&self, object: &mut Object) {
        object.bytes("key", &[self.prefix.as_bytes(), self.key.as_bytes()].concat());
        object.signed("create_revision", self.create_revision);
        object.signed("mod_revision", self.mod_revision);
        object.signed("version", self.version);
        object.bytes("value", self.value);
    }
}

impl Write for Event {
    fn size_hint(&self) -> usize {
        let pair = |pair: &Option<KeyValue>| pair.as_ref().map_or(0, Write::size_hint);
        pair(&self.kv) + pair(&self.prev_kv)
    }

    fn fields(&self, object: &mut Object) {
        if self.r#type() != EventType::Put {
            object.text("type", self.r#type().as_str_name());
        }
        object.message("kv", self.kv.as_ref());
        object.message("prev_kv", self.prev_kv.as_ref());
    }
}

impl Write for RangeResponse {
    fn size_hint(&self) -> usize {
        OVERHEAD + self.kvs.iter().map(Write::size_hint).sum::<usize>()
    }

    fn fields(&self, object: &mut Object) {
        object.message("header", self.header.as_ref());
        object.messages("kvs", &self.kvs);
        object.flag("more", self.more);
        object.signed("count", self.count);
    }
}

impl Write for WatchResponse {
    fn size_hint(&self) -> usize {
        2 * OVERHEAD + self.cancel_reason.len() + self.events.iter().map(Write::size_hint).sum::<usize>()
    }

    fn fields(&self, object: &mut Object) {
        object.message("header", self.header.as_ref());
        object.signed("watch_id", self.watch_id);
        object.flag("created", self.created);
        object.flag("canceled", self.canceled);
        object.signed("compact_revision", self.compact_revision);
        object.text("cancel_reason", &self.cancel_reason);
        object.flag("fragment", self.fragment);
        object.messages("events", &self.events);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::etcd::json;

    fn number() -> impl Strategy<Value = i64> {
        prop_oneof![Just(0), 1..10_i64, any::<i64>()]
    }

    fn bytes() -> impl Strategy<Value = bytes::Bytes> {
        proptest::collection::vec(any::<u8>(), 0..70).prop_map(Into::into)
    }

    prop_compose! {
        fn header()(
            cluster_id in any::<u64>(), member_id in 0..2_u64, revision in number(), raft_term in 0..3_u64,
        ) -> ResponseHeader {
            ResponseHeader { cluster_id, member_id, revision, raft_term }
        }
    }

    prop_compose! {
        fn pair()(
            key in bytes(), value in bytes(), lease in number(),
            (create_revision, mod_revision, version) in (number(), number(), number()),
        ) -> KeyValue {
            KeyValue { key, create_revision, mod_revision, version, value, lease }
        }
    }

    prop_compose! {
        fn event()(
            kind in 0..2_i32, kv in proptest::option::of(pair()), prev_kv in proptest::option::of(pair()),
        ) -> Event {
            Event { r#type: kind, kv, prev_kv }
        }
    }

    prop_compose! {
        fn range_response()(
            header in proptest::option::of(header()), kvs in proptest::collection::vec(pair(), 0..4),
            more in any::<bool>(), count in number(),
        ) -> RangeResponse {
            RangeResponse { header, kvs, more, count }
        }
    }

    prop_compose! {
        fn watch_response()(
            header in proptest::option::of(header()), events in proptest::collection::vec(event(), 0..4),
            (watch_id, compact_revision) in (number(), number()), cancel_reason in any::<String>(),
            (created, canceled, fragment) in any::<(bool, bool, bool)>(),
        ) -> WatchResponse {
            WatchResponse { header, watch_id, created, canceled, compact_revision, cancel_reason, fragment, events }
        }
    }

    proptest! {
        #[test]
        fn a_range_is_written_as_by_reflection(response in range_response()) {
            let text = String::from_utf8(json::write(&response)).unwrap();
            prop_assert_eq!(text, json::encode("RangeResponse", &response));
        }

        #[test]
        fn a_watch_is_written_as_by_reflection(response in watch_response()) {
            let text = String::from_utf8(json::write_result(&response)).unwrap();
            prop_assert_eq!(text, json::encode_result("WatchResponse", &response) + "\n");
        }
    }

    #[test]
    fn the_room_for_a_text_is_enough() {
        let kv = KeyValue {
            key: vec![b'k'; 40].into(),
            create_revision: i64::MIN,
            mod_revision: i64::MIN,
            version: i64::MIN,
            value: vec![b'v'; 501].into(),
            lease: i64::MIN,
        };
        let event = Event { r#type: 1, kv: Some(kv.clone()), prev_kv: Some(kv) };
        let response = WatchResponse { events: vec![event; 100], ..WatchResponse::default() };
        let hint = response.size_hint();
        let size = json::write_result(&response).len();
        assert!(size <= hint && hint < 2 * size, "{size} of {hint}");
    }
}
