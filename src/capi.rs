//! The C API: every function of `include/apisix_mesh.h`.
//!
//! In: pointers and lengths from C. Out: a numbered result, and outputs that are written only on success. A panic
//! never leaves: it becomes `APISIX_MESH_RESULT_PANIC`. Each function is a few lines; what it does is in [`agent`].
//! The comments here are the manual: cbindgen copies them into the header.
//!
//! [`agent`]: crate::agent

// The manual speaks to C: what Rust calls a safety section is plain prose there, at the end of each comment.
#![allow(clippy::missing_safety_doc)]

mod boundary;
mod buffer;
mod list;
pub(crate) mod process;
mod result;
mod settings;

use std::{
    ffi::{c_char, c_int, c_void},
    sync::Arc,
    time::Duration,
};

use boundary::{call, out, text};
pub use buffer::Buffer;
pub use list::{Item, List};
pub use process::Mesh;
pub use result::{LogLevel, MeshResult};
pub use settings::Settings;

use crate::{
    config::Config,
    error::Error,
    instance::Instance,
    log::{self, Level},
    metrics,
};

/// The version of this interface. It changes when a caller built against an older header would break.
pub const APISIX_MESH_ABI_VERSION: u32 = 1;

/// Takes a log line: `text` has `len` bytes, no newline and no terminating NUL, and lives until the function returns.
///
/// Called on threads of the library, one call at a time for each thread. It must not call into the library.
pub type LogFunction =
    Option<unsafe extern "C" fn(data: *mut c_void, level: LogLevel, text: *const c_char, len: usize)>;

/// The version of this interface that the library was built with. Compare it with `APISIX_MESH_ABI_VERSION` after
/// loading the library at run time.
#[unsafe(no_mangle)]
pub extern "C" fn apisix_mesh_abi_version() -> u32 {
    APISIX_MESH_ABI_VERSION
}

/// The library's version, such as "0.1.0". NUL-terminated, static.
#[unsafe(no_mangle)]
pub extern "C" fn apisix_mesh_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// Checks settings without using them: no socket, no thread, no file is opened.
///
/// `config` is a JSON or YAML object of settings, `config_len` bytes long. The settings are listed in the README; values
/// may be of their own type or text.
///
/// APISIX_MESH_RESULT_CONFIG: a setting is unknown, missing or bad; the last error names it, its value and the cure.
///
/// `config` points to `config_len` readable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn apisix_mesh_config_check(config: *const c_char, config_len: usize) -> MeshResult {
    call(|| {
        // SAFETY: the caller's promise.
        let config = unsafe { text("config", config, config_len) }?;
        Config::from_text(config).map(drop)
    })
}

/// Settings that are put together one by one, for a caller that has no JSON writer. They belong to the caller until
/// apisix_mesh_config_free, and to one thread at a time.
#[unsafe(no_mangle)]
pub extern "C" fn apisix_mesh_config_new() -> *mut Settings {
    Box::into_raw(Box::default())
}

/// Sets one of the settings, in place of what it was. The value is read as text, whatever its type.
///
/// APISIX_MESH_RESULT_CONFIG: there is no such setting, or it cannot have this value; it stays as it was.
///
/// `config` was not freed, `name` and `value` point to as many readable bytes as they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn apisix_mesh_config_set(
    config: *mut Settings,
    name: *const c_char,
    name_len: usize,
    value: *const c_char,
    value_len: usize,
) -> MeshResult {
    call(|| {
        // SAFETY: the caller's promise.
        let (config, name, value) = unsafe {
            (out("config", config)?, text("name", name, name_len)?, text("value", value, value_len)?)
        };
        config.set(name, value)
    })
}

/// Checks the settings together and gives them as text, for the calls that take settings, to be given back with
/// apisix_mesh_buffer_free.
///
/// APISIX_MESH_RESULT_CONFIG: as for apisix_mesh_config_check.
///
/// `config` was not freed, `json` points to writable memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn apisix_mesh_config_text(config: *const Settings, json: *mut Buffer) -> MeshResult {
    call(|| {
        // SAFETY: the caller's promise.
        let (config, json) = unsafe { (config.as_ref(), out("json", json)?) };
        let config = config.ok_or(Error::Argument { argument: "config", problem: "is NULL" })?;
        *json = Buffer::new(config.text()?.as_bytes());
        Ok(())
    })
}

/// Frees settings; NULL is fine.
///
/// `config` is NULL or was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn apisix_mesh_config_free(config: *mut Settings) {
    if !config.is_null() {
        // SAFETY: it came from Box::into_raw in apisix_mesh_config_new, and the caller frees it once.
        drop(unsafe { Box::from_raw(config) });
    }
}

