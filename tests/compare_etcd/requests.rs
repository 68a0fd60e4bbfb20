//! Random requests, the same for both but for the numbers of revisions.

mod fixed;
mod odd;
mod range;
mod txn;
pub mod watch;
mod write;

use serde_json::{Map, Value, json};

use super::{
    ask::{Door, Method, RANGE, Request, TXN},
    history::History,
};
use crate::support::{etcd::b64, mutate::Random};

/// What is asked, in the words of either.
#[derive(Debug)]
pub struct Call {
    pub name: &'static str,
    pub door: Door,
    pub ours: Request,
    pub real: Request,
}

/// A call that changes nothing.
pub fn any(history: &History, random: &mut Random) -> Call {
    match random.below(32) {
        0..8 => message(&TXN, txn::any(history, random), random),
        8 => {
            let (method, request) = fixed::any(random);
            message(method, request, random)
        }
        9 if random.below(4) == 0 => {
            let method = random.pick(&odd::UNKNOWN);
            let request = || Request::Message(method, json!({}));
            Call { name: method.name, door: Door::Grpc, ours: request(), real: request() }
        }
        // The gateway of 3.6 is another one, with a leniency of its own.
        9..13 if history.version < (3, 6) => same("HTTP and JSON", odd::any(history, random)),
        _ => message(&RANGE, range::any(history, random), random),
    }
}

/// A call that may change what etcd holds.
pub fn any_write(history: &History, random: &mut Random) -> Call {
    let (method, request) = write::any(history, random);
    message(method, request, random)
}

pub fn message(method: &'static Method, request: Value, random: &mut Random) -> Call {
    let door = *random.pick(&[Door::Grpc, Door::Json]);
    let request = if door == Door::Json { respelled(&request, random) } else { request };
    let words_of = |side| Request::Message(method, words_of(&request, side));
    Call { name: method.name, door, ours: words_of(Side::Ours), real: words_of(Side::Real) }
}

fn same(name: &'static str, request: Request) -> Call {
    Call { name, door: Door::Json, ours: request.clone(), real: request }
}

/// A revision, or an id, in a request; the two numbers mean the same.
pub fn revision(real: i64, ours: i64) -> Value {
    json!({REVISION: [real, ours]})
}

const REVISION: &str = "@revision";

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Ours,
    Real,
}

pub fn words_of(request: &Value, side: Side) -> Value {
    match request {
        Value::Object(members) => match members.get(REVISION) {
            Some(numbers) => numbers[usize::from(side == Side::Ours)].clone(),
            None => members.iter().map(|(name, value)| (name.clone(), words_of(value, side))).collect(),
        },
        Value::Array(items) => items.iter().map(|item| words_of(item, side)).collect(),
        other => other.clone(),
    }
}

/// The same in another of the spellings that the gateway reads: names in camel case, numbers as text.
fn respelled(request: &Value, random: &mut Random) -> Value {
    match request {
        Value::Object(members) if members.contains_key(REVISION) => match random.below(3) {
            0 => json!({REVISION: [members[REVISION][0].to_string(), members[REVISION][1].to_string()]}),
            _ => request.clone(),
        },
        Value::Object(members) => {
            let mut written = Map::new();
            for (name, value) in members {
                let name = if random.below(4) == 0 { camel_case(name) } else { name.clone() };
                let is_enum = ["sort_order", "sortOrder", "sort_target", "sortTarget", "result", "target"]
                    .contains(&name.as_str());
                let value = match value {
                    Value::Number(number) if random.below(4) == 0 && !is_enum => json!(number.to_string()),
                    other => respelled(other, random),
                };
                written.insert(name, value);
            }
            Value::Object(written)
        }
        Value::Array(items) => items.iter().map(|item| respelled(item, random)).collect(),
        other => other.clone(),
    }
}

fn camel_case(name: &str) -> String {
    let mut parts = name.split('_');
    let mut camel = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        camel.extend(part.chars().take(1).map(|c| c.to_ascii_uppercase()));
        camel.push_str(&part[1..]);
    }
    camel
}

