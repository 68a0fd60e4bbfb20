//! Watch: the state of one stream of watches, without a socket.
//!
//! In: watch requests, and snapshots of the store. Out: watch responses, one at a time, as the reader has room for
//! them; what is not asked for costs nothing. Never here: I/O, a clock, a queue of events: a watch is a position in
//! the history, so a slow reader holds up nobody, and nothing is lost between replay and live (etcd#20655).
//!
//! Where this is not etcd: a watch from a revision that is still to come is cancelled, because it means that a former
//! life of this endpoint was ahead, and waiting would leave the client with that life's state (contract section 2,
//! duty 3).

mod stream;

use std::collections::{BTreeMap, VecDeque};

use super::{
    endpoint::header,
    keyspace::{Interval, Keyspace},
};
use crate::{
    pb::{
        etcdserverpb::{
            WatchCreateRequest, WatchRequest, WatchResponse, watch_create_request::FilterType,
            watch_request::RequestUnion,
        },
        mvccpb,
    },
    store::{Commit, Event, Revision, Snapshot},
};

/// A stream with more is a client that leaks them.
const MAX_WATCHES: usize = 4096;
/// Stands for no watch in a response.
const NO_WATCH: i64 = -1;

/// The watches of one stream.
#[derive(Debug)]
pub(super) struct Watches {
    keyspace: Keyspace,
    watches: BTreeMap<i64, Watch>,
    next_id: i64,
    replies: VecDeque<WatchResponse>,
    progress_wanted: bool,
}

#[derive(Debug)]
struct Watch {
    /// Of keys as the store has them: every event of every commit is held against it.
    interval: Interval,
    /// The first revision that has not been looked at.
    next: Revision,
    puts: bool,
    deletes: bool,
    with_previous: bool,
    progress: Progress,
}

/// What a watch that is quiet gets.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    /// Nothing: unasked progress is an error in APISIX (contract section 1, "Reader rules").
    Never,
    /// Nothing yet: an interval has not passed without an event.
    Active,
    /// A notice at the next interval.
    Quiet,
    /// A notice as soon as it is synced.
    Due,
}

impl Watches {
    pub(super) fn new(keyspace: Keyspace) -> Self {
        Self {
            keyspace,
            watches: BTreeMap::new(),
            next_id: 0,
            replies: VecDeque::new(),
            progress_wanted: false,
        }
    }

    /// Takes a request; the answer is the next response.
    pub(super) fn request(&mut self, request: WatchRequest, snapshot: &Snapshot) {
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => self.create(request, snapshot),
            Some(RequestUnion::CancelRequest(request)) => self.cancel(request.watch_id, snapshot),
            Some(RequestUnion::ProgressRequest(_)) => self.progress_wanted = true,
            None => {}
        }
    }

    fn create(&mut self, request: WatchCreateRequest, snapshot: &Snapshot) {
        let created = WatchResponse { created: true, ..response(snapshot.revision(), NO_WATCH) };
        let interval = interval(&request);
        if let Some(reason) = self.refusal(request.watch_id, &interval) {
            let cancel_reason = reason.to_owned();
            self.replies.push_back(WatchResponse { canceled: true, cancel_reason, ..created });
            return;
        }
        let id = if request.watch_id == 0 { self.free_id() } else { request.watch_id };
        self.replies.push_back(WatchResponse { watch_id: id, ..created });
        if request.start_revision > snapshot.revision() + 1 {
            self.replies.push_back(compacted(id, snapshot, snapshot.revision()));
            return;
        }
        let interval = self.keyspace.stored(&interval);
        self.watches.insert(id, Watch::new(&request, interval, snapshot));
    }

    fn refusal(&self, id: i64, interval: &Interval) -> Option<&'static str> {
        if interval.is_empty() {
            Some("mvcc: watcher range is empty")
        } else if self.watches.contains_key(&id) && id != 0 {
            Some("mvcc: duplicate watch ID provided on the WatchStream")
        } else if self.watches.len() >= MAX_WATCHES {
            Some("etcdserver: too many requests")
        } else {
            None
        }
    }

    fn free_id(&mut self) -> i64 {
        while self.watches.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    /// A watch that is not there is no answer: clients cancel twice.
    fn cancel(&mut self, id: i64, snapshot: &Snapshot) {
        if self.watches.remove(&id).is_some() {
            self.replies.push_back(WatchResponse { canceled: true, ..response(snapshot.revision(), id) });
        }
    }

    /// An interval has passed: watches that had no event in it, and want to know, are told the revision.
    pub(super) fn interval_passed(&mut self) {
        for watch in self.watches.values_mut() {
            match watch.progress {
                Progress::Active => watch.progress = Progress::Quiet,
                Progress::Quiet => watch.progress = Progress::Due,
                Progress::Never | Progress::Due => {}
            }
        }
    }

    /// The next response, nothing if all watches have seen the snapshot.
    pub(super) fn next(&mut self, snapshot: &Snapshot) -> Option<WatchResponse> {
        if let Some(reply) = self.replies.pop_front() {
            return Some(reply);
        }
        while let Some(id) = self.furthest_behind(snapshot) {
            if let Some(response) = self.advance(id, snapshot) {
                return Some(response);
            }
        }
        self.next_progress(snapshot)
    }

    fn furthest_behind(&self, snapshot: &Snapshot) -> Option<i64> {
        let lagging = self.watches.iter().filter(|(_, watch)| watch.next <= snapshot.revision());
        lagging.min_by_key(|(_, watch)| watch.next).map(|(&id, _)| id)
    }

    /// Moves a watch to its next commit with events, or to the end, or out if history does not reach back to it.
    fn advance(&mut self, id: i64, snapshot: &Snapshot) -> Option<WatchResponse> {
        let watch = self.watches.get_mut(&id)?;
        let commits = match snapshot.commits_from(watch.next) {
            Ok(commits) => commits,
            Err(gone) => {
                self.watches.remove(&id);
                return Some(compacted(id, snapshot, gone.oldest));
            }
        };
        for commit in commits {
            watch.next = commit.revision + 1;
            let events = watch.events(&self.keyspace, commit);
            if !events.is_empty() {
                watch.progress.saw_event();
                return Some(WatchResponse { events, ..response(commit.revision, id) });
            }
        }
        watch.next = snapshot.revision() + 1;
        None
    }

    /// Only for what is synced: progress says that everything up to the revision has been sent (etcd#15220).
    fn next_progress(&mut self, snapshot: &Snapshot) -> Option<WatchResponse> {
        if std::mem::take(&mut self.progress_wanted) {
            return Some(response(snapshot.revision(), NO_WATCH));
        }
        let (&id, watch) = self.watches.iter_mut().find(|(_, watch)| watch.progress == Progress::Due)?;
        watch.progress = Progress::Quiet;
        Some(response(snapshot.revision(), id))
    }
}

