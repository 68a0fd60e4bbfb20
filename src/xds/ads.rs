//! The ADS source: keeps a stream to a control plane, for ever, and the cache in step with it.
//!
//! In: the connection's responses and its end. Out: [`Update`]s. What was accepted stays in force however long the
//! control plane is away (3.2 point 26). Never here: protocol rules ([`stream`](super::stream)) or sockets
//! ([`transport`](super::transport)).

use std::{collections::BTreeMap, future::Future, pin::Pin, time::Duration};

use tokio::time::{Instant, sleep_until};
use tonic::{Code, Status};
use tracing::{debug, info, warn};

use super::{
    Change, Mode, ResourceType, Snapshot, SourceOptions, SourceStatus, Update,
    backoff::Backoff,
    cache::{Cache, Rejected},
    message::Response,
    pace::Pace,
    status::{self, MAX_PENDING_NAMES, TypeStatus},
    stream::{Answered, Draft, Passed, Received, Stream},
    targets::Targets,
    transport::Connection,
};
use crate::error::Error;

/// How long a control plane may take for its first answer before somebody should know.
const FIRST_RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);

/// Responses taken in one update while they are there already.
const MAX_BURST: usize = 256;

/// Resources logged one by one; the status holds all.
const MAX_LOGGED: usize = 20;

/// An ADS client of the first control plane that answers.
pub struct Ads {
    targets: Targets,
    /// The variant to ask for first.
    preferred: Mode,
    /// The variant of the present try.
    mode: Mode,
    stream: Stream,
    cache: Cache,
    backoff: Backoff,
    link: Link,
    /// Answers that are still to be sent, in order; all of them before the next response changes the cache.
    unsent: Vec<Draft>,
    /// When this stream was asked for.
    asked: Instant,
    /// Whether something has come on this stream.
    answered: bool,
    /// Whether something good has come on this stream.
    accepted: bool,
    pace: Pace,
    /// Until when nothing is to be heard.
    silence: Option<Instant>,
    /// When to complain that it has not.
    mute_at: Option<Instant>,
    complete: bool,
    /// What was logged of each control plane since one answered.
    told: BTreeMap<String, String>,
    logged: [Vec<Rejected>; ResourceType::ALL.len()],
    status: SourceStatus,
}

type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;
type Opening = Pin<Box<dyn Future<Output = Result<Connection, Status>> + Send>>;

/// Where the connection stands. All of it is kept here, so that dropping [`Ads::next`] half-way loses nothing.
enum Link {
    Waiting(Waiting),
    Opening(Opening),
    Open(Box<Connection>),
}

enum Event {
    TimeToConnect,
    Opened(Box<Connection>),
    Response(Response),
    Lost(Status),
    Timer,
}

impl Link {
    async fn next(&mut self, unsent: usize) -> Event {
        match self {
            Self::Waiting(waiting) => {
                waiting.await;
                Event::TimeToConnect
            }
            Self::Opening(opening) => match opening.await {
                Ok(connection) => Event::Opened(Box::new(connection)),
                Err(status) => Event::Lost(status),
            },
            Self::Open(connection) => match connection.next(unsent).await {
                Ok(response) => Event::Response(response),
                Err(status) => Event::Lost(status),
            },
        }
    }
}

impl Ads {
    /// A client of `grpc://HOST:PORT` or `grpcs://HOST:PORT`, or of a list of these; it connects when [`Ads::next`] is
    /// awaited.
    pub fn new(uri: &str, options: &SourceOptions) -> Result<Self, Error> {
        Ok(Self {
            targets: Targets::new(uri, options)?,
            preferred: options.mode,
            mode: options.mode,
            stream: Stream::new(options.node.node()),
            cache: Cache::new(options.initial_fetch_timeout).refusing(options.objection.clone()),
            backoff: Backoff::new(options.backoff),
            link: Link::Waiting(Box::pin(std::future::ready(()))),
            unsent: Vec::new(),
            asked: Instant::now(),
            answered: false,
            accepted: false,
            pace: Pace::new(std::time::Instant::now()),
            silence: None,
            mute_at: None,
            complete: false,
            told: BTreeMap::new(),
            logged: Default::default(),
            status: SourceStatus::new(uri),
        })
    }

