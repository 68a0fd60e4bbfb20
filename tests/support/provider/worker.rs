//! One process of APISIX: what it loads before it serves, and the fibre of each directory (`_automatic_fetch`).
//!
//! In: a network. Out: directories that follow the endpoint. Never here: a decision of the test.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use tokio::task::AbortHandle;

use super::{
    client::{Client, NO_ENDPOINT, Pair, range_end},
    clock::{Clock, Doing, Fibre, Signal},
    directory::{Directory, Failure, List, PREFIX},
    link::Network,
    queue::{Found, Queue},
    tally::{self, Tally},
    version::Version,
};
use crate::support::mutate::Random;

/// From `init_by_lua` to the timers of the workers.
const FORKING: Duration = Duration::from_secs(1);
/// After a directory was told to read its list again.
const REENTRY: Duration = Duration::from_millis(50);
/// `etcd.resync_delay`, in ms; up to half of it is added.
const RESYNC_DELAY: u64 = 5000;

/// Which directories a process follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// With an Admin API and without stream proxy: `/plugins` and `/stream_routes` stay as they were preloaded, and their
    /// revision is where the watch starts.
    Gateway,
    /// A data plane with stream proxy follows all, so that nothing of the preload is left over (apisix#13917).
    DataPlane,
}

pub struct Shared {
    pub version: &'static Version,
    pub client: Client,
    pub tally: Rc<Tally>,
    pub directories: Vec<Directory>,
    /// The process's own: it loads, then it watches.
    pub fibre: Rc<Fibre>,
    /// One for each directory.
    pub fibres: Vec<Rc<Fibre>>,
    pub queue: Queue,
    /// The revision to watch from.
    pub start: Cell<i64>,
    pub started: Cell<bool>,
    /// The highest revision that the watch has brought.
    pub delivered: Cell<i64>,
    /// The revisions at which the stores of all lives changed.
    pub changes: Rc<RefCell<BTreeSet<i64>>>,
    /// Whether the watch skipped any of these.
    pub has_lost: Cell<bool>,
    pub begun: Vec<Signal>,
    pub news: Vec<Signal>,
    random: RefCell<Random>,
    tasks: RefCell<Vec<AbortHandle>>,
}

/// A process; it ends when dropped.
pub struct Worker(pub Rc<Shared>);

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.tasks.borrow().iter().for_each(AbortHandle::abort);
    }
}

impl Worker {
    pub fn start(
        version: &'static Version,
        role: Role,
        network: Rc<Network>,
        clock: Rc<Clock>,
        tally: Rc<Tally>,
        changes: Rc<RefCell<BTreeSet<i64>>>,
        seed: u64,
    ) -> Self {
        let follows = |name: &str| role == Role::DataPlane || !["/plugins", "/stream_routes"].contains(&name);
        let names: Vec<&str> = version.directories.iter().copied().filter(|name| follows(name)).collect();
        let signals = || names.iter().map(|_| Signal::default()).collect();
        let fibres: Vec<_> = names.iter().map(|_| Fibre::new(clock.clone())).collect();
        fibres.iter().for_each(|fibre| fibre.set(Doing::Waiting));
        let shared = Rc::new(Shared {
            version,
            client: Client::new(network, clock.clone(), tally.clone()),
            directories: names.iter().map(|name| Directory::new(version, name, tally.clone())).collect(),
            tally,
            fibre: Fibre::new(clock),
            fibres,
            queue: Queue::default(),
            start: Cell::new(0),
            started: Cell::new(false),
            delivered: Cell::new(0),
            changes,
            has_lost: Cell::new(false),
            begun: signals(),
            news: signals(),
            random: RefCell::new(Random::new(seed)),
            tasks: RefCell::default(),
        });
        shared.clone().spawn(shared.clone().live());
        Self(shared)
    }

    /// Whether APISIX itself skipped changes, so that what it lacks need not come.
    pub fn has_lost(&self) -> bool {
        self.0.has_lost.get() || self.0.queue.has_lost.get()
    }

    /// Whether something happens without time passing. `is_served` tells of each directory whether it has what is to
    /// come; `answers` whether the endpoint answers requests.
    pub fn is_moving(&self, answers: bool, is_served: impl Fn(&Directory) -> bool) -> bool {
        let shared = &self.0;
        let mut fibres = shared.fibres.iter().chain([&shared.fibre]);
        let is_busy = |fibre: &Rc<Fibre>| match fibre.doing() {
            Doing::Running => true,
            Doing::Reading(link) => answers && !link.is_mute(),
            // It is over, and that is about to be noticed.
            Doing::Watching(link) => link.is_cut_off(),
            _ => false,
        };
        if fibres.any(is_busy) {
            return true;
        }
        let is_due = |fibre: &Fibre| match fibre.doing() {
            Doing::Watching(link) => answers && !link.is_mute(),
            Doing::Waiting => matches!(shared.fibre.doing(), Doing::Watching(link) if !link.is_mute()),
            _ => false,
        };
        let mut directories = shared.directories.iter().zip(&shared.fibres);
        !self.has_lost() && directories.any(|(directory, fibre)| is_due(fibre) && !is_served(directory))
    }
}

impl Shared {
    fn spawn(self: Rc<Self>, fibre: impl Future<Output = ()> + 'static) {
        self.tasks.borrow_mut().push(tokio::task::spawn_local(fibre).abort_handle());
    }

