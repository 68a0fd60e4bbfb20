//! This library: its store and log in the host, its C API in the others.

use std::{ffi::c_char, path::Path, sync::Arc};

use apisix_mesh::{
    agent,
    apisix::Key,
    capi::{self, Buffer, Item, List, Mesh, MeshResult},
    config::Config,
    state::{Follower, Hold},
    store::{Delta, Store},
};
use bytes::Bytes;
use serde_json::json;

use crate::carrier;

const PATIENCE_MS: u32 = 10_000;

fn settings(directory: &Path) -> String {
    json!({"xds": "file:///nowhere", "state_dir": directory, "log_level": "error"}).to_string()
}

/// The store of a process that holds the directory.
pub struct Host {
    store: Arc<Store>,
    _hold: Hold,
}

impl Host {
    pub fn new(directory: &Path, objects: &[(Key, Bytes)]) -> Self {
        let config = Config::from_text(&settings(directory)).expect("good settings");
        let state = agent::kept(&config).expect("a directory is set");
        let hold = state.try_hold().expect("a directory").expect("nobody else has it");
        let follower = Follower::new(state).expect("a directory");
        let (store, _) = follower.take_over(&hold).expect("an empty directory");
        store.commit(&Delta { puts: objects.to_vec(), deletes: Vec::new() });
        Self { store, _hold: hold }
    }
}

impl carrier::Writer for Host {
    fn commit(&mut self, key: &Key, value: Bytes) {
        let delta = Delta { puts: vec![(key.clone(), value)], deletes: Vec::new() };
        assert!(self.store.commit(&delta).is_some(), "{key} changes");
    }
}

/// A follower, by the functions that C calls.
pub struct Reader(*mut Mesh);

impl Reader {
    pub fn new(directory: &Path) -> Self {
        let settings = settings(directory);
        let mut mesh = std::ptr::null_mut();
        // SAFETY: the text and the pointer outlive the call.
        done(unsafe { capi::apisix_mesh_follow(settings.as_ptr().cast(), settings.len(), &raw mut mesh) });
        Self(mesh)
    }

    /// Sleeps until the revision is another one.
    pub fn wait(&self, after: i64) {
        let mut revision = 0;
        // SAFETY: the handle is valid until the drop.
        done(unsafe { capi::apisix_mesh_wait(self.0, after, PATIENCE_MS, &raw mut revision) });
        assert_ne!(revision, after, "nothing came");
    }
}

impl carrier::Reader for Reader {
    fn get(&self, key: &str) -> usize {
        let mut value = Buffer { data: std::ptr::null(), len: 0 };
        let mut revision = 0;
        let text = key.as_ptr().cast::<c_char>();
        // SAFETY: the handle is valid until the drop, the rest outlives the calls.
        unsafe {
            done(capi::apisix_mesh_get(self.0, text, key.len(), &raw mut value, &raw mut revision));
            let len = value.len;
            capi::apisix_mesh_buffer_free(&raw mut value);
            len
        }
    }

    fn revision(&self) -> i64 {
        let mut revision = 0;
        // SAFETY: as above.
        done(unsafe { capi::apisix_mesh_revision(self.0, &raw mut revision) });
        revision
    }

    fn changes(&self, after: i64) -> usize {
        let mut list = std::ptr::null_mut();
        // SAFETY: as above; the list is freed once, after its last use.
        unsafe {
            done(capi::apisix_mesh_changes_new(self.0, after, &raw mut list));
            let len = capi::apisix_mesh_list_len(list);
            capi::apisix_mesh_list_free(list);
            len
        }
    }

    fn everything(&self) -> usize {
        let mut list = std::ptr::null_mut();
        // SAFETY: as above.
        unsafe {
            done(capi::apisix_mesh_list_new(self.0, std::ptr::null(), 0, &raw mut list));
            let len = (0..capi::apisix_mesh_list_len(list)).map(|index| item(list, index).value_len).sum();
            capi::apisix_mesh_list_free(list);
            len
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // SAFETY: nothing uses the handle any more.
        done(unsafe { capi::apisix_mesh_stop(self.0) });
    }
}

/// # Safety
/// The list was not freed.
unsafe fn item(list: *const List, index: usize) -> Item {
    let mut item = std::mem::MaybeUninit::uninit();
    // SAFETY: the caller's promise; what went well is written.
    unsafe {
        done(capi::apisix_mesh_list_get(list, index, item.as_mut_ptr()));
        item.assume_init()
    }
}

fn done(result: MeshResult) {
    assert_eq!(result, MeshResult::Ok);
}
