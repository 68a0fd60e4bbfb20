//! What another process of this machine serves, for queries in this one.
//!
//! In: the directory that the host keeps its state in. Out: a snapshot, up to date with the host's last write. It asks
//! nobody and starts no thread: a query that finds a new number of writes reads on in the log. Never here: a write.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tracing::warn;

use super::{
    LOG, State,
    counter::Counter,
    file::{self, Tail},
};
use crate::{
    apisix::Key,
    store::{KeyValue, Life, Options, Snapshot, Store},
};

/// Follows the host that keeps its state in a directory.
#[derive(Debug)]
pub struct Follower {
    state: State,
    writes: Counter,
    /// The number of writes up to which the log was read.
    read: AtomicU64,
    tail: Mutex<Option<Tail>>,
    store: Store,
}

impl Follower {
    /// Follows whatever process hosts this state, now or later.
    pub fn new(state: State) -> io::Result<Self> {
        let writes = Counter::open(&state.directory)?;
        // Not what it is now: the first query reads.
        let read = AtomicU64::new(writes.get().wrapping_sub(1));
        Ok(Self { state, writes, read, tail: Mutex::new(None), store: Store::new(Options::default()) })
    }

    /// What the host serves. Costs one load of memory where nothing has changed.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        if self.writes.get() != self.read.load(Ordering::Acquire) {
            self.catch_up();
        }
        self.store.snapshot()
    }

    fn catch_up(&self) {
        let mut tail = self.tail.lock();
        // Taken before reading: what is written meanwhile is read with the next query.
        let writes = self.writes.get();
        if let Err(problem) = self.read_on(&mut tail) {
            warn!("{}: {problem}; queries see an older state", self.state.directory.display());
        }
        self.read.store(writes, Ordering::Release);
    }

    fn read_on(&self, tail: &mut Option<Tail>) -> Result<(), String> {
        let path = self.state.directory.join(LOG);
        if let Some(present) = tail
            && let Some(records) = present.read_on(&path).map_err(|error| error.to_string())?
        {
            for record in records {
                self.store.replay(record.revision, record.changes());
            }
            return Ok(());
        }
        if let Some(read) = file::read(&path, &self.state.origin)? {
            self.take(read.life);
            *tail = Some(read.tail);
        }
        Ok(())
    }

    /// Goes on to what a new log begins with: as one commit, so that a reader of changes need not begin anew.
    fn take(&self, life: Life) {
        let held = self.store.snapshot();
        if !held.is_ready() || life.revision < held.revision() {
            return self.store.reset(life);
        }
        if life.revision == held.revision() {
            return;
        }
        let gone =
            held.keys_besides(life.objects.iter().map(|(key, _)| key)).into_iter().map(|key| (key, None));
        let is_new = |(key, kv): &(Key, KeyValue)| held.get(key.as_str()) != Some(kv);
        let new = life.objects.into_iter().filter(is_new).map(|(key, kv)| (key, Some(kv)));
        self.store.replay(life.revision, new.chain(gone));
    }
}
