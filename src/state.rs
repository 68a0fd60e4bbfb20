//! The last known good configuration, in a file: what a restart without a control plane serves.
//!
//! In: the commits of the store. Out: at the next start, the objects of the last one, with their revisions. A file is a
//! log: all objects at one revision, then the commits after it, so that a change costs what it changes; it is written
//! anew when it has grown far above what it holds. Each record has its check sum: a process that is killed while it
//! writes leaves a torn end, which is dropped. What is not ours, is damaged, or comes from other settings is set aside
//! under another name and never served. Other processes of the machine
//! follow the log to answer queries. Never here: a change of the store.

mod counter;
mod file;
mod follower;
mod record;

#[cfg(test)]
mod tests;

use std::{fs::File, io, path::PathBuf, sync::Arc, time::Duration};

use serde::Serialize;
use tracing::{info, warn};

use crate::store::{Life, Revision, Snapshot, Store};

pub use self::follower::Follower;
use self::{counter::Counter, file::Log, record::Record};

const LOCK: &str = "lock";
const LOG: &str = "objects";
const SET_ASIDE: &str = "objects.bad";
/// How soon a process notices that the one before it let go of the directory.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// A directory with the last known good configuration.
#[derive(Debug, Clone)]
pub struct State {
    directory: PathBuf,
    /// What the objects were made from: those of other settings are not served.
    origin: String,
}

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

    /// What a former process left, if it can be served. Logs what was found.
    pub fn restore(&self) -> (Option<Life>, Found) {
        let path = self.directory.join(LOG);
        match file::read(&path, &self.origin) {
            Ok(None) => (None, Found::Nothing),
            Ok(Some(read)) => {
                if let Some(at) = read.torn_at {
                    warn!("{}: damaged at byte {at}; what comes before is served", path.display());
                }
                let revision = read.life.revision;
                info!(
                    revision,
                    objects = read.life.objects.len(),
                    "{}: serving the last known configuration until the control plane answers",
                    path.display()
                );
                (Some(read.life), Found::Restored { revision })
            }
            Err(problem) => {
                warn!("{}: {problem}; set aside as {SET_ASIDE}, starting without it", path.display());
                // What cannot be renamed is written over all the same.
                let _ = std::fs::rename(&path, self.directory.join(SET_ASIDE));
                (None, Found::SetAside(problem))
            }
        }
    }

    /// Writes each commit of the store, from now on and for ever. A process that still holds the directory is waited
    /// for; a failure is logged once and tried again with the next commit.
    pub async fn save(self, store: Arc<Store>) {
        let mut revisions = store.revisions();
        let mut log = None;
        let mut is_failing = false;
        let (_lock, writes) = match self.open().await {
            Ok(open) => open,
            Err(error) => {
                warn!("{}: {error}; the configuration is not kept", self.directory.display());
                return;
            }
        };
        while revisions.wait_for(|&revision| revision > 0).await.is_ok() {
            revisions.mark_unchanged();
            match self.write(&mut log, store.snapshot()).await {
                Ok(()) if is_failing => {
                    info!("{}: the configuration is kept again", self.directory.display())
                }
                Err(error) if !is_failing => {
                    warn!("{}: {error}; the configuration is not kept", self.directory.display());
                }
                _ => {}
            }
            writes.add();
            is_failing = log.is_none();
            if revisions.changed().await.is_err() {
                return;
            }
        }
    }

    async fn open(&self) -> io::Result<(File, Counter)> {
        Ok((self.lock().await?, Counter::open(&self.directory)?))
    }

    /// One process writes at a time. The lock ends with the process, however that ends.
    async fn lock(&self) -> io::Result<File> {
        file::make_directory(&self.directory)?;
        let lock =
            file::options().create(true).truncate(false).write(true).open(self.directory.join(LOCK))?;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(std::fs::TryLockError::WouldBlock) => tokio::time::sleep(LOCK_POLL).await,
                Err(std::fs::TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    /// Brings the log up to the snapshot; after a failure there is none, and the next time begins a new one.
    async fn write(&self, log: &mut Option<Log>, snapshot: Arc<Snapshot>) -> io::Result<()> {
        if let Some(mut present) = log.take()
            && let Ok(commits) = snapshot.commits_since(present.revision)
            && !present.is_overgrown()
        {
            for commit in commits {
                present.append(&Record::of_commit(commit))?;
            }
            *log = Some(present);
            return Ok(());
        }
        let (path, origin) = (self.directory.join(LOG), self.origin.clone());
        let begin = move || Log::begin(&path, &Record::of_snapshot(&snapshot, origin));
        *log = Some(tokio::task::spawn_blocking(begin).await.map_err(io::Error::other)??);
        Ok(())
    }
}
