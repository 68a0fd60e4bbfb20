//! The commits that are still known.
//!
//! In: commits, oldest first. Out: those from a revision on, or that it is too long ago. Never here: more than the
//! bounds, except for the last commit, which always stays: the revision that a client is told to go on from must be
//! one that it can watch (contract section 2, duty 4).

use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use super::{Commit, Options, Revision};

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
    /// The last revision of a former life whose objects were taken over, until a commit after it is dropped; or 0.
    taken_over: Revision,
}

impl History {
    /// That of a store that takes over what a former life left at `revision`.
    pub(super) fn taken_over(revision: Revision) -> Self {
        Self { taken_over: revision, ..Self::default() }
    }

    /// The oldest revision that can be read and watched; 0 if there is none.
    pub(super) fn oldest(&self) -> Revision {
        if self.taken_over > 0 {
            return self.taken_over + 1;
        }
        self.commits.first().map_or(0, |(&revision, _)| revision)
    }

    /// The history with one more commit, and without those that no longer fit.
    pub(super) fn after(&self, commit: Arc<Commit>, options: &Options) -> Self {
        let mut next = self.clone();
        next.bytes += bytes(&commit);
        next.commits.insert_mut(commit.revision, commit);
        while next.commits.size() > 1 && next.is_over(options) {
            next.drop_oldest();
        }
        next
    }

    fn is_over(&self, options: &Options) -> bool {
        self.commits.size() > options.max_commits || self.bytes > options.max_bytes
    }

    fn drop_oldest(&mut self) {
        let Some((revision, size)) = self.commits.first().map(|(&r, commit)| (r, bytes(commit))) else {
            return;
        };
        self.commits.remove_mut(&revision);
        self.bytes -= size;
        self.taken_over = 0;
    }

    /// The commits at `start` and after it, oldest first.
    pub(super) fn from(
        &self,
        start: Revision,
    ) -> Result<impl DoubleEndedIterator<Item = &Arc<Commit>> + use<'_>, Compacted> {
        if start < self.oldest() {
            return Err(Compacted { oldest: self.oldest() });
        }
        Ok(self.commits.range(start..).map(|(_, commit)| commit))
    }
}

/// What a commit keeps in memory, about: a value counts where it came and where it went.
fn bytes(commit: &Commit) -> usize {
    let value = |kv: &Option<super::KeyValue>| kv.as_ref().map_or(0, |kv| kv.value.len());
    commit
        .events
        .iter()
        .map(|event| {
            size_of_val(event) + event.key.as_str().len() + value(&event.current) + value(&event.previous)
        })
        .sum()
}
