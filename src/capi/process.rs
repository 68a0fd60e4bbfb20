//! The one instance of a process, host or follower, and the handles on it.
//!
//! A handle is the address of the running instance; it is compared before it is used, so that a stale or made-up one
//! is an error and not a fault. An instance carried over a fork is refused and left alone: its thread does not exist
//! in the child, and taking it down would wait for that thread.

use std::{
    ffi::c_int,
    os::fd::{IntoRawFd as _, OwnedFd},
    sync::Arc,
};

use parking_lot::Mutex;
use serde_json::Value;

use crate::{
    agent::{self, Agent},
    config::Config,
    error::Error,
    log,
    state::Follower,
    status,
    store::{Revision, Snapshot},
};

/// A running instance of the library.
pub struct Mesh {
    owner: u32,
    role: Arc<Role>,
}

/// What the instance is.
pub enum Role {
    /// It talks to the control plane and serves the endpoint.
    Host(Agent),
    /// It reads what a host in another process serves.
    Follower(Follower, Box<Config>),
}

impl Role {
    /// The objects of the present revision.
    pub fn snapshot(&self) -> Result<Arc<Snapshot>, Error> {
        let present = self.present();
        if present.is_ready() { Ok(present) } else { Err(Error::NotReady) }
    }

    /// The present revision, 0 before the first.
    pub fn revision(&self) -> Revision {
        self.present().revision()
    }

    fn present(&self) -> Arc<Snapshot> {
        match self {
            Self::Host(agent) => agent.snapshot(),
            Self::Follower(follower, _) => follower.snapshot(),
        }
    }

    /// What the library knows of itself.
    pub fn status(&self) -> Value {
        match self {
            Self::Host(agent) => agent.status(),
            Self::Follower(follower, config) => status::follower(config, &follower.snapshot()),
        }
    }
}

static RUNNING: Mutex<Option<Box<Mesh>>> = Mutex::new(None);

/// Opens the etcd socket.
pub fn listen(config: &Config) -> Result<c_int, Error> {
    Ok(OwnedFd::from(agent::listen(config)?).into_raw_fd())
}

/// Starts the host in this process.
pub fn start(config: Config) -> Result<*mut Mesh, Error> {
    run(|| Agent::start(config).map(Role::Host))
}

/// Follows the host of another process, from this one.
pub fn follow(config: Config) -> Result<*mut Mesh, Error> {
    run(|| {
        let state = agent::kept(&config).ok_or_else(|| {
            Error::config("state_dir", "not set; give it the directory of the host to follow")
        })?;
        log::install(config.log_level);
        let follower =
            Follower::new(state).map_err(|source| Error::System { what: "directory state_dir", source })?;
        Ok(Role::Follower(follower, Box::new(config)))
    })
}

fn run(start: impl FnOnce() -> Result<Role, Error>) -> Result<*mut Mesh, Error> {
    let mut running = RUNNING.lock();
    match running.take() {
        Some(mesh) if mesh.owner == std::process::id() => {
            *running = Some(mesh);
            return Err(Error::AlreadyRunning);
        }
        // The parent's: its thread did not come along, so there is nothing to stop and nothing safe to drop.
        Some(mesh) => std::mem::forget(mesh),
        None => {}
    }
    let role = Arc::new(start()?);
    let mesh = running.insert(Box::new(Mesh { owner: std::process::id(), role }));
    Ok(&raw mut **mesh)
}

/// The instance of this process.
pub fn running() -> Result<*mut Mesh, Error> {
    let mut running = RUNNING.lock();
    let mesh = running.as_deref_mut().ok_or(Error::NotRunning)?;
    mesh.check_owner()?;
    Ok(&raw mut *mesh)
}

/// What a handle stands for.
pub fn role(handle: *const Mesh) -> Result<Arc<Role>, Error> {
    let running = RUNNING.lock();
    let mesh = running.as_deref().filter(|mesh| std::ptr::eq(*mesh, handle)).ok_or(Error::NotRunning)?;
    mesh.check_owner()?;
    Ok(mesh.role.clone())
}

/// Stops the instance this handle stands for.
pub fn stop(handle: *mut Mesh) -> Result<(), Error> {
    let mut running = RUNNING.lock();
    let mesh = running.as_deref().filter(|mesh| std::ptr::eq(*mesh, handle)).ok_or(Error::NotRunning)?;
    mesh.check_owner()?;
    let mesh = running.take();
    drop(running);
    if let Some(Role::Host(agent)) = mesh.as_deref().map(|mesh| &*mesh.role) {
        agent.stop();
    }
    Ok(())
}

impl Mesh {
    fn check_owner(&self) -> Result<(), Error> {
        match std::process::id() {
            this if this == self.owner => Ok(()),
            this => Err(Error::Forked { owner: self.owner, this }),
        }
    }
}
