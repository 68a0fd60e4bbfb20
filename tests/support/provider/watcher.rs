//! The watch of a process since 3.4 (`do_run_watch`): where it starts, and what each message does to where it goes on.
//!
//! In: messages. Out: entries of the queue. Never here: an item.

use std::{rc::Rc, time::Duration};

use serde_json::Value;

use super::{
    client::{Message, Pair, range_end},
    directory::{Failure, PREFIX, revision},
    queue::Notice,
    tally,
    worker::Shared,
};

/// After a watch could not be opened, or the revision not be read.
const PAUSE: Duration = Duration::from_secs(3);

impl Shared {
    /// Watches for ever. What would be a Lua error ends the thread, and a new one takes its place.
    pub(super) async fn watch(self: Rc<Self>, preloaded: Option<i64>) {
        self.start.set(self.first_revision(preloaded).await + 1);
        self.started.set(true);
        self.begun.iter().for_each(|signal| signal.post());
        loop {
            if let Err(failure) = self.watch_once().await {
                self.tell_fault(failure);
            }
        }
    }

    /// That of the preload, if anything of it is left over; else that of `<prefix>/`.
    async fn first_revision(&self, preloaded: Option<i64>) -> i64 {
        if let Some(revision) = preloaded {
            return revision;
        }
        loop {
            let answer = self.client.range(&self.fibre, &format!("{PREFIX}/"), None).await;
            let found =
                answer.map_err(Failure::Told).and_then(|answer| revision(&answer.body.unwrap_or_default()));
            match found {
                Ok(revision) => return revision,
                Err(Failure::LuaError(what)) => self.tally.fault(what),
                Err(Failure::Told(_)) => {}
            }
            self.fibre.sleep(PAUSE).await;
        }
    }

    /// One stream, from its start to its end.
    async fn watch_once(&self) -> Result<(), Failure> {
        let latest = if self.version.jumps_after_timeout { self.latest_revision().await } else { None };
        let timeout = self.version.watch_timeout;
        let key = format!("{PREFIX}/");
        let Ok(mut watch) = self.client.watch(&self.fibre, &key, self.start.get(), timeout).await else {
            self.fibre.sleep(PAUSE).await;
            return Ok(());
        };
        loop {
            match watch.next(&self.fibre, &self.tally).await {
                Ok(message) => {
                    if !self.take(message)? {
                        return Ok(());
                    }
                }
                Err(error) => {
                    if let (Some("timeout"), Some(latest)) = (error.as_deref(), latest) {
                        self.jump(latest);
                    }
                    return Ok(());
                }
            }
        }
    }

    async fn latest_revision(&self) -> Option<i64> {
        let key = format!("{PREFIX}//phantomkey");
        let answer = self.client.range(&self.fibre, &key, Some(&range_end(&key))).await;
        revision(&answer.ok()?.body?).ok()
    }

    fn jump(&self, latest: i64) {
        if self.start.get() <= latest {
            let unseen = self.start.get().max(self.delivered.get() + 1);
            if self.changes.borrow().iter().any(|change| (unseen..=latest).contains(change)) {
                tally::count(&self.tally.lost_windows);
                self.has_lost.set(true);
            }
            self.start.set(latest + 1);
        }
    }

    /// Takes a message. Whether the stream goes on.
    fn take(&self, message: Message) -> Result<bool, Failure> {
        if message.body.get("error").is_some() {
            return Ok(false);
        }
        let Some(result @ Value::Object(_)) = message.body.get("result") else {
            return Err(Failure::LuaError(format!("a message without result: {:?}", message.body)));
        };
        let is = |name: &str| result[name] == true;
        if is("created") && (self.version.created_first || !is("canceled")) {
            if message.events.is_some() {
                self.tally.fault("the reader drops the events of a created message");
            }
            return Ok(true);
        }
        if is("canceled") {
            if let Some(compacted) = result["compact_revision"].as_str() {
                self.resync(compacted.parse().unwrap_or_default());
            }
            return Ok(false);
        }
        self.queue.clear_read(self.directories.len());
        let revision = revision(&message.body["result"])?;
        if revision < self.start.get() && self.version.resyncs_below {
            self.resync(revision);
            return Ok(false);
        }
        if revision > self.start.get() {
            self.start.set(revision + 1);
        }
        self.count(revision, message.events.as_deref().unwrap_or_default());
        self.notify(Notice::Message { revision, events: message.events });
        Ok(true)
    }

    /// All directories read their lists again, and the watch goes on from here.
    fn resync(&self, start: i64) {
        self.start.set(start);
        self.delivered.set(start - 1);
        self.notify(Notice::Resync);
    }

    fn count(&self, revision: i64, events: &[Pair]) {
        tally::count(&self.tally.messages);
        let is_known = |event: &Pair| {
            let mut directories = self.directories.iter();
            directories.any(|directory| directory.has(&event.key) && event.mod_revision <= directory.seen())
        };
        tally::add(&self.tally.duplicates, events.iter().filter(|event| is_known(event)).count());
        self.delivered.set(revision);
    }

    fn notify(&self, notice: Notice) {
        self.queue.push(notice);
        self.news.iter().for_each(|signal| signal.post());
    }
}
