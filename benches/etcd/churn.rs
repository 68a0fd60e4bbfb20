//! A day of APISIX's habits, compressed: 16 workers and the privileged agent watch twice each, by http and by stream, and
//! make their watches anew at each timeout, while objects change. What the systems take, third by third of the day.

use std::time::Duration;

use tokio::{runtime::Builder, sync::watch, task::JoinSet, time::timeout};

use crate::{
    door::{Door, Span},
    host::CHANGING,
    mb,
    message::Messages,
    objects::watched,
    seconds, size,
    stream::Stream,
    system::System,
    usage::Usage,
};

/// Seconds of a day.
const DAY: u32 = 86_400;
/// APISIX's timeout of a watch, in seconds of the day.
const TIMEOUT: u32 = 50;
/// Between two changes, in seconds of the day: our history keeps those of a day, which is as long as a follower may stay
/// behind whose watches are too short for a busy machine.
const CHANGE: u32 = 10;
const THIRDS: usize = 3;
/// More changes than our history keeps.
const HISTORY: usize = 30_000;

/// Plays it with each system.
pub fn play() {
    let (watches, day) = (size("WATCHES", 34), seconds("DAY", 86));
    let (lifetime, every) = (day * TIMEOUT / DAY, day * CHANGE / DAY);
    println!("churn: {watches} watches, each made anew every {TIMEOUT} s of a day that takes {day:?}");
    println!("  {:<24} {:>9} {:>9} {:>12} {:>9}", "", "MB", "most MB", "descriptors", "CPU s");
    for mut system in System::both() {
        system.load(CHANGING);
        // A history that is filling up is no leak.
        system.pace(HISTORY, Duration::from_micros(1));
        let start = system.put(1, 1) + 1;
        let followers = Followers::start(&system, watches, start, lifetime);
        let changes = (DAY / CHANGE) as usize / THIRDS;
        let mut before = system.usage();
        for third in 1..=THIRDS {
            system.pace(changes, every);
            let usage = system.usage();
            show(&format!("{}, third {third}", system.name), usage, before);
            before = usage;
        }
        let made = followers.finish(changes * THIRDS);
        println!("  {:<24} {made} watches were made; each event came once to each follower", system.name);
    }
}

fn show(what: &str, usage: Usage, before: Usage) {
    println!(
        "  {what:<24} {:>9.1} {:>9.1} {:>12} {:>9.2}",
        mb(usage.resident),
        mb(usage.peak),
        usage.descriptors,
        (usage.cpu - before.cpu).as_secs_f64()
    );
}

/// All that watch one system, on a thread of their own.
struct Followers {
    thread: std::thread::JoinHandle<usize>,
    /// How many events each must have had at the end, once it is known.
    end: watch::Sender<Option<usize>>,
}

impl Followers {
    fn start(system: &System, watches: usize, start: i64, lifetime: Duration) -> Self {
        let (end, ended) = watch::channel(None);
        let address = system.address.clone();
        let thread = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a loop");
            runtime.block_on(async {
                let mut running = JoinSet::new();
                for _ in 0..watches {
                    running.spawn(follow(address.clone(), start, lifetime, ended.clone()));
                }
                running.join_all().await.into_iter().sum()
            })
        });
        Self { thread, end }
    }

    /// Waits until all have had so many events; how many watches they made.
    fn finish(self, events: usize) -> usize {
        self.end.send_replace(Some(events));
        self.thread.join().expect("each event comes once to each follower")
    }
}

/// Watches on and on; how many watches it made.
async fn follow(
    address: String,
    mut next: i64,
    lifetime: Duration,
    end: watch::Receiver<Option<usize>>,
) -> usize {
    // The pool of the client keeps this connection.
    let mut ranges = Stream::connect(&address, Door::Json).await;
    let phantom = Span { from: "/apisix//phantomkey".to_owned(), to: String::new() };
    let (mut events, mut made) = (0, 0);
    loop {
        let last = *end.borrow();
        ranges.ask(&Door::Json.range(0, &phantom)).await;
        let mut stream = Stream::watch(&address, Door::Json, &watched(), next).await;
        let mut messages = Messages::new(Door::Json);
        made += 1;
        let read = async {
            while last.is_none_or(|last| events < last) {
                assert!(stream.read(|body| messages.take(body)).await, "the server stays");
                while let Some(message) = messages.next() {
                    assert_eq!(message.compacted, None, "the history reaches back");
                    if message.events > 0 {
                        events += message.events;
                        next = message.revision + 1;
                    }
                }
            }
        };
        let Some(last) = last else {
            let _timeout = timeout(lifetime, read).await;
            continue;
        };
        // A replay by etcd begins after a tenth of a second, which no watch of the compressed day has.
        read.await;
        assert_eq!(events, last, "an event came twice");
        return made;
    }
}
