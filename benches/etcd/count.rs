//! How many pairs or events came, told from the bytes without decoding them.
//!
//! In: the bytes of bodies, however they come. Out: counts. Never here: a check of what is in a pair; the tests do that.

use crate::door::Door;

/// The number of `RangeResponse.kvs`.
const KVS: u64 = 2;
/// The number of `WatchResponse.events`.
const EVENTS: u64 = 11;

/// What is counted in the bodies that come by a door.
pub enum Count {
    /// Braces and brackets, of which base64 has none.
    Json {
        /// Each object has one.
        braces: usize,
        /// Each list that is not empty has one.
        brackets: usize,
    },
    /// Fields of protobuf.
    Grpc(Fields),
}

impl Count {
    /// Of the pairs of ranges.
    pub fn pairs_by(door: Door) -> Self {
        Self::new(door, KVS)
    }

    /// Of the events of one watch.
    pub fn events_by(door: Door) -> Self {
        Self::new(door, EVENTS)
    }

    fn new(door: Door, field: u64) -> Self {
        match door {
            Door::Json => Self::Json { braces: 0, brackets: 0 },
            Door::Grpc => Self::Grpc(Fields::new(field)),
        }
    }

    pub fn take(&mut self, bytes: &[u8]) {
        match self {
            Self::Json { braces, brackets } => {
                *braces += bytes.iter().filter(|&&byte| byte == b'{').count();
                *brackets += bytes.iter().filter(|&&byte| byte == b']').count();
            }
            Self::Grpc(fields) => fields.take(bytes),
        }
    }

    /// The pairs of so many answers: in JSON an answer and its header have a brace too.
    pub fn pairs(&self, answers: usize) -> usize {
        match self {
            Self::Json { braces, .. } => braces - 2 * answers,
            Self::Grpc(fields) => fields.found,
        }
    }

    /// Whether the first message of a watch came.
    pub fn is_created(&self) -> bool {
        match self {
            Self::Json { braces, .. } => *braces >= 3,
            Self::Grpc(fields) => fields.messages > 0,
        }
    }

    /// The events of a watch: in JSON each has two braces, and each message three; the first one has no list of events.
    pub fn events(&self) -> usize {
        match self {
            Self::Json { braces, brackets } => braces.saturating_sub(3 * (1 + brackets)) / 2,
            Self::Grpc(fields) => fields.found,
        }
    }
}

/// The fields of one number, at the top of messages.
pub struct Fields {
    number: u64,
    head: Vec<u8>,
    /// What is still to come of a message.
    message: usize,
    /// What is still to come of a field.
    field: usize,
    found: usize,
    messages: usize,
}

/// What is before a message: whether it is compressed, and its length.
const MESSAGE_HEAD: usize = 5;
const LENGTH_DELIMITED: u64 = 2;

impl Fields {
    fn new(number: u64) -> Self {
        Self { number, head: Vec::new(), message: 0, field: 0, found: 0, messages: 0 }
    }

    fn take(&mut self, mut bytes: &[u8]) {
        while let Some(&first) = bytes.first() {
            if self.field > 0 {
                let skipped = self.field.min(bytes.len());
                self.field -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            bytes = &bytes[1..];
            self.head.push(first);
            if self.message == 0 {
                self.begin_message();
            } else {
                self.begin_field();
            }
        }
    }

    fn begin_message(&mut self) {
        if let [_, length @ ..] = &self.head[..]
            && self.head.len() == MESSAGE_HEAD
        {
            self.message = length.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
            self.messages += 1;
            self.head.clear();
        }
    }

    fn begin_field(&mut self) {
        let Some((tag, rest)) = varint(&self.head) else { return };
        let Some((value, _)) = varint(rest) else { return };
        let is_delimited = tag & 7 == LENGTH_DELIMITED;
        self.found += usize::from(tag >> 3 == self.number);
        self.field = if is_delimited { value as usize } else { 0 };
        self.message -= self.head.len() + self.field;
        self.head.clear();
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let length = 1 + bytes.iter().position(|byte| byte & 0x80 == 0)?;
    let value = bytes[..length].iter().rev().fold(0, |value, &byte| value << 7 | u64::from(byte & 0x7f));
    Some((value, &bytes[length..]))
}
