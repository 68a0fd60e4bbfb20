//! Watch: the state of one stream of watches, without a socket.
//!
//! In: watch requests, and snapshots of the store. Out: watch responses, one at a time, as the reader has room for
//! them; what is not asked for costs nothing. Never here: I/O, a clock, a queue of events: a watch is a position in
//! the history, so a slow reader holds up nobody, and nothing is lost between replay and live (etcd#20655).
//!
//! The revisions in the headers of a stream never fall. Where this is not etcd: a watch from a revision that is still to
//! come is cancelled, because it means that a former life of this endpoint was ahead, and waiting would leave the client
//! with that life's state (contract section 2, duty 3). So is one that starts neither at a commit of this life nor behind
//! one: it is the same client, after this life has caught up with its revision.

mod fragment;
mod position;
mod stream;

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
};

use self::position::{Position, Progress};
use super::{
    endpoint::header,
    keyspace::{Interval, Keyspace},
};
use crate::{
    pb::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse, watch_request::RequestUnion},
    store::{Compacted, Revision, Snapshot},
};

/// A stream with more is a client that leaks them.
const MAX_WATCHES: usize = 1 << 16;
/// Stands for no watch in a response.
const NO_WATCH: i64 = -1;
/// Below this many bytes of events a message takes another commit; much larger ones leave the caches and the memory full.
const FULL_MESSAGE: usize = 64 << 10;

/// How the events of a stream are put into messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Messages {
    /// As etcd does: all that a watch has not seen, up to a bound, at the revision of the store.
    Merged,
    /// As APISIX needs it (contract section 2): one commit each, at its revision, so that revisions rise from message to
    /// message and a directory that was loaded meanwhile can tell what it has. What missed something goes on from the
    /// present, since APISIX loads all directories anew.
    EachCommit,
}

/// The watches of one stream.
#[derive(Debug)]
pub(super) struct Watches {
    keyspace: Keyspace,
    messages: Messages,
    watches: BTreeMap<i64, Position>,
    next_id: i64,
    /// The watch that was last looked at: all have their turn.
    turn: i64,
    replies: VecDeque<WatchResponse>,
    progress_wanted: bool,
    /// The highest revision that was told.
    told: Revision,
}

impl Watches {
    pub(super) fn new(keyspace: Keyspace, messages: Messages) -> Self {
        Self {
            keyspace,
            messages,
            watches: BTreeMap::new(),
            next_id: 0,
            turn: NO_WATCH,
            replies: VecDeque::new(),
            progress_wanted: false,
            told: 0,
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
        let interval = interval(&request);
        if let Some(reason) = self.refusal(request.watch_id, &interval) {
            let refused = self.response(snapshot.revision(), NO_WATCH);
            let cancel_reason = reason.to_owned();
            self.replies.push_back(WatchResponse { created: true, canceled: true, cancel_reason, ..refused });
            return;
        }
        let id = if request.watch_id == 0 { self.free_id() } else { request.watch_id };
        let created = self.response(self.before_the_first_event(request.start_revision, snapshot), id);
        self.replies.push_back(WatchResponse { created: true, ..created });
        if snapshot.is_of_another_life(request.start_revision) {
            let cancelled = self.compacted(id, snapshot, latest_start(snapshot));
            self.replies.push_back(cancelled);
            return;
        }
        let interval = self.keyspace.stored(&interval);
        self.watches.insert(id, Position::new(&request, interval, snapshot));
    }

    /// The revision to tell before a replay, whose messages may have lower ones than the store.
    fn before_the_first_event(&self, start: Revision, snapshot: &Snapshot) -> Revision {
        match self.messages {
            Messages::EachCommit if start > 0 => snapshot.revision().min(start - 1),
            _ => snapshot.revision(),
        }
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
            let cancelled = self.response(snapshot.revision(), id);
            self.replies.push_back(WatchResponse { canceled: true, ..cancelled });
        }
    }

    /// An interval has passed: watches that had no event in it, and want to know, are told the revision.
    pub(super) fn interval_passed(&mut self) {
        self.watches.values_mut().for_each(Position::interval_passed);
    }

