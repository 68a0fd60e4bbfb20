//! Where the objects come from: the instance of this process, whoever starts it.
//!
//! In: the instance that runs, else the environment's settings. Out: the last state of the store that was ready. Never
//! here: a dictionary.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Map, Value};
use tracing::{error, warn};

use crate::{
    capi::process,
    config::{Config, NO_ENDPOINT, ProcessVars, Vars, variable},
    error::Error,
    instance::Instance,
    store::{Revision, Snapshot},
};

/// How often what could not be started is tried again.
const NEXT_TRY: Duration = Duration::from_secs(1);

/// The objects, as this process gets them.
#[derive(Default)]
pub struct Source {
    instance: Option<Arc<Instance>>,
    /// Once there was an instance, what becomes of it is up to who stops it.
    had_one: bool,
    latest: Arc<Snapshot>,
    /// The revision up to which the instance was waited for.
    seen: Revision,
    tried: Option<Instant>,
    complaint: String,
}

impl Source {
    /// The last state that was ready, after a while at most; what was there before it stays until it is.
    pub fn next(&mut self, patience: Duration) -> Arc<Snapshot> {
        match self.instance() {
            Some(instance) => match instance.wait(self.seen, patience) {
                Ok(_) => self.take(&instance.snapshot()),
                Err(_) => {
                    self.instance = None;
                    // A worker that is told to quit soon has another, which follows.
                    self.tried = Some(Instant::now());
                }
            },
            None => std::thread::sleep(patience.min(NEXT_TRY)),
        }
        self.latest.clone()
    }

    fn take(&mut self, snapshot: &Arc<Snapshot>) {
        self.seen = snapshot.revision();
        if snapshot.is_ready() {
            self.latest = snapshot.clone();
        }
    }

    fn instance(&mut self) -> Option<Arc<Instance>> {
        if self.instance.is_none() && self.tried.is_none_or(|last| last.elapsed() >= NEXT_TRY) {
            self.tried = Some(Instant::now());
            match find(self.had_one) {
                Ok(found) => {
                    self.had_one = true;
                    self.seen = 0;
                    self.instance = Some(found);
                }
                Err(error) => self.complain(&error),
            }
        }
        self.instance.clone()
    }

    /// One line for each problem, not for each try.
    fn complain(&mut self, error: &Error) {
        let complaint = error.to_string();
        if complaint == self.complaint {
            return;
        }
        match error {
            Error::NotRunning => {
                warn!("libxds.so: the library was stopped; the dictionaries stay as they are")
            }
            Error::Config { setting, .. } => error!(
                "libxds.so: {error}, as {} in the environment, of which nginx keeps what an env directive names, in APISIX \
                 nginx_config.envs, or use the apisix_mesh block of the nginx module",
                variable(setting)
            ),
            _ => error!("libxds.so: the library does not start: {error}; tried again every second"),
        }
        self.complaint = complaint;
    }
}

/// The instance of this process; the first is started here where nobody has.
fn find(had_one: bool) -> Result<Arc<Instance>, Error> {
    match process::running().and_then(|handle| process::instance(handle)) {
        Ok(running) => Ok(running),
        Err(error) if had_one => Err(error),
        Err(_) => process::instance(process::run(start)?),
    }
}

/// Nobody reads the etcd endpoint of a process that writes dictionaries, so there is none unless it is asked for.
fn start() -> Result<Arc<Instance>, Error> {
    let mut settings = Map::new();
    if ProcessVars.get(&variable("etcd_listen")).is_none() {
        settings.insert("etcd_listen".to_owned(), Value::from(NO_ENDPOINT));
    }
    Instance::start(Config::load(None, &ProcessVars, settings)?)
}
