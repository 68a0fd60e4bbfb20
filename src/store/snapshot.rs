//! One state of the store, for as long as a reader wants it.
//!
//! In: the commit that follows. Out: objects by key and by range, as they are or as they were; commits from a
//! revision on. Never here: a change of what a reader holds.

use std::{
    collections::{BTreeMap, HashSet},
    ops::Bound,
    sync::Arc,
};

use rpds::RedBlackTreeMapSync;

use super::{Commit, Compacted, KeyValue, Life, Options, Revision, history::History};
use crate::apisix::Key;

/// An immutable state: objects, revision, and the history that led to it.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    first: Revision,
    revision: Revision,
    objects: RedBlackTreeMapSync<Key, KeyValue>,
    /// Of their keys and values.
    bytes: usize,
    history: History,
}

impl Snapshot {
    /// The state after one more commit. Costs what changed, not what is there.
    pub(super) fn after(&self, commit: Arc<Commit>, options: &Options) -> Self {
        let mut objects = self.objects.clone();
        let mut bytes = self.bytes;
        for event in &commit.events {
            bytes += size(&event.key, event.current.as_ref());
            bytes -= size(&event.key, event.previous.as_ref());
            match &event.current {
                Some(kv) => objects.insert_mut(event.key.clone(), kv.clone()),
                None => {
                    objects.remove_mut(&event.key);
                }
            }
        }
        Self {
            first: if self.is_ready() { self.first } else { commit.revision },
            revision: commit.revision,
            objects,
            bytes,
            history: self.history.after(commit, options),
        }
    }

    /// The state that a former life left: its objects, with the revisions that they have.
    pub(super) fn taken_over(life: Life) -> Self {
        let Life { first, revision, objects } = life;
        let history = History::taken_over(revision);
        let bytes = objects.iter().map(|(key, kv)| size(key, Some(kv))).sum();
        Self { first, revision, objects: objects.into_iter().collect(), bytes, history }
    }

    /// Whether there was a first commit.
    pub fn is_ready(&self) -> bool {
        self.revision > 0
    }

    /// The revision of the last commit, 0 before the first.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The revision of this store's first commit, 0 before it.
    pub fn first_revision(&self) -> Revision {
        self.first
    }

    /// The oldest commit that can still be read and watched, 0 before the first.
    pub fn oldest_revision(&self) -> Revision {
        self.history.oldest()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.objects.size()
    }

    /// How many bytes their keys and values have.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// The object under a key.
    pub fn get(&self, key: &str) -> Option<&KeyValue> {
        self.objects.get(key)
    }

    /// The keys that are held besides these.
    pub fn keys_besides<'a>(&self, keys: impl IntoIterator<Item = &'a Key>) -> Vec<Key> {
        let named: HashSet<&Key> = keys.into_iter().collect();
        self.objects.keys().filter(|key| !named.contains(key)).cloned().collect()
    }

    /// The objects from a key on, sorted bytewise.
    pub fn objects_from(&self, key: &str) -> impl Iterator<Item = (&Key, &KeyValue)> {
        self.objects.range::<str, _>((Bound::Included(key), Bound::Unbounded))
    }

    /// The objects whose key starts with `prefix`, sorted bytewise.
    pub fn objects_under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a Key, &'a KeyValue)> {
        self.objects_from(prefix).take_while(move |(key, _)| key.as_str().starts_with(prefix))
    }

    /// The commits at `start` and after it, oldest first.
    pub fn commits_from(&self, start: Revision) -> Result<impl Iterator<Item = &Arc<Commit>>, Compacted> {
        self.history.from(start)
    }

    /// Whether a reader that goes on from `start`, which history reaches back to, is one of a former life that was further
    /// than what this one knows of it: what is undone since then is in no commit.
    pub fn is_of_another_life(&self, start: Revision) -> bool {
        self.history.reaches(start) && !self.history.is_of_this_life(start)
    }

    /// The commits after `revision`, oldest first: what a reader that has seen `revision` lacks.
    pub fn commits_since(&self, revision: Revision) -> Result<impl Iterator<Item = &Arc<Commit>>, Compacted> {
        self.history.from(revision.saturating_add(1))
    }

    /// The state at an older revision, without its history: later commits undone, the last one first.
    pub fn at(&self, revision: Revision) -> Result<Snapshot, Compacted> {
        if !self.history.reaches(revision) {
            return Err(Compacted { oldest: self.oldest_revision() });
        }
        let mut undo: BTreeMap<&Key, Option<&KeyValue>> = BTreeMap::new();
        for commit in self.history.from(revision.saturating_add(1))?.rev() {
            undo.extend(commit.events.iter().map(|event| (&event.key, event.previous.as_ref())));
        }
        let mut objects = self.objects.clone();
        let mut bytes = self.bytes;
        for (key, previous) in undo {
            bytes += size(key, previous);
            bytes -= size(key, self.objects.get(key));
            match previous {
                Some(kv) => objects.insert_mut(key.clone(), kv.clone()),
                None => {
                    objects.remove_mut(key);
                }
            }
        }
        Ok(Self { objects, bytes, revision, ..self.clone() })
    }
}

/// What a key and its value take; nothing if it is not there.
fn size(key: &Key, kv: Option<&KeyValue>) -> usize {
    kv.map_or(0, |kv| key.as_str().len() + kv.value.len())
}
