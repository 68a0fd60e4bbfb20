//! Who this workload is: a certificate from the mesh's authority, renewed in time.
//!
//! In: an authority and a name. Out: the [`Identity`] in force, for whoever shows it: the old one until the new one has
//! come, and none once it has expired. Keys are made here, live in memory and go nowhere. Never here: what the
//! certificate is shown for.

mod certificate;
mod issue;
mod schedule;
mod status;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::string::Ia5String;
use tokio::{sync::watch, time::sleep};
use tonic::{Code, Status};
use tracing::{debug, error, info, warn};

use self::issue::{Wanted, issue};
use crate::{
    error::Error,
    grpc::{
        Identity, Peer,
        backoff::{Backoff, BackoffOptions},
    },
};

pub use status::{IdentityStatus, State as IdentityState};

/// How long a clock that was set, or a machine that slept, may go unnoticed.
const CLOCK_CHECK: Duration = Duration::from_secs(60);

/// The workload that is to be certified.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Of the mesh, such as `cluster.local`.
    pub trust_domain: String,
    /// Of the pod.
    pub namespace: String,
    /// Of the pod.
    pub service_account: String,
    /// How long the certificate shall be good; zero leaves it to the authority.
    pub lifetime: Duration,
}

impl Workload {
    fn wanted(&self) -> Result<Wanted, Error> {
        let Self { trust_domain, namespace, service_account, lifetime } = self;
        for (setting, part) in
            [("trust_domain", trust_domain), ("pod_namespace", namespace), ("node_metadata", service_account)]
        {
            let is_name = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
            if part.is_empty() || !part.bytes().all(is_name) {
                let problem =
                    format!("{part:?} cannot stand in a SPIFFE id: letters, digits, '-', '.' and '_' can");
                return Err(Error::config(setting, problem));
            }
        }
        let text = format!("spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}");
        let spiffe_id =
            Ia5String::try_from(text).map_err(|e| Error::config("trust_domain", e.to_string()))?;
        Ok(Wanted { spiffe_id, lifetime: *lifetime })
    }
}

/// Keeps the identity in force renewed.
pub struct Renewal {
    authority: Peer,
    wanted: Wanted,
    identity: watch::Sender<Option<Arc<Identity>>>,
    backoff: Backoff,
    last_error: Option<String>,
    status: IdentityStatus,
}

impl Renewal {
    /// Asks `authority`, the setting's value being `uri`, once it [runs](Self::run).
    pub fn new(
        uri: &str,
        authority: Peer,
        workload: &Workload,
        backoff: BackoffOptions,
        identity: watch::Sender<Option<Arc<Identity>>>,
    ) -> Result<Self, Error> {
        Ok(Self {
            authority,
            wanted: workload.wanted()?,
            identity,
            backoff: Backoff::new(backoff),
            last_error: None,
            status: IdentityStatus::new(uri),
        })
    }

    /// A handle on the state.
    pub fn status(&self) -> IdentityStatus {
        self.status.clone()
    }

    /// Asks, waits and asks again, for ever.
    pub async fn run(mut self) {
        loop {
            match issue(&self.authority, &self.wanted).await {
                Ok(identity) => {
                    let wait = self.take(identity);
                    sleep_by_the_clock(wait).await;
                }
                Err(status) => {
                    let wait = self.fail(&status);
                    tokio::select! {
                        () = self.authority.clone().wait(wait) => {}
                        () = sleep_by_the_clock(self.until_expiry()) => {}
                    }
                    self.drop_expired();
                }
            }
        }
    }

    fn take(&mut self, identity: Identity) -> Duration {
        self.backoff.reset();
        self.last_error = None;
        self.status.issued(&identity);
        let now = SystemTime::now();
        let Identity { not_before, not_after, .. } = identity;
        let wait = schedule::until_renewal(not_before, not_after, now, self.backoff.fraction());
        let rest = not_after.duration_since(now).unwrap_or_default();
        info!(
            "identity: {} is certified for {} s, to be renewed in {} s",
            identity.spiffe_id,
            rest.as_secs(),
            wait.as_secs()
        );
        self.identity.send_replace(Some(Arc::new(identity)));
        wait
    }

    fn fail(&mut self, status: &Status) -> Duration {
        let mut text = self.authority.describe(status);
        let wait = match status.code() {
            // Asking again soon cures none of these, and there are many who ask.
            Code::Unauthenticated | Code::PermissionDenied => self.backoff.next_slow_wait(),
            Code::Unimplemented => {
                text += " (the server is no certificate authority of Istio's kind: set ca_address to one)";
                self.backoff.next_slow_wait()
            }
            _ => self.backoff.next_wait(),
        };
        self.status.failed(&text);
        if self.last_error.as_ref() == Some(&text) {
            debug!("identity: {text}; again in {wait:?}");
        } else {
            let held = self.identity.borrow().as_ref().map(|held| held.spiffe_id.clone());
            match held {
                Some(name) => {
                    warn!("identity: {text}; the certificate of {name} stays in force, trying again")
                }
                None => warn!("identity: {text}; there is no certificate in force, trying again"),
            }
            self.last_error = Some(text);
        }
        wait
    }

    fn until_expiry(&self) -> Duration {
        let expiry = self.identity.borrow().as_ref().map(|held| held.not_after);
        expiry.map_or(Duration::MAX, |at| at.duration_since(SystemTime::now()).unwrap_or_default())
    }

    fn drop_expired(&self) {
        let is_over = |held: &Arc<Identity>| held.not_after <= SystemTime::now();
        let Some(name) = self.identity.borrow().as_ref().filter(|h| is_over(h)).map(|h| h.spiffe_id.clone())
        else {
            return;
        };
        self.identity.send_replace(None);
        let cause = self.last_error.as_deref().unwrap_or_default();
        let text = format!("the certificate of {name} has expired and could not be renewed: {cause}");
        error!("identity: {text}; it is shown no longer");
        self.status.expired(&text);
    }
}

/// By the system's clock, as certificates go by it.
async fn sleep_by_the_clock(wait: Duration) {
    let Some(end) = SystemTime::now().checked_add(wait) else { return std::future::pending().await };
    while let Ok(rest) = end.duration_since(SystemTime::now())
        && !rest.is_zero()
    {
        sleep(rest.min(CLOCK_CHECK)).await;
    }
}
