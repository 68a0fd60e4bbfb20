//! One watch: what it wants, and how far it has come.
//!
//! In: a request, then snapshots. Out: the events that it has not seen. Never here: ids, headers, messages.

use prost::Message as _;

use crate::{
    etcd::keyspace::{Interval, Keyspace},
    pb::{
        etcdserverpb::{WatchCreateRequest, watch_create_request::FilterType},
        mvccpb,
    },
    store::{Commit, Compacted, Event, Revision, Snapshot},
};

/// A watch as a position in the history.
#[derive(Debug)]
pub(super) struct Position {
    /// Of keys as the store has them: every event of every commit is held against it.
    interval: Interval,
    /// The first revision that has not been looked at.
    next: Revision,
    puts: bool,
    deletes: bool,
    with_previous: bool,
    in_fragments: bool,
    pub(super) progress: Progress,
}

/// What a watch that is quiet gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing: unasked progress is an error in APISIX (contract section 1, "Reader rules").
    Never,
    /// Nothing yet: an interval has not passed without an event.
    Active,
    /// A notice at the next interval.
    Quiet,
    /// A notice as soon as it is synced.
    Due,
}

impl Position {
    pub(super) fn new(request: &WatchCreateRequest, interval: Interval, snapshot: &Snapshot) -> Self {
        let wants = |filter: FilterType| !request.filters.contains(&(filter as i32));
        Self {
            interval,
            next: if request.start_revision == 0 { snapshot.revision() + 1 } else { request.start_revision },
            puts: wants(FilterType::Noput),
            deletes: wants(FilterType::Nodelete),
            with_previous: request.prev_kv,
            in_fragments: request.fragment,
            progress: if request.progress_notify { Progress::Active } else { Progress::Never },
        }
    }

    pub(super) fn is_behind(&self, snapshot: &Snapshot) -> bool {
        self.next <= snapshot.revision()
    }

    /// The last revision that has been looked at.
    pub(super) fn seen(&self) -> Revision {
        self.next - 1
    }

    pub(super) fn in_fragments(&self) -> bool {
        self.in_fragments
    }

    pub(super) fn interval_passed(&mut self) {
        match self.progress {
            Progress::Active => self.progress = Progress::Quiet,
            Progress::Quiet => self.progress = Progress::Due,
            Progress::Never | Progress::Due => {}
        }
    }

    /// The events of the next commits, of as many as it takes to have `enough` bytes of them; none at the end.
    pub(super) fn next_events(
        &mut self,
        keyspace: &Keyspace,
        snapshot: &Snapshot,
        enough: usize,
    ) -> Result<Vec<mvccpb::Event>, Compacted> {
        let (mut events, mut bytes) = (Vec::new(), 0);
        for commit in snapshot.commits_from(self.next)? {
            self.next = commit.revision + 1;
            for event in self.events(keyspace, commit) {
                bytes += event.encoded_len();
                events.push(event);
            }
            if bytes >= enough {
                break;
            }
        }
        if bytes < enough {
            self.next = snapshot.revision() + 1;
        }
        if !events.is_empty() && self.progress != Progress::Never {
            self.progress = Progress::Active;
        }
        Ok(events)
    }

    fn events(&self, keyspace: &Keyspace, commit: &Commit) -> impl Iterator<Item = mvccpb::Event> {
        let wanted = commit.events.iter().filter(|event| self.wants(event));
        wanted.map(|event| self.event(keyspace, event, commit.revision))
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
