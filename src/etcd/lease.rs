//! Lease: granted, kept alive, listed and forgotten; nothing hangs on them, since nothing is written.
//!
//! In: lease requests. Out: etcd's answers. Never here: a timer, or more leases than the bound (clients leak them,
//! apisix#6124); one that has run out is dropped when the next is granted.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use super::{endpoint::Endpoint, status::Refusal};
use crate::pb::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseLeasesRequest,
    LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseStatus, LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse, lease_server::Lease,
};

const MAX_LEASES: usize = 4096;
/// etcd gives no less, whatever is asked for.
const MIN_TTL: i64 = 2;
/// etcd's own limit, in seconds.
const MAX_TTL: i64 = 9_000_000_000;

/// The leases that have not run out.
#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<BTreeMap<i64, Granted>>);

#[derive(Debug, Clone, Copy)]
struct Granted {
    ttl: i64,
    until: Instant,
}

impl Granted {
    fn new(ttl: i64) -> Self {
        Self { ttl, until: Instant::now() + Duration::from_secs(ttl.unsigned_abs()) }
    }

    fn is_alive(&self) -> bool {
        self.until > Instant::now()
    }
}

impl Leases {
    /// The id (chosen here if 0) and the seconds of a new lease.
    fn grant(&self, id: i64, ttl: i64) -> Result<(i64, i64), Refusal> {
        if ttl > MAX_TTL {
            return Err(Refusal::LeaseTooLong);
        }
        let mut leases = self.0.lock();
        leases.retain(|_, lease| lease.is_alive());
        if leases.contains_key(&id) {
            return Err(Refusal::LeaseExists);
        }
        if leases.len() >= MAX_LEASES {
            return Err(Refusal::TooManyRequests);
        }
        let id = if id == 0 { free_id(&leases) } else { id };
        let ttl = ttl.max(MIN_TTL);
        leases.insert(id, Granted::new(ttl));
        Ok((id, ttl))
    }

    fn revoke(&self, id: i64) -> Result<(), Refusal> {
        match self.0.lock().remove(&id) {
            Some(lease) if lease.is_alive() => Ok(()),
            _ => Err(Refusal::LeaseNotFound),
        }
    }

    /// The seconds it lives on, 0 if there is no such lease.
    fn keep_alive(&self, id: i64) -> i64 {
        match self.0.lock().get_mut(&id) {
            Some(lease) if lease.is_alive() => {
                *lease = Granted::new(lease.ttl);
                lease.ttl
            }
            _ => 0,
        }
    }

    fn get(&self, id: i64) -> Option<Granted> {
        self.0.lock().get(&id).copied().filter(Granted::is_alive)
    }

    /// The one that runs out first comes first.
    fn ids(&self) -> Vec<i64> {
        let leases = self.0.lock();
        let mut alive: Vec<_> = leases.iter().filter(|(_, lease)| lease.is_alive()).collect();
        alive.sort_by_key(|(_, lease)| lease.until);
        alive.into_iter().map(|(&id, _)| id).collect()
    }
}

/// Ids start at the clock, so that a lease of a former life is not taken for one of this life.
fn free_id(leases: &BTreeMap<i64, Granted>) -> i64 {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as i64;
    let mut id = clock.max(1);
    while leases.contains_key(&id) {
        id = id.wrapping_add(1);
    }
    id
}

impl Endpoint {
    pub(super) async fn lease_grant(
        &self,
        request: LeaseGrantRequest,
    ) -> Result<LeaseGrantResponse, Refusal> {
        let (id, ttl) = self.leases.grant(request.id, request.ttl)?;
        Ok(LeaseGrantResponse { header: Some(self.header()), id, ttl, error: String::new() })
    }

    pub(super) async fn lease_revoke(
        &self,
        request: LeaseRevokeRequest,
    ) -> Result<LeaseRevokeResponse, Refusal> {
        self.leases.revoke(request.id)?;
        Ok(LeaseRevokeResponse { header: Some(self.header()) })
    }

