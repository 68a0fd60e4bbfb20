//! What the process that holds the directory serves, for queries in this one.
//!
//! In: the directory. Out: a store up to date with the last write. It asks nobody and starts no thread: a query that finds
//! a new number of writes reads on in the log. When this process takes the directory over, the store goes on where the
//! log ends, history and all. Never here: a write.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tracing::{info, warn};

use super::{
    Found, Hold, SET_ASIDE, State,
    counter::Counter,
    file::{self, Read, Tail},
    keeper::Keeper,
    record::Record,
};
use crate::{
    apisix::Key,
    store::{KeyValue, Life, Options, Revision, Snapshot, Store},
};

/// Follows the process that holds a directory, until this one does.
#[derive(Debug)]
pub struct Follower {
    state: State,
    writes: Arc<Counter>,
    /// The number of writes up to which the log was read.
    read: AtomicU32,
    log: Mutex<Reading>,
    /// Why the log cannot be read, as last told.
    problem: Mutex<Option<String>>,
    store: Arc<Store>,
}

/// How far the log was read.
#[derive(Debug)]
enum Reading {
    /// There was none.
    Nothing,
    UpTo(Tail),
    /// This process writes it.
    Ended,
}

impl Follower {
    /// Follows whatever process holds this directory, now or later.
    pub fn new(state: State) -> io::Result<Self> {
        let writes = Arc::new(Counter::open(&state.directory)?);
        // Not what it is now: the first query reads.
        let read = AtomicU32::new(writes.get().wrapping_sub(1));
        let store = Arc::new(Store::new(Options::default()));
        let log = Mutex::new(Reading::Nothing);
        Ok(Self { state, writes, read, log, problem: Mutex::default(), store })
    }

    /// What is served. Costs one load of memory where nothing has changed.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        if self.writes.get() != self.read.load(Ordering::Acquire) {
            self.catch_up();
        }
        self.store.snapshot()
    }

    /// Waits until the revision is another than `revision`, for this long at most; may come back early.
    pub fn wait(&self, revision: Revision, patience: Duration) {
        let writes = self.writes.get();
        if self.snapshot().revision() == revision {
            self.writes.wait(writes, patience);
        }
    }

    fn catch_up(&self) {
        let mut log = self.log.lock();
        // Taken before reading: what is written meanwhile is read with the next query.
        let writes = self.writes.get();
        let problem = self.read_on(&mut log).err();
        let told = std::mem::replace(&mut *self.problem.lock(), problem.clone());
        if let Some(problem) = problem.filter(|problem| told.as_ref() != Some(problem)) {
            warn!("{}: {problem}; queries see an older state", self.state.log().display());
        }
        self.read.store(writes, Ordering::Release);
    }

    /// Makes the store, which this gives, the one that the log is written from, and says what the log held. A log that
    /// cannot be used is set aside.
    pub fn take_over(&self, _right: &Hold) -> io::Result<(Arc<Store>, Found)> {
        let mut log = self.log.lock();
        let path = self.state.log();
        let mut found = Found::Nothing;
        if let Err(problem) = self.read_on(&mut log) {
            warn!("{}: {problem}; set aside as {SET_ASIDE}, starting without it", path.display());
            // What cannot be renamed is written over all the same.
            let _ = std::fs::rename(&path, self.state.directory.join(SET_ASIDE));
            *log = Reading::Nothing;
            found = Found::SetAside(problem);
        }
        let mut present = None;
        if let Reading::UpTo(tail) = std::mem::replace(&mut *log, Reading::Nothing) {
            let snapshot = self.store.snapshot();
            let revision = snapshot.revision();
            let (resumed, torn_at) = tail.resume(&path, revision)?;
            if let Some(at) = torn_at {
                warn!("{}: damaged at byte {at}; what comes before is served", path.display());
            }
            info!(
                revision,
                objects = snapshot.len(),
                "{}: serving the last known configuration until the control plane answers",
                path.display()
            );
            present = Some(resumed);
            found = Found::Restored { revision };
        }
        *log = Reading::Ended;
        self.store.keep_with(Keeper::new(self.state.clone(), self.writes.clone(), present));
        Ok((self.store.clone(), found))
    }

    fn read_on(&self, log: &mut Reading) -> Result<(), String> {
        let path = self.state.log();
        match log {
            Reading::Ended => return Ok(()),
            Reading::UpTo(tail) => {
                if let Some(records) = tail.read_on(&path).map_err(|error| error.to_string())? {
                    self.replay(records);
                    return Ok(());
                }
            }
            Reading::Nothing => {}
        }
        if let Some(Read { life, records, tail }) = file::read(&path, &self.state.origin)? {
            self.take(life, records);
            *log = Reading::UpTo(tail);
        }
        Ok(())
    }

    /// Repeats the commits that are not known yet.
    fn replay(&self, records: Vec<Record>) {
        let known = self.store.snapshot().revision();
        for record in records.into_iter().filter(|record| record.revision > known) {
            self.store.replay(record.revision, record.changes());
        }
    }

    /// Goes on to a new log. What it begins with is one commit, so that a reader of changes need not begin anew; unless it
    /// is of another life, which knows less.
    fn take(&self, life: Life, records: Vec<Record>) {
        let held = self.store.snapshot();
        let last = records.last().map_or(life.revision, |record| record.revision);
        if !held.is_ready() || last < held.revision() {
            self.store.reset(life);
        } else if life.revision > held.revision() {
            let gone = held.keys_besides(life.objects.iter().map(|(key, _)| key));
            let is_new = |(key, kv): &(Key, KeyValue)| held.get(key.as_str()) != Some(kv);
            let new = life.objects.into_iter().filter(is_new).map(|(key, kv)| (key, Some(kv)));
            self.store.replay(life.revision, new.chain(gone.into_iter().map(|key| (key, None))));
        }
        self.replay(records);
    }
}
