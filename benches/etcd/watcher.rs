//! Watches that only count their events.

use std::time::Instant;

use tokio::task::JoinSet;

use crate::{count::Count, door::Door, objects::watched, stream::Stream, system::System};

struct Watcher {
    stream: Stream,
    count: Count,
}

impl Watcher {
    /// It is created when this returns.
    async fn open(address: &str, door: Door, start: i64) -> Self {
        let stream = Stream::watch(address, door, &watched(), start).await;
        let mut watcher = Self { stream, count: Count::events_by(door) };
        while !watcher.count.is_created() {
            watcher.read().await;
        }
        watcher
    }

    /// Waits until so many events have come, and says when the last did.
    async fn until(&mut self, events: usize) -> Instant {
        while self.count.events() < events {
            self.read().await;
        }
        Instant::now()
    }

    async fn read(&mut self) {
        assert!(self.stream.read(|body| self.count.take(body)).await, "the server stays");
    }
}

/// Watches of all that APISIX watches.
pub struct Watchers(Vec<Watcher>);

impl Watchers {
    /// So many, from a revision on; 0 means from now on.
    pub async fn open(count: usize, system: &System, door: Door, start: i64) -> Self {
        let mut watchers = Vec::new();
        for _ in 0..count {
            watchers.push(Watcher::open(&system.address, door, start).await);
        }
        Self(watchers)
    }

    /// How many events each has had.
    pub fn events(&self) -> usize {
        self.0[0].count.events()
    }

    /// Waits until each has so many events, and says when the last one had.
    pub async fn until(&mut self, events: usize) -> Instant {
        let mut waiting = JoinSet::new();
        for mut watcher in self.0.drain(..) {
            waiting.spawn(async move {
                let at = watcher.until(events).await;
                (watcher, at)
            });
        }
        let done = waiting.join_all().await;
        let last = done.iter().map(|(_, at)| *at).max().expect("there are watches");
        self.0 = done.into_iter().map(|(watcher, _)| watcher).collect();
        last
    }
}
