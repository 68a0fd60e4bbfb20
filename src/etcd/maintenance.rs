//! Maintenance: Status, which clients ask to see whether an endpoint is alive, and who leads.
//!
//! In: Status. Out: a healthy leader of one; every commit counts as a raft entry.

use tonic::{Request, Response, Status};

use super::{
    endpoint::{Endpoint, MEMBER_ID, RAFT_TERM, VERSION},
    status::Refusal,
};
use crate::pb::etcdserverpb::{StatusRequest, StatusResponse, maintenance_server::Maintenance};

impl Endpoint {
    pub(super) async fn status(&self, _: StatusRequest) -> Result<StatusResponse, Refusal> {
        let header = self.header();
        let index = header.revision.unsigned_abs();
        Ok(StatusResponse {
            header: Some(header),
            version: VERSION.to_owned(),
            leader: MEMBER_ID,
            raft_index: index,
            raft_term: RAFT_TERM,
            raft_applied_index: index,
            ..StatusResponse::default()
        })
    }
}

#[tonic::async_trait]
impl Maintenance for super::endpoint::Shared {
    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        Ok(Response::new(self.0.status(request.into_inner()).await?))
    }
}
