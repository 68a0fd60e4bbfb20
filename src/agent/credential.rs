//! The workload's certificate as an object of APISIX's, which upstreams show to their endpoints.
//!
//! In: the identity in force, where the settings have APISIX show it. Out: one put for each. Never here: which upstreams
//! name it, and how it is got. The key leaves this process by the store alone.

use std::{
    future::pending,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::{
    apisix::{Key, Ssl},
    config::Config,
    grpc::{Identities, Identity},
    store::{Delta, Snapshot},
};

/// What is published of the workload's identity.
pub struct Credential {
    /// None where nothing is.
    identities: Option<Identities>,
    since: Instant,
    patience: Duration,
    is_settled: bool,
}

impl Credential {
    /// From now on `initial_fetch_timeout` is how long the first one is waited for.
    pub fn new(config: &Config, identities: Option<Identities>) -> Self {
        let identities = identities.filter(|_| config.publishes_key());
        let is_settled = identities.is_none();
        Self { identities, since: Instant::now(), patience: config.initial_fetch_timeout, is_settled }
    }

    /// Whether the first configuration need not wait any more.
    pub const fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// Waits for the first one, or until it has been waited for long enough; may be dropped and called again.
    pub async fn settle(&mut self) {
        if let Some(identities) = &mut self.identities {
            let rest = self.patience.saturating_sub(self.since.elapsed());
            // If neither comes true, the first configuration tells so.
            let _ = timeout(rest, identities.wait_for(Option::is_some)).await;
        }
        self.is_settled = true;
    }

    /// Puts it before what names it; until one has come, that which a former process left stays.
    pub fn add_to_first(&mut self, delta: &mut Delta, held: &Snapshot) {
        let Some(identities) = &mut self.identities else { return };
        let identity = identities.borrow_and_update().clone();
        let key = Ssl::workload_key();
        let left = || held.get(key.as_str()).map(|left| (key.clone(), left.value.clone()));
        let put = identity.as_deref().and_then(object);
        if put.is_none() {
            let meanwhile = match left() {
                Some(_) => "upstreams show that of a former process",
                None => "upstreams that would show it answer with 5xx",
            };
            warn!(
                "the workload's certificate has not come within {} s (initial_fetch_timeout): the first configuration \
                 is published without it, and {meanwhile} until {key} comes",
                self.patience.as_secs_f64()
            );
        }
        if let Some(put) = put.or_else(left) {
            delta.puts.insert(0, put);
        }
    }

    /// The next one that comes into force.
    pub async fn renewed(&mut self) -> Delta {
        let Some(identities) = &mut self.identities else { return pending().await };
        while identities.changed().await.is_ok() {
            let identity = identities.borrow_and_update().clone();
            match identity.as_deref() {
                Some(identity) => {
                    let Some(put) = object(identity) else { continue };
                    info!("{}: the certificate of {} is published", put.0, identity.spiffe_id);
                    return Delta { puts: vec![put], deletes: Vec::new() };
                }
                // To take it away would help nobody: its upstreams would answer with 5xx all the same.
                None => error!(
                    "{}: the workload's certificate has expired and stays published, as there is no other; endpoints \
                     refuse it",
                    Ssl::workload_key()
                ),
            }
        }
        // Nobody renews it any more, which was told where that ended.
        pending().await
    }
}

/// The object of this identity, if APISIX would take it.
fn object(identity: &Identity) -> Option<(Key, Bytes)> {
    let ssl = Ssl::workload(identity.chain_pem(), identity.key_pem().reveal().clone());
    let key = Ssl::workload_key();
    match ssl.check() {
        Ok(()) => Some((key, ssl.to_bytes())),
        Err(violation) => {
            error!(
                "{key}: APISIX would refuse the certificate of {}: {violation}; it is not published",
                identity.spiffe_id
            );
            None
        }
    }
}
