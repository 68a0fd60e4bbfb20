//! Which requests are well-formed, as etcd's own front checks them before it looks at any data.
//!
//! In: a request. Out: nothing, or the refusal.

use std::collections::HashSet;

use super::status::Refusal;
use crate::pb::etcdserverpb::{
    Compare, RangeRequest, RequestOp, TxnRequest,
    range_request::{SortOrder, SortTarget},
    request_op::Request,
};

/// etcd's default `--max-txn-ops`.
const MAX_TXN_OPERATIONS: usize = 128;

pub(super) fn range(request: &RangeRequest) -> Result<(), Refusal> {
    key(&request.key)?;
    let known =
        SortOrder::try_from(request.sort_order).is_ok() && SortTarget::try_from(request.sort_target).is_ok();
    if known { Ok(()) } else { Err(Refusal::InvalidSortOption) }
}

pub(super) fn key(key: &[u8]) -> Result<(), Refusal> {
    if key.is_empty() { Err(Refusal::EmptyKey) } else { Ok(()) }
}

pub(super) fn txn(request: &TxnRequest) -> Result<(), Refusal> {
    let longest = request.compare.len().max(request.success.len()).max(request.failure.len());
    if longest > MAX_TXN_OPERATIONS {
        return Err(Refusal::TooManyOperations);
    }
    request.compare.iter().try_for_each(|Compare { key: it, .. }| key(it))?;
    operations(&request.success)?;
    operations(&request.failure)
}

fn operations(operations: &[RequestOp]) -> Result<(), Refusal> {
    let mut written = HashSet::new();
    for operation in operations {
        match &operation.request {
            Some(Request::RequestRange(request)) => range(request)?,
            Some(Request::RequestPut(request)) => {
                key(&request.key)?;
                if !written.insert(&request.key) {
                    return Err(Refusal::DuplicateKey);
                }
            }
            Some(Request::RequestDeleteRange(request)) => key(&request.key)?,
            Some(Request::RequestTxn(request)) => txn(request)?,
            None => return Err(Refusal::EmptyKey),
        }
    }
    Ok(())
}
