//! A small ADS control plane: serves the resources in files.
//!
//! ```text
//! cargo run --example control_plane -- --listen 127.0.0.1:15010 --look-every 0.2 DIR...
//! ```
//!
//! Files are looked at that often, in seconds; what changed is sent at once. NACKs go to stderr. Any client can connect,
//! but the files are read with this library's messages: an extension that they do not have goes out with its type and
//! without content, which a real Envoy may refuse.

#[path = "../tests/support/ads_server.rs"]
mod ads_server;

use std::{path::PathBuf, sync::Arc, time::Duration};

use ads_server::{Acceptor, Resources, serve};
use apisix_mesh::xds::{
    ResourceType,
    file::{Problem, load},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::MissedTickBehavior,
};

const USAGE: &str = "usage: control_plane [--listen ADDRESS:PORT] [--look-every SECONDS] DIR...";

struct Arguments {
    listen: String,
    look_every: Duration,
    paths: Vec<PathBuf>,
}

fn arguments() -> Result<Arguments, String> {
    let mut listen = "127.0.0.1:15010".to_owned();
    let mut look_every = Duration::from_millis(200);
    let mut paths = Vec::new();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--listen" => listen = words.next().ok_or("--listen: an address is expected")?,
            "--look-every" => {
                let seconds = words.next().and_then(|word| word.parse().ok());
                look_every = seconds
                    .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                    .filter(|period| !period.is_zero())
                    .ok_or("--look-every: a number of seconds above 0 is expected")?;
            }
            "--help" | "-h" => return Err(USAGE.to_owned()),
            path => paths.push(PathBuf::from(path)),
        }
    }
    if paths.is_empty() {
        return Err(format!("no folder or file given; {USAGE}"));
    }
    Ok(Arguments { listen, look_every, paths })
}

fn read(paths: &[PathBuf]) -> (Resources, Vec<Problem>) {
    let (mut resources, mut problems) = (Vec::new(), Vec::new());
    for path in paths {
        let (more, bad) = load(path);
        resources.extend(more);
        problems.extend(bad);
    }
    (resources.into_iter().collect(), problems)
}

async fn publish_changes(paths: Vec<PathBuf>, look_every: Duration, sender: watch::Sender<Arc<Resources>>) {
    let mut ticks = tokio::time::interval(look_every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = Vec::new();
    loop {
        ticks.tick().await;
        let (resources, problems) = read(&paths);
        if problems != told {
            problems.iter().for_each(|problem| eprintln!("{problem}"));
            told = problems;
        }
        sender.send_if_modified(|held| {
            let changed = **held != resources;
            if changed {
                *held = Arc::new(resources);
            }
            changed
        });
    }
}

fn tell_nack(kind: ResourceType, message: &str) {
    eprintln!("NACK of {}: {message}", kind.noun());
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { listen, look_every, paths } = arguments()?;
    let acceptor = Acceptor::bind(&listen).await.map_err(|e| format!("--listen {listen}: {e}"))?;
    eprintln!("serving on {}", acceptor.address);
    let mut terminate = signal(SignalKind::terminate())?;
    let (sender, receiver) = watch::channel(Arc::new(read(&paths).0));
    tokio::select! {
        () = publish_changes(paths, look_every, sender) => {}
        () = serve(acceptor, receiver, tell_nack) => {}
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(())
}
