//! The store against the simplest model there is: one whole map for each revision.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicI64, Ordering},
};

use proptest::prelude::*;

use super::*;
use crate::apisix::Directory;

fn key(directory: Directory, id: impl std::fmt::Display) -> Key {
    Key::new(directory, &id.to_string())
}

fn put(key: Key, value: &str) -> Delta {
    Delta { puts: vec![(key, Bytes::copy_from_slice(value.as_bytes()))], deletes: vec![] }
}

fn any_key() -> impl Strategy<Value = Key> {
    (prop_oneof![Just(Directory::Upstreams), Just(Directory::Routes)], 0..6u8).prop_map(|(d, id)| key(d, id))
}

fn any_delta() -> impl Strategy<Value = Delta> {
    let put = (any_key(), 0..3u8).prop_map(|(key, value)| (key, Bytes::from(value.to_string())));
    (prop::collection::vec(put, 0..4), prop::collection::vec(any_key(), 0..3))
        .prop_map(|(puts, deletes)| Delta { puts, deletes })
}

type Model = BTreeMap<Key, Bytes>;

fn values(snapshot: &Snapshot) -> Model {
    snapshot.objects_from("").map(|(key, kv)| (key.clone(), kv.value.clone())).collect()
}

fn apply(model: &mut Model, delta: &Delta) {
    model.extend(delta.puts.iter().cloned());
    for key in &delta.deletes {
        model.remove(key);
    }
}

fn fold(model: &mut Model, commit: &Commit) {
    for event in &commit.events {
        match &event.current {
            Some(kv) => model.insert(event.key.clone(), kv.value.clone()),
            None => model.remove(&event.key),
        };
    }
}

proptest! {
    #[test]
    fn every_read_agrees_with_a_naive_model(
        deltas in prop::collection::vec(any_delta(), 1..40),
        ticks in prop::collection::vec(-3..5i64, 40),
        max_commits in 1..12usize,
    ) {
        let now = Arc::new(AtomicI64::new(1_700_000_000_000));
        let clock = now.clone();
        let options = Options { max_commits, ..Options::default() };
        let store = Store::with_clock(options, move || clock.load(Ordering::Relaxed));
        let mut model = Model::new();
        let mut past: BTreeMap<Revision, Model> = BTreeMap::new();

        for (delta, tick) in deltas.iter().zip(ticks) {
            now.fetch_add(tick, Ordering::Relaxed);
            let (before, last) = (model.clone(), store.snapshot().revision());
            apply(&mut model, delta);
            match store.commit(delta) {
                Some(commit) => {
                    prop_assert!(commit.revision > last);
                    prop_assert!(commit.revision >= now.load(Ordering::Relaxed));
                    past.insert(commit.revision, model.clone());
                }
                None => prop_assert!(last > 0 && before == model),
            }
        }

        let snapshot = store.snapshot();
        prop_assert_eq!(values(&snapshot), model.clone());
        let bytes = |model: &Model| -> usize {
            model.iter().map(|(key, value)| key.as_str().len() + value.len()).sum()
        };
        prop_assert_eq!(snapshot.bytes(), bytes(&model));
        for (key, value) in &model {
            let kv = snapshot.get(key.as_str()).unwrap();
            prop_assert_eq!(&kv.value, value);
            prop_assert!(kv.create_revision <= kv.mod_revision && kv.mod_revision <= snapshot.revision());
        }
        let oldest = snapshot.oldest_revision();
        for (&revision, then) in &past {
            if revision < oldest {
                prop_assert_eq!(snapshot.at(revision).err(), Some(Compacted { oldest }));
                continue;
            }
            prop_assert_eq!(&values(&snapshot.at(revision).unwrap()), then);
            let mut replayed = then.clone();
            for commit in snapshot.commits_since(revision).unwrap() {
                fold(&mut replayed, commit);
            }
            prop_assert_eq!(&replayed, &model);
        }
        prop_assert_eq!(past.range(oldest..).count(), past.len().min(max_commits));
    }
}

#[test]
fn the_same_bytes_again_are_no_commit() {
    let store = Store::new(Options::default());
    let delta = put(key(Directory::Routes, 1), "{}");
    let first = store.commit(&delta).unwrap();
    assert_eq!(store.commit(&delta), None);
    assert_eq!(store.snapshot().revision(), first.revision);
}

/// The first load of a large mesh alone is more than the bounds: who has it can still go on from it.
#[test]
fn what_is_dropped_is_not_missed_by_who_has_seen_it() {
    let now = Arc::new(AtomicI64::new(1_700_000_000_000));
    let clock = now.clone();
    let options = Options { max_bytes: 1000, ..Options::default() };
    let store = Store::with_clock(options, move || clock.load(Ordering::Relaxed));
    let large = store.commit(&put(key(Directory::Routes, 1), &"x".repeat(2000))).unwrap().revision;
    assert_eq!(store.snapshot().commits_from(large).unwrap().count(), 1);

    now.fetch_add(1000, Ordering::Relaxed);
    let next = store.commit(&put(key(Directory::Routes, 2), "{}")).unwrap().revision;
    let snapshot = store.snapshot();
    assert_eq!(snapshot.oldest_revision(), next);
    assert_eq!(snapshot.commits_since(large).unwrap().count(), 1);
    assert_eq!(snapshot.at(large + 1).unwrap().len(), 1);
    assert!(snapshot.commits_from(large).is_err() && snapshot.at(large).is_err());
}

