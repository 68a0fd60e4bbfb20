//! The revisioned store: what is published, and how it came to be.
//!
//! In: a [`Delta`] at a time. Out: [`Snapshot`]s and [`Commit`]s, to any number of readers. Never here: the etcd
//! prefix, the wire.
//!
//! The whole state, history included, is one immutable value behind one atomic pointer. A reader takes the pointer
//! and reads for as long as it likes; the writer builds the next value beside it, sharing all that did not change,
//! and swaps. Neither ever waits for the other. Watching is pulling: the new revision is announced, and each reader
//! asks a fresh snapshot for what it has not seen, so a slow one costs nothing and finds out by itself when history
//! no longer reaches back to it.

mod diff;
mod history;
mod snapshot;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use once_cell::sync::OnceCell;
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use crate::apisix::Key;

pub use crate::translate::Delta;
pub use history::Compacted;
pub use snapshot::Snapshot;

/// A revision: `max(last + 1, unix time in ms)`, always below 1e14.
pub type Revision = i64;

/// The clock is believed up to here only (the year 3554): revisions of 1e14 and more lose digits in Lua, and from
/// here on the count of commits alone would take ages to get there.
const LATEST_CLOCK: Revision = 50_000_000_000_000;

/// A value and its life so far, in etcd's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// Canonical JSON.
    pub value: Bytes,
    /// The commit that made the key.
    pub create_revision: Revision,
    /// The commit that wrote this value.
    pub mod_revision: Revision,
    /// How often it was written since it was made.
    pub version: i64,
}

/// What one commit did to one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The key.
    pub key: Key,
    /// What it holds now; nothing if it was deleted.
    pub current: Option<KeyValue>,
    /// What it held before; nothing if it is new.
    pub previous: Option<KeyValue>,
}

/// All changes of one update, at one revision.
#[derive(Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its revision, which is also the `mod_revision` of what it wrote.
    pub revision: Revision,
    /// One event a key, make before break: puts of what is referred to, puts of what refers, deletes the other way.
    pub events: Vec<Event>,
}

/// How far history reaches back, and where revisions start.
#[derive(Debug, Clone)]
pub struct Options {
    /// Commits kept, at least one.
    pub max_commits: usize,
    /// Bytes that they take; the last commit is kept whatever its size.
    pub max_bytes: usize,
    /// How much older than the last commit one may be, by their revisions.
    pub max_age: Duration,
    /// The last revision of a former life, if known: revisions go on above it.
    pub after: Revision,
}

impl Default for Options {
    fn default() -> Self {
        // APISIX is back within a second when a watch is cut, and within a minute when it hangs: this is room for some
        // hundred changes a second meanwhile. What has not been seen for a day is read anew.
        let max_age = Duration::from_hours(24);
        Self { max_commits: 16_384, max_bytes: 32 << 20, max_age, after: 0 }
    }
}

/// What a store held, to be taken over by another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Life {
    /// The revision of its first commit.
    pub first: Revision,
    /// That of its last.
    pub revision: Revision,
    /// All its objects.
    pub objects: Vec<(Key, KeyValue)>,
}

/// Is shown each commit before anybody else, so that nobody acts on what a kill of the process could take back.
pub trait Keeper: Send + Sync {
    /// Keeps the state that is about to be published. It cannot fail: what it could not keep, it tells by itself.
    fn keep(&self, next: &Arc<Snapshot>);
}

/// Gives unix time in milliseconds.
type Clock = Box<dyn Fn() -> Revision + Send + Sync>;

/// The store. Share it in an `Arc`.
pub struct Store {
    options: Options,
    clock: Clock,
    state: ArcSwap<Snapshot>,
    writer: Mutex<()>,
    announced: watch::Sender<Revision>,
    /// Those who wait outside of the event loop, with the writer's lock.
    news: Condvar,
    keeper: OnceCell<Box<dyn Keeper>>,
}

impl Store {
    /// An empty store on the system's clock.
    pub fn new(options: Options) -> Self {
        Self::with_clock(options, unix_milliseconds)
    }

    /// Takes over what another store holds, in place of what is held: for one that follows the other and has missed
    /// commits.
    pub fn reset(&self, life: Life) {
        let _one_at_a_time = self.writer.lock();
        self.publish(Arc::new(Snapshot::taken_over(life)));
    }

