//! Whatever happens to the file: what is served is what was there at some commit, or nothing.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    apisix::{Directory, Key},
    store::{Delta, Options},
};

const PATIENCE: Duration = Duration::from_secs(60);

fn delta(puts: &[(u8, u8)], deletes: &[u8]) -> Delta {
    let key = |id: &u8| Key::new(Directory::Routes, &id.to_string());
    let puts = puts.iter().map(|(id, value)| (key(id), Bytes::from(format!("{{\"v\":{value}}}")))).collect();
    Delta { puts, deletes: deletes.iter().map(key).collect() }
}

fn life(snapshot: &Snapshot) -> Life {
    let objects = snapshot.objects_from("").map(|(key, kv)| (key.clone(), kv.clone())).collect();
    Life { first: snapshot.first_revision(), revision: snapshot.revision(), objects }
}

/// Runs `work` while the state is saved.
fn while_saving(state: &State, store: &Arc<Store>, work: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        tokio::select! {
            () = state.clone().save(store.clone()) => panic!("saving ended"),
            done = tokio::time::timeout(PATIENCE, work()) => done.unwrap(),
        }
    });
}

async fn until_saved(state: &State, store: &Store) {
    let path = state.directory.join(LOG);
    let expected = life(&store.snapshot());
    while file::read(&path, &state.origin).ok().flatten().map(|read| read.life).as_ref() != Some(&expected) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A directory that is gone at the end of the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("apisix-mesh-state-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    fn state(&self) -> State {
        State::new(&self.0, "grpc://a:1")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A log of one record for each delta after the first.
fn log(deltas: &[Delta]) -> (Vec<u8>, Vec<Life>, Vec<usize>) {
    let store = Store::new(Options::default());
    let mut bytes = Vec::new();
    let (mut lives, mut ends) = (Vec::new(), Vec::new());
    for delta in deltas {
        let Some(commit) = store.commit(delta) else { continue };
        let record = match lives.len() {
            0 => Record::of_snapshot(&store.snapshot(), String::new()),
            _ => Record::of_commit(&commit),
        };
        bytes.extend(record.encode());
        lives.push(life(&store.snapshot()));
        ends.push(bytes.len());
    }
    (bytes, lives, ends)
}

fn read_back(bytes: Vec<u8>) -> Option<Life> {
    let mut bytes = Bytes::from(bytes);
    let first = Record::decode(&mut bytes)?;
    Some(record::life(first, std::iter::from_fn(|| Record::decode(&mut bytes))))
}

proptest! {
    #[test]
    fn a_log_cut_or_damaged_anywhere_gives_a_state_that_was(
        changes in prop::collection::vec((prop::collection::vec((0..5u8, 0..3u8), 1..4), prop::collection::vec(0..5u8, 0..2)), 1..12),
        at in any::<prop::sample::Index>(),
        flip in prop::option::of(0..8u32),
    ) {
        let deltas: Vec<_> = changes.iter().map(|(puts, deletes)| delta(puts, deletes)).collect();
        let (mut bytes, lives, ends) = log(&deltas);
        prop_assert_eq!(read_back(bytes.clone()), lives.last().cloned());
        let at = at.index(bytes.len());
        match flip {
            Some(bit) => bytes[at] ^= 1 << bit,
            None => bytes.truncate(at),
        }
        let whole = ends.iter().filter(|end| **end <= at).count();
        let expected = whole.checked_sub(1).map(|last| lives[last].clone());
        prop_assert_eq!(read_back(bytes), expected);
    }
}

#[test]
fn what_was_committed_is_restored_with_its_revisions() {
    let scratch = Scratch::new("restore");
    let state = scratch.state();
    assert_eq!(state.restore(), (None, Found::Nothing));
    let store = Arc::new(Store::new(Options::default()));
    store.commit(&delta(&[(1, 1), (2, 1)], &[]));
    while_saving(&state, &store, async || {
        until_saved(&state, &store).await;
        store.commit(&delta(&[(1, 2), (3, 1)], &[2]));
        until_saved(&state, &store).await;
    });
    let (restored, found) = state.restore();
    let restored = restored.unwrap();
    assert_eq!(restored, life(&store.snapshot()));
    assert_eq!(found, Found::Restored { revision: restored.revision });

    let next = Store::taking_over(restored, Options::default());
    assert!(next.commit_all(delta(&[(1, 2), (3, 1)], &[])).is_none(), "nothing changed");
    let commit = next.commit_all(delta(&[(3, 1), (4, 1)], &[])).unwrap();
    assert!(commit.revision > store.snapshot().revision());
    let keys: Vec<_> = commit.events.iter().map(|e| (e.key.id(), e.current.is_some())).collect();
    assert_eq!(keys, [("4", true), ("1", false)]);
    let kept = |store: &Store| store.snapshot().get("/routes/3").cloned();
    assert_eq!(kept(&next), kept(&store));
}

#[test]
fn a_log_that_grew_is_written_anew() {
    let scratch = Scratch::new("grown");
    let state = scratch.state();
    let store = Arc::new(Store::new(Options::default()));
    let value = |n: usize| Bytes::from(format!("\"{n}{}\"", "x".repeat(100_000)));
    let put = |n| Delta { puts: vec![(Key::new(Directory::Routes, "1"), value(n))], deletes: Vec::new() };
    store.commit(&put(0));
    while_saving(&state, &store, async || {
        for n in 1..40 {
            store.commit(&put(n));
            until_saved(&state, &store).await;
            assert!(std::fs::metadata(scratch.0.join(LOG)).unwrap().len() < 1_400_000);
        }
    });
}

type Damage = fn(&mut Vec<u8>);

#[test]
fn what_cannot_be_served_is_set_aside() {
    let scratch = Scratch::new("aside");
    let state = scratch.state();
    let store = Store::new(Options::default());
    store.commit(&delta(&[(1, 1)], &[]));
    let path = scratch.0.join(LOG);
    file::make_directory(&scratch.0).unwrap();
    let good = || {
        Log::begin(&path, &Record::of_snapshot(&store.snapshot(), state.origin.clone())).unwrap();
        std::fs::read(&path).unwrap()
    };
    let cases: [(&str, Damage); 5] = [
        ("not a file of this library", |bytes| bytes.clear()),
        ("not a file of this library", |bytes| bytes[0] = b'A'),
        ("in format 2, this version reads 1", |bytes| bytes[20] = 2),
        ("damaged at its beginning", |bytes| bytes[30] ^= 1),
        ("damaged at its beginning", |bytes| bytes.truncate(21)),
    ];
    for (problem, damage) in cases {
        let mut bytes = good();
        damage(&mut bytes);
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(state.restore(), (None, Found::SetAside(problem.to_owned())));
        assert_eq!(std::fs::read(scratch.0.join(SET_ASIDE)).unwrap(), bytes);
        assert_eq!(state.restore(), (None, Found::Nothing));
    }
    good();
    let (restored, found) = State::new(&scratch.0, "grpc://b:1").restore();
    let problem = r#"made from "grpc://a:1", these settings say "grpc://b:1""#;
    assert_eq!((restored, found), (None, Found::SetAside(problem.to_owned())));
}

#[test]
fn one_process_writes_at_a_time() {
    let scratch = Scratch::new("lock");
    let state = scratch.state();
    let store = Arc::new(Store::new(Options::default()));
    store.commit(&delta(&[(1, 1)], &[]));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let held = runtime.block_on(state.lock()).unwrap();
    while_saving(&state, &store, async || {
        tokio::time::sleep(LOCK_POLL * 3).await;
        assert!(!scratch.0.join(LOG).exists());
        drop(held);
        until_saved(&state, &store).await;
    });
}

#[test]
fn a_follower_sees_each_write_and_each_new_log_and_each_new_host() {
    let scratch = Scratch::new("follow");
    let state = scratch.state();
    let follower = Follower::new(state.clone()).unwrap();
    assert!(!follower.snapshot().is_ready());
    let value = |n: usize| Bytes::from(format!("\"{n}{}\"", "x".repeat(300_000)));
    let put = |n| Delta { puts: vec![(Key::new(Directory::Routes, "1"), value(n))], deletes: Vec::new() };
    let mut seen = 0;
    for host in 0..3 {
        let (restored, _) = state.restore();
        let store = Arc::new(match restored {
            Some(life) => Store::taking_over(life, Options::default()),
            None => Store::new(Options::default()),
        });
        while_saving(&state, &store, async || {
            for n in 0..20 {
                store.commit(&put(100 * host + n));
                while life(&follower.snapshot()) != life(&store.snapshot()) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                assert!(follower.snapshot().revision() > seen);
                seen = follower.snapshot().revision();
            }
            store.commit(&delta(&[(2, 1)], &[1]));
            while follower.snapshot().get("/routes/1").is_some() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let kinds =
                |s: &Snapshot| s.commits_since(seen).unwrap().map(|c| c.events.clone()).collect::<Vec<_>>();
            assert_eq!(kinds(&follower.snapshot()), kinds(&store.snapshot()));
            store.commit(&delta(&[], &[2]));
        });
    }
}
