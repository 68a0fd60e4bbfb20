//! What operators ask of the workload's certificate: whose is it, until when, what went wrong.

use std::{sync::Arc, time::SystemTime};

use parking_lot::Mutex;
use serde::{Serialize, Serializer};

use crate::grpc::Identity;

/// The state of the certificate. Times are in seconds since 1970.
#[derive(Debug, Clone, Default, Serialize)]
pub struct State {
    /// The authority, as configured.
    pub authority: String,
    /// Whose it is; none before the first.
    pub spiffe_id: Option<String>,
    /// Whether it is good and shown.
    pub in_force: bool,
    /// When it came.
    pub issued: Option<u64>,
    /// Until when it is good.
    pub expires: Option<u64>,
    /// What went wrong last; none when all is well.
    pub last_error: Option<String>,
}

/// A handle on the state, for any thread.
#[derive(Debug, Clone)]
pub struct IdentityStatus(Arc<Mutex<State>>);

impl IdentityStatus {
    pub(super) fn new(authority: &str) -> Self {
        let authority = authority.to_owned();
        Self(Arc::new(Mutex::new(State { authority, ..State::default() })))
    }

    /// A copy of the present state.
    pub fn get(&self) -> State {
        self.0.lock().clone()
    }

    pub(super) fn issued(&self, identity: &Identity) {
        let mut state = self.0.lock();
        state.spiffe_id = Some(identity.spiffe_id.clone());
        state.in_force = true;
        state.issued = Some(seconds(SystemTime::now()));
        state.expires = Some(seconds(identity.not_after));
        state.last_error = None;
    }

    pub(super) fn expired(&self, error: &str) {
        self.0.lock().in_force = false;
        self.failed(error);
    }

    pub(super) fn failed(&self, error: &str) {
        self.0.lock().last_error = Some(error.to_owned());
    }
}

impl Serialize for IdentityStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.get().serialize(serializer)
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