    /// Repeats a commit of the store that this one follows.
    pub fn replay(&self, revision: Revision, changes: impl IntoIterator<Item = (Key, Option<KeyValue>)>) {
        let _one_at_a_time = self.writer.lock();
        let before = self.state.load_full();
        let event = |(key, current): (Key, Option<KeyValue>)| {
            let previous = before.get(key.as_str()).cloned();
            Event { key, current, previous }
        };
        let commit = Commit { revision, events: changes.into_iter().map(event).collect() };
        self.publish(Arc::new(before.after(Arc::new(commit), &self.options)));
    }

    /// Shows each commit to `keeper` first, from now on and for good.
    pub fn keep_with(&self, keeper: impl Keeper + 'static) {
        let _between_two_commits = self.writer.lock();
        let is_first = self.keeper.set(Box::new(keeper)).is_ok();
        debug_assert!(is_first, "a store has one keeper");
    }

    /// An empty store on a clock that gives unix time in milliseconds.
    pub fn with_clock(options: Options, clock: impl Fn() -> Revision + Send + Sync + 'static) -> Self {
        Self {
            options,
            clock: Box::new(clock),
            state: ArcSwap::from_pointee(Snapshot::default()),
            writer: Mutex::new(()),
            announced: watch::Sender::new(0),
            news: Condvar::new(),
            keeper: OnceCell::new(),
        }
    }

    /// Publishes what a delta changes, at one new revision. Nothing happens if no byte changes.
    ///
    /// The first commit is what makes the store ready, so it always counts, even if there is not one object.
    pub fn commit(&self, delta: &Delta) -> Option<Arc<Commit>> {
        let _one_at_a_time = self.writer.lock();
        let before = self.state.load_full();
        let revision = self.next_revision(&before);
        let events = diff::events(&before, delta, revision);
        if events.is_empty() && before.is_ready() {
            return None;
        }
        let commit = Arc::new(Commit { revision, events });
        let next = Arc::new(before.after(commit.clone(), &self.options));
        if let Some(keeper) = self.keeper.get() {
            keeper.keep(&next);
        }
        self.publish(next);
        tracing::debug!(revision, events = commit.events.len(), "committed");
        Some(commit)
    }

    /// Called with the writer's lock.
    fn publish(&self, next: Arc<Snapshot>) {
        let revision = next.revision();
        self.state.store(next);
        self.announced.send_replace(revision);
        self.news.notify_all();
    }

    /// Publishes, at one new revision, that there is what a delta puts and nothing else.
    pub fn commit_all(&self, mut delta: Delta) -> Option<Arc<Commit>> {
        delta.deletes = self.snapshot().keys_besides(delta.puts.iter().map(|(key, _)| key));
        self.commit(&delta)
    }

    /// The first revision leaves a gap of one above the former life's last, so that a client of that life, which
    /// asks for the one after it, is told to reload and not that nothing was deleted meanwhile.
    fn next_revision(&self, before: &Snapshot) -> Revision {
        let lowest = if before.is_ready() { before.revision() + 1 } else { self.options.after + 2 };
        lowest.max((self.clock)().min(LATEST_CLOCK))
    }

    /// The present state. It never changes under the reader.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.state.load_full()
    }

    /// Announces each new revision, 0 before the first; revisions may be skipped.
    pub fn revisions(&self) -> watch::Receiver<Revision> {
        self.announced.subscribe()
    }

    /// Waits until the revision is another than `revision`, for this long at most. Not for the event loop.
    pub fn wait(&self, revision: Revision, patience: Duration) {
        let mut writer = self.writer.lock();
        let is_old = |_: &mut ()| self.state.load().revision() == revision;
        self.news.wait_while_for(&mut writer, is_old, patience);
    }

    /// How many readers are waiting for revisions: one for each stream of watches.
    pub fn readers(&self) -> usize {
        self.announced.receiver_count()
    }

    /// Waits for the first commit.
    pub async fn ready(&self) {
        // The sender lives in `self`, so the wait can only end well.
        let _ = self.revisions().wait_for(|&revision| revision > 0).await;
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("revision", &self.snapshot().revision()).finish_non_exhaustive()
    }
}

fn unix_milliseconds() -> Revision {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Revision::try_from(since.as_millis()).unwrap_or(LATEST_CLOCK)
}

#[cfg(test)]
mod tests;
