//! Requests of a stream of watches.

use serde_json::{Value, json};

use super::{Side, any_end, any_key, any_start, bytes, words_of};
use crate::{compare_etcd::history::History, support::mutate::Random};

/// Ids that are small enough to meet those that the server gives.
const IDS: [i64; 7] = [1, 2, 3, 5, 77, -5, i64::MAX];

/// The first requests of a stream: watches above all.
pub fn first(history: &History, random: &mut Random) -> Vec<Value> {
    let mut requests: Vec<Value> = (0..1 + random.below(8)).map(|_| create(history, random)).collect();
    for _ in 0..random.below(3) {
        let at = random.below(requests.len() + 1);
        requests.insert(at, cancel(random));
    }
    requests
}

/// Requests for a stream that has seen all there is.
pub fn more(history: &History, random: &mut Random) -> Vec<Value> {
    let progress = (0..random.below(3)).map(|_| json!({"progress_request": {}}));
    let mut requests: Vec<Value> = progress.collect();
    for _ in 0..1 + random.below(6) {
        requests.push(if random.below(2) == 0 { cancel(random) } else { create(history, random) });
    }
    requests
}

fn cancel(random: &mut Random) -> Value {
    let id = if random.below(2) == 0 { random.below(8) as i64 } else { *random.pick(&IDS) };
    json!({"cancel_request": {"watch_id": id}})
}

fn create(history: &History, random: &mut Random) -> Value {
    let key = any_key(history, random);
    let key = if random.below(20) == 0 { Vec::new() } else { key };
    let mut request = json!({"key": bytes(&key), "range_end": bytes(&any_end(&key, history, random))});
    if random.below(3) == 0 {
        request["watch_id"] = json!(random.pick(&IDS));
    }
    if random.below(2) == 0 {
        let start = any_start(history, random);
        // 3.6 refuses a negative one at once.
        let start = if history.version >= (3, 6) && is_negative(&start) { json!(0) } else { start };
        // A watch that is compacted keeps its id in etcd, but not in ours; so nobody else may want it.
        if !is_replayable(&start, history) {
            request["watch_id"] = json!(1000 + random.below(1_000_000));
        }
        request["start_revision"] = start;
    }
    if random.below(3) == 0 {
        let filters = [&[0][..], &[1], &[0, 1], &[1, 1], &[7], &[0, 7], &[]];
        request["filters"] = json!(random.pick(&filters));
    }
    for name in ["prev_kv", "progress_notify", "fragment"] {
        if random.below(3) == 0 {
            request[name] = json!(true);
        }
    }
    json!({ "create_request": request })
}

fn is_negative(start: &Value) -> bool {
    words_of(start, Side::Real).as_i64().is_some_and(|start| start < 0)
}

fn is_replayable(start: &Value, history: &History) -> bool {
    let real = words_of(start, Side::Real).as_i64().expect("a revision");
    let known = &history.revisions;
    real == 0 || real >= known.oldest() && real <= known.last() + 1
}
