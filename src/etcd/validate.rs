//! Which requests are well-formed, as etcd's own front checks them before it looks at any data.
//!
//! In: a request. Out: nothing, or the refusal.

use std::collections::HashSet;

use bytes::Bytes;

use super::status::Refusal;
use crate::pb::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    range_request::{SortOrder, SortTarget},
    request_op::Request,
};

/// etcd's default `--max-txn-ops`.
const MAX_TXN_OPERATIONS: usize = 128;

/// etcd refuses unknown sort options since 3.6; before, some of them ended its process.
pub(super) fn range(request: &RangeRequest) -> Result<(), Refusal> {
    key(&request.key)?;
    let known =
        SortOrder::try_from(request.sort_order).is_ok() && SortTarget::try_from(request.sort_target).is_ok();
    if known { Ok(()) } else { Err(Refusal::InvalidSortOption) }
}

pub(super) fn put(request: &PutRequest) -> Result<(), Refusal> {
    key(&request.key)?;
    if request.ignore_value && !request.value.is_empty() {
        return Err(Refusal::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Refusal::LeaseProvided);
    }
    Ok(())
}

pub(super) fn key(key: &[u8]) -> Result<(), Refusal> {
    if key.is_empty() { Err(Refusal::EmptyKey) } else { Ok(()) }
}

pub(super) fn txn(request: &TxnRequest) -> Result<(), Refusal> {
    each_operation(request, MAX_TXN_OPERATIONS)?;
    writes(&request.success)?;
    writes(&request.failure)?;
    Ok(())
}

/// What a transaction takes of the operations that there may be, those within it cannot have.
fn each_operation(request: &TxnRequest, most: usize) -> Result<(), Refusal> {
    let longest = request.compare.len().max(request.success.len()).max(request.failure.len());
    let left = most.checked_sub(longest).ok_or(Refusal::TooManyOperations)?;
    request.compare.iter().try_for_each(|Compare { key: it, .. }| key(it))?;
    request.success.iter().chain(&request.failure).try_for_each(|it| match &it.request {
        Some(Request::RequestRange(request)) => range(request),
        Some(Request::RequestPut(request)) => put(request),
        Some(Request::RequestDeleteRange(request)) => key(&request.key),
        Some(Request::RequestTxn(request)) => each_operation(request, left),
        None => Err(Refusal::KeyNotFound),
    })
}

/// What the operations of one branch write, those of transactions within it included.
#[derive(Debug, Default)]
struct Writes<'a> {
    puts: HashSet<&'a Bytes>,
    deletes: Vec<&'a DeleteRangeRequest>,
}

impl<'a> Writes<'a> {
    fn put(&mut self, key: &'a Bytes) -> Result<(), Refusal> {
        if self.deletes.iter().any(|delete| deletes(delete, key)) || !self.puts.insert(key) {
            return Err(Refusal::DuplicateKey);
        }
        Ok(())
    }
}

/// No key may be written twice, except in branches of which only one is taken.
fn writes(operations: &[RequestOp]) -> Result<Writes<'_>, Refusal> {
    let requests = || operations.iter().filter_map(|operation| operation.request.as_ref());
    let mut all = Writes::default();
    all.deletes.extend(requests().filter_map(|request| match request {
        Request::RequestDeleteRange(request) => Some(request),
        _ => None,
    }));
    for request in requests() {
        if let Request::RequestTxn(inner) = request {
            let (success, failure) = (writes(&inner.success)?, writes(&inner.failure)?);
            for key in success.puts.union(&failure.puts) {
                all.put(key)?;
            }
            all.deletes.extend(success.deletes.into_iter().chain(failure.deletes));
        }
    }
    for request in requests() {
        if let Request::RequestPut(request) = request {
            all.put(&request.key)?;
        }
    }
    Ok(all)
}

/// Here etcd does not take the end `\0` for the end of all keys.
fn deletes(request: &DeleteRangeRequest, key: &Bytes) -> bool {
    match request.range_end.as_ref() {
        [] => *key == request.key,
        end => *key >= request.key && key.as_ref() < end,
    }
}
