//! Writes. Etcd would perform those that are well-formed, so they come last in a history.

use serde_json::{Value, json};

use super::{any_end, any_key, bytes, txn};
use crate::{
    compare_etcd::{
        ask::{COMPACT, DELETE_RANGE, Method, PUT, TXN},
        history::History,
    },
    support::{etcd::b64, mutate::Random},
};

pub fn any(history: &History, random: &mut Random) -> (&'static Method, Value) {
    match random.below(8) {
        0..2 => (&PUT, put(history, random)),
        2 => (&DELETE_RANGE, delete(history, random)),
        3 => (&COMPACT, json!({"revision": random.below(3), "physical": false})),
        _ => (&TXN, txn_with_writes(history, random, 2)),
    }
}

fn key(history: &History, random: &mut Random) -> Vec<u8> {
    match random.below(8) {
        0 => Vec::new(),
        1 => format!("{}/gen_id", history.prefix).into(),
        2 => format!("{}/data_plane/server_info/x", history.prefix).into(),
        3 => history.marker(random),
        // Few keys, so that they meet.
        4..7 => random.pick(&[&b"a"[..], b"b", b"b\0", b"c"]).to_vec(),
        _ => any_key(history, random),
    }
}

fn put(history: &History, random: &mut Random) -> Value {
    let value = *random.pick(&["", "init_dir", "{}"]);
    let mut put = json!({"key": bytes(&key(history, random)), "value": b64(value)});
    if random.below(6) == 0 {
        put["lease"] = json!(random.below(2));
    }
    for name in ["prev_kv", "ignore_value", "ignore_lease"] {
        if random.below(6) == 0 {
            put[name] = json!(true);
        }
    }
    put
}

/// A put that finds out only when it is made that there is nothing to keep, since what is before it in its transaction
/// deletes that, ends etcd 3.4 in a panic. So one that keeps something has a reason to be refused at once.
fn put_in_txn(history: &History, random: &mut Random) -> Value {
    let mut put = put(history, random);
    if put["value"] == "" {
        put["ignore_value"] = json!(false);
    }
    if put["lease"].as_i64().unwrap_or_default() == 0 {
        put["ignore_lease"] = json!(false);
    }
    put
}

fn delete(history: &History, random: &mut Random) -> Value {
    let key = key(history, random);
    let end = match random.below(4) {
        0 => any_end(&key, history, random),
        1 => random.pick(&[&b"a"[..], b"b", b"c", b"\0", b"d"]).to_vec(),
        _ => Vec::new(),
    };
    json!({"key": bytes(&key), "range_end": bytes(&end), "prev_kv": random.below(2) == 0})
}

fn txn_with_writes(history: &History, random: &mut Random, depth: usize) -> Value {
    let mut txn = txn::any(history, random);
    for branch in ["success", "failure"] {
        let count = if random.below(60) == 0 { 120 + random.below(12) } else { random.below(4) };
        let operations = (0..count).map(|_| operation(history, random, depth));
        txn[branch] = operations.collect();
    }
    let success = txn["success"].as_array_mut().expect("a list");
    success.push(json!({"request_put": put_in_txn(history, random)}));
    txn
}

fn operation(history: &History, random: &mut Random, depth: usize) -> Value {
    match random.below(12) {
        0..5 => json!({"request_put": put_in_txn(history, random)}),
        5..8 => json!({"request_delete_range": delete(history, random)}),
        8..10 if depth > 0 => json!({"request_txn": txn_with_writes(history, random, depth - 1)}),
        10 if random.below(8) == 0 => json!({}),
        _ => json!({"request_range": {"key": bytes(&key(history, random))}}),
    }
}