    /// The next response, nothing if all watches have seen the snapshot.
    pub(super) fn next(&mut self, snapshot: &Snapshot) -> Option<WatchResponse> {
        if let Some(reply) = self.replies.pop_front() {
            return Some(reply);
        }
        while let Some(id) = self.next_behind(snapshot) {
            self.turn = id;
            if let Some(response) = self.advance(id, snapshot) {
                return Some(response);
            }
        }
        self.next_progress(snapshot)
    }

    /// The next watch, in turn, that has not seen the snapshot.
    fn next_behind(&self, snapshot: &Snapshot) -> Option<i64> {
        let after = self.watches.range((Bound::Excluded(self.turn), Bound::Unbounded));
        after
            .chain(self.watches.range(..=self.turn))
            .find(|(_, watch)| watch.is_behind(snapshot))
            .map(|(&id, _)| id)
    }

    /// Moves a watch over its next commits with events, or to the end, or out if history does not reach back to it.
    fn advance(&mut self, id: i64, snapshot: &Snapshot) -> Option<WatchResponse> {
        let watch = self.watches.get_mut(&id)?;
        let enough = match self.messages {
            Messages::Merged => FULL_MESSAGE,
            Messages::EachCommit => 1,
        };
        let events = match watch.next_events(&self.keyspace, snapshot, enough) {
            Ok(events) => events,
            Err(gone) => {
                self.watches.remove(&id);
                return Some(self.missed(id, snapshot, gone));
            }
        };
        if events.is_empty() {
            return None;
        }
        let (seen, in_fragments) = (watch.seen(), watch.in_fragments());
        let response = WatchResponse { events, ..self.response(self.revision_of(seen, snapshot), id) };
        if !in_fragments {
            return Some(response);
        }
        self.replies.extend(fragment::fragments(response));
        self.replies.pop_front()
    }

    fn revision_of(&self, seen: Revision, snapshot: &Snapshot) -> Revision {
        match self.messages {
            Messages::Merged => snapshot.revision(),
            Messages::EachCommit => seen,
        }
    }

    fn missed(&mut self, id: i64, snapshot: &Snapshot, gone: Compacted) -> WatchResponse {
        let go_on = match self.messages {
            Messages::Merged => gone.oldest,
            Messages::EachCommit => latest_start(snapshot),
        };
        self.compacted(id, snapshot, go_on)
    }

    /// Only for what is synced: progress says that everything up to the revision has been sent (etcd#15220).
    fn next_progress(&mut self, snapshot: &Snapshot) -> Option<WatchResponse> {
        if std::mem::take(&mut self.progress_wanted) {
            return Some(self.response(snapshot.revision(), NO_WATCH));
        }
        let (&id, watch) = self.watches.iter_mut().find(|(_, watch)| watch.progress == Progress::Due)?;
        watch.progress = Progress::Quiet;
        Some(self.response(snapshot.revision(), id))
    }

    fn response(&mut self, revision: Revision, watch_id: i64) -> WatchResponse {
        self.told = self.told.max(revision);
        WatchResponse { header: Some(header(self.told)), watch_id, ..WatchResponse::default() }
    }

    /// The end of a watch that missed something. The revision named can itself be watched, or the client would go round
    /// and round (contract section 2, duty 4).
    fn compacted(&mut self, watch_id: i64, snapshot: &Snapshot, compact_revision: Revision) -> WatchResponse {
        tracing::info!(watch_id, compact_revision, "watch cancelled: its start is not in the history");
        let cancelled = self.response(snapshot.revision(), watch_id);
        WatchResponse { canceled: true, compact_revision, ..cancelled }
    }
}

/// The present revision, unless it is one that a former life left: its changes are not known, and a watch from it would be
/// cancelled again.
fn latest_start(snapshot: &Snapshot) -> Revision {
    snapshot.revision().max(snapshot.oldest_revision())
}

/// In a watch, no key means the first one there can be.
fn interval(request: &WatchCreateRequest) -> Interval {
    let key = if request.key.is_empty() { bytes::Bytes::from_static(b"\0") } else { request.key.clone() };
    Interval::new(key, request.range_end.clone())
}

#[cfg(test)]
mod tests;