    /// The resources in force.
    pub fn snapshot(&self) -> &Snapshot {
        self.cache.snapshot()
    }

    /// A handle on the state.
    pub fn status(&self) -> SourceStatus {
        self.status.clone()
    }

    /// The next update that changes something, or makes the first configuration complete.
    ///
    /// May be dropped and called again. Responses that are there already are taken together, each answered. The
    /// last answer leaves when the update has been dealt with: it names everything subscribed to, in a large mesh
    /// hundreds of kilobytes, and what came should not wait for that.
    pub async fn next(&mut self) -> Update {
        loop {
            self.send_answers();
            let event = self.wait().await;
            let mut changes = self.handle(event);
            if !changes.is_empty() {
                self.take_burst(&mut changes).await;
            }
            let complete_before = self.complete;
            self.complete |= self.cache.complete();
            if !changes.is_empty() || self.complete != complete_before {
                changes.sort();
                changes.dedup();
                return Update { changes, complete: self.complete };
            }
        }
    }

    async fn take_burst(&mut self, changes: &mut Vec<Change>) {
        for _ in 0..MAX_BURST {
            let event = tokio::select! {
                biased;
                event = self.wait() => event,
                () = std::future::ready(()) => return,
            };
            changes.extend(self.handle(event));
        }
    }

    async fn wait(&mut self) -> Event {
        let overdue = self.cache.next_overdue().map(Instant::from_std);
        let expiry = self.cache.next_expiry().map(Instant::from_std);
        let heard = async {
            if let Some(silence) = self.silence {
                sleep_until(silence).await;
            }
            self.link.next(self.unsent.len()).await
        };
        match overdue.into_iter().chain(expiry).chain(self.mute_at).min() {
            None => heard.await,
            Some(timer) => tokio::select! {
                event = heard => event,
                () = sleep_until(timer) => Event::Timer,
            },
        }
    }

    fn handle(&mut self, event: Event) -> Vec<Change> {
        match event {
            Event::TimeToConnect => self.connect(),
            Event::Opened(connection) => self.link = Link::Open(connection),
            Event::Response(response) => return self.receive(&response),
            Event::Lost(status) => self.lost(&status),
            Event::Timer => return self.on_timer(),
        }
        Vec::new()
    }

    fn connect(&mut self) {
        // Answers on a stream that is gone.
        self.unsent.clear();
        let first = self.stream.open(self.mode, &self.cache);
        self.link = Link::Opening(Box::pin(self.targets.present().clone().open(self.mode, first)));
        self.asked = Instant::now();
        (self.answered, self.accepted, self.silence) = (false, false, None);
        self.mute_at = Some(Instant::now() + FIRST_RESPONSE_TIMEOUT);
    }

    fn receive(&mut self, response: &Response) -> Vec<Change> {
        self.send_answers();
        if !std::mem::replace(&mut self.answered, true) {
            self.mute_at = None;
            let uri = &self.targets.present().uri;
            info!("xds: {uri} answers ({})", self.mode.name());
            self.told.clear();
            self.status.speaks(uri, self.mode);
            self.status.connected();
        }
        let Received { requests, changes, answered } =
            self.stream.receive(response, &mut self.cache, Instant::now().into_std());
        self.unsent.extend(requests);
        match answered {
            Some(answered) => self.note(answered),
            None => debug!("xds: a response of type {:?} that nobody asked for", response.type_url()),
        }
        changes
    }

    fn send_answers(&mut self) {
        let Link::Open(connection) = &self.link else { return };
        let room = connection.room().min(self.unsent.len());
        connection.send(self.unsent.drain(..room).map(|draft| draft.with_names(&self.cache)));
    }

    fn note(&mut self, answered: Answered) {
        let Answered { kind, version, rejected } = answered;
        let accepted = rejected.is_empty().then(status::now);
        if accepted.is_some() {
            self.accepted = true;
            debug!("xds: {} version {version:?} accepted", kind.noun());
        } else {
            self.silence = self.pace.nacked(std::time::Instant::now()).map(Instant::from_std);
        }
        if rejected != self.logged[kind as usize] {
            log_rejected(kind, &version, &rejected);
            self.logged[kind as usize] = rejected;
        }
        // Others may have come into force with it, into question, or gone.
        for other in ResourceType::ALL {
            self.note_type(other, accepted.filter(|_| other == kind));
        }
    }

