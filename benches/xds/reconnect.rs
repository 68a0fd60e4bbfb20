//! The stream breaks while a large mesh is held: what comes again, and how long a change of something else waits.
//!
//! The changes are of clusters whose endpoints no large response brings, so that none takes a change back.

use std::{
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};

use apisix_mesh::xds::{Mode, ResourceType};
use tokio::{sync::watch, time::sleep};

use crate::{
    child::Child,
    control::{Plane, Reply, Responses},
    etcd::{self, Prober},
    mb, ms, size,
    world::World,
};

/// Variants, and whether the server tells versions of resources and so knows afterwards what the client has.
const VARIANTS: [(&str, Mode, bool); 3] =
    [("delta", Mode::Delta, true), ("delta of istiod", Mode::Delta, false), ("sotw", Mode::Sotw, false)];

/// Clusters that change, beside the others.
const CHANGING: usize = 500;
/// Between two changes. A cluster comes round again after five seconds, when its last change has long been seen.
const PAUSE: Duration = Duration::from_millis(10);
const QUIET: Duration = Duration::from_secs(2);
/// How long changes go on when all is accepted.
const AFTERMATH: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(10);
/// Each change has a port of its own, from here on.
const FIRST_PORT: u32 = 20_000;
const TARGET_MS: f64 = 12.0;

/// Changes, numbered on over the whole scene.
struct Changes {
    mode: Mode,
    world: World,
    large: usize,
    count: usize,
}

impl Changes {
    /// Sends one after the other until told to stop; when each was handed to the stream, by its port.
    async fn send(&mut self, responses: &Responses, stop: watch::Receiver<bool>) -> Vec<(u32, Instant)> {
        let mut sent = Vec::new();
        while !*stop.borrow() {
            let port = FIRST_PORT + self.count as u32;
            let cluster = self.large + self.count % CHANGING;
            self.count += 1;
            let resources = vec![self.world.assignment(cluster, port)];
            let reply =
                Reply::new(self.mode, ResourceType::ClusterLoadAssignment, &port.to_string(), resources);
            sent.push((port, Instant::now()));
            assert!(responses.send(reply).await, "the client stays");
            sleep(PAUSE).await;
        }
        sent
    }
}

/// How long each change took to be seen.
struct Times {
    sorted: Vec<Duration>,
    missed: usize,
    /// The worst of a range that was asked for all the time.
    range: Duration,
}

fn times(sent: &[(u32, Instant)], seen: &Receiver<(u32, Instant)>, prober: Prober) -> Times {
    let mut sorted = Vec::with_capacity(sent.len());
    // Of two changes of one cluster the first may never show, so the last one ends the wait, not the number.
    while let Some((last, _)) = sent.last()
        && let Ok((port, came)) = seen.recv_timeout(PATIENCE)
    {
        sorted.extend(sent.iter().find(|(sent, _)| *sent == port).map(|(_, began)| came - *began));
        if port == *last {
            break;
        }
    }
    sorted.sort();
    Times { missed: sent.len() - sorted.len(), sorted, range: prober.stop() }
}

impl Times {
    fn max(&self) -> f64 {
        self.sorted.last().copied().map_or(f64::NAN, ms)
    }

    fn print(&self, when: &str, peer: &Self, cpu: Duration) {
        let median = self.sorted.get(self.sorted.len() / 2).copied().map_or(f64::NAN, ms);
        let sent = self.sorted.len() + self.missed;
        println!(
            "    {when:<10} {sent:>7} {:>6} {median:>10.1} {:>8.1} {:>11.1} {:>9.1} {:>11.0} {:>14.0}",
            self.missed,
            self.max(),
            self.max() / peer.max(),
            ms(self.range),
            ms(cpu),
            ms(cpu) * 1e3 / sent as f64
        );
    }
}

/// Plays it in each variant.
pub async fn play() {
    let large = size("CLUSTERS", 7_000);
    println!("reconnect: {large} clusters of 10 endpoints; a change meanwhile, target {TARGET_MS} ms");
    println!(
        "    {:<10} {:>7} {:>6} {:>10} {:>8} {:>11} {:>9} {:>11} {:>14}",
        "",
        "changes",
        "missed",
        "median ms",
        "max ms",
        "x quiet max",
        "range ms",
        "child CPU ms",
        "us per change"
    );
    for (name, mode, versioned) in VARIANTS {
        reconnect(name, mode, versioned, large).await;
    }
}

async fn reconnect(name: &str, mode: Mode, versioned: bool, large: usize) {
    let world = World { clusters: large + CHANGING, endpoints: 10 };
    let replies = |assignments: usize, nothing: bool| {
        ResourceType::ALL.map(|kind| {
            let resources = match kind {
                _ if nothing => Vec::new(),
                ResourceType::ClusterLoadAssignment => world.assignments(assignments, crate::mesh::PORT),
                _ => world.resources(kind),
            };
            let reply = Reply::new(mode, kind, "", resources);
            if versioned { reply } else { reply.unversioned() }
        })
    };
    let (first, again) = (replies(world.clusters, false), replies(large, versioned));
    let mut plane = Plane::bind(mode).await;
    let child = Child::start(&plane.uri(), mode);
    let (mut requests, responses) = plane.stream().await;
    let first = requests.supply(&responses, first).await;
    let (key, _) = etcd::first_range(&child.socket);
    let seen = etcd::follow(&child.socket);
    let mut changes = Changes { mode, world, large, count: 0 };

    tokio::spawn(requests.drain());
    let prober = Prober::start(&child.socket, &key);
    let before = child.usage().cpu;
    let (stop, stopped) = watch::channel(false);
    let (sent, ()) = tokio::join!(changes.send(&responses, stopped), async {
        sleep(QUIET).await;
        stop.send_replace(true);
    });
    let quiet_cpu = child.usage().cpu - before;
    let quiet = times(&sent, &seen, prober);

    drop(responses);
    let prober = Prober::start(&child.socket, &key);
    let before = child.usage();
    let (mut requests, responses) = plane.stream().await;
    let (stop, stopped) = watch::channel(false);
    let (sent, again) = tokio::join!(changes.send(&responses, stopped), async {
        let again = requests.supply(&responses, again).await;
        tokio::spawn(requests.drain());
        sleep(AFTERMATH).await;
        stop.send_replace(true);
        again
    });
    let after = child.usage();
    let busy = times(&sent, &seen, prober);
    println!(
        "  {name}: {:.2} MB again in {:.0} ms, the first time {:.2} MB in {:.0} ms; resident {:.0} MB, then {:.0}",
        mb(again.bytes),
        ms(again.accepted - again.asked),
        mb(first.bytes),
        ms(first.accepted - first.asked),
        mb(before.resident),
        mb(after.resident)
    );
    quiet.print("quiet", &quiet, quiet_cpu);
    busy.print("meanwhile", &quiet, after.cpu - before.cpu);
}
