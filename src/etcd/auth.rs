//! Auth: Authenticate, so that an APISIX with a user and a password in its configuration works unchanged.
//!
//! In: any name and password. Out: a token that nobody checks. Who may read is settled by where the endpoint
//! listens.

use tonic::{Request, Response, Status};

use super::{endpoint::Endpoint, status::Refusal};
use crate::pb::etcdserverpb::{AuthenticateRequest, AuthenticateResponse, auth_server::Auth};

impl Endpoint {
    pub(super) async fn authenticate(&self, _: AuthenticateRequest) -> Result<AuthenticateResponse, Refusal> {
        Ok(AuthenticateResponse { header: Some(self.header()), token: "apisix-mesh".to_owned() })
    }
}

#[tonic::async_trait]
impl Auth for super::endpoint::Shared {
    async fn authenticate(
        &self,
        request: Request<AuthenticateRequest>,
    ) -> Result<Response<AuthenticateResponse>, Status> {
        Ok(Response::new(self.0.authenticate(request.into_inner()).await?))
    }
}
