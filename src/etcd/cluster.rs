//! Cluster: one member, this endpoint.
//!
//! In: MemberList. Out: a member whose address is the one that the client came by: clients that sync their endpoints go on
//! with what they are told, and with nothing they would go nowhere.

use tonic::{Request, Response, Status};

use super::{
    endpoint::{Endpoint, MEMBER_ID},
    status::Refusal,
};
use crate::pb::etcdserverpb::{Member, MemberListRequest, MemberListResponse, cluster_server::Cluster};

/// Where a connection came in, as a URL; with each of its requests.
#[derive(Debug, Clone)]
pub(super) struct ClientUrl(pub(super) String);

impl Endpoint {
    pub(super) async fn member_list(
        &self,
        _: MemberListRequest,
        came_by: Option<&ClientUrl>,
    ) -> Result<MemberListResponse, Refusal> {
        let client_ur_ls = came_by.map(|url| url.0.clone()).into_iter().collect();
        let member =
            Member { id: MEMBER_ID, name: "apisix-mesh".to_owned(), client_ur_ls, ..Member::default() };
        Ok(MemberListResponse { header: Some(self.header()), members: vec![member] })
    }
}

#[tonic::async_trait]
impl Cluster for super::endpoint::Shared {
    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        Ok(Response::new(self.0.member_list(message, extensions.get()).await?))
    }
}
