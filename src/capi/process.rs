//! The one instance of a process, and the handles on it.
//!
//! A handle is the address of the running instance; it is compared before it is used, so that a stale or made-up one
//! is an error and not a fault. An instance carried over a fork is refused and left alone: its thread does not exist
//! in the child, and taking it down would wait for that thread.

use std::{
    ffi::c_int,
    io,
    os::fd::{IntoRawFd as _, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use once_cell::sync::OnceCell;
use parking_lot::Mutex;

use crate::{agent, config::Config, error::Error, instance::Instance};

/// A running instance of the library.
pub struct Mesh {
    owner: u32,
    /// The forks that led to its process.
    forks: u32,
    instance: Arc<Instance>,
}

/// The forks that led to this process, since an instance was first made. Asking the kernel who this is would cost more
/// than a query.
static FORKS: AtomicU32 = AtomicU32::new(0);

static RUNNING: Mutex<Option<Box<Mesh>>> = Mutex::new(None);

/// Opens the etcd socket.
pub fn listen(config: &Config) -> Result<c_int, Error> {
    let listener = agent::listen(config)?
        .ok_or_else(|| Error::config("etcd_listen", "off opens no socket; give it an address"))?;
    Ok(OwnedFd::from(listener).into_raw_fd())
}

/// Makes the instance of this process with `start`.
pub fn run(start: impl FnOnce() -> Result<Arc<Instance>, Error>) -> Result<*mut Mesh, Error> {
    count_forks()?;
    let mut running = RUNNING.lock();
    match running.take() {
        Some(mesh) if mesh.check_owner().is_ok() => {
            *running = Some(mesh);
            return Err(Error::AlreadyRunning);
        }
        // The parent's: its thread did not come along, so there is nothing to stop and nothing safe to drop.
        Some(mesh) => std::mem::forget(mesh),
        None => {}
    }
    let (owner, forks) = (std::process::id(), FORKS.load(Ordering::Relaxed));
    let mesh = running.insert(Box::new(Mesh { owner, forks, instance: start()? }));
    Ok(&raw mut **mesh)
}

/// From now on, and in the children too.
fn count_forks() -> Result<(), Error> {
    extern "C" fn count() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    static COUNTED: OnceCell<()> = OnceCell::new();
    let begin = || {
        // SAFETY: the function is there for as long as the process, and adds to a number.
        match unsafe { libc::pthread_atfork(None, None, Some(count)) } {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    };
    let counted = COUNTED.get_or_try_init(begin);
    counted.copied().map_err(|source| Error::System { what: "handler of forks", source })
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
        if FORKS.load(Ordering::Relaxed) == self.forks {
            return Ok(());
        }
        Err(Error::Forked { owner: self.owner, this: std::process::id() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_socket_where_the_endpoint_is_off() {
        let config = Config::from_text("{xds: grpc://a:1, etcd_listen: off}").unwrap();
        let problem = "setting etcd_listen: off opens no socket; give it an address";
        assert_eq!(listen(&config).unwrap_err().to_string(), problem);
    }
}
