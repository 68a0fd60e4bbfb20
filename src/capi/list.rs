//! A list of objects for C: one snapshot, kept alive as long as the list.

use std::ffi::c_char;

use crate::{
    apisix::Key,
    store::{KeyValue, Revision, Snapshot},
};

/// Objects as they were at one revision.
pub struct List {
    revision: Revision,
    objects: Vec<(Key, KeyValue)>,
}

/// An object in a list. Texts have no terminating NUL and live as long as the list.
#[repr(C)]
pub struct Item {
    /// Such as "/routes/4f1c...".
    pub key: *const c_char,
    /// Bytes in `key`.
    pub key_len: usize,
    /// Canonical JSON.
    pub value: *const c_char,
    /// Bytes in `value`.
    pub value_len: usize,
    /// The revision at which the object came.
    pub create_revision: i64,
    /// The revision at which it last changed.
    pub mod_revision: i64,
}

impl List {
    /// The objects whose key starts with `prefix`. Keys and values are shared with the snapshot, not copied.
    pub fn new(snapshot: &Snapshot, prefix: &str) -> Self {
        let objects = snapshot
            .objects_from(prefix)
            .take_while(|(key, _)| key.as_str().starts_with(prefix))
            .map(|(key, object)| (key.clone(), object.clone()))
            .collect();
        Self { revision: snapshot.revision(), objects }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.objects.len()
    }

    /// When the list was taken.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// One of them.
    pub fn item(&self, index: usize) -> Option<Item> {
        let (key, object) = self.objects.get(index)?;
        Some(Item {
            key: key.as_str().as_ptr().cast(),
            key_len: key.as_str().len(),
            value: object.value.as_ptr().cast(),
            value_len: object.value.len(),
            create_revision: object.create_revision,
            mod_revision: object.mod_revision,
        })
    }
}
