//! The differences that are meant. Each is one row here and one in `docs/etcd.md`.
//!
//! A rule takes away the difference that it explains and nothing else, and says whether there was one. What is left
//! unequal after all of them is a difference that nobody meant.

use serde_json::{Value, json};

use super::{ask::Answer, history::History, requests::Call};

/// One request, what both said to it, and where it was asked.
pub struct Exchange<'a> {
    pub call: &'a Call,
    pub history: &'a History,
    /// The version of the real one: 3.4 is `(3, 4)`.
    pub version: (u32, u32),
    pub ours: Answer,
    pub real: Answer,
}

/// A difference that is meant.
pub struct Rule {
    /// Its name here and in `docs/etcd.md`.
    pub name: &'static str,
    explain: fn(&mut Exchange) -> bool,
}

pub const RULES: &[Rule] = &[
    Rule { name: "root-revision", explain: root_revision },
    Rule { name: "unknown-sort", explain: unknown_sort },
    Rule { name: "ties", explain: ties },
];

/// The names of the rules without which the answers would not be equal, if they are with them.
pub fn explain(exchange: &mut Exchange) -> Option<Vec<&'static str>> {
    let mut used = Vec::new();
    for rule in RULES {
        if exchange.ours == exchange.real {
            break;
        }
        if (rule.explain)(exchange) {
            used.push(rule.name);
        }
    }
    (exchange.ours == exchange.real).then_some(used)
}

/// `<prefix>/` alone is answered with the oldest revision that can be replayed from.
fn root_revision(exchange: &mut Exchange) -> bool {
    let known = &exchange.history.revisions;
    let oldest = (known.oldest_of_ours() - 1).max(known.first_of_ours());
    let written = known.real(oldest).map_or_else(|| format!("ours:{oldest}"), |real| real.to_string());
    let header = &mut exchange.ours.body["header"]["revision"];
    let is_root = exchange.call.asks_for_root(exchange.history.prefix);
    if is_root && *header == json!(written) {
        *header = exchange.real.body["header"]["revision"].clone();
        return true;
    }
    false
}

/// An order that there is not is refused, as by 3.6; before that it meant no order at all.
fn unknown_sort(exchange: &mut Exchange) -> bool {
    let is_refused = exchange.ours.body["message"] == "etcdserver: invalid sort option";
    if exchange.version < (3, 6) && is_refused && has_unknown_sort(&exchange.call.real) {
        exchange.ours = exchange.real.clone();
        return true;
    }
    false
}

fn has_unknown_sort(request: &Value) -> bool {
    match request {
        Value::Object(members) => members.iter().any(|(name, value)| {
            let is_order = ["sort_order", "sortOrder"].contains(&name.as_str());
            let is_target = ["sort_target", "sortTarget"].contains(&name.as_str());
            let number = value.as_i64().unwrap_or_default();
            is_order && !(0..3).contains(&number)
                || is_target && !(0..5).contains(&number)
                || has_unknown_sort(value)
        }),
        Value::Array(items) => items.iter().any(has_unknown_sort),
        _ => false,
    }
}

/// Etcd's sort leaves open how more than twelve keys are ordered that are equal in what they are sorted by.
fn ties(exchange: &mut Exchange) -> bool {
    reorder_ties(&mut exchange.ours.body, &exchange.real.body)
}

fn reorder_ties(ours: &mut Value, real: &Value) -> bool {
    match (ours, real) {
        (Value::Object(ours), Value::Object(real)) => {
            let is_cut = ours.contains_key("more");
            let mut reordered = false;
            for (name, ours) in ours {
                let Some(real) = real.get(name) else { continue };
                match (&*ours, real) {
                    (Value::Array(our_kvs), Value::Array(real_kvs)) if name == "kvs" => {
                        if our_kvs != real_kvs && are_ties(our_kvs, real_kvs, is_cut) {
                            *ours = real.clone();
                            reordered = true;
                        }
                    }
                    _ => reordered |= reorder_ties(ours, real),
                }
            }
            reordered
        }
        (Value::Array(ours), Value::Array(real)) => ours
            .iter_mut()
            .zip(real)
            .fold(false, |reordered, (ours, real)| reorder_ties(ours, real) | reordered),
        _ => false,
    }
}

/// The same keys, but for the order of those that are equal in one column, and which of these a limit cuts off.
fn are_ties(ours: &[Value], real: &[Value], is_cut: bool) -> bool {
    ["version", "create_revision", "mod_revision", "value"].iter().any(|column| {
        let same_column = ours.iter().map(|kv| &kv[column]).eq(real.iter().map(|kv| &kv[column]));
        let is_in_last_group = |kv: &Value| is_cut && kv[column] == real[real.len() - 1][column];
        let settled = |kvs: &[Value]| {
            let mut settled: Vec<String> =
                kvs.iter().filter(|kv| !is_in_last_group(kv)).map(Value::to_string).collect();
            settled.sort();
            settled
        };
        same_column && settled(ours) == settled(real)
    })
}
