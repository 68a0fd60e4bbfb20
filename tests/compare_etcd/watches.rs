//! Streams of watches in both, over history and what follows it: each watch is told the same.
//!
//! How events are spread over messages is not compared, and neither are messages of different watches in time.
//!
//! A sweep writes and deletes every key, so that each watch has a last event to wait for.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Sides,
    ask::{Answer, Door, Request, WATCH},
    history::{History, Swept},
    requests::{Call, Side, watch, words_of},
    streams::Stream,
};
use crate::support::{etcd::unb64, mutate::Random};

/// Streams that are open at a time.
const STREAMS: usize = 16;
/// Commits that watches follow at a time, besides those of a sweep.
const FOLLOWED: usize = 8;
/// With fewer a watch of ours might be compacted while it follows.
pub const HISTORY_NEEDED: usize = 4 * (FOLLOWED + 2);

/// The same stream in both.
struct Pair {
    door: Door,
    requests: Vec<Value>,
    ours: Stream,
    real: Stream,
}

pub async fn story(sides: &mut Sides, history: &mut History, random: &mut Random) {
    let swept = history.sweep(random).await;
    history.compact().await;
    let mut pairs = Vec::new();
    for place in 0..STREAMS {
        let door = if place % 2 == 0 { Door::Grpc } else { Door::Json };
        let mut requests = watch::first(history, random);
        if door == Door::Json {
            cut_to_what_is_read(&mut requests);
        }
        let requests = with_barrier(requests, 1);
        let words = |side| requests.iter().map(|request| words_of(request, side)).collect::<Vec<_>>();
        let ours = Stream::open(history.address(), door, &words(Side::Ours)).await;
        let real = Stream::open(sides.real.address(), door, &words(Side::Real)).await;
        pairs.push(Pair { door, requests, ours, real });
    }
    if !go_on(&mut pairs, history, swept, random).await {
        println!("not every watch was told all in time");
    }
    for pair in &pairs {
        pair.judge(sides, history);
    }
}

/// Follows new commits, asks more, and follows again; false as soon as a watch is not told all.
async fn go_on(pairs: &mut [Pair], history: &mut History, mut swept: Swept, random: &mut Random) -> bool {
    if !catch_up(pairs, history, &swept).await {
        return false;
    }
    swept = follow(history, random).await;
    if !catch_up(pairs, history, &swept).await {
        return false;
    }
    history.compact().await;
    for pair in pairs.iter_mut().filter(|pair| pair.ours.takes_more()) {
        let requests = with_barrier(watch::more(history, random), 2);
        let words = |side| requests.iter().map(|request| words_of(request, side)).collect::<Vec<_>>();
        pair.ours.send(&words(Side::Ours));
        pair.real.send(&words(Side::Real));
        pair.requests.extend(requests);
    }
    if !catch_up(pairs, history, &swept).await {
        return false;
    }
    swept = follow(history, random).await;
    catch_up(pairs, history, &swept).await
}

/// Etcd's gateway reads a body by so much at a time, and no more of it once it answers.
fn cut_to_what_is_read(requests: &mut Vec<Value>) {
    const READ_AT_ONCE: usize = 512;
    let barrier = with_barrier(Vec::new(), 1)[0].to_string().len();
    let mut room = READ_AT_ONCE - barrier;
    let fits = |request: &Value| {
        let length = [Side::Ours, Side::Real].map(|side| words_of(request, side).to_string().len());
        room = room.saturating_sub(length[0].max(length[1]));
        room > 0
    };
    let fitting = requests.iter().map(fits).take_while(|fits| *fits).count();
    requests.truncate(fitting);
}

/// A last watch, of nothing: when it is created, all before it has been answered.
fn with_barrier(mut requests: Vec<Value>, number: i64) -> Vec<Value> {
    requests.push(json!({"create_request": {"key": "AA==", "watch_id": 1_000_000 + number}}));
    requests
}

async fn follow(history: &mut History, random: &mut Random) -> Swept {
    for _ in 0..random.below(FOLLOWED) {
        history.commit(random).await;
    }
    history.sweep(random).await
}

/// Waits until every watch in both has been told all up to the end of the sweep.
async fn catch_up(pairs: &mut [Pair], history: &History, swept: &Swept) -> bool {
    let mut came = true;
    for pair in pairs {
        let has_all = |side| {
            let requests: Vec<Value> = pair.requests.iter().map(|request| words_of(request, side)).collect();
            let door = pair.door;
            move |received: &[Value]| Watched::of(&requests, received).has_all(history, swept, side, door)
        };
        let (for_ours, for_real) = (has_all(Side::Ours), has_all(Side::Real));
        let (ours, real) = tokio::join!(pair.ours.read_until(for_ours), pair.real.read_until(for_real));
        came &= ours && real;
    }
    came
}

/// What a stream was told, watch by watch.
struct Watched<'a> {
    /// By id, and by how often the id was given before: the request, and what came.
    watches: BTreeMap<(i64, usize), (Value, Vec<&'a Value>)>,
    /// What came for no watch.
    others: Vec<&'a Value>,
    created: usize,
    requested: usize,
}

