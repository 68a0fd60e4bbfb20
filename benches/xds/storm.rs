//! A thousand clients lose one control plane, which is back after a second: how they come again.

use std::time::{Duration, Instant};

use apisix_mesh::xds::{Mode, ResourceType, Source, SourceOptions};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    ads_server::{Acceptor, DeltaSession},
    control::{Reply, Responses},
    size,
};

const AWAY: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(100);
const STEPS_SHOWN: usize = 300;
const STEPS_A_LINE: usize = 10;

/// Plays it; the variants differ in nothing here.
pub async fn play() {
    let clients = size("CLIENTS", 1_000);
    allow_all_files();
    let mut acceptor = Acceptor::bind("127.0.0.1:0").await.expect("a port");
    let address = acceptor.address.to_string();
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let source = Source::new(&format!("grpc://{address}"), SourceOptions::default());
        let mut source = source.expect("a good address");
        running.spawn(async move {
            loop {
                source.next().await;
            }
        });
    }
    let (mut held, _) = take(&mut acceptor, clients).await;
    drop(acceptor);
    held.clear();
    sleep(AWAY).await;
    let mut acceptor = Acceptor::bind(&address).await.expect("the port is free again");
    let opened = Instant::now();
    let (_held, came) = take(&mut acceptor, clients).await;
    show(&came.into_iter().map(|at| at - opened).collect::<Vec<_>>());
}

/// This process holds both ends of each connection; the usual limit is less than that.
fn allow_all_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls are given a valid structure; raising the soft limit to the hard one affects nothing else.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }
}

/// Takes so many streams, says something good on each, and when it came.
async fn take(acceptor: &mut Acceptor, clients: usize) -> (Vec<DeltaSession>, Vec<Instant>) {
    let (mut held, mut came) = (Vec::with_capacity(clients), Vec::with_capacity(clients));
    while held.len() < clients {
        let session = acceptor.delta_session().await;
        came.push(Instant::now());
        let nothing = Reply::new(Mode::Delta, ResourceType::Cluster, "nothing", Vec::new());
        Responses::Delta(session.responses.clone()).send(nothing).await;
        held.push(session);
    }
    (held, came)
}

fn show(came: &[Duration]) {
    let mut steps = [0usize; STEPS_SHOWN];
    for at in came {
        if let Some(step) = steps.get_mut((at.as_millis() / STEP.as_millis()) as usize) {
            *step += 1;
        }
    }
    let last = came.iter().max().copied().unwrap_or_default();
    println!(
        "storm: {} clients are back {:.1} s after the port was; the most in {STEP:?}: {}",
        came.len(),
        last.as_secs_f64(),
        steps.iter().max().copied().unwrap_or_default()
    );
    for (second, steps) in steps.chunks(STEPS_A_LINE).enumerate() {
        if steps.iter().any(|&count| count > 0) {
            let counts: Vec<String> = steps.iter().map(|count| format!("{count:>5}")).collect();
            println!("  second {second:>2}: {}", counts.join(""));
        }
    }
}
