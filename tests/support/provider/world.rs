//! An endpoint with its lives, and the workers that follow it.
//!
//! In: changes, restarts, disturbances, and calls to wait. Out: whether all workers hold what the store holds. The test
//! moves time; it waits for what happens without time passing, and moves on only when there is no more of that.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use apisix_mesh::store::{self, Commit, Delta, Keeper, Life, Snapshot, Store};
use parking_lot::Mutex;

use super::{
    clock::{Clock, Instant},
    directory::{Directory, Item, Items, PREFIX},
    link::Network,
    tally::Tally,
    version::Version,
    worker::{Role, Worker},
};
use crate::support::etcd::Endpoint;

/// Of real time, and only if something is lost.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of the workers' time, in which all of them must get to where the store is.
const SETTLING: Duration = Duration::from_secs(3600);
/// Where the clock of the first life is.
pub const WALL: i64 = 1_780_000_000_000;

pub struct World {
    pub clock: Rc<Clock>,
    pub network: Rc<Network>,
    pub tally: Rc<Tally>,
    pub workers: Vec<Worker>,
    pub store: Arc<Store>,
    /// Nothing while nobody listens.
    endpoint: Option<Endpoint>,
    version: &'static Version,
    max_commits: usize,
    /// The clock that revisions are taken from, in ms.
    wall: Arc<AtomicI64>,
    kept: Kept,
    /// The revisions at which the store of this life, and those that it goes on from, changed.
    changes: Rc<RefCell<BTreeSet<i64>>>,
    /// Those of all lives.
    used: RefCell<BTreeSet<i64>>,
    started: Cell<u64>,
}

/// What a restart finds of the life before: the states that were shown to the keeper, the last one first.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<VecDeque<Arc<Snapshot>>>>);

/// How many of these there are, at most.
const KEPT: usize = 4;

impl Keeper for Kept {
    fn keep(&self, next: &Arc<Snapshot>) {
        let mut kept = self.0.lock();
        kept.push_front(next.clone());
        kept.truncate(KEPT);
    }
}

impl World {
    /// With an endpoint that serves an empty configuration.
    pub fn new(version: &'static Version, seed: u64) -> Self {
        let wall = Arc::new(AtomicI64::new(WALL));
        let clock: Rc<Clock> = Rc::default();
        let mut world = Self {
            network: Network::new(clock.clone(), seed),
            clock,
            tally: Rc::default(),
            workers: Vec::new(),
            store: Arc::new(Store::new(store::Options::default())),
            endpoint: None,
            version,
            max_commits: 4096,
            wall,
            kept: Kept::default(),
            changes: Rc::default(),
            used: RefCell::default(),
            started: Cell::new(seed),
        };
        world.begin_life();
        world.commit(&Delta::default());
        world
    }

    /// How many commits the stores of later lives remember.
    pub fn remember(&mut self, max_commits: usize) {
        self.max_commits = max_commits;
    }

    pub fn start(&mut self, role: Role) {
        let worker = self.worker(role);
        self.workers.push(worker);
    }

    /// Starts a worker anew, as an operator would.
    pub fn restart_worker(&mut self, at: usize, role: Role) {
        self.workers[at] = self.worker(role);
    }

    fn worker(&self, role: Role) -> Worker {
        self.started.set(self.started.get() + 1);
        let (network, clock) = (self.network.clone(), self.clock.clone());
        let (tally, changes) = (self.tally.clone(), self.changes.clone());
        Worker::start(self.version, role, network, clock, tally, changes, self.started.get())
    }

    /// Publishes.
    pub fn commit(&self, delta: &Delta) -> Option<Arc<Commit>> {
        self.tick();
        self.noted(self.store.commit(delta))
    }

    /// Publishes that there is this and nothing else.
    pub fn commit_all(&self, delta: Delta) -> Option<Arc<Commit>> {
        self.tick();
        self.noted(self.store.commit_all(delta))
    }

    /// Publishes at just this millisecond.
    pub fn commit_at(&self, wall: i64, delta: &Delta) -> Option<Arc<Commit>> {
        self.wall.store(wall, Ordering::Relaxed);
        self.noted(self.store.commit(delta))
    }

    /// The wall clock moves on. To the millisecond at which a former life made a change, or the next one, it comes back
    /// only in tests of just that.
    fn tick(&self) {
        let used = self.used.borrow();
        let is_free = |wall: i64| !used.contains(&wall) && !used.contains(&(wall - 1));
        let now = self.wall.load(Ordering::Relaxed) + 7;
        let next = (now..).find(|&wall| is_free(wall)).expect("there is always a later time");
        self.wall.store(next, Ordering::Relaxed);
    }

    fn noted(&self, commit: Option<Arc<Commit>>) -> Option<Arc<Commit>> {
        if let Some(commit) = &commit {
            self.used.borrow_mut().insert(commit.revision);
            if !commit.events.is_empty() {
                self.changes.borrow_mut().insert(commit.revision);
            }
        }
        commit
    }

    // Lives.

    /// The endpoint's process is gone; nobody listens.
    pub fn stop(&mut self) {
        self.endpoint = None;
        self.network.lead_to(None);
    }

    /// The endpoint comes up and knows nothing, at a clock that went this far meanwhile.
    pub fn start_with_nothing(&mut self, milliseconds: i64) {
        self.stop();
        self.wall.fetch_add(milliseconds, Ordering::Relaxed);
        self.changes.borrow_mut().clear();
        self.begin_life();
    }