#[test]
fn history_is_bounded_by_age() {
    let now = Arc::new(AtomicI64::new(1_700_000_000_000));
    let clock = now.clone();
    let options = Options { max_age: Duration::from_secs(60), ..Options::default() };
    let store = Store::with_clock(options, move || clock.load(Ordering::Relaxed));
    let commit = |value: &str| store.commit(&put(key(Directory::Routes, 1), value)).unwrap().revision;
    let (first, second) = (commit("1"), commit("2"));
    now.fetch_add(60_000, Ordering::Relaxed);
    commit("3");
    assert_eq!(store.snapshot().oldest_revision(), first);
    now.fetch_add(1, Ordering::Relaxed);
    commit("4");
    assert_eq!(store.snapshot().oldest_revision(), second);
}

#[test]
fn an_empty_first_commit_makes_the_store_ready() {
    let store = Store::new(Options::default());
    assert!(!store.snapshot().is_ready());
    let first = store.commit(&Delta::default()).unwrap();
    assert!(store.snapshot().is_ready());
    assert_eq!(
        (store.snapshot().first_revision(), store.snapshot().revision()),
        (first.revision, first.revision)
    );
    assert_eq!(store.commit(&Delta::default()), None);
}

#[test]
fn events_make_before_they_break() {
    let (route, upstream) = (|id| key(Directory::Routes, id), |id| key(Directory::Upstreams, id));
    let store = Store::new(Options::default());
    store.commit(&Delta {
        puts: vec![(route("old"), "1".into()), (upstream("old"), "1".into())],
        deletes: vec![],
    });
    let commit = store
        .commit(&Delta {
            puts: vec![(route("new"), "1".into()), (upstream("new"), "1".into())],
            deletes: vec![upstream("old"), route("old")],
        })
        .unwrap();
    let keys: Vec<&str> = commit.events.iter().map(|event| event.key.as_str()).collect();
    assert_eq!(keys, ["/upstreams/new", "/routes/new", "/routes/old", "/upstreams/old"]);
}

#[test]
fn a_new_life_leaves_a_gap_above_the_former_one() {
    let store = Store::with_clock(Options { after: 1000, ..Options::default() }, || 7);
    assert_eq!(store.commit(&Delta::default()).unwrap().revision, 1002);
}

#[test]
fn a_mad_clock_keeps_revisions_exact_in_lua() {
    let store = Store::with_clock(Options::default(), || i64::MAX);
    assert!(store.commit(&Delta::default()).unwrap().revision < 100_000_000_000_000);
    let store = Store::with_clock(Options::default(), || i64::MIN);
    assert!(store.commit(&Delta::default()).unwrap().revision > 0);
}

#[test]
fn history_is_bounded_by_bytes_but_keeps_the_last_commit() {
    let store = Store::new(Options { max_bytes: 1000, ..Options::default() });
    let big = "x".repeat(10_000);
    for round in 0..5 {
        store.commit(&put(key(Directory::Routes, round), &big)).unwrap();
    }
    let snapshot = store.snapshot();
    assert_eq!(snapshot.oldest_revision(), snapshot.revision());
    assert_eq!(snapshot.commits_from(snapshot.revision()).unwrap().count(), 1);
}

#[test]
fn a_snapshot_does_not_change_under_its_reader() {
    let store = Store::new(Options::default());
    store.commit(&put(key(Directory::Routes, 1), "old")).unwrap();
    let held = store.snapshot();
    store.commit(&put(key(Directory::Routes, 1), "new")).unwrap();
    assert_eq!(held.get("/routes/1").unwrap().value, "old");
}

#[tokio::test]
async fn readiness_comes_with_the_first_commit() {
    let store = Arc::new(Store::new(Options::default()));
    let waiter = tokio::spawn({
        let store = store.clone();
        async move { store.ready().await }
    });
    tokio::task::yield_now().await;
    assert!(!waiter.is_finished());
    store.commit(&Delta::default());
    waiter.await.unwrap();
}

#[test]
fn a_store_takes_over_what_a_former_one_held() {
    let former = Store::new(Options::default());
    former.commit(&put(key(Directory::Routes, 1), "a"));
    former.commit(&put(key(Directory::Routes, 2), "b"));
    let before = former.snapshot();
    let objects: Vec<_> = before.objects_from("").map(|(key, kv)| (key.clone(), kv.clone())).collect();
    let life = Life { first: before.first_revision(), revision: before.revision(), objects: objects.clone() };
    let store = Store::new(Options { max_commits: 2, ..Options::default() });
    store.reset(life);

    let snapshot = store.snapshot();
    assert!(snapshot.is_ready());
    assert_eq!((snapshot.revision(), *store.revisions().borrow()), (before.revision(), before.revision()));
    assert!(snapshot.objects_from("").eq(objects.iter().map(|(key, kv)| (key, kv))));
    // What the last revision of the former life changed is not known any more.
    assert!(snapshot.commits_from(before.revision()).is_err());
    assert_eq!(snapshot.commits_since(before.revision()).unwrap().count(), 0);

    for n in [1, 2] {
        store.commit(&put(key(Directory::Routes, 2), &n.to_string()));
        assert!(store.snapshot().oldest_revision() > before.revision());
        assert_eq!(store.snapshot().commits_since(before.revision()).unwrap().count(), n);
    }
    store.commit(&put(key(Directory::Routes, 2), "3"));
    assert!(store.snapshot().oldest_revision() > before.revision() + 1);
    assert!(store.snapshot().commits_since(before.revision()).is_err());
    assert_eq!(store.snapshot().get("/routes/1"), before.get("/routes/1"));
}
