//! One record of the log: all objects, or one commit.
//!
//! In: a snapshot or a commit. Out: bytes, and back. A record is its length, its check sum, and a protobuf message, whose
//! field numbers are the format: they are never given another meaning. Never here: a file.

use bytes::Bytes;
use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    apisix::Key,
    store::{Commit, KeyValue, Life, Snapshot},
};

/// Length and check sum, before each message.
pub const HEAD: usize = 16;

/// The first record of a file says all, those behind it what changed.
#[derive(Clone, PartialEq, Message)]
pub struct Record {
    #[prost(int64, tag = "1")]
    pub revision: i64,
    /// The revision of the store's first commit; in the first record.
    #[prost(int64, tag = "2")]
    pub first: i64,
    /// What the objects were made from; in the first record.
    #[prost(string, tag = "3")]
    pub origin: String,
    #[prost(message, repeated, tag = "4")]
    pub puts: Vec<Put>,
    #[prost(string, repeated, tag = "5")]
    pub deletes: Vec<String>,
}

/// One object.
#[derive(Clone, PartialEq, Message)]
pub struct Put {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
    #[prost(int64, tag = "3")]
    pub create_revision: i64,
    #[prost(int64, tag = "4")]
    pub mod_revision: i64,
    #[prost(int64, tag = "5")]
    pub version: i64,
}

impl Record {
    pub fn of_snapshot(snapshot: &Snapshot, origin: String) -> Self {
        Self {
            revision: snapshot.revision(),
            first: snapshot.first_revision(),
            origin,
            puts: snapshot.objects_from("").map(|(key, kv)| Put::new(key, kv)).collect(),
            deletes: Vec::new(),
        }
    }

    pub fn of_commit(commit: &Commit) -> Self {
        let mut record = Self { revision: commit.revision, ..Self::default() };
        for event in &commit.events {
            match &event.current {
                Some(kv) => record.puts.push(Put::new(&event.key, kv)),
                None => record.deletes.push(event.key.to_string()),
            }
        }
        record
    }

    /// As it stands in a file.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEAD];
        self.encode_raw(&mut bytes);
        let (head, message) = bytes.split_at_mut(HEAD);
        head[..8].copy_from_slice(&(message.len() as u64).to_le_bytes());
        head[8..].copy_from_slice(&xxh3_64(message).to_le_bytes());
        bytes
    }

    /// The record at the beginning of `bytes`, which go on behind it; `None` if there is no whole one.
    pub fn decode(bytes: &mut Bytes) -> Option<Self> {
        let mut number = [0; 8];
        number.copy_from_slice(bytes.get(..8)?);
        let len = usize::try_from(u64::from_le_bytes(number)).ok()?;
        number.copy_from_slice(bytes.get(8..HEAD)?);
        let message = bytes.get(HEAD..HEAD.checked_add(len)?)?;
        if xxh3_64(message) != u64::from_le_bytes(number) {
            return None;
        }
        let record = Self::decode_message(bytes.slice_ref(message))?;
        *bytes = bytes.slice(HEAD + len..);
        Some(record)
    }

    fn decode_message(message: Bytes) -> Option<Self> {
        let record = <Self as Message>::decode(message).ok()?;
        let keys = record.puts.iter().map(|put| &put.key).chain(&record.deletes);
        keys.clone().all(|key| Key::is_valid(key)).then_some(record)
    }

    /// What the first record of a file says there is.
    pub fn life(self) -> Life {
        let (first, revision) = (self.first, self.revision);
        let objects = self.changes().filter_map(|(key, current)| Some((key, current?))).collect();
        Life { first, revision, objects }
    }

    /// What the record says became of each object.
    pub fn changes(self) -> impl Iterator<Item = (Key, Option<KeyValue>)> {
        let put = |put: Put| {
            let Put { key, value, create_revision, mod_revision, version } = put;
            Some((Key::parse(&key)?, Some(KeyValue { value, create_revision, mod_revision, version })))
        };
        let delete = |key: String| Some((Key::parse(&key)?, None));
        self.puts.into_iter().filter_map(put).chain(self.deletes.into_iter().filter_map(delete))
    }
}

impl Put {
    fn new(key: &Key, kv: &KeyValue) -> Self {
        Self {
            key: key.to_string(),
            value: kv.value.clone(),
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
        }
    }
}
