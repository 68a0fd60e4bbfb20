//! Cluster: one member, this endpoint.
//!
//! In: MemberList. Out: a member without addresses: a client that syncs its endpoints keeps the one it came by.

use tonic::{Request, Response, Status};

use super::{
    endpoint::{Endpoint, MEMBER_ID},
    status::Refusal,
};
use crate::pb::etcdserverpb::{Member, MemberListRequest, MemberListResponse, cluster_server::Cluster};

impl Endpoint {
    pub(super) async fn member_list(&self, _: MemberListRequest) -> Result<MemberListResponse, Refusal> {
        let member = Member { id: MEMBER_ID, name: "apisix-mesh".to_owned(), ..Member::default() };
        Ok(MemberListResponse { header: Some(self.header()), members: vec![member] })
    }
}

#[tonic::async_trait]
impl Cluster for super::endpoint::Shared {
    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        Ok(Response::new(self.0.member_list(request.into_inner()).await?))
    }
}
