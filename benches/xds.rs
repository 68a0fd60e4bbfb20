//! The command before a control plane that fails, floods and goes away.
//!
//! In: `apisix-mesh run` as a child, and a scripted control plane in this process, whose responses are made before the
//! clock starts. Out: what a reader of the child's etcd endpoint waits for, and what the child takes of the machine by
//! `/proc`, each beside a peer or a floor of the same run. `cargo bench --bench xds -- SCENE` plays one scene.

#[path = "../tests/support/ads_server.rs"]
mod ads_server;
#[path = "xds/child.rs"]
mod child;
#[path = "xds/control.rs"]
mod control;
#[path = "xds/etcd.rs"]
mod etcd;
#[path = "xds/first_sync.rs"]
mod first_sync;
#[path = "xds/memory.rs"]
mod memory;
#[path = "../tests/support/mesh.rs"]
mod mesh;
#[path = "xds/reconnect.rs"]
mod reconnect;
#[path = "xds/refusal.rs"]
mod refusal;
#[path = "xds/storm.rs"]
mod storm;
#[path = "xds/world.rs"]
mod world;

use std::{env, time::Duration};

use tokio::runtime::Runtime;

const SCENES: [&str; 5] = ["reconnect", "refusal", "memory", "first_sync", "storm"];

fn main() {
    // `cargo bench` passes flags of its own harness.
    let chosen: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if let Some(unknown) = chosen.iter().find(|name| !SCENES.contains(&name.as_str())) {
        eprintln!("{unknown:?} is none of {}", SCENES.join(", "));
        std::process::exit(2);
    }
    let runtime = Runtime::new().expect("a runtime");
    for scene in SCENES.into_iter().filter(|name| chosen.is_empty() || chosen.iter().any(|c| c == name)) {
        runtime.block_on(async {
            match scene {
                "reconnect" => reconnect::play().await,
                "refusal" => refusal::play().await,
                "memory" => memory::play().await,
                "first_sync" => first_sync::play().await,
                _ => storm::play().await,
            }
        });
        println!();
    }
}

/// A number of seconds from the environment.
fn seconds(variable: &str, default: u64) -> Duration {
    let set = env::var(variable).ok().and_then(|text| text.parse().ok());
    Duration::from_secs(set.unwrap_or(default))
}

/// A number from the environment, for trying a scene with a smaller mesh.
fn size(variable: &str, default: usize) -> usize {
    env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn mb(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}
