//! Our endpoint in a process of its own, as in production: one thread has the loop, the store and all connections.
//!
//! In: a line for each thing to do. Out: a line when it is done.

use std::{
    io::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use apisix_mesh::{
    etcd::{self, Listener, Reach},
    store::{self, Delta, Store},
};
use tokio::{
    runtime::{Builder, Handle},
    sync::mpsc,
    task::yield_now,
    time::{MissedTickBehavior, interval},
};

use crate::{
    measure::Times,
    objects::{key, value},
};

/// What the agent lets others do between two commits.
const TURNS_TO_A_SOCKET: usize = 4;

/// Objects that change in turn at a pace.
pub const CHANGING: usize = 1_000;

/// The argument that makes this program the endpoint.
pub const ROLE: &str = "host";

/// What the endpoint is told to do.
#[derive(Debug, Clone, Copy)]
pub enum Order {
    /// Put objects from the first on, so many to a commit.
    Put {
        /// How many commits.
        commits: usize,
        /// How many objects to each.
        each: usize,
        /// What makes the values new.
        edition: usize,
    },
    /// Commit one change at each tick.
    Pace {
        /// How many commits.
        commits: usize,
        /// From one to the next, in microseconds.
        every: usize,
        /// What makes the values new.
        edition: usize,
    },
    /// Say how many tasks there are.
    Count,
}

impl Order {
    /// As a line.
    pub fn line(self) -> String {
        match self {
            Self::Put { commits, each, edition } => format!("put {commits} {each} {edition}"),
            Self::Pace { commits, every, edition } => format!("pace {commits} {every} {edition}"),
            Self::Count => "count 0 0 0".to_owned(),
        }
    }

    fn parse(line: &str) -> Self {
        let mut words = line.split_whitespace();
        let verb = words.next().expect("a verb");
        let mut number = || words.next().and_then(|word| word.parse::<usize>().ok()).expect("three numbers");
        let (commits, second, edition) = (number(), number(), number());
        match verb {
            "put" => Self::Put { commits, each: second, edition },
            "pace" => Self::Pace { commits, every: second, edition },
            "count" => Self::Count,
            _ => panic!("no order {verb}"),
        }
    }
}

/// Serves until its input ends.
pub fn play() {
    let store = Arc::new(Store::new(store::Options::default()));
    let listener = Listener::open("127.0.0.1:0", Reach::Loopback).expect("a port");
    let Listener::Tcp(socket) = &listener else { unreachable!("a TCP address was opened") };
    say(socket.local_addr().expect("it is bound"));
    let (orders, received) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            orders.blocking_send(Order::parse(&line.expect("text"))).expect("the loop runs");
        }
    });
    let runtime = Builder::new_current_thread().enable_all().build().expect("a loop");
    let obey = obey(store.clone(), received);
    runtime
        .block_on(async { etcd::serve(listener, store, etcd::Options::default(), obey).await })
        .expect("it serves");
}

fn say(text: impl std::fmt::Display) {
    println!("{text}");
    std::io::stdout().flush().expect("the parent reads");
}

async fn obey(store: Arc<Store>, mut orders: mpsc::Receiver<Order>) {
    while let Some(order) = orders.recv().await {
        match order {
            Order::Put { commits, each, edition } => put(&store, commits, each, edition).await,
            Order::Pace { commits, every, edition } => {
                pace(&store, commits, Duration::from_micros(every as u64), edition).await
            }
            Order::Count => say(Handle::current().metrics().num_alive_tasks()),
        }
    }
}

async fn put(store: &Store, commits: usize, each: usize, edition: usize) {
    for commit in 0..commits {
        let indices = commit * each..(commit + 1) * each;
        let puts = indices.map(|index| (key(index), value(index, edition))).collect();
        store.commit(&Delta { puts, deletes: Vec::new() });
        for _ in 0..TURNS_TO_A_SOCKET {
            yield_now().await;
        }
    }
    say(store.snapshot().revision());
}

/// Says how long a commit takes, median and p99, and how long after its time it is done, p99, in nanoseconds.
async fn pace(store: &Store, commits: usize, every: Duration, edition: usize) {
    let (mut took, mut late) = (Vec::with_capacity(commits), Vec::with_capacity(commits));
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for commit in 0..commits {
        let due = ticks.tick().await;
        let puts = vec![(key(commit % CHANGING), value(commit, edition))];
        let began = Instant::now();
        store.commit(&Delta { puts, deletes: Vec::new() });
        let done = Instant::now();
        took.push(done - began);
        late.push(done - due.into_std());
    }
    let [took, late] = [took, late].map(Times::of);
    say([took.median, took.p99, late.p99].map(|time| time.as_nanos().to_string()).join(" "));
}
