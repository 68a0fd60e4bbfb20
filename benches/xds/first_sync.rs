//! A large mesh comes for the first time: until a reader has an answer, beside decoding and serialising the same alone.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use apisix_mesh::{
    pb::envoy::config::{
        cluster::v3::Cluster, endpoint::v3::ClusterLoadAssignment, listener::v3::Listener,
        route::v3::RouteConfiguration,
    },
    translate::translate,
    xds::{Mode, ResourceType, Snapshot},
};
use prost::Message;
use serde_json::Value;

use crate::{
    child::Child,
    control::{Plane, Reply},
    etcd, mb, ms, size,
    world::World,
};

/// Plays it in each variant.
pub async fn play() {
    let world = World { clusters: size("CLUSTERS", 10_000), endpoints: 5 };
    let snapshot = world.snapshot();
    let decode = warm(|| decode(&snapshot));
    let objects: Vec<Value> = translate(&snapshot)
        .objects
        .values()
        .map(|object| serde_json::from_slice(object).expect("objects are JSON"))
        .collect();
    let serialise = warm(|| objects.iter().for_each(|object| drop(black_box(serde_json::to_vec(object)))));
    println!(
        "first_sync: {} clusters of {} endpoints; decode only {:.0} ms, serialise only {:.0} ms",
        world.clusters,
        world.endpoints,
        ms(decode),
        ms(serialise)
    );
    println!(
        "{:<18} {:>8} {:>8} {:>8} {:>10} {:>13} {:>11}",
        "", "sent MB", "wall ms", "CPU ms", "x decode", "x serialise", "CPU x both"
    );
    for (name, mode) in Mode::ALL {
        let (bytes, wall, cpu) = synchronise(mode, world).await;
        println!(
            "  {name:<16} {:>8.1} {:>8.0} {:>8.0} {:>10.1} {:>13.1} {:>11.1}",
            mb(bytes),
            ms(wall),
            ms(cpu),
            ms(wall) / ms(decode),
            ms(wall) / ms(serialise),
            ms(cpu) / ms(decode + serialise)
        );
    }
}

/// How long it takes the second time.
fn warm(work: impl Fn()) -> Duration {
    work();
    let began = Instant::now();
    work();
    began.elapsed()
}

fn decode(snapshot: &Snapshot) {
    for kind in ResourceType::ALL {
        for resource in snapshot.iter(kind) {
            let bytes = resource.bytes.clone();
            match kind {
                ResourceType::Cluster => drop(black_box(Cluster::decode(bytes))),
                ResourceType::ClusterLoadAssignment => drop(black_box(ClusterLoadAssignment::decode(bytes))),
                ResourceType::Listener => drop(black_box(Listener::decode(bytes))),
                ResourceType::RouteConfiguration => drop(black_box(RouteConfiguration::decode(bytes))),
            }
        }
    }
}

/// The bytes sent, the time from the first request until a range is answered, and the processor time by then.
async fn synchronise(mode: Mode, world: World) -> (usize, Duration, Duration) {
    let prepared = ResourceType::ALL.map(|kind| Reply::new(mode, kind, "", world.resources(kind)));
    let mut plane = Plane::bind(mode).await;
    let child = Child::start(&plane.uri(), mode);
    let socket = child.socket.clone();
    let range = tokio::task::spawn_blocking(move || etcd::first_range(&socket));
    let (mut requests, responses) = plane.stream().await;
    let supplied = requests.supply(&responses, prepared).await;
    let (_, answered) = range.await.expect("it only asks");
    (supplied.bytes, answered - supplied.asked, child.usage().cpu)
}