    pub(super) fn tell_fault(&self, failure: Failure) {
        if let Failure::LuaError(what) = failure {
            self.tally.fault(what);
        }
    }

    async fn live(self: Rc<Self>) {
        let mut lists = self.preload().await;
        self.fibre.sleep(FORKING).await;
        for directory in &self.directories {
            let name = &directory.key[PREFIX.len()..];
            if let Some(list) = lists.remove(name) {
                directory.load(&list);
            }
        }
        for (at, fibre) in self.fibres.iter().enumerate() {
            fibre.set(Doing::Running);
            self.clone().spawn(self.clone().follow(at));
        }
        if self.version.watches_each_directory {
            self.fibre.set(Doing::Gone);
            return;
        }
        let left_over = lists.into_values().next().map(|list| list.revision);
        self.watch(left_over).await;
    }

    /// Everything, tried once; what fails is only logged.
    async fn preload(&self) -> BTreeMap<&'static str, List> {
        let answer = self.client.range_once(&self.fibre, PREFIX, Some(&range_end(PREFIX))).await;
        match answer.map_err(Failure::Told).and_then(List::of_range) {
            Ok(list) => list.by_directory(self.version),
            Err(failure) => {
                self.tell_fault(failure);
                BTreeMap::new()
            }
        }
    }

    /// A directory's fibre.
    async fn follow(self: Rc<Self>, at: usize) {
        let fibre = &self.fibres[at];
        loop {
            let mut result = self.sync(at).await;
            if matches!(&result, Err(Failure::Told(error)) if error.contains(NO_ENDPOINT)) {
                result = self.back_off(at).await;
                if result.is_ok() {
                    result = Err(Failure::Told("it comes back after the delay all the same".to_owned()));
                }
            }
            match result {
                Ok(true) => {}
                Ok(false) => fibre.sleep(REENTRY).await,
                Err(Failure::Told(error)) if error == "timeout" => {}
                Err(failure) => {
                    self.tell_fault(failure);
                    fibre.sleep(self.resync_delay()).await;
                }
            }
        }
    }

    /// Tries again after 1, 2, 4 ... seconds, as long as there is no healthy endpoint.
    async fn back_off(&self, at: usize) -> Result<bool, Failure> {
        let mut result = Err(Failure::Told(NO_ENDPOINT.to_owned()));
        for exponent in 0..6 {
            self.fibres[at].sleep(Duration::from_secs(1 << exponent)).await;
            result = self.sync(at).await;
            if !matches!(&result, Err(Failure::Told(error)) if error.contains(NO_ENDPOINT)) {
                return result;
            }
        }
        result
    }

    fn resync_delay(&self) -> Duration {
        let extra = self.random.borrow_mut().below(RESYNC_DELAY as usize / 2);
        Duration::from_millis(RESYNC_DELAY + extra as u64)
    }

    /// One step of a directory (`sync_data`): a full load, or the next message. Whether the next may follow at once.
    async fn sync(&self, at: usize) -> Result<bool, Failure> {
        let (directory, fibre) = (&self.directories[at], &self.fibres[at]);
        if !self.version.watches_each_directory && !self.started.get() {
            self.begun[at].wait(fibre).await;
        }
        if directory.needs_list() {
            let end = range_end(&directory.key);
            let answer = self.client.range(fibre, &directory.key, Some(&end)).await.map_err(Failure::Told)?;
            directory.load(&List::of_directory(answer, self.version)?);
            self.fibre.clock.news.notify_one();
            return Ok(true);
        }
        if self.version.watches_each_directory {
            return self.watch_directory(at).await;
        }
        loop {
            match self.queue.read(directory, &self.tally)? {
                Found::Applied => {
                    self.fibre.clock.news.notify_one();
                    return Ok(true);
                }
                Found::Resync => {
                    directory.ask_for_list();
                    return Ok(false);
                }
                Found::Nothing => self.news[at].wait(fibre).await,
            }
        }
    }

    /// Up to 3.3: one message of a watch of the directory's own, from behind what it has seen.
    async fn watch_directory(&self, at: usize) -> Result<bool, Failure> {
        let (directory, fibre) = (&self.directories[at], &self.fibres[at]);
        let timeout = self.version.watch_timeout;
        let told = |error: Option<String>| Failure::Told(error.unwrap_or_default());
        let watch = self.client.watch(fibre, &directory.key, directory.seen() + 1, timeout).await;
        let mut watch = watch.map_err(Failure::Told)?;
        // The first one says that the watch was created. Whatever it is, there is one more attempt.
        let first = watch.next(fibre, &self.tally).await;
        let message = match first {
            Ok(message) if message.events.is_some() => message,
            _ => watch.next(fibre, &self.tally).await.map_err(told)?,
        };
        let result = &message.body["result"];
        if !result.is_object() {
            return Err(Failure::Told("failed to wait etcd dir".to_owned()));
        }
        let compacted = result["compact_revision"].as_str().and_then(|revision| revision.parse::<i64>().ok());
        if compacted.is_some_and(|revision| revision > 0) {
            directory.ask_for_list();
            return Ok(false);
        }
        let Some(events) = message.events else {
            return Err(Failure::LuaError(format!("a message without events: {result}")));
        };
        tally::count(&self.tally.messages);
        let known = events.iter().filter(|event| event.mod_revision <= directory.seen());
        tally::add(&self.tally.duplicates, known.count());
        directory.apply(&events.iter().collect::<Vec<&Pair>>());
        self.fibre.clock.news.notify_one();
        Ok(true)
    }
}
