//! A reader that stops for a minute: what the writer notices, and what becomes of the reader.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::{
    door::Door,
    host::CHANGING,
    mb,
    message::Messages,
    ms,
    objects::watched,
    seconds, size,
    stream::Stream,
    system::{Pace, System},
    watcher::Watchers,
};

/// Plays it with each system, first without the reader.
pub fn play() {
    let (changes, away) = (size("CHANGES", 100_000), seconds("STOPPED", 60));
    let runtime = Builder::new_current_thread().enable_all().build().expect("a loop");
    println!("slow_reader: {changes} changes in {away:?}, and a watch that reads all of them");
    println!(
        "  {:<34} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "ms of a write", "median", "p99", "late p99", "MB", "most MB"
    );
    for mut system in System::both() {
        system.load(CHANGING);
        write(&runtime, &mut system, changes, away, "alone");
        let stopped = Door::ALL.map(|door| runtime.block_on(Stopped::open(&system, door)));
        write(&runtime, &mut system, changes, away, "beside stopped readers");
        for reader in stopped {
            println!(
                "  {:<34} {}",
                format!("{}, {}", system.name, reader.door.name()),
                reader.go_on(&runtime, changes)
            );
        }
    }
}

/// One phase, and its line.
fn write(runtime: &Runtime, system: &mut System, changes: usize, time: Duration, when: &str) {
    let mut reader = runtime.block_on(Watchers::open(1, system, Door::Json, 0));
    let Pace { took, late } = std::thread::scope(|scope| {
        let writer = scope.spawn(|| system.pace(changes, time / changes as u32));
        runtime.block_on(reader.until(changes));
        writer.join().expect("it writes")
    });
    let usage = system.usage();
    println!(
        "  {:<34} {:>9.3} {:>9.3} {:>9.3} {:>9.1} {:>9.1}",
        format!("{}, {when}", system.name),
        ms(took.median),
        ms(took.p99),
        ms(late),
        mb(usage.resident),
        mb(usage.peak)
    );
}

/// A reader that reads nothing but that its watch is created.
struct Stopped {
    door: Door,
    stream: Stream,
    messages: Messages,
}

impl Stopped {
    async fn open(system: &System, door: Door) -> Self {
        let mut stream = Stream::watch(&system.address, door, &watched(), 0).await;
        let mut messages = Messages::new(door);
        while messages.next().is_none() {
            assert!(stream.read(|body| messages.take(body)).await, "the watch is created");
        }
        Self { door, stream, messages }
    }

    /// Reads all that there is, and says how it ended.
    fn go_on(mut self, runtime: &Runtime, changes: usize) -> String {
        let mut events = 0;
        loop {
            while let Some(message) = self.messages.next() {
                events += message.events;
                if let Some(revision) = message.compacted {
                    return format!("had {events} events, then was told to go on from revision {revision}");
                }
            }
            if events == changes {
                return format!("resumed and had all {events} events");
            }
            let messages = &mut self.messages;
            if !runtime.block_on(self.stream.read(|body| messages.take(body))) {
                return format!("had {events} events, then was cut off");
            }
        }
    }
}
