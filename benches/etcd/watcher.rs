//! A watch that counts its events; many of them share a thread.

use std::{cell::RefCell, io, time::Instant};

use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinSet};

use crate::{
    client::BUFFER,
    door::{Door, Reader, Span},
    objects::watched,
    system::System,
};

thread_local! {
    /// What a socket gave, until it is counted.
    static RECEIVED: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
}

/// One watch on a connection of its own.
pub struct Watcher {
    stream: TcpStream,
    reader: Reader,
}

impl Watcher {
    /// Watches from a revision on, 0 means from now on; it is created when this returns.
    pub async fn open(address: &str, door: Door, span: &Span, start: i64) -> Self {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.set_nodelay(true).expect("it is TCP");
        let request = [door.greeting(), door.watch(span, start)].concat();
        stream.write_all(&request).await.expect("it reads");
        let mut watcher = Self { stream, reader: Reader::of_events(door) };
        while !watcher.reader.is_created() {
            assert!(watcher.read().await, "it answers");
        }
        watcher
    }

    /// Waits until so many events have come, and says when the last did.
    async fn until(&mut self, events: usize) -> Instant {
        while self.reader.events() < events {
            assert!(self.read().await, "it stays");
        }
        Instant::now()
    }

    /// Waits for bytes; `false` when there will be none.
    async fn read(&mut self) -> bool {
        loop {
            self.stream.readable().await.expect("it is a socket");
            let mut reply = Vec::new();
            let read = RECEIVED.with_borrow_mut(|received| {
                let count = self.stream.try_read(received)?;
                self.reader.take(&received[..count], &mut reply);
                io::Result::Ok(count)
            });
            match read {
                Ok(count) => {
                    self.stream.write_all(&reply).await.expect("it reads");
                    return count > 0;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Watches that count for the same.
pub struct Watchers(Vec<Watcher>);

impl Watchers {
    /// So many watches of all that APISIX watches.
    pub async fn open(count: usize, system: &System, door: Door, start: i64) -> Self {
        let mut watchers = Vec::new();
        for _ in 0..count {
            watchers.push(Watcher::open(&system.address, door, &watched(), start).await);
        }
        Self(watchers)
    }

    /// How many events each has had.
    pub fn events(&self) -> usize {
        self.0[0].reader.events()
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
