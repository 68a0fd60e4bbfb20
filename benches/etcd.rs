//! The endpoint beside a real etcd: one machine, one client, the systems in turn.
//!
//! In: Debian's `etcd`, or the one that `ETCD` names, without its waits for the disk; and this program itself as the
//! host of our endpoint. Out: times of both, how many times longer etcd takes, and what both take of the machine.
//! `cargo bench --bench etcd -- SCENE` plays one scene.

#[path = "etcd/churn.rs"]
mod churn;
#[path = "etcd/client.rs"]
mod client;
#[path = "etcd/count.rs"]
mod count;
#[path = "etcd/door.rs"]
mod door;
#[path = "etcd/fan_out.rs"]
mod fan_out;
#[path = "etcd/host.rs"]
mod host;
#[path = "etcd/http1.rs"]
mod http1;
#[path = "etcd/http2.rs"]
mod http2;
#[path = "etcd/list.rs"]
mod list;
#[path = "etcd/measure.rs"]
mod measure;
#[path = "etcd/message.rs"]
mod message;
#[path = "etcd/objects.rs"]
mod objects;
#[path = "../tests/support/real_etcd.rs"]
mod real_etcd;
#[path = "etcd/recreate.rs"]
mod recreate;
#[path = "etcd/slow_reader.rs"]
mod slow_reader;
#[path = "etcd/stream.rs"]
mod stream;
#[path = "etcd/system.rs"]
mod system;
#[path = "etcd/usage.rs"]
mod usage;
#[path = "etcd/watcher.rs"]
mod watcher;

use std::{env, time::Duration};

const SCENES: [&str; 6] = ["range", "first_list", "fan_out", "slow_reader", "churn", "recreate"];

fn main() {
    // `cargo bench` passes flags of its own harness.
    let chosen: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if chosen == [host::ROLE] {
        return host::play();
    }
    if let Some(unknown) = chosen.iter().find(|name| !SCENES.contains(&name.as_str())) {
        eprintln!("{unknown:?} is none of {}", SCENES.join(", "));
        std::process::exit(2);
    }
    for scene in SCENES.into_iter().filter(|name| chosen.is_empty() || chosen.iter().any(|c| c == name)) {
        match scene {
            "range" => list::play_small(),
            "first_list" => list::play_large(),
            "fan_out" => fan_out::play(),
            "slow_reader" => slow_reader::play(),
            "churn" => churn::play(),
            _ => recreate::play(),
        }
        println!();
    }
}

/// A number from the environment, for trying a scene with less.
fn size(variable: &str, default: usize) -> usize {
    env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A number of seconds from the environment.
fn seconds(variable: &str, default: usize) -> Duration {
    Duration::from_secs(size(variable, default) as u64)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn mb(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}
