//! What was last read of each file, and which of them have changed.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::load::{self, Loaded, Problem};
use crate::xds::Objection;

/// The files of one source.
pub struct Reader {
    path: PathBuf,
    objection: Objection,
    files: BTreeMap<PathBuf, Held>,
    /// `None` until the first look.
    readable: Option<bool>,
}

struct Held {
    stamp: Stamp,
    resources: Vec<Loaded>,
    problems: Vec<Problem>,
}

/// Tells a changed file. The inode is that of the file behind a link: Kubernetes swaps links.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    size: u64,
    inode: u64,
}

/// Everything that is in force by the files.
pub struct Reading {
    pub resources: Vec<Loaded>,
    pub problems: Vec<Problem>,
    /// Whether the path is there.
    pub readable: bool,
}

impl Reader {
    pub fn new(path: PathBuf, objection: Objection) -> Self {
        Self { path, objection, files: BTreeMap::new(), readable: None }
    }

    /// `None` when nothing has changed since the last call.
    pub fn read(&mut self) -> Option<Reading> {
        let files = match load::list(&self.path) {
            Ok(files) => files,
            Err(problem) => return self.unreadable(problem),
        };
        let mut changed = self.readable.replace(true) != Some(true);
        let before = self.files.len();
        self.files.retain(|file, _| files.contains(file));
        changed |= self.files.len() != before;
        for file in files {
            changed |= self.read_file(file);
        }
        changed.then(|| self.reading(Vec::new()))
    }

    /// A path that went away takes nothing with it: it may be about to be mounted again.
    fn unreadable(&mut self, problem: Problem) -> Option<Reading> {
        (self.readable.replace(false) != Some(false)).then(|| self.reading(vec![problem]))
    }

    fn reading(&self, more: Vec<Problem>) -> Reading {
        let held = self.files.values().map(|held| (held.resources.clone(), held.problems.clone()));
        let (resources, mut problems) = load::merge(held);
        problems.extend(more);
        Reading { resources, problems, readable: self.readable == Some(true) }
    }

    /// Whether the file had changed.
    fn read_file(&mut self, file: PathBuf) -> bool {
        let stamp = stamp(&file);
        if self.files.get(&file).is_some_and(|held| held.stamp == stamp) {
            return false;
        }
        let (mut resources, problems) = load::refuse(load::load_file(&file), &self.objection);
        let before = self.files.remove(&file).map(|held| held.resources).unwrap_or_default();
        resources
            .extend(before.into_iter().filter(|last_good| problems.iter().any(|p| p.is_about(last_good))));
        self.files.insert(file, Held { stamp, resources, problems });
        true
    }
}

impl Problem {
    /// Whether this is why `last_good` could not be read again.
    fn is_about(&self, last_good: &Loaded) -> bool {
        match &self.resource {
            None => true,
            Some((kind, name)) => *kind == last_good.kind && **name == *last_good.resource.name,
        }
    }
}

fn stamp(file: &Path) -> Stamp {
    match fs::metadata(file) {
        Ok(m) => Stamp { modified: m.modified().ok(), size: m.len(), inode: m.ino() },
        Err(_) => Stamp { modified: None, size: 0, inode: 0 },
    }
}
