//! Writes the log.
//!
//! In: each state that is about to be published. Out: the log up to it, and word to those who follow. A failure is logged
//! once and the log begun anew with the next commit. A log that has grown is written anew on a thread beside, while
//! commits go on to the old one. Never here: the right to write, which is the process's (see `Hold`).

use std::{io, path::PathBuf, sync::Arc, thread::JoinHandle};

use parking_lot::Mutex;
use tracing::{info, warn};

use super::{State, counter::Counter, file::Log, record::Record};
use crate::store::{self, Snapshot};

/// The keeper of a store.
#[derive(Debug)]
pub struct Keeper {
    state: State,
    writes: Arc<Counter>,
    writing: Mutex<Writing>,
}

#[derive(Debug)]
struct Writing {
    log: Option<Log>,
    /// The log that will take its place.
    next: Option<JoinHandle<io::Result<Log>>>,
    is_failing: bool,
}

impl Keeper {
    /// Goes on with a log; without one, the first commit begins it.
    pub fn new(state: State, writes: Arc<Counter>, log: Option<Log>) -> Self {
        let writing = Mutex::new(Writing { log, next: None, is_failing: false });
        Self { state, writes, writing }
    }
}

impl store::Keeper for Keeper {
    fn keep(&self, next: &Arc<Snapshot>) {
        let mut writing = self.writing.lock();
        let written = writing.write(&self.state, next);
        let directory = self.state.directory.display();
        match &written {
            Ok(()) if writing.is_failing => info!("{directory}: the configuration is kept again"),
            Err(error) if !writing.is_failing => {
                warn!(
                    "{directory}: {error}; the configuration is not kept, and other processes do not see it"
                );
            }
            _ => {}
        }
        writing.is_failing = written.is_err();
        self.writes.add();
    }
}

impl Writing {
    /// After a failure there is no log, and the next time begins one.
    fn write(&mut self, state: &State, snapshot: &Arc<Snapshot>) -> io::Result<()> {
        if let Some(next) = self.next.take_if(|next| next.is_finished())
            && let Ok(Ok(mut log)) = next.join()
            && append(&mut log, snapshot).is_ok()
        {
            log.publish(&state.log())?;
            self.log = Some(log);
            return Ok(());
        }
        if let Some(mut log) = self.log.take()
            && append(&mut log, snapshot).is_ok()
        {
            if log.is_overgrown() && self.next.is_none() {
                let (path, origin, snapshot) = (state.log(), state.origin.clone(), snapshot.clone());
                self.next = Some(begin_beside(path, origin, snapshot)?);
            }
            self.log = Some(log);
            return Ok(());
        }
        let log = begin(state.log(), state.origin.clone(), snapshot)?;
        log.publish(&state.log())?;
        self.log = Some(log);
        Ok(())
    }
}

/// Brings a log up to the snapshot.
fn append(log: &mut Log, snapshot: &Snapshot) -> io::Result<()> {
    let commits = snapshot.commits_since(log.revision);
    for commit in commits.map_err(|_| io::Error::other("history does not reach back to it"))? {
        log.append(&Record::of_commit(commit))?;
    }
    Ok(())
}

fn begin(path: PathBuf, origin: String, snapshot: &Snapshot) -> io::Result<Log> {
    Log::begin(&path, &Record::of_snapshot(snapshot, origin))
}

fn begin_beside(
    path: PathBuf,
    origin: String,
    snapshot: Arc<Snapshot>,
) -> io::Result<JoinHandle<io::Result<Log>>> {
    std::thread::Builder::new().name("mesh-log".to_owned()).spawn(move || begin(path, origin, &snapshot))
}