/// Opens the etcd endpoint's socket as the settings say, bound and listening, and starts nothing.
///
/// For a process that forks: the parent listens, and a child gives the descriptor to apisix_mesh_start as the setting
/// `etcd_listen` with the value `fd:N`. Clients that connect in between wait in the backlog. The caller owns `*fd` and
/// closes it; the descriptor is close-on-exec.
///
/// APISIX_MESH_RESULT_LISTEN: the address is in use, not loopback, or refused by the system.
///
/// `config` points to `config_len` readable bytes, `fd` to a writable int.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn apisix_mesh_listen(
    config: *const c_char,
    config_len: usize,
    fd: *mut c_int,
) -> MeshResult {
    call(|| {
        // SAFETY: the caller's promise.
        let (config, fd) = unsafe { (text("config", config, config_len)?, out("fd", fd)?) };
        *fd = process::listen(&Config::from_text(config)?)?;
        Ok(())
    })
}

/// Sends the library's log lines to `log`, which is given `data` each time; NULL sends them to standard error, where
/// they also go at first. The setting `log_level` says which lines there are.
///
/// `log` may be called with `data` on any thread until another function has been set and calls under way have returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn apisix_mesh_set_log(log: LogFunction, data: *mut c_void) {
    struct Target(*mut c_void);
    // SAFETY: the caller promises that `data` may be used on any thread.
    unsafe impl Send for Target {}
    // SAFETY: as above.
    unsafe impl Sync for Target {}

    let _ = call(|| {
        let target = Target(data);
        log::set_sink(log.map(|function| -> log::Sink {
            Box::new(move |level: Level, text: &str| {
                let target = &target;
                // SAFETY: the caller promises that the function may be called with its data on any thread.
                unsafe { function(target.0, level.into(), text.as_ptr().cast(), text.len()) }
            })
        }));
        Ok(())
    });
}

/// Starts the library in this process. Of the processes that share a `state_dir` exactly one hosts: it has one background
/// thread, all signals blocked in it, that connects to the control plane and serves the etcd endpoint. The others follow
/// it, as with apisix_mesh_follow, and each has a thread that sleeps until the host is gone, killed or stopped; then one
/// of them takes its place, on the endpoint's socket that it opens or inherited. Without `state_dir` this process hosts.
///
/// Returns when the settings are good and, in the host, the endpoint listens; the first configuration comes later (see
/// apisix_mesh_status). Call it after the last fork: threads do not survive one. One instance runs in a process at a
/// time. The handle belongs to the caller until apisix_mesh_stop.
///
/// APISIX_MESH_RESULT_CONFIG, APISIX_MESH_RESULT_LISTEN: as above.
/// APISIX_MESH_RESULT_ALREADY_RUNNING: stop the other instance first, or take it with apisix_mesh_running.
/// APISIX_MESH_RESULT_SYSTEM: no thread can be made, or the directory `state_dir` cannot be used.
///
/// `config` points to `config_len` readable bytes, `mesh` to a writable pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn apisix_mesh_start(
    config: *const c_char,
    config_len: usize,
    mesh: *mut *mut Mesh,
) -> MeshResult {
    // SAFETY: the caller's promise.
    unsafe { begin(config, config_len, mesh, Instance::start) }
}

/// Makes this process answer the calls below from what a host in another process of this machine serves, by the same
/// settings, of which `state_dir` must be there; it never hosts. It starts no thread, opens no socket, and asks nobody: a
/// call costs a load of memory where nothing has changed, and reads what was added to the host's log where something
/// has. It goes on through the host's death and the start of another.
///
/// Call it after the last fork, as the user that the host runs as. The handle is as that of apisix_mesh_start.
///
/// APISIX_MESH_RESULT_CONFIG: a setting is bad, or `state_dir` is not set.
/// APISIX_MESH_RESULT_ALREADY_RUNNING: as above.
/// APISIX_MESH_RESULT_SYSTEM: the directory cannot be read or made.
///
/// `config` points to `config_len` readable bytes, `mesh` to a writable pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn apisix_mesh_follow(
    config: *const c_char,
    config_len: usize,
    mesh: *mut *mut Mesh,
) -> MeshResult {
    // SAFETY: the caller's promise.
    unsafe { begin(config, config_len, mesh, Instance::follow) }
}

/// Gives the caller the handle of an instance that `begin` makes.
///
/// # Safety
/// `config` points to `config_len` readable bytes, `mesh` to a writable pointer.
unsafe fn begin(
    config: *const c_char,
    config_len: usize,
    mesh: *mut *mut Mesh,
    begin: fn(Config) -> Result<Arc<Instance>, Error>,
) -> MeshResult {
    call(|| {
        // SAFETY: the caller's promise.
        let (config, mesh) = unsafe { (text("config", config, config_len)?, out("mesh", mesh)?) };
        let config = Config::from_text(config)?;
        *mesh = process::run(|| begin(config))?;
        Ok(())
    })
}