impl<'a> Watched<'a> {
    fn of(requests: &[Value], received: &'a [Value]) -> Self {
        let creates: Vec<&Value> =
            requests.iter().filter_map(|request| request.get("create_request")).collect();
        let mut watched =
            Self { watches: BTreeMap::new(), others: Vec::new(), created: 0, requested: creates.len() };
        let mut lives: BTreeMap<i64, usize> = BTreeMap::new();
        for message in received {
            let id = number(message, "watch_id");
            let is_created = message["created"] == true;
            if is_created {
                watched.created += 1;
            }
            if is_created && message["canceled"] != true {
                *lives.entry(id).or_default() += 1;
                let request = creates.get(watched.created - 1).copied().cloned().unwrap_or_default();
                watched.watches.insert((id, lives[&id]), (request, Vec::new()));
            }
            match lives.get(&id).and_then(|&life| watched.watches.get_mut(&(id, life))) {
                Some((_, messages)) if message["canceled"] != true || !is_created => messages.push(message),
                _ => watched.others.push(message),
            }
        }
        watched
    }

    fn has_all(&self, history: &History, swept: &Swept, side: Side, door: Door) -> bool {
        let revision = |messages: &[&Value]| number(&messages[0]["header"], "revision");
        let last = self.watches.values().map(|(_, messages)| revision(messages)).max().unwrap_or_default();
        self.created == self.requested
            && self.watches.values().all(|(request, messages)| {
                // Over JSON ours tells a lower one before a replay; but there all watches are of one time.
                let created = if door == Door::Json { last } else { revision(messages) };
                has_all(request, messages, history, swept, side, created)
            })
    }
}

fn number(value: &Value, name: &str) -> i64 {
    value.get(name).and_then(Value::as_str).map_or(0, |text| text.parse().unwrap())
}

fn has_all(
    request: &Value,
    messages: &[&Value],
    history: &History,
    swept: &Swept,
    side: Side,
    created: i64,
) -> bool {
    if messages.iter().any(|message| message["canceled"] == true) {
        return true;
    }
    let start = match request["start_revision"].as_i64().unwrap_or_default() {
        0 => created + 1,
        start => start,
    };
    let (oldest, put, deleted) = match side {
        Side::Ours => (history.revisions.oldest_of_ours_at(created), swept.put.0, swept.deleted.0),
        Side::Real => (history.revisions.oldest_at(created), swept.put.1, swept.deleted.1),
    };
    if start < oldest || side == Side::Ours && start > created + 1 {
        return false;
    }
    let is_filtered =
        |filter: i64| request["filters"].as_array().is_some_and(|all| all.contains(&json!(filter)));
    let last = match (is_filtered(0), is_filtered(1)) {
        (_, false) => deleted,
        (false, true) => put,
        (true, true) => return true,
    };
    let is_told = |message: &&Value| {
        let events = message["events"].as_array();
        events.is_some_and(|events| events.iter().any(|event| number(&event["kv"], "mod_revision") >= last))
    };
    start > last || !history.has_key(|key| is_within(request, key)) || messages.iter().any(is_told)
}

fn is_within(request: &Value, key: &[u8]) -> bool {
    let (from, to) = (unb64(&request["key"]), unb64(&request["range_end"]));
    match to.as_slice() {
        [] => key == from,
        [0] => key >= from.as_slice(),
        to => key >= from.as_slice() && key < to,
    }
}

impl Pair {
    fn judge(&self, sides: &mut Sides, history: &History) {
        let words = |side| self.requests.iter().map(|request| words_of(request, side)).collect::<Vec<_>>();
        let (our_requests, real_requests) = (words(Side::Ours), words(Side::Real));
        let ours = Watched::of(&our_requests, &self.ours.received);
        let real = Watched::of(&real_requests, &self.real.received);
        let empty = (Value::Null, Vec::new());
        let mut ids: Vec<_> = ours.watches.keys().chain(real.watches.keys()).collect();
        ids.sort();
        ids.dedup();
        for id in ids {
            let ours = ours.watches.get(id).unwrap_or(&empty);
            let real = real.watches.get(id).unwrap_or(&empty);
            let request = |create: &Value| Request::Message(&WATCH, json!({"create_request": create}));
            let call =
                Call { name: "Watch", door: self.door, ours: request(&ours.0), real: request(&real.0) };
            sides.judge(history, &call, told(&ours.1), told(&real.1));
        }
        let request = |requests: &[Value]| Request::Message(&WATCH, json!(requests));
        let call = Call {
            name: "Watch stream",
            door: self.door,
            ours: request(&our_requests),
            real: request(&real_requests),
        };
        sides.judge(history, &call, told(&ours.others), told(&real.others));
    }
}

/// Messages as a list of what they say: events one by one, and what is no event.
fn told(messages: &[&Value]) -> Answer {
    let mut list = Vec::new();
    for message in messages {
        match message["events"].as_array() {
            Some(events) => list.extend(events.iter().map(|event| json!({ "event": event }))),
            None => list.push((*message).clone()),
        }
    }
    Answer { status: 0, kind: String::new(), body: Value::Array(list) }
}
