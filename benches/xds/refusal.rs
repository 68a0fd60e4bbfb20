//! A control plane that does not learn: it answers each NACK with the same bad push, or ends each stream at once.

use std::time::{Duration, Instant};

use apisix_mesh::{
    pb::google::protobuf::Duration as Timeout,
    xds::{Mode, ResourceType},
};
use tokio::time::{Instant as Deadline, timeout_at};

use crate::{
    child::{Child, Usage},
    control::{Plane, Reply},
    mb, mesh, ms, seconds,
    world::{Named, World, named},
};

const GOOD: World = World { clusters: 100, endpoints: 3 };
const ENDING: Duration = Duration::from_secs(20);

/// Plays both, in each variant.
pub async fn play() {
    let length = seconds("SECONDS", 60);
    println!("refusal: each NACK is answered with the same push of 100 clusters and a bad one, {length:?}");
    println!(
        "{:<28} {:>8} {:>14} {:>10} {:>9} {:>10} {:>9}",
        "", "NACK/s", "CPU s per 1000", "of a core", "log lines", "before MB", "after MB"
    );
    for (name, mode) in Mode::ALL {
        refuse(name, mode, length).await;
    }
    println!("refusal: each stream ends right after its first response, {ENDING:?}");
    println!(
        "{:<28} {:>8} {:>14} {:>10} {:>9} {:>10} {:>9}",
        "", "streams", "CPU ms", "of a core", "log lines", "before MB", "after MB"
    );
    for (name, mode) in Mode::ALL {
        for (what, resources) in
            [("accepted", GOOD.resources(ResourceType::Cluster)), ("refused", bad_push())]
        {
            end_streams(&format!("{name}, it is {what}"), mode, resources).await;
        }
    }
}

fn bad_push() -> Vec<Named> {
    let mut bad = mesh::cluster(GOOD.clusters);
    bad.connect_timeout = Some(Timeout::default());
    let mut push = GOOD.resources(ResourceType::Cluster);
    push.push(named(ResourceType::Cluster, bad.name.clone(), &bad));
    push
}

async fn refuse(name: &str, mode: Mode, length: Duration) {
    let mut plane = Plane::bind(mode).await;
    let child = Child::start(&plane.uri(), mode);
    let (mut requests, responses) = plane.stream().await;
    let good = ResourceType::ALL.map(|kind| Reply::new(mode, kind, "", GOOD.resources(kind)));
    requests.supply(&responses, good).await;
    let push = Reply::new(mode, ResourceType::Cluster, "", bad_push());

    let (before, lines) = (child.usage(), child.lines());
    let (began, mut nacks) = (Instant::now(), 0);
    while began.elapsed() < length {
        let nonce = format!("push-{nacks}");
        assert!(responses.send(push.renewed(&nonce)).await, "the client stays");
        assert!(requests.until_answered(&nonce).await.refused, "the push is bad");
        nacks += 1;
    }
    let (seconds, after) = (began.elapsed().as_secs_f64(), child.usage());
    let cpu = (after.cpu - before.cpu).as_secs_f64();
    let what = format!("{:.0} {:.3}", f64::from(nacks) / seconds, cpu * 1e3 / f64::from(nacks));
    print_row(name, &what, cpu / seconds, child.lines() - lines, before, after);
}

async fn end_streams(name: &str, mode: Mode, resources: Vec<Named>) {
    let mut plane = Plane::bind(mode).await;
    let child = Child::start(&plane.uri(), mode);
    let push = Reply::new(mode, ResourceType::Cluster, "push", resources);
    let (mut before, mut streams) = (None, 0u32);
    let end = Deadline::now() + ENDING;
    while let Ok((_requests, responses)) = timeout_at(end, plane.stream()).await {
        before.get_or_insert_with(|| child.usage());
        // The response is on its way; what is dropped here ends the stream behind it.
        responses.send(push.clone()).await;
        streams += 1;
    }
    let (before, after) = (before.expect("the client comes at least once"), child.usage());
    let cpu = after.cpu - before.cpu;
    let what = format!("{streams} {:.0}", ms(cpu));
    print_row(name, &what, cpu.as_secs_f64() / ENDING.as_secs_f64(), child.lines(), before, after);
}

fn print_row(name: &str, what: &str, share: f64, lines: usize, before: Usage, after: Usage) {
    let (first, second) = what.split_once(' ').unwrap_or_default();
    println!(
        "  {name:<26} {first:>8} {second:>14} {:>9.1}% {lines:>9} {:>10.1} {:>9.1}",
        share * 100.0,
        mb(before.resident),
        mb(after.resident)
    );
}