impl Watch {
    fn new(request: &WatchCreateRequest, interval: Interval, snapshot: &Snapshot) -> Self {
        let wants = |filter: FilterType| !request.filters.contains(&(filter as i32));
        Self {
            interval,
            next: if request.start_revision == 0 { snapshot.revision() + 1 } else { request.start_revision },
            puts: wants(FilterType::Noput),
            deletes: wants(FilterType::Nodelete),
            with_previous: request.prev_kv,
            progress: if request.progress_notify { Progress::Active } else { Progress::Never },
        }
    }

    fn events(&self, keyspace: &Keyspace, commit: &Commit) -> Vec<mvccpb::Event> {
        let wanted = commit.events.iter().filter(|event| self.wants(event));
        wanted.map(|event| self.event(keyspace, event, commit.revision)).collect()
    }

    fn wants(&self, event: &Event) -> bool {
        let kind = if event.current.is_some() { self.puts } else { self.deletes };
        kind && self.interval.contains(event.key.as_str().as_bytes())
    }

    fn event(&self, keyspace: &Keyspace, event: &Event, revision: Revision) -> mvccpb::Event {
        let previous = event.previous.as_ref().filter(|_| self.with_previous);
        let (kind, kv) = match &event.current {
            Some(kv) => (mvccpb::event::EventType::Put, keyspace.pair(&event.key, kv)),
            None => {
                let key = keyspace.join(event.key.as_str());
                let gone = mvccpb::KeyValue { key, mod_revision: revision, ..Default::default() };
                (mvccpb::event::EventType::Delete, gone)
            }
        };
        mvccpb::Event {
            r#type: kind as i32,
            kv: Some(kv),
            prev_kv: previous.map(|kv| keyspace.pair(&event.key, kv)),
        }
    }
}

impl Progress {
    fn saw_event(&mut self) {
        if *self != Self::Never {
            *self = Self::Active;
        }
    }
}

/// In a watch, no key means the first one there can be.
fn interval(request: &WatchCreateRequest) -> Interval {
    let key = if request.key.is_empty() { bytes::Bytes::from_static(b"\0") } else { request.key.clone() };
    Interval::new(key, request.range_end.clone())
}

fn response(revision: Revision, watch_id: i64) -> WatchResponse {
    WatchResponse { header: Some(header(revision)), watch_id, ..WatchResponse::default() }
}

/// The end of a watch that missed something. The revision named can itself be watched, or the client would go round
/// and round (contract section 2, duty 4).
fn compacted(watch_id: i64, snapshot: &Snapshot, compact_revision: Revision) -> WatchResponse {
    tracing::info!(watch_id, compact_revision, "watch cancelled: its start is not in the history");
    WatchResponse { canceled: true, compact_revision, ..response(snapshot.revision(), watch_id) }
}

#[cfg(test)]
mod tests;
