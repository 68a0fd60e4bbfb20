//! What a delta really changes.
//!
//! In: a delta and what is held. Out: one event for each key whose bytes change, make before break. Never here: a
//! rewrite of the same bytes, which would make APISIX rebuild its routes for nothing (apisix#9157).

use std::{cmp::Reverse, collections::BTreeMap};

use bytes::Bytes;

use super::{Delta, Event, KeyValue, Revision, Snapshot};
use crate::apisix::Key;

pub(super) fn events(held: &Snapshot, delta: &Delta, revision: Revision) -> Vec<Event> {
    let mut targets: BTreeMap<&Key, Option<&Bytes>> = BTreeMap::new();
    targets.extend(delta.puts.iter().map(|(key, value)| (key, Some(value))));
    targets.extend(delta.deletes.iter().map(|key| (key, None)));

    let mut events: Vec<Event> = targets
        .into_iter()
        .filter_map(|(key, value)| change(held.get(key.as_str()), key, value, revision))
        .collect();
    make_before_break(&mut events);
    events
}

fn change(held: Option<&KeyValue>, key: &Key, value: Option<&Bytes>, revision: Revision) -> Option<Event> {
    if held.map(|kv| &kv.value) == value {
        return None;
    }
    let current = value.map(|value| KeyValue {
        value: value.clone(),
        create_revision: held.map_or(revision, |kv| kv.create_revision),
        mod_revision: revision,
        version: held.map_or(1, |kv| kv.version + 1),
    });
    Some(Event { key: key.clone(), current, previous: held.cloned() })
}

/// The sort is stable: within a directory the order stays bytewise by key.
fn make_before_break(events: &mut [Event]) {
    events.sort_by_key(|event| {
        let directory = event.key.directory();
        match event.current {
            Some(_) => (false, Some(directory), None),
            None => (true, None, Some(Reverse(directory))),
        }
    });
}
