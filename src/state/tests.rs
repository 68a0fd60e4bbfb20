//! Whatever happens to the file: what is served is what was there at some commit, or nothing.

use std::{
    fs::Permissions,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use proptest::prelude::*;

use super::{record::Record, *};
use crate::{
    apisix::{Directory, Key},
    store::{Delta, Life, Options, Snapshot, Store},
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

/// A process that holds the directory, and what it found there.
struct Holder {
    store: Arc<Store>,
    found: Found,
    _hold: Hold,
}

fn hold(state: &State) -> Holder {
    let hold = state.try_hold().unwrap().expect("nobody else has it");
    let (store, found) = Follower::new(state.clone()).unwrap().take_over(&hold).unwrap();
    Holder { store, found, _hold: hold }
}

fn kept(state: &State) -> Option<Life> {
    let store = Follower::new(state.clone()).unwrap().snapshot();
    store.is_ready().then(|| life(&store))
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

fn read_back(path: &std::path::Path, bytes: &[u8]) -> Option<Life> {
    std::fs::write(path, [b"apisix-mesh objects \x01", bytes].concat()).unwrap();
    let file::Read { life: first, records, .. } = file::read(path, "").ok()??;
    let store = Store::new(Options::default());
    store.reset(first);
    records.into_iter().for_each(|record| store.replay(record.revision, record.changes()));
    Some(life(&store.snapshot()))
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
        let scratch = Scratch::new("cut");
        file::make_directory(&scratch.0).unwrap();
        let path = scratch.0.join(LOG);
        prop_assert_eq!(read_back(&path, &bytes), lives.last().cloned());
        let at = at.index(bytes.len());
        match flip {
            Some(bit) => bytes[at] ^= 1 << bit,
            None => bytes.truncate(at),
        }
        let whole = ends.iter().filter(|end| **end <= at).count();
        let expected = whole.checked_sub(1).map(|last| lives[last].clone());
        prop_assert_eq!(read_back(&path, &bytes), expected);
    }
}

#[test]
fn what_was_committed_is_restored_with_its_revisions_and_history() {
    let scratch = Scratch::new("restore");
    let state = scratch.state();
    let first = hold(&state);
    assert_eq!(first.found, Found::Nothing);
    first.store.commit(&delta(&[(1, 1), (2, 1)], &[]));
    assert_eq!(kept(&state), Some(life(&first.store.snapshot())));
    let began = first.store.snapshot().revision();
    first.store.commit(&delta(&[(1, 2), (3, 1)], &[2]));
    let left = first.store.snapshot();
    drop(first);

    let next = hold(&state);
    assert_eq!(next.found, Found::Restored { revision: left.revision() });
    assert_eq!(life(&next.store.snapshot()), life(&left));
    let events = |s: &Snapshot| s.commits_since(began).unwrap().map(|c| c.events.clone()).collect::<Vec<_>>();
    assert_eq!(events(&next.store.snapshot()), events(&left));

    assert!(next.store.commit_all(delta(&[(1, 2), (3, 1)], &[])).is_none(), "nothing changed");
    let commit = next.store.commit_all(delta(&[(3, 1), (4, 1)], &[])).unwrap();
    assert!(commit.revision > left.revision());
    let keys: Vec<_> = commit.events.iter().map(|e| (e.key.id(), e.current.is_some())).collect();
    assert_eq!(keys, [("4", true), ("1", false)]);
    assert_eq!(next.store.snapshot().get("/routes/3"), left.get("/routes/3"));
    assert_eq!(kept(&state), Some(life(&next.store.snapshot())));
}

#[test]
fn what_a_reader_of_the_store_sees_is_in_the_log() {
    let scratch = Scratch::new("ahead");
    let state = scratch.state();
    let holder = hold(&state);
    let writer = holder.store.clone();
    let writing = std::thread::spawn(move || {
        for n in 0..200 {
            writer.commit(&delta(&[(n % 5, n)], &[]));
        }
    });
    let mut seen = 0;
    while !writing.is_finished() {
        holder.store.wait(seen, Duration::from_millis(100));
        seen = holder.store.snapshot().revision();
        let logged = kept(&state).map_or(0, |life| life.revision);
        assert!(logged >= seen, "revision {seen} is published, the log ends at {logged}");
    }
    writing.join().unwrap();
}

#[test]
fn a_torn_end_is_dropped_and_written_over() {
    let scratch = Scratch::new("torn");
    let state = scratch.state();
    let path = scratch.0.join(LOG);
    let holder = hold(&state);
    holder.store.commit(&delta(&[(1, 1)], &[]));
    let whole = std::fs::metadata(&path).unwrap().len();
    holder.store.commit(&delta(&[(1, 2)], &[]));
    drop(holder);
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(whole + 7).unwrap();
    let holder = hold(&state);
    assert_eq!(holder.store.snapshot().get("/routes/1").unwrap().value, r#"{"v":1}"#);
    holder.store.commit(&delta(&[(1, 3)], &[]));
    assert_eq!(kept(&state), Some(life(&holder.store.snapshot())));
}

#[test]
fn a_log_that_grew_is_written_anew() {
    let scratch = Scratch::new("grown");
    let state = scratch.state();
    let holder = hold(&state);
    let value = |n: usize| Bytes::from(format!("\"{n}{}\"", "x".repeat(100_000)));
    let put = |n| Delta { puts: vec![(Key::new(Directory::Routes, "1"), value(n))], deletes: Vec::new() };
    let inode = || std::fs::metadata(scratch.0.join(LOG)).unwrap().ino();
    holder.store.commit(&put(0));
    let first = inode();
    let end = Instant::now() + PATIENCE;
    let mut n = 0;
    while inode() == first {
        assert!(Instant::now() < end, "{n} commits went to one log");
        n += 1;
        holder.store.commit(&put(n));
        assert_eq!(kept(&state), Some(life(&holder.store.snapshot())));
    }
    assert!(n > 9, "a megabyte of history is nothing to write anew, {n} commits were enough");
}

type Damage = fn(&mut Vec<u8>);

#[test]
fn what_cannot_be_served_is_set_aside() {
    let scratch = Scratch::new("aside");
    let state = scratch.state();
    let path = scratch.0.join(LOG);
    let good = || {
        let _ = std::fs::remove_file(&path);
        hold(&state).store.commit(&delta(&[(1, 1)], &[]));
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
        let holder = hold(&state);
        assert_eq!(holder.found, Found::SetAside(problem.to_owned()));
        assert!(!holder.store.snapshot().is_ready());
        assert_eq!(std::fs::read(scratch.0.join(SET_ASIDE)).unwrap(), bytes);
        drop(holder);
        assert_eq!(hold(&state).found, Found::Nothing);
    }
    good();
    let problem = r#"made from "grpc://a:1", these settings say "grpc://b:1""#;
    assert_eq!(hold(&State::new(&scratch.0, "grpc://b:1")).found, Found::SetAside(problem.to_owned()));
}

#[test]
fn one_process_holds_and_the_next_waits() {
    let scratch = Scratch::new("lock");
    let state = scratch.state();
    let first = state.try_hold().unwrap().expect("nobody has it");
    assert!(state.try_hold().unwrap().is_none());
    let waiting = {
        let state = state.clone();
        std::thread::spawn(move || state.hold().unwrap())
    };
    assert!(state.try_hold().unwrap().is_none());
    drop(first);
    let second = waiting.join().unwrap();
    assert!(state.try_hold().unwrap().is_none());
    drop(second);
    assert!(state.try_hold().unwrap().is_some());
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
        let Holder { store, _hold, .. } = hold(&state);
        for n in 0..20 {
            store.commit(&put(100 * host + n));
            assert_eq!(life(&follower.snapshot()), life(&store.snapshot()));
            assert!(follower.snapshot().revision() > seen);
            seen = follower.snapshot().revision();
        }
        store.commit(&delta(&[(2, 1)], &[1]));
        assert!(follower.snapshot().get("/routes/1").is_none());
        let events =
            |s: &Snapshot| s.commits_since(seen).unwrap().map(|c| c.events.clone()).collect::<Vec<_>>();
        assert_eq!(events(&follower.snapshot()), events(&store.snapshot()));
        store.commit(&delta(&[], &[2]));
    }
}

#[test]
fn a_follower_is_woken_by_a_write() {
    let scratch = Scratch::new("wait");
    let state = scratch.state();
    let follower = Follower::new(state.clone()).unwrap();
    let holder = hold(&state);
    let waiting = std::thread::spawn(move || {
        let end = Instant::now() + PATIENCE;
        while !follower.snapshot().is_ready() && Instant::now() < end {
            follower.wait(0, PATIENCE);
        }
        follower.snapshot().revision()
    });
    holder.store.commit(&delta(&[(1, 1)], &[]));
    assert_eq!(waiting.join().unwrap(), holder.store.snapshot().revision());
}

#[test]
fn nobody_but_the_owner_reads_what_is_kept() {
    let scratch = Scratch::new("modes");
    let modes = || {
        let entries = std::fs::read_dir(&scratch.0).unwrap().map(|entry| entry.unwrap());
        entries.map(|e| (e.file_name(), e.metadata().unwrap().mode() & 0o777)).collect::<Vec<_>>()
    };
    let first = hold(&scratch.state());
    first.store.commit(&delta(&[(1, 1)], &[]));
    drop(first);
    assert_eq!(std::fs::metadata(&scratch.0).unwrap().mode() & 0o777, 0o700);
    assert!(modes().len() >= 2 && modes().iter().all(|(_, mode)| *mode == 0o600), "{:?}", modes());
    // As they come back from a backup.
    for (name, _) in modes() {
        std::fs::set_permissions(scratch.0.join(name), Permissions::from_mode(0o644)).unwrap();
    }
    let second = hold(&scratch.state());
    second.store.commit(&delta(&[(2, 2)], &[]));
    assert!(modes().iter().all(|(_, mode)| *mode == 0o600), "{:?}", modes());
}
