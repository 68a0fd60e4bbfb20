//! The wiring: the only place that sees every stage.
//!
//! In: a [`Config`]. Out: one background thread with a tokio runtime that runs the street from the xDS source to the
//! store and serves the etcd endpoint, until [`Agent::stop`]. Never here: a decision about what a resource means.

use std::{
    os::unix::thread::JoinHandleExt as _,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::{
    config::{Config, NO_ENDPOINT, OnUnsupported, ProcessVars, UpstreamTls},
    error::Error,
    etcd,
    identity::{IdentityStatus, Renewal},
    state::{Found, Hold, State},
    status::{Host, Report},
    store::{Revision, Snapshot, Store},
    translate::Translator,
    xds::{Source, SourceStatus},
};

mod credential;
mod endpoint;
pub mod signals;
mod source;
mod workload;

pub use source::objection;

use credential::Credential;

/// How long [`Agent::stop`] waits for its thread; nginx is not kept from quitting by a library that hangs.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// Tasks that an event goes through, from the commit to the socket of a watch, and one to spare.
const TURNS_TO_A_SOCKET: usize = 4;

/// What a store that is kept comes with.
pub struct Kept {
    /// The right to write.
    pub hold: Hold,
    /// What was there.
    pub found: Found,
}

/// The library at work.
pub struct Agent {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the background thread and the callers both see.
struct Shared {
    config: Config,
    store: Arc<Store>,
    source: SourceStatus,
    identity: Option<IdentityStatus>,
    /// Locked by the pipeline for as long as a translation takes, and by whoever asks for the issues: these are
    /// collected when asked for, since collecting them costs more in a larger mesh and a change must not.
    translator: Mutex<Translator>,
    /// What a former process left; `None` where nothing is kept.
    found: Option<Found>,
}

impl Agent {
    /// Checks the settings, opens the etcd endpoint, then takes what to publish by, and starts the thread that does.
    pub fn start(
        config: Config,
        take: impl FnOnce() -> Result<(Arc<Store>, Option<Kept>), Error>,
    ) -> Result<Self, Error> {
        let mut options = source::options(&config, &ProcessVars);
        let renewal = workload::renewal(&config, &ProcessVars, &mut options)?;
        let credential = Credential::new(&config, options.security.identity.clone());
        let source = Source::new(&config.xds, options)?;
        let listener = listen(&config)?;
        let endpoint = endpoint::options(&config)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|source| Error::System { what: "event loop", source })?;
        let (store, kept) = take()?;
        let (hold, found) = kept.map(|kept| (kept.hold, kept.found)).unzip();
        let shared = Arc::new(Shared {
            store,
            found,
            source: source.status(),
            identity: renewal.as_ref().map(Renewal::status),
            translator: Mutex::new(Translator::new(&config)),
            config,
        });
        let (stop, stopped) = watch::channel(false);
        let street =
            Street { shared: shared.clone(), source, renewal, credential, listener, endpoint, stopped };
        let thread = signals::spawn("apisix-mesh", move || {
            runtime.block_on(street.run());
            // Not before all tasks are gone: then nothing is published any more.
            drop(runtime);
            drop(hold);
        })
        .map_err(|source| Error::System { what: "background thread", source })?;
        Ok(Self { shared, stop, thread: Mutex::new(Some(thread)) })
    }

    /// Stops the thread and waits for it, a second at most.
    pub fn stop(&self) {
        self.stop.send_replace(true);
        let Some(thread) = self.thread.lock().take() else { return };
        let patience = Instant::now() + STOP_PATIENCE;
        while !thread.is_finished() && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(1));
        }
        if thread.is_finished() {
            let _ = thread.join();
        } else {
            error!(
                thread = thread.as_pthread_t(),
                "the background thread did not stop in time; it is left behind"
            );
        }
    }

    /// The present state; not ready before the first revision.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.store.snapshot()
    }

    /// Waits until the revision is another than `revision`, for this long at most.
    pub fn wait(&self, revision: Revision, patience: Duration) {
        self.shared.store.wait(revision, patience);
    }

    /// Shows what the library knows of itself.
    pub fn report<T>(&self, show: impl FnOnce(&Report) -> T) -> T {
        let shared = &self.shared;
        let (issues, routing) = {
            let translator = shared.translator.lock();
            (translator.issues(), translator.routing())
        };
        let host = Host {
            found: shared.found.as_ref(),
            source: &shared.source,
            identity: shared.identity.as_ref(),
            issues: &issues,
            routing,
            watches: shared.store.readers(),
        };
        show(&Report { config: &shared.config, snapshot: &shared.store.snapshot(), host: Some(host) })
    }
}

