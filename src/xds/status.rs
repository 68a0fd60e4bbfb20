//! What operators ask of the source: is it connected, what came, what was refused, what is still missing.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use parking_lot::Mutex;
use serde::{Serialize, Serializer};

use super::{Mode, ResourceType, cache::Rejected};

/// Names listed per type; a mesh that has not come yet would list thousands.
pub const MAX_PENDING_NAMES: usize = 100;

/// The state of one resource type.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TypeStatus {
    /// The last accepted version; control planes may leave it empty.
    pub version: String,
    /// How many resources are in force.
    pub resources: usize,
    /// When a response was last accepted whole, in seconds since 1970.
    pub accepted: Option<u64>,
    /// Resources that were refused and what they were before stays in force.
    pub rejected: Vec<Rejected>,
    /// How many names are referred to and have not come.
    pub pending: usize,
    /// The first of them.
    pub pending_names: Vec<String>,
    /// How many resources were accepted and wait for what they need, or to go for what needs them.
    pub warming: usize,
}

/// The state of the source.
#[derive(Debug, Clone, Default, Serialize)]
pub struct State {
    /// As configured.
    pub uri: String,
    /// The control plane of several that answers, or answered last; none for files.
    pub server: Option<String>,
    /// The variant of the protocol that it speaks.
    pub mode: Option<&'static str>,
    /// Whether the control plane answers, or the files can be read.
    pub connected: bool,
    /// Since when `connected` is what it is, in seconds since 1970.
    pub since: u64,
    /// What went wrong last; none when all is well.
    pub last_error: Option<String>,
    /// By Envoy's noun for the type.
    pub types: BTreeMap<&'static str, TypeStatus>,
    /// The files that are laid over it, if any are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlay: Option<Box<State>>,
}

/// A handle on the state, for any thread. The lock is held to copy a few values.
#[derive(Debug, Clone)]
pub struct SourceStatus {
    state: Arc<Mutex<State>>,
    overlay: Option<Arc<Mutex<State>>>,
}

impl SourceStatus {
    pub(super) fn new(uri: &str) -> Self {
        let types = ResourceType::ALL.map(|kind| (kind.noun(), TypeStatus::default()));
        let state = State { uri: uri.to_owned(), since: now(), types: types.into(), ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), overlay: None }
    }

    /// The same, of a source over which another is laid.
    pub(super) fn over(self, overlay: Self) -> Self {
        Self { overlay: Some(overlay.state), ..self }
    }

    /// A copy of the present state.
    pub fn get(&self) -> State {
        let overlay = self.overlay.as_ref().map(|overlay| Box::new(overlay.lock().clone()));
        State { overlay, ..self.state.lock().clone() }
    }

    pub(super) fn connected(&self) {
        let mut state = self.state.lock();
        state.last_error = None;
        if !state.connected {
            (state.connected, state.since) = (true, now());
        }
    }

    pub(super) fn speaks(&self, server: &str, mode: Mode) {
        let mut state = self.state.lock();
        (state.server, state.mode) = (Some(server.to_owned()), Some(mode.name()));
    }

    pub(super) fn disconnected(&self, error: &str) {
        let mut state = self.state.lock();
        state.last_error = Some(error.to_owned());
        if state.connected {
            (state.connected, state.since) = (false, now());
        }
    }

    pub(super) fn trouble(&self, error: &str) {
        self.state.lock().last_error = Some(error.to_owned());
    }

    /// Replaces the state of a type but the time, which moves only when everything was accepted.
    pub(super) fn set(&self, kind: ResourceType, status: TypeStatus) {
        let mut state = self.state.lock();
        let held = state.types.entry(kind.noun()).or_default();
        let accepted = status.accepted.or(held.accepted);
        *held = TypeStatus { accepted, ..status };
    }
}

impl Serialize for SourceStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.get().serialize(serializer)
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
