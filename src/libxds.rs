//! `libxds.so`: APISIX's own way to take its configuration from a library, `config_provider: xds`.
//!
//! In: the two dictionaries that APISIX gives to [`initial`] in its privileged agent. Out: the store's objects in them,
//! from a thread of this library. Never here: a second translation, and anything that keeps nginx waiting.
//!
//! APISIX's workers wait for their first version before they accept, without a limit. So one comes within
//! [`FIRST_VERSION_WITHIN`]: the last known good at once, the first configuration when it comes, else an empty one. Where
//! a version is there, from the process before this one, nobody waits, and all stays as it is until there is something to
//! put in its place.

mod mirror;
mod source;
mod zone;

#[cfg(test)]
mod tests;

use std::{
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tracing::{error, info, warn};

use crate::{
    agent::signals,
    capi::process,
    log::{self, Level},
    store::{Revision, Snapshot},
};
use mirror::{Mirror, Problem, Refusal};
use source::Source;
use zone::SharedDict;

/// How long workers wait for a first version.
const FIRST_VERSION_WITHIN: Duration = Duration::from_secs(5);
/// How long changes are gathered: readers look once a second and then read everything.
const GATHERING: Duration = Duration::from_millis(100);
/// How often a thread that waits for changes looks about.
const LOOK_ABOUT: Duration = Duration::from_millis(100);
/// When the last write of the process before this one is long done.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The process whose dictionaries are written.
static WRITER: AtomicU32 = AtomicU32::new(0);

/// Writes the configuration into APISIX's dictionaries, `xds-config` and `xds-config-version`, for as long as this process
/// runs. Returns at once.
///
/// # Safety
/// Called on nginx's thread; the zones are `ngx_shm_zone_t *` of dictionaries of the running configuration, or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn initial(config_zone: *mut c_void, version_zone: *mut c_void) {
    // SAFETY: the caller's promise.
    guarded(|| unsafe { begin([config_zone, version_zone]) });
}

/// A panic in the body is a line in the log.
fn guarded(body: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(body)).is_err() {
        // The log may be what failed.
        let _ = catch_unwind(|| error!("libxds.so: internal error; the dictionaries stay as they are"));
    }
}

/// # Safety
/// As for [`initial`].
unsafe fn begin(zones: [*mut c_void; 2]) {
    if process::running().is_err() {
        log::install(Level::Info);
    }
    // SAFETY: the caller's promise.
    let [objects, versions] = match unsafe { zone::open(zones) } {
        Ok(dicts) => dicts,
        Err(problem) => return error!("libxds.so: {problem}"),
    };
    let this = std::process::id();
    if WRITER.swap(this, Ordering::AcqRel) == this {
        return warn!("libxds.so: initial was called before in this process; what it began goes on");
    }
    let started = signals::spawn("mesh-libxds", move || guarded(|| run(objects, versions)));
    if let Err(problem) = started {
        error!("libxds.so: no thread can be made: {problem}");
    }
}

/// The thread: until another process writes, or nginx frees the dictionaries.
fn run(objects: SharedDict, versions: SharedDict) {
    let nginx = versions.clone();
    let mut source = Source::default();
    let first = first(&mut source, &versions);
    let ended = Writer::claim(objects, versions).and_then(|mut writer| {
        let mut present = first;
        loop {
            writer.write(&present)?;
            present = source.next(LOOK_ABOUT);
        }
    });
    match ended {
        // This process exits, and its log may be gone.
        _ if !nginx.is_open() => {}
        Err(Problem::Lost) => info!("libxds.so: {}", Problem::Lost),
        Err(problem) => error!("libxds.so: {problem}"),
        Ok(never) => never,
    }
}

/// What to write first: what there is, once there is something, or nothing where workers have waited long enough.
fn first(source: &mut Source, versions: &SharedDict) -> Arc<Snapshot> {
    let begun = Instant::now();
    loop {
        let present = source.next(LOOK_ABOUT);
        if present.is_ready() {
            return present;
        }
        if begun.elapsed() >= FIRST_VERSION_WITHIN && mirror::is_awaited(versions) {
            warn!("libxds.so: no configuration so far; APISIX starts with an empty one");
            return present;
        }
    }
}

/// The one that writes, and tells how that goes.
struct Writer {
    mirror: Mirror<SharedDict>,
    look_again: Option<Instant>,
    /// The revision that had no room, and the room there was.
    refused: Option<(Revision, Option<usize>)>,
    told: Told,
}

/// The last line of the log.
#[derive(PartialEq)]
enum Told {
    Nothing,
    Written,
    Refused,
}

impl Writer {
    fn claim(objects: SharedDict, versions: SharedDict) -> Result<Self, Problem> {
        let mirror = Mirror::claim(objects, versions, name())?;
        let look_again = Some(Instant::now() + LOOK_AGAIN_AFTER);
        Ok(Self { mirror, look_again, refused: None, told: Told::Nothing })
    }

    fn write(&mut self, present: &Snapshot) -> Result<(), Problem> {
        if self.look_again.is_some_and(|at| at <= Instant::now()) {
            self.look_again = None;
            self.refused = None;
            self.mirror.look_again();
        }
        // The same again has no better chance, unless there is more room.
        if self.refused.is_some_and(|(what, room)| what == present.revision() && self.mirror.free() <= room) {
            return Ok(());
        }
        match self.mirror.sync(present) {
            Ok(version) => {
                self.refused = None;
                self.tell_written(present);
                if version.is_some() {
                    thread::sleep(GATHERING);
                }
                Ok(())
            }
            Err(Problem::Refused(refusal)) => {
                self.tell_refused(&refusal);
                let started = self.mirror.let_readers_start();
                self.refused = Some((present.revision(), self.mirror.free()));
                if started == Err(Problem::Lost) { started } else { Ok(()) }
            }
            Err(Problem::Lost) => Err(Problem::Lost),
        }
    }

    fn tell_written(&mut self, present: &Snapshot) {
        if self.told != Told::Written && present.is_ready() {
            self.told = Told::Written;
            info!(objects = present.len(), "libxds.so: the dictionaries hold the configuration");
        }
    }

    fn tell_refused(&mut self, refusal: &Refusal) {
        if self.told != Told::Refused {
            self.told = Told::Refused;
            error!("libxds.so: the new configuration has no room, the last one stays in force: {refusal}");
        }
    }
}

/// A name that no other process has or had.
fn name() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{}", std::process::id(), now.as_nanos())
}
