//! What a mesh takes of memory: after the first configuration, and after all endpoints changed twice. And what a client
//! with nothing to do takes of a processor.

use std::time::Duration;

use apisix_mesh::{
    translate::translate,
    xds::{Mode, ResourceType},
};
use tokio::time::sleep;

use crate::{
    child::Child,
    control::{Plane, Reply},
    etcd, mb, ms, seconds,
    world::World,
};

const MESHES: [World; 2] =
    [World { clusters: 1_000, endpoints: 10 }, World { clusters: 10_000, endpoints: 5 }];
const CHURNS: u32 = 2;
/// Until what an update used is given back.
const SETTLE: Duration = Duration::from_secs(1);

/// Plays it with each mesh in each variant.
pub async fn play() {
    let idle = seconds("IDLE", 60);
    println!("memory: resident MB of the child; idle CPU over {idle:?}, told to 10 ms");
    println!(
        "{:<32} {:>9} {:>9} {:>8} {:>8} {:>8} {:>8} {:>12} {:>8}",
        "", "resources", "objects", "first", "churn 1", "churn 2", "peak", "first / sizes", "idle ms"
    );
    for world in MESHES {
        let encoded = ResourceType::ALL
            .into_iter()
            .flat_map(|kind| world.resources(kind))
            .map(|resource| resource.any.value.len())
            .sum();
        let objects =
            translate(&world.snapshot()).objects.iter().map(|(k, v)| k.to_string().len() + v.len()).sum();
        for (name, mode) in Mode::ALL {
            fill(name, mode, world, encoded, objects, idle).await;
        }
    }
}

async fn fill(name: &str, mode: Mode, world: World, encoded: usize, objects: usize, idle: Duration) {
    let prepared = ResourceType::ALL.map(|kind| Reply::new(mode, kind, "", world.resources(kind)));
    let mut plane = Plane::bind(mode).await;
    let child = Child::start(&plane.uri(), mode);
    let (mut requests, responses) = plane.stream().await;
    requests.supply(&responses, prepared).await;
    etcd::first_range(&child.socket);
    sleep(SETTLE).await;
    let mut resident = vec![child.usage().resident];
    for churn in 1..=CHURNS {
        let assignments = world.assignments(world.clusters, 1_000 + churn);
        let nonce = format!("churn-{churn}");
        let reply = Reply::new(mode, ResourceType::ClusterLoadAssignment, &nonce, assignments);
        assert!(responses.send(reply).await, "the client stays");
        assert!(!requests.until_answered(&nonce).await.refused, "the mesh is good");
        sleep(SETTLE).await;
        resident.push(child.usage().resident);
    }
    let before = child.usage();
    sleep(idle).await;
    let after = child.usage();
    let mesh = format!("{} clusters x {}, {name}", world.clusters, world.endpoints);
    print!("  {mesh:<30} {:>9.1} {:>9.1}", mb(encoded), mb(objects));
    resident.iter().for_each(|resident| print!(" {:>8.1}", mb(*resident)));
    println!(
        " {:>8.1} {:>12.1} {:>8.0}",
        mb(after.peak),
        resident[0] as f64 / (encoded + objects) as f64,
        ms(after.cpu - before.cpu)
    );
}