    pub(super) fn lease_keep_alive(&self, request: LeaseKeepAliveRequest) -> LeaseKeepAliveResponse {
        let ttl = self.leases.keep_alive(request.id);
        LeaseKeepAliveResponse { header: Some(self.header()), id: request.id, ttl }
    }

    pub(super) async fn lease_time_to_live(
        &self,
        request: LeaseTimeToLiveRequest,
    ) -> Result<LeaseTimeToLiveResponse, Refusal> {
        let header = Some(self.header());
        let lease = self.leases.get(request.id);
        let ttl = lease.map_or(-1, |lease| (lease.until - Instant::now()).as_secs() as i64);
        let granted_ttl = lease.map_or(0, |lease| lease.ttl);
        Ok(LeaseTimeToLiveResponse { header, id: request.id, ttl, granted_ttl, keys: Vec::new() })
    }

    pub(super) async fn lease_leases(&self, _: LeaseLeasesRequest) -> Result<LeaseLeasesResponse, Refusal> {
        let leases = self.leases.ids().into_iter().map(|id| LeaseStatus { id }).collect();
        Ok(LeaseLeasesResponse { header: Some(self.header()), leases })
    }
}

#[tonic::async_trait]
impl Lease for super::endpoint::Shared {
    type LeaseKeepAliveStream = ReceiverStream<Result<LeaseKeepAliveResponse, Status>>;

    async fn lease_grant(
        &self,
        request: Request<LeaseGrantRequest>,
    ) -> Result<Response<LeaseGrantResponse>, Status> {
        Ok(Response::new(self.0.lease_grant(request.into_inner()).await?))
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        Ok(Response::new(self.0.lease_revoke(request.into_inner()).await?))
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let (endpoint, mut requests) = (self.0.clone(), request.into_inner());
        let (answers, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                let request = tokio::select! {
                    request = requests.next() => request,
                    () = answers.closed() => return,
                };
                let Some(Ok(request)) = request else { return };
                if answers.send(Ok(endpoint.lease_keep_alive(request))).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        Ok(Response::new(self.0.lease_time_to_live(request.into_inner()).await?))
    }

    async fn lease_leases(
        &self,
        request: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        Ok(Response::new(self.0.lease_leases(request.into_inner()).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_lives_as_long_as_it_is_kept_alive() {
        let leases = Leases::default();
        let (id, ttl) = leases.grant(0, 10).unwrap();
        assert_eq!(ttl, 10);
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(leases.keep_alive(id), 10);
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(leases.ids(), [id]);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(leases.keep_alive(id), 0);
        assert_eq!(leases.revoke(id), Err(Refusal::LeaseNotFound));
    }

    #[tokio::test(start_paused = true)]
    async fn leases_are_listed_as_they_run_out() {
        let leases = Leases::default();
        for (id, ttl) in [(1, 60), (2, 10), (3, 30)] {
            leases.grant(id, ttl).unwrap();
        }
        assert_eq!(leases.ids(), [2, 3, 1]);
        tokio::time::advance(Duration::from_secs(5)).await;
        leases.keep_alive(2);
        tokio::time::advance(Duration::from_secs(24)).await;
        assert_eq!(leases.ids(), [3, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn leases_are_bounded_and_make_room_as_they_run_out() {
        let leases = Leases::default();
        for _ in 0..MAX_LEASES {
            leases.grant(0, 1).unwrap();
        }
        assert_eq!(leases.grant(0, 1), Err(Refusal::TooManyRequests));
        tokio::time::advance(Duration::from_secs(MIN_TTL as u64)).await;
        leases.grant(7, 1).unwrap();
        assert_eq!(leases.grant(7, 1), Err(Refusal::LeaseExists));
        assert_eq!(leases.ids(), [7]);
    }
}
