//! Transactions that only read: comparisons of every kind, and ranges in both branches, nested now and then.

use serde_json::{Value, json};

use super::{any_end, any_key, any_real_revision, bytes, range, revision};
use crate::{
    compare_etcd::history::History,
    support::{etcd::b64, mutate::Random},
};

pub fn any(history: &History, random: &mut Random) -> Value {
    nested(history, random, 2)
}

fn nested(history: &History, random: &mut Random, depth: usize) -> Value {
    let compares: Vec<Value> = (0..random.below(3)).map(|_| any_compare(history, random)).collect();
    let success = operations(history, random, depth);
    let failure = operations(history, random, depth);
    json!({"compare": compares, "success": success, "failure": failure})
}

fn operations(history: &History, random: &mut Random, depth: usize) -> Vec<Value> {
    let count = [0, 1, 1, 2, 3][random.below(5)];
    let mut operation = || match random.below(6) {
        0 if depth > 0 => json!({"request_txn": nested(history, random, depth - 1)}),
        _ => json!({"request_range": range::any(history, random)}),
    };
    (0..count).map(|_| operation()).collect()
}

fn any_compare(history: &History, random: &mut Random) -> Value {
    let key = any_key(history, random);
    let mut compare = json!({"key": bytes(&key), "result": random.below(4)});
    if random.below(2) == 0 {
        compare["range_end"] = bytes(&any_end(&key, history, random));
    }
    if random.below(20) == 0 {
        compare["result"] = json!(*random.pick(&[4, -1]));
    }
    let (target, field, value) = match random.below(5) {
        0 => (0, "version", json!(random.below(4))),
        1 => (1, "create_revision", any_exact(history, random)),
        2 => (2, "mod_revision", any_exact(history, random)),
        3 => (3, "value", json!(b64(random.pick(&["", "init_dir", "{\"n\":1}", "{\"n\":3}", "x"])))),
        _ => (4, "lease", json!(random.below(2))),
    };
    compare["target"] = json!(target);
    match random.below(20) {
        0 => compare["target"] = json!(*random.pick(&[0, 1, 2, 3, 4, 5, -1])),
        1 => {}
        _ => compare[field] = value,
    }
    compare
}

fn any_exact(history: &History, random: &mut Random) -> Value {
    let real = if random.below(4) == 0 { 0 } else { any_real_revision(history, random) };
    revision(real, history.revisions.ours(real))
}
