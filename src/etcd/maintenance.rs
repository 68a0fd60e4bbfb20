//! Maintenance: Status, which clients ask to see whether an endpoint is alive, and who leads; what tells whether members
//! agree; alarms, of which there are none.
//!
//! In: those requests. Out: a healthy leader of one; every commit counts as a raft entry. A hash is over the objects with
//! their revisions: two processes that serve the same give the same, etcd itself another. Never here: a change, so that
//! raising an alarm is refused.

use tonic::{Request, Response, Status};
use xxhash_rust::xxh3::Xxh3;

use super::{
    endpoint::{Endpoint, MEMBER_ID, RAFT_TERM, VERSION},
    kv,
    status::Refusal,
};
use crate::{
    pb::etcdserverpb::{
        AlarmRequest, AlarmResponse, HashKvRequest, HashKvResponse, HashRequest, HashResponse, StatusRequest,
        StatusResponse, alarm_request::AlarmAction, maintenance_server::Maintenance,
    },
    store::Snapshot,
};

impl Endpoint {
    pub(super) async fn alarm(&self, request: AlarmRequest) -> Result<AlarmResponse, Refusal> {
        match request.action() {
            AlarmAction::Get | AlarmAction::Deactivate => {
                Ok(AlarmResponse { header: Some(self.header()), alarms: Vec::new() })
            }
            AlarmAction::Activate => Err(Refusal::PermissionDenied),
        }
    }

    pub(super) async fn status(&self, _: StatusRequest) -> Result<StatusResponse, Refusal> {
        let header = self.header();
        let index = header.revision.unsigned_abs();
        // Clients divide by it.
        let size = i64::try_from(self.store.snapshot().bytes().max(1)).unwrap_or(i64::MAX);
        Ok(StatusResponse {
            header: Some(header),
            version: VERSION.to_owned(),
            db_size: size,
            db_size_in_use: size,
            leader: MEMBER_ID,
            raft_index: index,
            raft_term: RAFT_TERM,
            raft_applied_index: index,
            ..StatusResponse::default()
        })
    }

    pub(super) async fn hash(&self, _: HashRequest) -> Result<HashResponse, Refusal> {
        let snapshot = self.snapshot().await;
        Ok(HashResponse { header: Some(self.header()), hash: hash(&snapshot) })
    }

    pub(super) async fn hash_kv(&self, request: HashKvRequest) -> Result<HashKvResponse, Refusal> {
        let present = self.snapshot().await;
        let snapshot = kv::at(&present, request.revision)?;
        Ok(HashKvResponse {
            header: Some(self.header()),
            hash: hash(&snapshot),
            compact_revision: present.oldest_revision(),
            hash_revision: snapshot.revision(),
        })
    }
}

fn hash(snapshot: &Snapshot) -> u32 {
    let mut hasher = Xxh3::new();
    for (key, kv) in snapshot.objects_from("") {
        hasher.update(key.as_str().as_bytes());
        hasher.update(&kv.mod_revision.to_le_bytes());
        hasher.update(&(kv.value.len() as u64).to_le_bytes());
        hasher.update(&kv.value);
    }
    hasher.digest() as u32
}

#[tonic::async_trait]
impl Maintenance for super::endpoint::Shared {
    async fn alarm(&self, request: Request<AlarmRequest>) -> Result<Response<AlarmResponse>, Status> {
        Ok(Response::new(self.0.alarm(request.into_inner()).await?))
    }

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        Ok(Response::new(self.0.status(request.into_inner()).await?))
    }

    async fn hash(&self, request: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        Ok(Response::new(self.0.hash(request.into_inner()).await?))
    }

    async fn hash_kv(&self, request: Request<HashKvRequest>) -> Result<Response<HashKvResponse>, Status> {
        Ok(Response::new(self.0.hash_kv(request.into_inner()).await?))
    }
}
