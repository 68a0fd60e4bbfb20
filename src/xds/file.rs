//! The file source: resources from a file or folder, read again when it changes.
//!
//! In: a path, looked at every second. Out: [`Update`]s. A file or resource that cannot be read keeps its last good
//! state and gives one line. Nothing needs to be referred to: all that stands in the files is in force.

mod document;
mod load;
mod reader;

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

pub use load::{Loaded, Problem, load, merge, refuse};
use reader::{Reader, Reading};

use super::{
    Change, ResourceType, Snapshot, SourceOptions, SourceStatus, Update,
    cache::Rejected,
    status::{self, TypeStatus},
};
use crate::error::Error;

/// Resources from files.
pub struct FileSource {
    snapshot: Snapshot,
    work: Work,
    poll_interval: Duration,
    problems: BTreeSet<Problem>,
    complete: bool,
    status: SourceStatus,
}

/// Files are read on a thread that may block; what it does is kept here, so that nothing is lost when
/// [`FileSource::next`] is dropped.
enum Work {
    Resting(Reader, Instant),
    Reading(JoinHandle<(Reader, Option<Reading>)>),
    /// The reading thread died; what was read stays in force.
    Broken,
}

impl FileSource {
    /// A source that reads `path` for the setting `uri`.
    pub fn new(uri: &str, path: &str, options: &SourceOptions) -> Result<Self, Error> {
        if !path.starts_with('/') {
            let problem = format!("{uri:?}: an absolute path is expected, as in file:///etc/xds");
            return Err(Error::config("xds", problem));
        }
        Ok(Self {
            snapshot: Snapshot::default(),
            work: Work::Resting(Reader::new(PathBuf::from(path), options.objection.clone()), Instant::now()),
            poll_interval: options.poll_interval,
            problems: BTreeSet::new(),
            complete: false,
            status: SourceStatus::new(uri),
        })
    }

    /// The resources in force.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// A handle on the state.
    pub fn status(&self) -> SourceStatus {
        self.status.clone()
    }

    /// The next update that changes something, or the first; may be dropped and called again.
    pub async fn next(&mut self) -> Update {
        loop {
            let Some(reading) = self.read().await else { continue };
            let first = !self.complete && reading.readable;
            let changes = self.take(reading);
            self.complete |= first;
            if first || !changes.is_empty() {
                return Update { changes, complete: self.complete };
            }
        }
    }

    async fn read(&mut self) -> Option<Reading> {
        if let Work::Resting(_, until) = &self.work {
            sleep_until(*until).await;
            if let Work::Resting(mut reader, _) = std::mem::replace(&mut self.work, Work::Broken) {
                self.work = Work::Reading(tokio::task::spawn_blocking(move || {
                    let reading = reader.read();
                    (reader, reading)
                }));
            }
        }
        let Work::Reading(task) = &mut self.work else {
            return std::future::pending().await;
        };
        match task.await {
            Ok((reader, reading)) => {
                self.work = Work::Resting(reader, Instant::now() + self.poll_interval);
                reading
            }
            Err(e) => {
                self.work = Work::Broken;
                let error = format!("reading files ended: {e}; what was read stays in force");
                warn!("xds: {error}");
                self.status.disconnected(&error);
                None
            }
        }
    }

    fn take(&mut self, reading: Reading) -> Vec<Change> {
        let changes = self.put(&reading.resources);
        let problems: BTreeSet<Problem> = reading.problems.into_iter().collect();
        for problem in problems.difference(&self.problems) {
            warn!("xds: {problem}; its last good state stays in force");
        }
        if problems.is_empty() && !self.problems.is_empty() {
            info!("xds: all files are read without error again");
        }
        self.problems = problems;
        if reading.readable {
            self.status.connected();
        }
        match self.problems.first() {
            Some(problem) if reading.readable => self.status.trouble(&problem.to_string()),
            Some(problem) => self.status.disconnected(&problem.to_string()),
            None => {}
        }
        self.note_types();
        changes
    }

    fn put(&mut self, resources: &[Loaded]) -> Vec<Change> {
        let mut changes = Vec::new();
        let present: BTreeSet<(ResourceType, &Arc<str>)> =
            resources.iter().map(|l| (l.kind, &l.resource.name)).collect();
        for kind in ResourceType::ALL {
            let held = self.snapshot.iter(kind).map(|r| r.name.clone());
            let gone: Vec<_> = held.filter(|name| !present.contains(&(kind, name))).collect();
            for name in gone {
                self.snapshot.remove(kind, &name);
                changes.push(Change { kind, name });
            }
        }
        for Loaded { kind, resource, .. } in resources {
            if self.snapshot.insert(*kind, resource.clone()) {
                changes.push(Change { kind: *kind, name: resource.name.clone() });
            }
        }
        changes.sort();
        changes
    }

    fn note_types(&self) {
        for kind in ResourceType::ALL {
            let rejected: Vec<Rejected> = self.rejected(kind).collect();
            let accepted = rejected.is_empty().then(status::now);
            let resources = self.snapshot.len(kind);
            self.status.set(kind, TypeStatus { resources, accepted, rejected, ..TypeStatus::default() });
        }
    }

    fn rejected(&self, kind: ResourceType) -> impl Iterator<Item = Rejected> {
        self.problems.iter().filter_map(move |p| match &p.resource {
            Some((k, name)) if *k == kind => {
                Some(Rejected { name: name.clone(), error: format!("{}: {}", p.file.display(), p.error) })
            }
            _ => None,
        })
    }
}
