//! The one instance of a process, and the handles on it.
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

use crate::{agent, config::Config, error::Error, instance::Instance};

/// A running instance of the library.
pub struct Mesh {
    owner: u32,
    instance: Arc<Instance>,
}

static RUNNING: Mutex<Option<Box<Mesh>>> = Mutex::new(None);

/// Opens the etcd socket.
pub fn listen(config: &Config) -> Result<c_int, Error> {
    Ok(OwnedFd::from(agent::listen(config)?).into_raw_fd())
}

/// Makes the instance of this process with `start`.
pub fn run(start: impl FnOnce() -> Result<Arc<Instance>, Error>) -> Result<*mut Mesh, Error> {
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
    let mesh = running.insert(Box::new(Mesh { owner: std::process::id(), instance: start()? }));
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
pub fn instance(handle: *const Mesh) -> Result<Arc<Instance>, Error> {
    let running = RUNNING.lock();
    let mesh = running.as_deref().filter(|mesh| std::ptr::eq(*mesh, handle)).ok_or(Error::NotRunning)?;
    mesh.check_owner()?;
    Ok(mesh.instance.clone())
}

/// Stops the instance this handle stands for.
pub fn stop(handle: *mut Mesh) -> Result<(), Error> {
    let mut running = RUNNING.lock();
    let mesh = running.as_deref().filter(|mesh| std::ptr::eq(*mesh, handle)).ok_or(Error::NotRunning)?;
    mesh.check_owner()?;
    let mesh = running.take();
    drop(running);
    if let Some(mesh) = mesh {
        mesh.instance.stop();
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
