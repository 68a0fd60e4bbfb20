//! KV: Range in full, the writes that APISIX makes for itself, and a refusal for all others.
//!
//! In: KV requests. Out: what the snapshot holds. Never here: a change of the store.

pub(super) mod list;
mod range;
mod txn;

pub(super) use range::at;

use tonic::{Request, Response, Status};

use super::{
    endpoint::{Endpoint, header},
    status::Refusal,
    validate,
};
use crate::pb::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, TxnRequest, TxnResponse, kv_server::Kv,
};

impl Endpoint {
    pub(super) async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Refusal> {
        validate::range(&request)?;
        let snapshot = self.snapshot().await;
        let told = range::told_revision(&self.keyspace, &snapshot, &request);
        let answer = range::answer(&self.keyspace, &snapshot, request)?;
        Ok(match told {
            Some(revision) => RangeResponse { header: Some(header(revision)), ..answer },
            None => answer,
        })
    }

    /// APISIX's command line has three seconds for this, whatever the control plane does; so it waits for nothing.
    pub(super) async fn put(&self, request: PutRequest) -> Result<PutResponse, Refusal> {
        validate::put(&request)?;
        if !self.keyspace.is_apisix_housekeeping(&request.key, &request.value) {
            return Err(Refusal::PermissionDenied);
        }
        Ok(PutResponse { header: Some(self.header()), prev_kv: None })
    }

    pub(super) async fn delete_range(
        &self,
        request: DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, Refusal> {
        validate::key(&request.key)?;
        Err(Refusal::PermissionDenied)
    }

    pub(super) async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Refusal> {
        validate::txn(&request)?;
        txn::answer(&self.keyspace, &*self.snapshot().await, request)
    }

    pub(super) async fn compact(&self, _: CompactionRequest) -> Result<CompactionResponse, Refusal> {
        Err(Refusal::PermissionDenied)
    }
}

#[tonic::async_trait]
impl Kv for super::endpoint::Shared {
    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        Ok(Response::new(self.0.range(request.into_inner()).await?))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        Ok(Response::new(self.0.put(request.into_inner()).await?))
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        Ok(Response::new(self.0.delete_range(request.into_inner()).await?))
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        Ok(Response::new(self.0.txn(request.into_inner()).await?))
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        Ok(Response::new(self.0.compact(request.into_inner()).await?))
    }
}
