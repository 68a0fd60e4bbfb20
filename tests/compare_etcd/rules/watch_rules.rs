//! What is meant to differ in what a watch is told: a list of events, and of messages without events.

use serde_json::{Value, json};

use super::Exchange;
use crate::{
    compare_etcd::ask::{Door, WATCH},
    support::etcd::b64,
};

/// What both were told, if it is about a watch.
fn lists<'a>(exchange: &'a mut Exchange) -> Option<(&'a mut Vec<Value>, &'a mut Vec<Value>)> {
    if !exchange.call.is(&WATCH) {
        return None;
    }
    Some((exchange.ours.body.as_array_mut()?, exchange.real.body.as_array_mut()?))
}

fn start(exchange: &Exchange) -> i64 {
    exchange.call.message()["create_request"]["start_revision"].as_i64().unwrap_or_default()
}

/// A watch from a revision that is to come is told to reload: a former life of ours was ahead.
pub fn of_the_future(exchange: &mut Exchange) -> bool {
    let start = start(exchange);
    let Some((ours, real)) = lists(exchange) else { return false };
    let [created, canceled] = ours.as_slice() else { return false };
    let now = created["header"]["revision"].as_str().and_then(|text| text.parse().ok()).unwrap_or(i64::MAX);
    let is_reload =
        canceled["canceled"] == true && canceled["compact_revision"] == created["header"]["revision"];
    if real.first() == Some(created) && is_reload && start > now.saturating_add(1) {
        *real = ours.clone();
        return true;
    }
    false
}

/// The end of a watch that is compacted has a revision in its header, as every other message.
pub fn compacted_header(exchange: &mut Exchange) -> bool {
    let Some((ours, real)) = lists(exchange) else { return false };
    let mut explained = false;
    for (ours, real) in ours.iter_mut().zip(real) {
        let is_end = real["canceled"] == true && real.get("compact_revision").is_some();
        let has_none = real["header"].as_object().is_some_and(serde_json::Map::is_empty);
        if is_end && has_none && ours["header"]["revision"].is_string() {
            ours["header"] = real["header"].clone();
            explained = true;
        }
    }
    explained
}

/// Over JSON, where each message must have a higher revision, `created` has one below those of the replay.
pub fn created_header(exchange: &mut Exchange) -> bool {
    let (start, door) = (start(exchange), exchange.call.door);
    let Some((ours, real)) = lists(exchange) else { return false };
    let (Some(ours), Some(real)) = (ours.first_mut(), real.first()) else { return false };
    let (revision, now) = (&ours["header"]["revision"], &real["header"]["revision"]);
    let number = |value: &Value| value.as_str().and_then(|text| text.parse::<i64>().ok());
    let before = revision.as_str().and_then(|text| text.strip_prefix("ours:"));
    let is_lower = match before {
        // No commit of ours has it: it is the one before the start, or one that was told before.
        Some(before) => before.parse::<i64>().is_ok_and(|before| before > 0),
        None => number(revision) < number(now),
    };
    let is_created = ours["created"] == true && real["created"] == true;
    if door == Door::Json && start > 0 && is_created && is_lower {
        ours["header"] = real["header"].clone();
        return true;
    }
    false
}

/// Over JSON the revision to go on from is the present one: APISIX loads anew, and then watches from it.
pub fn compact_revision(exchange: &mut Exchange) -> bool {
    let door = exchange.call.door;
    let Some((ours, real)) = lists(exchange) else { return false };
    let (Some(ours), Some(real)) = (ours.get_mut(1), real.get(1)) else { return false };
    let is_present = ours.get("compact_revision").is_some_and(|it| *it == ours["header"]["revision"]);
    if door == Door::Json && is_present && real.get("compact_revision").is_some() {
        ours["compact_revision"] = real["compact_revision"].clone();
        return true;
    }
    false
}

/// A watch that was compacted is gone, and its id is free; etcd takes one cancel more.
pub fn cancelled_again(exchange: &mut Exchange) -> bool {
    let Some((ours, real)) = lists(exchange) else { return false };
    let is_end = |message: &Value| message["canceled"] == true;
    if let [.., compacted, again] = real.as_slice()
        && is_end(compacted)
        && compacted.get("compact_revision").is_some()
        && is_end(again)
        && ours.len() + 1 == real.len()
    {
        real.pop();
        return true;
    }
    false
}

/// The markers were never written, so there are no events of them.
pub fn marker_events(exchange: &mut Exchange) -> bool {
    let first = json!(exchange.history.revisions.first().to_string());
    let Some((_, real)) = lists(exchange) else { return false };
    let before = real.len();
    real.retain(|told| {
        let kv = &told["event"]["kv"];
        kv["value"] != b64("init_dir") || kv["mod_revision"] != first || kv["create_revision"] != first
    });
    real.len() < before
}

fn was_oldest(exchange: &Exchange) -> impl Fn(&Value) -> bool + use<> {
    let known = exchange.history.revisions.clone();
    move |told| {
        let revision = told["event"]["kv"]["mod_revision"].as_str().and_then(|text| text.parse().ok());
        revision.is_some_and(|revision| known.was_oldest(revision))
    }
}

/// The oldest commit is replayed whole; etcd's compaction drops its deletes.
pub fn oldest_deletes(exchange: &mut Exchange) -> bool {
    let was_oldest = was_oldest(exchange);
    let Some((ours, real)) = lists(exchange) else { return false };
    let before = ours.len();
    ours.retain(|told| told["event"]["type"] != "DELETE" || !was_oldest(told) || real.contains(told));
    ours.len() < before
}

/// The oldest commit still knows what it replaced.
pub fn oldest_prev_kv(exchange: &mut Exchange) -> bool {
    let was_oldest = was_oldest(exchange);
    let Some((ours, real)) = lists(exchange) else { return false };
    let mut explained = false;
    for (ours, real) in ours.iter_mut().zip(real) {
        if was_oldest(ours) && real["event"].get("prev_kv").is_none() {
            let event = ours["event"].as_object_mut().expect("an event");
            explained |= event.remove("prev_kv").is_some();
        }
    }
    explained
}

/// How far a replay came before its client cancelled it is a matter of time.
pub fn cut_by_cancel(exchange: &mut Exchange) -> bool {
    let start = start(exchange);
    let Some((ours, real)) = lists(exchange) else { return false };
    let (Some((our_end, our_events)), Some((real_end, real_events))) = (ours.split_last(), real.split_last())
    else {
        return false;
    };
    let is_cancel =
        our_end == real_end && our_end["canceled"] == true && our_end.get("compact_revision").is_none();
    let is_prefix = our_events.starts_with(real_events) || real_events.starts_with(our_events);
    if start != 0 && is_cancel && is_prefix {
        *ours = real.clone();
        return true;
    }
    false
}

/// Progress that is asked for is told in turn, and as soon as all watches have seen all; since 3.5 etcd tells it at any
/// time, and forgets to if a watch has not seen all at that moment, or was compacted.
pub fn progress(exchange: &mut Exchange) -> bool {
    let is_another = exchange.history.version >= (3, 5);
    let Some((ours, real)) = lists(exchange) else { return false };
    let is_progress = |told: &Value| told["watch_id"] == "-1" && told.get("created").is_none();
    let count = |told: &[Value]| told.iter().filter(|told| is_progress(told)).count();
    if !is_another || count(ours) == 0 || count(ours) < count(real) {
        return false;
    }
    ours.retain(|told| !is_progress(told));
    real.retain(|told| !is_progress(told));
    true
}
