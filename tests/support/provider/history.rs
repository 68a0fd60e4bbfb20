//! Random changes, restarts and disturbances, and what became of the workers that went through them.
//!
//! In: a version, how much of everything, a seed. Out: counts; a change that is lost fails the test. Never here: a rule of
//! APISIX's.

use std::time::Duration;

use apisix_mesh::{
    apisix::{Directory, Key},
    store::{Delta, Snapshot},
};
use bytes::Bytes;

use super::{
    link::{Cut, Weather},
    version::Version,
    worker::Role,
    world::World,
};
use crate::support::mutate::Random;

/// How much is to happen, at least.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub cuts: usize,
    pub kept: usize,
    pub lost: usize,
}

/// What happened. That no change was lost needs no number: it would have failed the test.
#[derive(Debug)]
pub struct Outcome {
    pub cuts: usize,
    pub kept: usize,
    pub lost: usize,
    pub messages: u64,
    pub reloads: u64,
    pub duplicates: u64,
    /// By APISIX's own fault; the worker that lost something was started anew.
    pub lost_windows: u64,
    pub faults: Vec<String>,
}

const ROLES: [Role; 2] = [Role::Gateway, Role::DataPlane];
/// Commits that the history of a life holds.
const REMEMBERED: [usize; 4] = [100, 20, 3, 1];
/// Ids in each directory.
const IDS: usize = 6;

pub struct History {
    version: &'static Version,
    pub world: World,
    random: Random,
    /// Makes each value a new one.
    values: usize,
}

impl History {
    pub fn new(version: &'static Version, seed: u64) -> Self {
        let mut world = World::new(version, seed);
        world.remember(REMEMBERED[0]);
        world.start_with_what_was_kept();
        ROLES.into_iter().for_each(|role| world.start(role));
        Self { version, world, random: Random::new(seed), values: 0 }
    }

    /// Plays until all of this has happened, and everything has settled.
    pub async fn play(&mut self, size: Size) -> Outcome {
        self.play_cuts(size.cuts).await;
        let (mut kept, mut lost) = (0, 0);
        while kept < size.kept || lost < size.lost {
            self.disturb(10).await;
            if kept < size.kept {
                self.restart_with_what_was_kept().await;
                kept += 1;
            }
            if lost < size.lost {
                self.restart_with_nothing().await;
                lost += 1;
            }
        }
        self.world.network.weather.set(Weather::default());
        self.settle().await;
        assert!(self.world.workers.iter().all(|worker| self.world.is_up_to_date(worker)));
        let tally = &self.world.tally;
        Outcome {
            cuts: self.world.network.cuts(),
            kept,
            lost,
            messages: tally.messages.get(),
            reloads: tally.reloads.get(),
            duplicates: tally.duplicates.get(),
            lost_windows: tally.lost_windows.get(),
            faults: tally.faults.take(),
        }
    }

    async fn play_cuts(&mut self, cuts: usize) {
        while self.world.network.cuts() < cuts {
            self.disturb(60).await;
        }
    }

    /// A few changes under a new weather, with links cut, stalled and resumed, and time that passes.
    async fn disturb(&mut self, cut: usize) {
        let within = *self.random.pick(&[10, 300, 1500, 10_000]);
        let silent = self.random.below(4) == 0;
        let dribble = if self.random.below(20) == 0 { 4000 } else { 0 };
        self.world.network.weather.set(Weather { cut, within, silent, dribble });
        for _ in 0..self.random.below(6) {
            self.change();
            if self.random.below(3) == 0 {
                self.world.rest().await;
            }
            match self.random.below(8) {
                0..=3 => self.with_a_link(|link, how| link.cut(how)),
                4 => self.with_a_link(|link, _| link.stall()),
                5 => self.world.network.links().iter().for_each(|link| link.resume()),
                6 => self.pass_up_to(120).await,
                _ => {}
            }
        }
        match self.random.below(4) {
            0 => self.pass_up_to(20).await,
            1 => {
                let at = self.random.below(ROLES.len());
                self.world.restart_worker(at, ROLES[at]);
            }
            _ => self.settle().await,
        }
    }

    fn with_a_link(&mut self, act: impl Fn(&super::link::Control, Cut)) {
        let links = self.world.network.links();
        if !links.is_empty() {
            let link = self.random.pick(&links).clone();
            act(&link, *self.random.pick(&[Cut::Reset, Cut::Close, Cut::Silent]));
        }
    }

