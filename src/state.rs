//! The last known good configuration, in a file: what a restart without a control plane serves, and what the other
//! processes of the machine answer queries from.
//!
//! In: the commits of the store, before anybody else sees them. Out: at the next start, the objects of the last one, with
//! their revisions. A file is a log: all objects at one revision, then the commits after it, so that a change costs what
//! it changes; it is written anew when it has grown far above what it holds. Each record has its check sum: a process
//! that is killed while it writes leaves a torn end, which is dropped. What is not ours, is damaged, or comes from other
//! settings is set aside under another name and never served. One process holds the directory and writes, any number
//! follow it. Never here: a decision about what is published.

mod counter;
mod file;
mod follower;
mod keeper;
mod record;

#[cfg(test)]
mod tests;

use std::{
    fs::{File, TryLockError},
    io,
    path::PathBuf,
};

use serde::Serialize;

use crate::store::Revision;

pub use self::follower::Follower;

const LOCK: &str = "lock";
const LOG: &str = "objects";
const SET_ASIDE: &str = "objects.bad";

/// A directory with the last known good configuration.
#[derive(Debug, Clone)]
pub struct State {
    directory: PathBuf,
    /// What the objects were made from: those of other settings are not served.
    origin: String,
}

/// The right to write, of one process at a time. The kernel takes it back from a process that ends, however that ends.
#[derive(Debug)]
pub struct Hold(#[expect(dead_code, reason = "closing it lets go of the lock")] File);

/// What became of the file at the start, for `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// There was none.
    Nothing,
    /// Its objects are served until the control plane has said what is.
    Restored {
        /// The revision that they were at.
        revision: Revision,
    },
    /// It could not be used, for this reason.
    SetAside(String),
}

impl State {
    /// The state in `directory`, of objects made from `origin`.
    pub fn new(directory: impl Into<PathBuf>, origin: impl Into<String>) -> Self {
        Self { directory: directory.into(), origin: origin.into() }
    }

    /// The right to write, if no other process has it.
    pub fn try_hold(&self) -> io::Result<Option<Hold>> {
        let lock = self.open_lock()?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Hold(lock))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The right to write, once the process that has it lets go of it. Waits in the kernel, and cannot be called off.
    pub fn hold(&self) -> io::Result<Hold> {
        let lock = self.open_lock()?;
        loop {
            match lock.lock() {
                Ok(()) => return Ok(Hold(lock)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn open_lock(&self) -> io::Result<File> {
        file::make_directory(&self.directory)?;
        file::open(&self.directory.join(LOCK))
    }

    fn log(&self) -> PathBuf {
        self.directory.join(LOG)
    }
}