    fn note_type(&self, kind: ResourceType, accepted: Option<u64>) {
        let pending = self.cache.pending(kind);
        self.status.set(
            kind,
            TypeStatus {
                version: self.stream.version(kind).to_owned(),
                resources: self.cache.snapshot().len(kind),
                accepted,
                rejected: self.cache.rejected(kind).collect(),
                pending: pending.len(),
                pending_names: pending.take(MAX_PENDING_NAMES).map(|n| n.to_string()).collect(),
                warming: self.cache.warming(kind),
            },
        );
    }

    fn lost(&mut self, status: &Status) {
        self.mute_at = None;
        let target = self.targets.present();
        let (uri, error) = (target.uri.clone(), target.describe(status));
        if self.mode == Mode::Delta && status.code() == Code::Unimplemented && !self.answered {
            debug!("xds: {uri} has no delta; state of the world it is");
            self.mode = Mode::Sotw;
            self.link = Link::Waiting(Box::pin(std::future::ready(())));
            return;
        }
        // Another one may answer the next time.
        self.mode = self.preferred;
        // One that gives something good and goes, again and again, is not asked ever faster.
        if self.accepted && self.asked.elapsed() >= self.backoff.probation() {
            self.backoff.reset();
        }
        // Credentials do not get better in a second, and a server that refuses them should not be hammered.
        let wait = match status.code() {
            _ if !self.targets.go_on(self.answered) => Duration::ZERO,
            Code::Unauthenticated | Code::PermissionDenied => self.backoff.next_slow_wait(),
            _ => self.backoff.next_wait(),
        };
        self.link = Link::Waiting(Box::pin(self.targets.present().peer.clone().wait(wait)));
        self.status.disconnected(&error);
        if self.told.get(&uri) == Some(&error) {
            debug!("xds: {uri}: {error}; again in {wait:?}");
        } else {
            warn!("xds: {uri}: {error}; what was accepted stays in force, trying again");
            self.told.insert(uri, error);
        }
    }

    fn on_timer(&mut self) -> Vec<Change> {
        self.send_answers();
        let now = Instant::now();
        if self.mute_at.is_some_and(|at| at <= now) {
            self.mute();
        }
        let Passed { requests, overdue, expired } = self.stream.pass_time(&mut self.cache, now.into_std());
        self.unsent.extend(requests);
        log_each(&overdue.missing, "is referred to and has not come");
        log_each(&overdue.removed, "is gone, and routes still name it");
        log_each(&expired, "was not renewed in its time to live and is gone");
        let changes = [expired, overdue.changes].concat();
        for kind in ResourceType::ALL {
            self.note_type(kind, None);
        }
        changes
    }

    /// A server may take its time, unless there is another to turn to.
    fn mute(&mut self) {
        self.mute_at = None;
        let seconds = FIRST_RESPONSE_TIMEOUT.as_secs();
        if self.targets.has_others() {
            self.lost(&Status::deadline_exceeded(format!("no first response after {seconds} s")));
            return;
        }
        let error = format!("no first response after {seconds} s from {}", self.targets.present().uri);
        warn!("xds: {error}; still waiting");
        self.status.trouble(&error);
    }
}

fn log_each(resources: &[Change], what: &str) {
    for Change { kind, name } in resources.iter().take(MAX_LOGGED) {
        warn!("xds: {} {name:?} {what}", kind.noun());
    }
    if resources.len() > MAX_LOGGED {
        warn!("xds: so it is with {} more, see status", resources.len() - MAX_LOGGED);
    }
}

fn log_rejected(kind: ResourceType, version: &str, rejected: &[Rejected]) {
    if rejected.is_empty() {
        info!("xds: {} version {version:?} is accepted whole again", kind.noun());
    }
    for Rejected { name, error } in rejected.iter().take(MAX_LOGGED) {
        warn!("xds: {} {name:?}: {error}; its last good state stays in force", kind.noun());
    }
    if rejected.len() > MAX_LOGGED {
        warn!(
            "xds: {} more {} resources were rejected, see status",
            rejected.len() - MAX_LOGGED,
            kind.noun()
        );
    }
}
