//! Watches that are made and dropped ten thousand times: what is left of them.

use std::{thread, time::Duration};

use tokio::runtime::Builder;

use crate::{door::Door, http2, mb, objects::watched, size, stream::Stream, system::System, usage::Usage};

/// Until a system has noticed that clients are gone.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

/// Plays it with each system by each door.
pub fn play() {
    let (watches, objects) = (size("WATCHES", 10_000), size("KEYS", 1_000));
    println!("recreate: {watches} watches, one after the other");
    println!(
        "  {:<24} {:>9} {:>9} {:>12} {:>12} {:>9} {:>9} {:>9}",
        "", "MB before", "MB after", "descriptors", "after", "tasks", "after", "CPU ms"
    );
    let runtime = Builder::new_current_thread().enable_all().build().expect("a loop");
    for mut system in System::both() {
        system.load(objects);
        for door in Door::ALL {
            // The first ones fill the pools of the allocators.
            runtime.block_on(recreate(&system.address, door, watches / 10));
            let before = settled(&mut system, None);
            runtime.block_on(recreate(&system.address, door, watches));
            let after = settled(&mut system, Some(before));
            show(&format!("{}, {}", system.name, door.name()), before, after);
        }
    }
}

async fn recreate(address: &str, door: Door, watches: usize) {
    match door {
        Door::Json => {
            for _ in 0..watches {
                let mut stream = Stream::watch(address, door, &watched(), 0).await;
                first_message(&mut stream).await;
            }
        }
        Door::Grpc => {
            let mut stream = Stream::connect(address, door).await;
            for number in 0..watches as u32 {
                stream.send(&door.watch(number, &watched(), 0)).await;
                first_message(&mut stream).await;
                stream.send(&http2::cancel(number)).await;
            }
        }
    }
}

async fn first_message(stream: &mut Stream) {
    let mut is_there = false;
    while !is_there {
        assert!(stream.read(|_| is_there = true).await, "the server stays");
    }
}

/// What a system takes, and its tasks.
type State = (Usage, Option<u64>);

/// Waits until a system has let go of what it had not `before`, or the patience ends.
fn settled(system: &mut System, before: Option<State>) -> State {
    let mut left = PATIENCE;
    loop {
        let (usage, tasks) = (system.usage(), system.tasks());
        let is_settled = before.is_some_and(|(before, tasks_before)| {
            usage.descriptors <= before.descriptors && tasks <= tasks_before
        });
        // Before the first there is nothing to compare with but a moment's rest.
        if is_settled || left.is_zero() || (before.is_none() && left < PATIENCE / 10 * 9) {
            return (usage, tasks);
        }
        thread::sleep(PAUSE);
        left = left.saturating_sub(PAUSE);
    }
}

fn show(what: &str, (before, tasks_before): State, (after, tasks_after): State) {
    let tasks = |tasks: Option<u64>| tasks.map_or("-".to_owned(), |tasks| tasks.to_string());
    println!(
        "  {what:<24} {:>9.1} {:>9.1} {:>12} {:>12} {:>9} {:>9} {:>9.0}",
        mb(before.resident),
        mb(after.resident),
        before.descriptors,
        after.descriptors,
        tasks(tasks_before),
        tasks(tasks_after),
        (after.cpu - before.cpu).as_secs_f64() * 1e3,
    );
}