/// Where the last known good configuration is kept, if anywhere. It belongs to its control plane and its policy: what one
/// serves another may close.
pub fn kept(config: &Config) -> Option<State> {
    let sources: Vec<&str> = [config.xds.as_str()].into_iter().chain(config.xds_overlay.as_deref()).collect();
    let policy = (config.on_unsupported, config.upstream_tls);
    let origin = format!("{} {policy:?}", sources.join(" "));
    (!config.state_dir.is_empty()).then(|| State::new(&config.state_dir, origin))
}

/// Opens the etcd endpoint's socket, if there is to be one.
pub fn listen(config: &Config) -> Result<Option<etcd::Listener>, Error> {
    if config.etcd_listen == NO_ENDPOINT {
        return Ok(None);
    }
    let reach = if config.etcd_allow_remote { etcd::Reach::Remote } else { etcd::Reach::Loopback };
    etcd::Listener::open(&config.etcd_listen, reach).map(Some)
}

/// What runs on the background thread.
struct Street {
    shared: Arc<Shared>,
    source: Source,
    renewal: Option<Renewal>,
    credential: Credential,
    listener: Option<etcd::Listener>,
    endpoint: etcd::Options,
    stopped: watch::Receiver<bool>,
}

impl Street {
    async fn run(self) {
        let Self { shared, source, renewal, credential, listener, endpoint, mut stopped } = self;
        info!(xds = shared.config.xds, etcd = shared.config.etcd_listen, "started");
        if shared.config.on_unsupported == OnUnsupported::Serve {
            warn!("on_unsupported is serve: routes whose guards cannot be honoured are served without them");
        }
        if shared.config.upstream_tls == UpstreamTls::Unverified {
            warn!(
                "upstream_tls is unverified: endpoints that ask for TLS get it, and nobody checks who they are"
            );
        }
        let mut shutdown = stopped.clone();
        let serving = listener.map(|listener| {
            tokio::spawn(etcd::serve(listener, shared.store.clone(), endpoint, async move {
                let _ = shutdown.wait_for(|stop| *stop).await;
            }))
        });
        if let Some(renewal) = renewal {
            tokio::spawn(renewal.run());
        }
        // A task of its own, so that a panic in it takes nothing else down: the last configuration stays served.
        let pipeline = tokio::spawn(publish(shared, source, credential));
        let source_ends = pipeline.abort_handle();
        tokio::spawn(async move {
            if let Err(cause) = pipeline.await
                && cause.is_panic()
            {
                error!(
                    "the xDS source stopped ({cause}); the last configuration stays in force until a restart"
                );
            }
        });
        let _ = stopped.wait_for(|stop| *stop).await;
        source_ends.abort();
        if let Some(serving) = serving {
            let _ = serving.await;
        }
        info!("stopped");
    }
}

/// Moves each update down the street. The first one is published when it is complete, in place of all that a former
/// process left: an empty answer before that would wipe APISIX's routes.
async fn publish(shared: Arc<Shared>, mut source: Source, mut credential: Credential) {
    publish_first(&shared, &mut source, &mut credential).await;
    loop {
        // Those who wait for the revision go first, all the way to their sockets; then the answer to the control
        // plane is put together, which takes longer in a larger mesh.
        for _ in 0..TURNS_TO_A_SOCKET {
            tokio::task::yield_now().await;
        }
        let delta = tokio::select! {
            update = source.next() => shared.translator.lock().apply(source.snapshot(), &update.changes),
            delta = credential.renewed() => delta,
        };
        shared.store.commit(&delta);
    }
}

/// Waits until all that the first configuration needs is there, or was waited for long enough.
async fn publish_first(shared: &Shared, source: &mut Source, credential: &mut Credential) {
    let mut waiting = Vec::new();
    let mut is_complete = false;
    while !(is_complete && credential.is_settled()) {
        tokio::select! {
            update = source.next() => {
                waiting.extend(update.changes);
                is_complete |= update.complete;
            }
            () = credential.settle(), if !credential.is_settled() => {}
        }
    }
    let mut delta = shared.translator.lock().apply(source.snapshot(), &waiting);
    credential.add_to_first(&mut delta, &shared.store.snapshot());
    shared.store.commit_all(delta);
    let snapshot = shared.store.snapshot();
    info!(revision = snapshot.revision(), objects = snapshot.len(), "the first configuration is complete");
}
