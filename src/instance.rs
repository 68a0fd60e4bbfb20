//! The library in one process: it hosts, or it follows the host and stands by to take its place.
//!
//! In: a [`Config`]. Out: exactly one host among the processes that share a `state_dir`, and a snapshot in each of them.
//! Those that stand by wait for the lock of the directory, which the kernel takes back from a host that ends; until then
//! their thread sleeps. Without a `state_dir` there is nothing to share, and each process hosts. Never here: what a host
//! does.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use once_cell::sync::OnceCell;
use parking_lot::Mutex;
use tracing::warn;

use crate::{
    agent::{self, Agent, Kept, signals},
    config::Config,
    error::Error,
    log,
    state::{Follower, Hold, State},
    status::Report,
    store::{self, Revision, Snapshot, Store},
};

/// How long a process that could not take over waits before it tries again.
const NEXT_TRY: Duration = Duration::from_secs(1);
/// How late a wait may notice that the instance was stopped.
const WAIT_SLICE: Duration = Duration::from_millis(100);

/// The library in this process.
pub struct Instance {
    config: Config,
    /// Where the state is shared.
    follower: Option<Follower>,
    /// Once this process hosts.
    agent: OnceCell<Agent>,
    is_stopped: Mutex<bool>,
}

impl Instance {
    /// Hosts, or stands by where another process does. An error of the settings, or of the endpoint that this process
    /// should open, is told now; one that taking over brings is logged.
    pub fn start(config: Config) -> Result<Arc<Self>, Error> {
        log::install(config.log_level);
        let Some(state) = agent::kept(&config) else {
            let fresh = || Ok((Arc::new(Store::new(store::Options::default())), None));
            let agent = OnceCell::with_value(Agent::start(config.clone(), fresh)?);
            return Ok(Arc::new(Self { config, follower: None, agent, is_stopped: Mutex::new(false) }));
        };
        let instance = Self::following(config, state.clone())?;
        match state.try_hold().map_err(directory_error)? {
            Some(hold) => instance.host(hold)?,
            None => stand_by(&instance, state)?,
        }
        Ok(instance)
    }

    /// Follows, and never hosts.
    pub fn follow(config: Config) -> Result<Arc<Self>, Error> {
        log::install(config.log_level);
        let state = agent::kept(&config).ok_or_else(|| {
            Error::config("state_dir", "not set; give it the directory of the host to follow")
        })?;
        Self::following(config, state)
    }

    fn following(config: Config, state: State) -> Result<Arc<Self>, Error> {
        let follower = Some(Follower::new(state).map_err(directory_error)?);
        Ok(Arc::new(Self { config, follower, agent: OnceCell::new(), is_stopped: Mutex::new(false) }))
    }

    /// Takes the host's place.
    fn host(&self, hold: Hold) -> Result<(), Error> {
        let is_stopped = self.is_stopped.lock();
        let Some(follower) = self.follower.as_ref().filter(|_| !*is_stopped) else { return Ok(()) };
        let agent = Agent::start(self.config.clone(), || {
            let (store, found) = follower.take_over(&hold).map_err(directory_error)?;
            Ok((store, Some(Kept { hold, found })))
        })?;
        let is_first = self.agent.set(agent).is_ok();
        debug_assert!(is_first, "a process takes over once");
        Ok(())
    }

    /// The objects of the present revision.
    pub fn ready_snapshot(&self) -> Result<Arc<Snapshot>, Error> {
        let present = self.snapshot();
        if present.is_ready() { Ok(present) } else { Err(Error::NotReady) }
    }

    /// The present state; not ready before the first revision.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        match (self.agent.get(), &self.follower) {
            (Some(agent), _) => agent.snapshot(),
            (None, Some(follower)) => follower.snapshot(),
            (None, None) => Arc::default(),
        }
    }

    /// The revision, once it is another than `after`, or at the end of this time; 0 before the first.
    pub fn wait(&self, after: Revision, patience: Duration) -> Result<Revision, Error> {
        let end = Instant::now().checked_add(patience);
        loop {
            if *self.is_stopped.lock() {
                return Err(Error::NotRunning);
            }
            let revision = self.snapshot().revision();
            let left = end.map_or(WAIT_SLICE, |end| end.saturating_duration_since(Instant::now()));
            if revision != after || left.is_zero() {
                return Ok(revision);
            }
            match (self.agent.get(), &self.follower) {
                (Some(agent), _) => agent.wait(after, left.min(WAIT_SLICE)),
                (None, Some(follower)) => follower.wait(after, left.min(WAIT_SLICE)),
                (None, None) => return Ok(revision),
            }
        }
    }

    /// Shows what the library knows of itself.
    pub fn report<T>(&self, show: impl FnOnce(&Report) -> T) -> T {
        match self.agent.get() {
            Some(agent) => agent.report(show),
            None => show(&Report { config: &self.config, snapshot: &self.snapshot(), host: None }),
        }
    }

    /// Lets another process host, and waits for this one's thread, a second at most.
    pub fn stop(&self) {
        *self.is_stopped.lock() = true;
        if let Some(agent) = self.agent.get() {
            agent.stop();
        }
    }
}

fn directory_error(source: std::io::Error) -> Error {
    Error::System { what: "directory state_dir", source }
}

/// Starts the thread that waits for the host's end. It does not keep the instance, and what it gets when the instance is
/// gone, it lets go.
fn stand_by(instance: &Arc<Instance>, state: State) -> Result<(), Error> {
    let instance = Arc::downgrade(instance);
    signals::spawn("mesh-standby", move || take_turn(&instance, &state))
        .map(drop)
        .map_err(|source| Error::System { what: "background thread", source })
}

fn take_turn(instance: &Weak<Instance>, state: &State) {
    let mut is_failing = false;
    loop {
        let held = state.hold().map_err(directory_error);
        let Some(instance) = instance.upgrade() else { return };
        let Err(error) = held.and_then(|hold| instance.host(hold)) else {
            return;
        };
        if !is_failing {
            warn!("cannot take the host's place: {error}; tried again every second");
            is_failing = true;
        }
        drop(instance);
        std::thread::sleep(NEXT_TRY);
    }
}