/// The instance that runs in this process, whoever started it. The handle is borrowed: do not stop it unless you mean
/// to stop it for everybody.
///
/// APISIX_MESH_RESULT_NOT_RUNNING: none does.
///
/// `mesh` points to a writable pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn apisix_mesh_running(mesh: *mut *mut Mesh) -> MeshResult {
    call(|| {
        // SAFETY: the caller's promise.
        let mesh = unsafe { out("mesh", mesh) }?;
        *mesh = process::running()?;
        Ok(())
    })
}

/// Stops the instance, waits for the host's thread (a second at most), and makes every handle on it invalid. Another
/// process that stands by takes over.
///
/// APISIX_MESH_RESULT_NOT_RUNNING: the handle is not on the running instance; nothing happens.
///
/// No other call uses the handle, now or later.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn apisix_mesh_stop(mesh: *mut Mesh) -> MeshResult {
    call(|| process::stop(mesh))
}

/// The object with this key, such as "/routes/4f1c..." or "/upstreams/...": canonical JSON in `*value`, to be given back
/// with apisix_mesh_buffer_free, and the revision of its last change in `*mod_revision`.
///
/// APISIX_MESH_RESULT_NOT_READY: the first configuration has not come yet.
/// APISIX_MESH_RESULT_NOT_FOUND: there is no such object.
///
/// `mesh` is a valid handle, `key` points to `key_len` readable bytes, the outputs to writable memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn apisix_mesh_get(
    mesh: *const Mesh,
    key: *const c_char,
    key_len: usize,
    value: *mut Buffer,
    mod_revision: *mut i64,
) -> MeshResult {
    call(|| {
        // SAFETY: the caller's promise.
        let (key, value, revision) =
            unsafe { (text("key", key, key_len)?, out("value", value)?, out("mod_revision", mod_revision)?) };
        let snapshot = process::instance(mesh)?.ready_snapshot()?;
        let found = snapshot.get(key).ok_or_else(|| Error::NotFound { key: key.to_owned() })?;
        *value = Buffer::new(&found.value);
        *revision = found.mod_revision;
        Ok(())
    })
}

/// All objects whose key starts with `prefix`, sorted by key, as they were at one revision. An empty prefix lists
/// everything. The list belongs to the caller until apisix_mesh_list_free; later changes do not reach it.
///
/// APISIX_MESH_RESULT_NOT_READY: the first configuration has not come yet.
///
/// `mesh` is a valid handle, `prefix` points to `prefix_len` readable bytes, `list` to a writable pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn apisix_mesh_list_new(
    mesh: *const Mesh,
    prefix: *const c_char,
    prefix_len: usize,
    list: *mut *mut List,
) -> MeshResult {
    call(|| {
        // SAFETY: the caller's promise.
        let (prefix, list) = unsafe { (text("prefix", prefix, prefix_len)?, out("list", list)?) };
        let snapshot = process::instance(mesh)?.ready_snapshot()?;
        *list = Box::into_raw(Box::new(List::new(&snapshot, prefix)));
        Ok(())
    })
}

/// What has become of each object that changed after revision `after`, sorted by key: those that are gone have the value
/// NULL. The list's own revision is what to ask with next. Where nothing changed, it is empty; comparing
/// apisix_mesh_revision with the last one is cheaper still. The list is as that of apisix_mesh_list_new.
///
/// APISIX_MESH_RESULT_NOT_READY: the first configuration has not come yet.
/// APISIX_MESH_RESULT_COMPACTED: too much has happened since, or another life of the host was then; list everything.
///
/// `mesh` is a valid handle, `list` points to a writable pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn apisix_mesh_changes_new(
    mesh: *const Mesh,
    after: i64,
    list: *mut *mut List,
) -> MeshResult {
    call(|| {
        // SAFETY: the caller's promise.
        let list = unsafe { out("list", list) }?;
        let snapshot = process::instance(mesh)?.ready_snapshot()?;
        *list = Box::into_raw(Box::new(List::changes(&snapshot, after)?));
        Ok(())
    })
}

/// How many objects a list holds; 0 for NULL.
///
/// `list` is NULL or a list that has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn apisix_mesh_list_len(list: *const List) -> usize {
    // SAFETY: the caller's promise.
    unsafe { list.as_ref() }.map_or(0, List::count)
}

