//! A list for C, of objects or of changes: from one snapshot, kept alive as long as the list.

use std::{collections::BTreeMap, ffi::c_char};

use crate::{
    apisix::Key,
    error::Error,
    store::{KeyValue, Revision, Snapshot},
};

/// Objects as they were at one revision.
pub struct List {
    revision: Revision,
    entries: Vec<Entry>,
}

/// A key, what it holds, if it holds anything, and since when.
struct Entry {
    key: Key,
    object: Option<KeyValue>,
    mod_revision: Revision,
}

/// An object in a list. Texts have no terminating NUL and live as long as the list.
#[repr(C)]
pub struct Item {
    /// Such as "/routes/4f1c...".
    pub key: *const c_char,
    /// Bytes in `key`.
    pub key_len: usize,
    /// Canonical JSON; NULL where the object is gone, in a list of changes.
    pub value: *const c_char,
    /// Bytes in `value`.
    pub value_len: usize,
    /// The revision at which the object came; 0 where it is gone.
    pub create_revision: i64,
    /// The revision at which it last changed, or went.
    pub mod_revision: i64,
}

impl List {
    /// The objects whose key starts with `prefix`. Keys and values are shared with the snapshot, not copied.
    pub fn new(snapshot: &Snapshot, prefix: &str) -> Self {
        let entry = |(key, object): (&Key, &KeyValue)| Entry {
            key: key.clone(),
            mod_revision: object.mod_revision,
            object: Some(object.clone()),
        };
        Self { revision: snapshot.revision(), entries: snapshot.objects_under(prefix).map(entry).collect() }
    }

    /// What has become of each object that changed after a revision.
    pub fn changes(snapshot: &Snapshot, after: Revision) -> Result<Self, Error> {
        let commits = snapshot.commits_since(after);
        let commits = commits.map_err(|gone| Error::Compacted { asked: after, oldest: gone.oldest })?;
        let mut latest = BTreeMap::new();
        for commit in commits {
            for event in &commit.events {
                latest.insert(event.key.clone(), (event.current.clone(), commit.revision));
            }
        }
        let entry = |(key, (object, mod_revision))| Entry { key, object, mod_revision };
        Ok(Self { revision: snapshot.revision(), entries: latest.into_iter().map(entry).collect() })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// When the list was taken.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// One of them.
    pub fn item(&self, index: usize) -> Option<Item> {
        let Entry { key, object, mod_revision } = self.entries.get(index)?;
        let value = object.as_ref().map(|object| &object.value);
        Some(Item {
            key: key.as_str().as_ptr().cast(),
            key_len: key.as_str().len(),
            value: value.map_or(std::ptr::null(), |value| value.as_ptr().cast()),
            value_len: value.map_or(0, |value| value.len()),
            create_revision: object.as_ref().map_or(0, |object| object.create_revision),
            mod_revision: *mod_revision,
        })
    }
}