    async fn pass_up_to(&mut self, seconds: usize) {
        let time = Duration::from_millis(self.random.below(seconds * 1000) as u64);
        self.world.pass(time).await;
    }

    /// Workers that APISIX itself let down are started anew, as their operator would have to.
    async fn settle(&mut self) {
        loop {
            self.world.settle().await;
            let lost: Vec<usize> = (0..ROLES.len()).filter(|&at| self.world.workers[at].has_lost()).collect();
            // See `a_slow_first_list_is_a_loss_since_3_4_where_the_load_at_start_failed`.
            assert!(lost.is_empty() || self.version.has_one_watch());
            let skipped = self.world.workers.iter().any(|worker| worker.0.has_lost.get());
            assert!(!skipped, "the endpoint gives 3.14 no revision to skip to");
            if lost.is_empty() {
                return;
            }
            lost.into_iter().for_each(|at| self.world.restart_worker(at, ROLES[at]));
        }
    }

    /// The state is kept to its end: of a life that lost what it had told, not all workers can know, those least that have
    /// lists of its end and are behind with their watch. The control plane is where it was or further when it answers.
    async fn restart_with_what_was_kept(&mut self) {
        self.world.remember(*self.random.pick(&REMEMBERED));
        if self.random.below(2) == 0 {
            self.world.stop();
            // Nobody has seen these, but they are kept.
            for _ in 0..self.random.below(3) {
                self.change();
            }
            self.pass_up_to(60).await;
        }
        self.world.start_with_what_was_kept();
        if self.random.below(2) == 0 {
            self.settle().await;
        }
        let all = self.changed_state();
        self.world.commit_all(all);
        if self.random.below(2) == 0 {
            self.settle().await;
        }
    }

    /// Nothing is kept, the clock has moved on or was set back, and requests wait for the first configuration.
    async fn restart_with_nothing(&mut self) {
        self.world.remember(*self.random.pick(&REMEMBERED));
        if self.random.below(2) == 0 {
            self.world.stop();
            self.pass_up_to(60).await;
        }
        let all = self.changed_state();
        let by = self.clock_step();
        self.world.start_with_nothing(by);
        if self.random.below(2) == 0 {
            self.pass_up_to(100).await;
        }
        self.world.commit_all(all);
        if self.random.below(2) == 0 {
            self.settle().await;
        }
    }

    /// How far the clock is off after a restart, in ms. It is set back only for those who survive it, and not far for
    /// those who read all lists every 50 ms until it is where it was: see `revisions_that_go_back`.
    fn clock_step(&mut self) -> i64 {
        let set_back = self.version.survives_a_clock_set_back() && self.random.below(2) == 0;
        match (set_back, self.version.watches_each_directory) {
            (false, _) => self.random.below(3_600_000) as i64,
            (true, false) => -(self.random.below(3_600_000) as i64),
            (true, true) => -(self.random.below(1000) as i64),
        }
    }

    /// All that there is, mostly with changes.
    fn changed_state(&mut self) -> Delta {
        let snapshot = self.world.store.snapshot();
        let mut puts = present(&snapshot);
        for _ in 0..self.random.below(4) {
            let key = self.key();
            puts.retain(|(held, _)| *held != key);
            if self.random.below(2) == 0 {
                puts.push((key, self.value()));
            }
        }
        Delta { puts, deletes: Vec::new() }
    }

    /// One commit.
    pub fn change(&mut self) {
        let mut delta = Delta::default();
        for _ in 0..=self.random.below(4) {
            let key = self.key();
            let is_new = delta.puts.iter().all(|(put, _)| *put != key) && !delta.deletes.contains(&key);
            if is_new && self.random.below(3) == 0 {
                delta.deletes.push(key);
            } else if is_new {
                delta.puts.push((key, self.value()));
            }
        }
        self.world.commit(&delta);
    }

    fn key(&mut self) -> Key {
        let directory = *self.random.pick(&Directory::ALL);
        Key::new(directory, &format!("i{}", self.random.below(IDS)))
    }

    fn value(&mut self) -> Bytes {
        self.values += 1;
        let padding = "x".repeat(*self.random.pick(&[0, 0, 0, 0, 10, 10, 100, 1500]));
        format!(r#"{{"value":{},"padding":"{padding}"}}"#, self.values).into()
    }
}

fn present(snapshot: &Snapshot) -> Vec<(Key, Bytes)> {
    snapshot.objects_from("").map(|(key, kv)| (key.clone(), kv.value.clone())).collect()
}
