//! Events to many watches: as they happen, one alone, and all of a history.

use std::{
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Runtime};

use crate::{
    door::Door,
    measure::{Both, head, in_turn, show, show_rate, show_usage},
    size,
    system::System,
    watcher::Watchers,
};

/// Single events in a round.
const SINGLES: usize = 100;
/// Between two of them, so that nobody is still busy with the last one.
const PAUSE: Duration = Duration::from_millis(2);
/// Events of one commit in the history.
const IN_A_COMMIT: usize = 10;

/// Plays it.
pub fn play() {
    let (events, rounds) = (size("EVENTS", 10_000), size("ROUNDS", 5));
    let mut systems = System::both();
    systems.iter_mut().for_each(|system| system.load(events));
    let mut scene = Scene {
        runtime: Builder::new_current_thread().enable_all().build().expect("a loop"),
        systems,
        watches: size("WATCHES", 64),
        events,
        rounds,
    };
    head(&format!("fan_out: {} watches x {events} events", scene.watches));
    for door in Door::ALL {
        let name = door.name();
        let times = scene.live(door);
        show(&format!("{events} commits to all, {name}"), &times);
        show_rate(&format!("events a second, {name}"), scene.watches * events, &times);
        show(&format!("one event to all, {name}"), &scene.one_by_one(door));
        let times = scene.replay(door);
        show(&format!("{events} old events to all, {name}"), &times);
        show_rate(&format!("old events a second, {name}"), scene.watches * events, &times);
    }
    show_usage("after this", scene.systems.each_ref().map(System::usage));
}

struct Scene {
    runtime: Runtime,
    systems: Both<System>,
    watches: usize,
    events: usize,
    rounds: usize,
}

impl Scene {
    fn watchers(&self, door: Door) -> Both<Watchers> {
        self.systems
            .each_ref()
            .map(|system| self.runtime.block_on(Watchers::open(self.watches, system, door, 0)))
    }

    /// Commits of one event each, as fast as each system takes them.
    fn live(&mut self, door: Door) -> Both<Vec<Duration>> {
        let mut watchers = self.watchers(door);
        let (runtime, events) = (&self.runtime, self.events);
        in_turn(&mut self.systems, self.rounds, |which, system| {
            vec![deliver(runtime, system, &mut watchers[which], events)]
        })
    }

    fn one_by_one(&mut self, door: Door) -> Both<Vec<Duration>> {
        let mut watchers = self.watchers(door);
        let runtime = &self.runtime;
        in_turn(&mut self.systems, self.rounds, |which, system| {
            let one = |_| {
                thread::sleep(PAUSE);
                deliver(runtime, system, &mut watchers[which], 1)
            };
            (0..SINGLES).map(one).collect()
        })
    }

    /// Watches that start before commits that are done.
    fn replay(&mut self, door: Door) -> Both<Vec<Duration>> {
        let (runtime, watches, events) = (&self.runtime, self.watches, self.events);
        in_turn(&mut self.systems, self.rounds, |_, system| {
            let start = system.put(1, 1) + 1;
            system.put(events / IN_A_COMMIT, IN_A_COMMIT);
            let began = Instant::now();
            let done = runtime
                .block_on(async { Watchers::open(watches, system, door, start).await.until(events).await });
            vec![done - began]
        })
    }
}

/// From the first of so many commits until the last watch has the last of them.
fn deliver(runtime: &Runtime, system: &mut System, watchers: &mut Watchers, events: usize) -> Duration {
    let all = watchers.events() + events;
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let began = Instant::now();
            system.put(events, 1);
            began
        });
        let done = runtime.block_on(watchers.until(all));
        done - writer.join().expect("it writes")
    })
}
