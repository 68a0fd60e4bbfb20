//! The messages of a watch, decoded, for scenes in which few come.

use apisix_mesh::pb::etcdserverpb::WatchResponse;
use bytes::{Buf as _, BytesMut};
use prost::Message as _;
use serde_json::Value;

use crate::door::Door;

/// What a message of a watch says.
#[derive(Debug, Default)]
pub struct Message {
    /// Of its header.
    pub revision: i64,
    /// How many events it brings.
    pub events: usize,
    /// Where a reader can go on that missed something.
    pub compacted: Option<i64>,
}

/// Bodies as messages.
pub struct Messages {
    door: Door,
    received: BytesMut,
}

/// What is before a message of gRPC.
const HEAD: usize = 5;

impl Messages {
    pub fn new(door: Door) -> Self {
        Self { door, received: BytesMut::new() }
    }

    pub fn take(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// The next one that is complete.
    pub fn next(&mut self) -> Option<Message> {
        match self.door {
            Door::Json => {
                let end = self.received.iter().position(|&byte| byte == b'\n')? + 1;
                let object = self.received.split_to(end);
                Some(of_json(&serde_json::from_slice(&object).expect("an object")))
            }
            Door::Grpc => {
                let length =
                    self.received.get(1..HEAD)?.iter().fold(0, |n, &byte| n << 8 | usize::from(byte));
                let message = self.received.get(HEAD..HEAD + length)?;
                let message = of_grpc(WatchResponse::decode(message).expect("a message"));
                self.received.advance(HEAD + length);
                Some(message)
            }
        }
    }
}

fn of_json(object: &Value) -> Message {
    let result = &object["result"];
    let number = |value: &Value| value.as_str().map_or(0, |text| text.parse().expect("a number"));
    let is_canceled = result["canceled"].as_bool().unwrap_or_default();
    Message {
        revision: number(&result["header"]["revision"]),
        events: result["events"].as_array().map_or(0, Vec::len),
        compacted: is_canceled.then(|| number(&result["compact_revision"])),
    }
}

fn of_grpc(response: WatchResponse) -> Message {
    Message {
        revision: response.header.expect("it is always there").revision,
        events: response.events.len(),
        compacted: response.canceled.then_some(response.compact_revision),
    }
}
