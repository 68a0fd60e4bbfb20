//! The commits that are still known.
//!
//! In: commits, oldest first. Out: those from a revision on, or that it is too long ago. Never here: more than the
//! bounds, except for the last commit, which always stays: the revision that a client is told to go on from must be
//! one that it can watch (contract section 2, duty 4); or a clock: revisions are one, so that a commit's age is how far
//! the newest is ahead of it, and history is let go as something new comes, not as time passes.

use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use super::{Commit, Event, Options, Revision};

/// What a commit costs without its events: a node of the tree, its own record, and what the allocator adds.
const NODE: usize = 256;

/// The revision asked for is older than history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// The oldest revision that can be read and watched.
    pub oldest: Revision,
}

#[derive(Debug, Clone, Default)]
pub(super) struct History {
    commits: RedBlackTreeMapSync<Revision, Arc<Commit>>,
    bytes: usize,
    /// The last revision up to which changes are not known; 0 before there is anything.
    gone: Revision,
}

impl History {
    /// That of a store that takes over what a former life left at `revision`.
    pub(super) fn taken_over(revision: Revision) -> Self {
        Self { gone: revision, ..Self::default() }
    }

    /// The oldest revision to name to a reader: one that it can read and watch; 0 if there is none.
    pub(super) fn oldest(&self) -> Revision {
        match self.commits.first() {
            Some((&revision, _)) => revision,
            None if self.gone > 0 => self.gone + 1,
            None => 0,
        }
    }

    /// Whether all changes at this revision and after it are known.
    pub(super) fn reaches(&self, revision: Revision) -> bool {
        revision > self.gone
    }

    /// Whether `start` can be where a reader of this life goes on: at a commit, or just behind one. Any other revision that
    /// a reader comes with is one of a former life, which was further than what this one took over from it.
    pub(super) fn is_of_this_life(&self, start: Revision) -> bool {
        let is_known = |revision| revision == self.gone || self.commits.contains_key(&revision);
        is_known(start) || is_known(start - 1)
    }

    /// The history with one more commit, and without those that no longer fit.
    pub(super) fn after(&self, commit: Arc<Commit>, options: &Options) -> Self {
        let mut next = self.clone();
        if next.gone == 0 {
            next.gone = commit.revision - 1;
        }
        next.bytes += bytes(&commit);
        next.commits.insert_mut(commit.revision, commit);
        while next.commits.size() > 1 && next.is_over(options) {
            next.drop_oldest();
        }
        next
    }

    fn is_over(&self, options: &Options) -> bool {
        let oldest = self.commits.first().map_or(0, |(&revision, _)| revision);
        let newest = self.commits.last().map_or(0, |(&revision, _)| revision);
        self.commits.size() > options.max_commits
            || self.bytes > options.max_bytes
            || u128::from(oldest.abs_diff(newest)) > options.max_age.as_millis()
    }

    fn drop_oldest(&mut self) {
        let Some((revision, size)) = self.commits.first().map(|(&r, commit)| (r, bytes(commit))) else {
            return;
        };
        self.commits.remove_mut(&revision);
        self.bytes -= size;
        self.gone = revision;
    }

    /// The commits at `start` and after it, oldest first.
    pub(super) fn from(
        &self,
        start: Revision,
    ) -> Result<impl DoubleEndedIterator<Item = &Arc<Commit>> + use<'_>, Compacted> {
        if !self.reaches(start) {
            return Err(Compacted { oldest: self.oldest() });
        }
        Ok(self.commits.range(start..).map(|(_, commit)| commit))
    }
}

/// What a commit keeps in memory, about: a value counts where it came and where it went.
fn bytes(commit: &Commit) -> usize {
    let value = |kv: &Option<super::KeyValue>| kv.as_ref().map_or(0, |kv| kv.value.len());
    let event = |event: &Event| {
        size_of_val(event) + event.key.as_str().len() + value(&event.current) + value(&event.previous)
    };
    NODE + commit.events.iter().map(event).sum::<usize>()
}