    /// The endpoint comes up and serves what it last knew.
    pub fn start_with_what_was_kept(&mut self) {
        self.start_without_the_last(0);
    }

    /// The endpoint comes up and serves what it last knew, but for the last commits, of which the machine's end left
    /// nothing; three at most.
    pub fn start_without_the_last(&mut self, commits: usize) {
        self.stop();
        let last = {
            let mut kept = self.kept.0.lock();
            for _ in 0..commits.min(kept.len() - 1) {
                kept.pop_front();
            }
            kept[0].clone()
        };
        self.changes.borrow_mut().retain(|&change| change <= last.revision());
        self.begin_life();
        let objects = last.objects_from("").map(|(key, kv)| (key.clone(), kv.clone())).collect();
        self.store.reset(Life { first: last.first_revision(), revision: last.revision(), objects });
    }

    fn begin_life(&mut self) {
        let wall = self.wall.clone();
        let options = store::Options { max_commits: self.max_commits, ..store::Options::default() };
        let store = Store::with_clock(options, move || wall.load(Ordering::Relaxed));
        store.keep_with(self.kept.clone());
        self.serve(Arc::new(store));
    }

    /// The endpoint comes up over this store.
    pub fn serve(&mut self, store: Arc<Store>) {
        let endpoint = Endpoint::over(store.clone());
        self.network.lead_to(Some(endpoint.address.parse().unwrap()));
        self.store = store;
        self.endpoint = Some(endpoint);
    }

    // Waiting.

    /// Waits until nothing happens any more without time passing.
    pub async fn rest(&self) {
        let snapshot = self.store.snapshot();
        let answers = self.endpoint.is_some() && snapshot.is_ready();
        // A directory's items are looked for once, however often something happens.
        let found: RefCell<BTreeMap<String, Items>> = RefCell::default();
        let is_served = |directory: &Directory| {
            let mut found = found.borrow_mut();
            let items = found.entry(directory.key.clone()).or_insert_with(|| expected(&snapshot, directory));
            directory.holds(items)
        };
        let is_moving = |worker: &Worker| worker.is_moving(answers, is_served);
        self.until(|| !self.workers.iter().any(is_moving)).await;
    }

    /// Waits for what happens without time passing.
    pub async fn until(&self, happened: impl Fn() -> bool) {
        let waiting = async {
            while !happened() {
                self.clock.news.notified().await;
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            panic!("{}: it does not happen: {}", self.version.name, self.difference());
        }
    }

    /// Lets this much time pass.
    pub async fn pass(&self, time: Duration) {
        let end = self.clock.now() + time;
        loop {
            self.rest().await;
            match self.clock.next() {
                Some(next) if next <= end => self.move_to(next),
                _ => return self.move_to(end),
            }
        }
    }

    fn move_to(&self, instant: Instant) {
        let passed = (instant - self.clock.now()).as_millis() as i64;
        self.wall.fetch_add(passed, Ordering::Relaxed);
        self.clock.move_to(instant);
    }

    /// Lets time pass until all workers hold what the store holds. Those that APISIX let down are left out.
    pub async fn settle(&self) {
        let end = self.clock.now() + SETTLING;
        loop {
            self.rest().await;
            if self.workers.iter().all(|worker| worker.has_lost() || self.is_up_to_date(worker)) {
                return;
            }
            match self.clock.next() {
                Some(next) if next <= end => self.move_to(next),
                _ => panic!("{}: stale for ever: {}", self.version.name, self.difference()),
            }
        }
    }

    pub fn is_up_to_date(&self, worker: &Worker) -> bool {
        let snapshot = self.store.snapshot();
        worker.0.directories.iter().all(|directory| directory.holds(&expected(&snapshot, directory)))
    }

    /// In what workers differ from the store, for whoever reads that they do.
    pub fn difference(&self) -> String {
        let snapshot = self.store.snapshot();
        let of_worker = |worker: &Worker| {
            let shared = &worker.0;
            let directories = shared.directories.iter().zip(&shared.fibres);
            let differing = directories.filter_map(|(directory, fibre)| {
                let (held, expected) = (directory.items(), expected(&snapshot, directory));
                let gone: Vec<_> = held.iter().filter(|item| !expected.contains_key(item.0)).collect();
                let lacking: Vec<_> =
                    expected.iter().filter(|(key, item)| held.get(*key) != Some(item)).collect();
                let differs = !gone.is_empty() || !lacking.is_empty();
                let (key, seen) = (&directory.key, directory.seen());
                differs.then(|| {
                    format!("{key} ({fibre:?}, seen {seen}): too much {gone:?}, too little {lacking:?}")
                })
            });
            let (fibre, others, start) = (&shared.fibre, &shared.fibres, shared.start.get());
            let differing = differing.collect::<Vec<_>>().join("; ");
            format!("{fibre:?}, directories {others:?}, watching from {start}: {differing}")
        };
        let workers: Vec<String> = self.workers.iter().map(of_worker).collect();
        format!("store at {}; {}", snapshot.revision(), workers.join(" | "))
    }
}

/// What a directory must hold.
pub fn expected(snapshot: &Snapshot, directory: &Directory) -> Items {
    let objects = snapshot.objects_from("").map(|(key, kv)| (format!("{PREFIX}{key}"), kv));
    let own = objects.filter(|(key, _)| directory.has(key));
    own.map(|(key, kv)| {
        let value = std::str::from_utf8(&kv.value).unwrap().into();
        (directory.short(&key).to_owned(), Item { value, revision: kv.mod_revision })
    })
    .collect()
}