/// The revision at which a list was taken; 0 for NULL.
///
/// `list` is NULL or a list that has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn apisix_mesh_list_revision(list: *const List) -> i64 {
    // SAFETY: the caller's promise.
    unsafe { list.as_ref() }.map_or(0, List::revision)
}

/// The object at `index` of a list. Its key and value are borrowed from the list.
///
/// APISIX_MESH_RESULT_NOT_FOUND: the list has no such index.
///
/// `list` is a list that has not been freed, `item` points to writable memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn apisix_mesh_list_get(
    list: *const List,
    index: usize,
    item: *mut Item,
) -> MeshResult {
    call(|| {
        // SAFETY: the caller's promise.
        let (list, item) = unsafe { (list.as_ref(), out("item", item)?) };
        let list = list.ok_or(Error::Argument { argument: "list", problem: "is NULL" })?;
        *item = list.item(index).ok_or_else(|| Error::NotFound { key: format!("at index {index}") })?;
        Ok(())
    })
}

/// Frees a list; NULL is fine.
///
/// `list` is NULL or a list that has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn apisix_mesh_list_free(list: *mut List) {
    if !list.is_null() {
        // SAFETY: it came from Box::into_raw in apisix_mesh_list_new, and the caller frees it once.
        drop(unsafe { Box::from_raw(list) });
    }
}

/// The present revision: it rises with each update, and is 0 until the first configuration has come.
///
/// `mesh` is a valid handle, `revision` points to writable memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn apisix_mesh_revision(mesh: *const Mesh, revision: *mut i64) -> MeshResult {
    call(|| {
        // SAFETY: the caller's promise.
        let revision = unsafe { out("revision", revision) }?;
        *revision = process::instance(mesh)?.snapshot().revision();
        Ok(())
    })
}

/// Waits until the revision is another than `after`, for `milliseconds` at most, and gives the one there is then, so that
/// `*revision` equals `after` when nothing came. Made for threads of their own: it holds up the thread that calls it. It
/// costs nothing while it waits, and returns within a tenth of a second when the instance is stopped.
///
/// APISIX_MESH_RESULT_NOT_RUNNING: the instance was stopped meanwhile.
///
/// `mesh` is a valid handle, `revision` points to writable memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn apisix_mesh_wait(
    mesh: *const Mesh,
    after: i64,
    milliseconds: u32,
    revision: *mut i64,
) -> MeshResult {
    call(|| {
        // SAFETY: the caller's promise.
        let revision = unsafe { out("revision", revision) }?;
        *revision = process::instance(mesh)?.wait(after, Duration::from_millis(milliseconds.into()))?;
        Ok(())
    })
}

/// What the library knows of itself, as a JSON object in `*json`, to be given back with apisix_mesh_buffer_free:
/// `role`, `ready`, `revision`, `objects`, `state`, and in the host `etcd`, `xds` (connection, per type what is held, rejected
/// and missing) and `issues` (what the control plane asked for and APISIX cannot do, by resource and field path).
///
/// `mesh` is a valid handle, `json` points to writable memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn apisix_mesh_status(mesh: *const Mesh, json: *mut Buffer) -> MeshResult {
    call(|| {
        // SAFETY: the caller's promise.
        let json = unsafe { out("json", json) }?;
        *json = Buffer::new(process::instance(mesh)?.report(|report| report.json()).to_string().as_bytes());
        Ok(())
    })
}

/// The same for a monitoring system, in Prometheus' text format: gauges whose names start with `apisix_mesh_`, each with
/// its line of help. `*text` is to be given back with apisix_mesh_buffer_free.
///
/// `mesh` is a valid handle, `text` points to writable memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn apisix_mesh_metrics(mesh: *const Mesh, text: *mut Buffer) -> MeshResult {
    call(|| {
        // SAFETY: the caller's promise.
        let text = unsafe { out("text", text) }?;
        *text = Buffer::new(process::instance(mesh)?.report(metrics::text).as_bytes());
        Ok(())
    })
}

/// Frees what a buffer holds and empties it; NULL and empty buffers are fine.
///
/// `buffer` is NULL or points to a buffer that a call of this library filled, or to zeros.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn apisix_mesh_buffer_free(buffer: *mut Buffer) {
    // SAFETY: the caller's promise.
    if let Some(buffer) = unsafe { buffer.as_mut() } {
        // SAFETY: as above; it is emptied, so that a second call finds nothing.
        unsafe { buffer.free() };
    }
}

/// The text of this thread's last failed call, in one line; empty when none failed. Borrowed: it lives until the next
/// call on this thread; do not free it.
#[unsafe(no_mangle)]
pub extern "C" fn apisix_mesh_last_error() -> Buffer {
    boundary::last_error()
}