/// A key, or where keys might be.
fn any_key(history: &History, random: &mut Random) -> Vec<u8> {
    let prefix = history.prefix;
    let mut key = match random.below(10) {
        0..3 => history.key(random),
        3 => history.marker(random),
        4 => prefix.into(),
        5 => format!("{prefix}/").into(),
        6 => format!(
            "{prefix}/{}",
            random.pick(&["routes", "ssls", "upstreams", "upstreams/", "routes/", "/phantomkey", "z"])
        )
        .into(),
        7 => random.pick(&[&b"\0"[..], b"\xff", b"/", b"/a", b"/b", b"\0\0", b"zz"]).to_vec(),
        _ => {
            let mut key = history.key(random);
            match random.below(4) {
                0 => key.push(0),
                1 => key.push(0xff),
                2 => key.truncate(key.len() - 1),
                _ => key.push(b'a'),
            }
            key
        }
    };
    if random.below(200) == 0 {
        key.clear();
    }
    key
}

/// Where a range from `key` might end.
fn any_end(key: &[u8], history: &History, random: &mut Random) -> Vec<u8> {
    match random.below(10) {
        0..3 => Vec::new(),
        3 | 4 => vec![0],
        5..8 => after_all_with(key),
        8 => any_key(history, random),
        _ => match random.below(4) {
            0 => key.to_vec(),
            1 => [key, b"\0"].concat(),
            2 => vec![0xff],
            _ => format!("{}0", history.prefix).into(),
        },
    }
}

/// The end of the range of all keys that begin with this one.
fn after_all_with(key: &[u8]) -> Vec<u8> {
    let mut end = key.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

/// One of etcd's revisions: mostly of this history, else compacted, to come, negative, or absurd.
fn any_real_revision(history: &History, random: &mut Random) -> i64 {
    let known = &history.revisions;
    match random.below(16) {
        0 => known.first() - 1 - random.below(3) as i64,
        1 => known.last() + 1 + random.below(3) as i64,
        2 => *random.pick(&[-1, i64::MAX, i64::MIN, 1, 99_999_999_999_999]),
        3 => known.oldest() - random.below(3) as i64,
        4 => known.last(),
        _ => known.first() + random.below((known.last() - known.first() + 1) as usize) as i64,
    }
}

/// A revision that includes all up to it: ours may be any number before the next one. Just before the oldest it would
/// not be compacted; etcd has no such number.
fn any_upper(history: &History, random: &mut Random) -> Value {
    let real = any_real_revision(history, random);
    let known = &history.revisions;
    let is_within = real >= known.first() && real < known.last() && real + 1 != known.oldest();
    let room = if is_within { known.ours(real + 1) - known.ours(real) } else { 1 };
    revision(real, known.ours(real) + random.below(room as usize) as i64)
}

/// A revision that includes all from it on: ours may be any number after the one before, if that is known.
fn any_lower(history: &History, random: &mut Random) -> Value {
    let real = any_real_revision(history, random);
    let known = &history.revisions;
    let is_within = real > known.first() && real <= known.last() && real != known.oldest();
    let room = if is_within { known.ours(real) - known.ours(real - 1) } else { 1 };
    revision(real, known.ours(real) - random.below(room as usize) as i64)
}

/// A revision to watch from: ours may be just behind the one before too, but none between, which would be a former life's.
fn any_start(history: &History, random: &mut Random) -> Value {
    let real = any_real_revision(history, random);
    let known = &history.revisions;
    let is_within = real > known.first() && real <= known.last() && real != known.oldest();
    let is_behind = is_within && random.below(2) == 0;
    revision(real, if is_behind { known.ours(real - 1) + 1 } else { known.ours(real) })
}

fn bytes(bytes: &[u8]) -> Value {
    json!(b64(bytes))
}

impl Call {
    /// The message that the real one is sent; null if it is none.
    pub fn message(&self) -> Value {
        match &self.real {
            Request::Message(_, message) => message.clone(),
            Request::Http { body, .. } => {
                let mut values = serde_json::Deserializer::from_slice(body).into_iter();
                values.next().and_then(Result::ok).unwrap_or_default()
            }
        }
    }

    pub fn is(&self, wanted: &Method) -> bool {
        match &self.real {
            Request::Message(method, _) => *method == wanted,
            Request::Http { path, .. } => path.split('?').next() == Some(wanted.path),
        }
    }

    /// Whether this is a Range on one key, with one of these ends.
    pub fn reads(&self, key: &str, ends: &[&str]) -> bool {
        let message = self.message();
        let end = message.get("range_end").or_else(|| message.get("rangeEnd"));
        let ends_so = |end: &Value| ends.iter().any(|it| *end == b64(it));
        self.is(&RANGE) && message["key"] == b64(key) && end.map_or(ends.contains(&""), ends_so)
    }
}
