//! Txn without writes: comparisons, and the reads that follow from them.
//!
//! In: a request that passed `validate`, and a snapshot. Out: the answer, all of it from that one snapshot. Never
//! here: a write, not even in the branch that is not taken; a client must not depend on luck.

use std::cmp::Ordering;

use super::range;
use crate::{
    etcd::{
        endpoint::header,
        keyspace::{Interval, Keyspace},
        status::Refusal,
    },
    pb::{
        etcdserverpb::{
            Compare, RequestOp, ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
            compare::{CompareResult, CompareTarget, TargetUnion},
            request_op::Request,
            response_op::Response,
        },
        mvccpb::KeyValue,
    },
    store::Snapshot,
};

pub(super) fn answer(
    keyspace: &Keyspace,
    snapshot: &Snapshot,
    request: TxnRequest,
) -> Result<TxnResponse, Refusal> {
    if has_writes(&request) {
        return Err(Refusal::PermissionDenied);
    }
    let nested = perform_all(keyspace, snapshot, request)?;
    Ok(TxnResponse { header: Some(header(snapshot.revision())), ..nested })
}

/// A transaction within another: its header says nothing.
fn perform_all(
    keyspace: &Keyspace,
    snapshot: &Snapshot,
    request: TxnRequest,
) -> Result<TxnResponse, Refusal> {
    let succeeded = request.compare.iter().all(|compare| holds(keyspace, snapshot, compare));
    let branch = if succeeded { request.success } else { request.failure };
    let responses = branch
        .into_iter()
        .map(|operation| perform(keyspace, snapshot, operation))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(TxnResponse { header: Some(ResponseHeader::default()), succeeded, responses })
}

fn has_writes(request: &TxnRequest) -> bool {
    request.success.iter().chain(&request.failure).any(|operation| match &operation.request {
        Some(Request::RequestRange(_)) | None => false,
        Some(Request::RequestTxn(inner)) => has_writes(inner),
        Some(Request::RequestPut(_) | Request::RequestDeleteRange(_)) => true,
    })
}

fn perform(keyspace: &Keyspace, snapshot: &Snapshot, operation: RequestOp) -> Result<ResponseOp, Refusal> {
    let response = match operation.request {
        // Alone it would mean the present state; here etcd takes it for a revision of long ago.
        Some(Request::RequestRange(request)) if request.revision < 0 => return Err(Refusal::Compacted),
        Some(Request::RequestRange(request)) => {
            Response::ResponseRange(range::answer(keyspace, snapshot, request)?)
        }
        Some(Request::RequestTxn(request)) => {
            Response::ResponseTxn(perform_all(keyspace, snapshot, request)?)
        }
        _ => return Err(Refusal::PermissionDenied),
    };
    Ok(ResponseOp { response: Some(response) })
}

/// Every key of the range must pass. A key that is not there has zeros to compare, but no value.
fn holds(keyspace: &Keyspace, snapshot: &Snapshot, compare: &Compare) -> bool {
    let interval = Interval::new(compare.key.clone(), compare.range_end.clone());
    let found = keyspace.pairs(snapshot, &interval);
    if found.is_empty() {
        return compare.target != CompareTarget::Value as i32 && passes(compare, &KeyValue::default());
    }
    found.iter().all(|kv| passes(compare, kv))
}

/// As in etcd, what is compared with an unknown target is equal, and an unknown result is always so.
fn passes(compare: &Compare, kv: &KeyValue) -> bool {
    let order = CompareTarget::try_from(compare.target)
        .map_or(Ordering::Equal, |target| order(target, compare.target_union.as_ref(), kv));
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => order == Ordering::Equal,
        Ok(CompareResult::NotEqual) => order != Ordering::Equal,
        Ok(CompareResult::Greater) => order == Ordering::Greater,
        Ok(CompareResult::Less) => order == Ordering::Less,
        Err(_) => true,
    }
}

fn order(target: CompareTarget, wanted: Option<&TargetUnion>, kv: &KeyValue) -> Ordering {
    match (target, wanted) {
        (CompareTarget::Version, Some(TargetUnion::Version(wanted))) => kv.version.cmp(wanted),
        (CompareTarget::Create, Some(TargetUnion::CreateRevision(wanted))) => kv.create_revision.cmp(wanted),
        (CompareTarget::Mod, Some(TargetUnion::ModRevision(wanted))) => kv.mod_revision.cmp(wanted),
        (CompareTarget::Lease, Some(TargetUnion::Lease(wanted))) => kv.lease.cmp(wanted),
        (CompareTarget::Value, Some(TargetUnion::Value(wanted))) => kv.value.cmp(wanted),
        // What is left out is the default, as anywhere in protobuf.
        (CompareTarget::Version, _) => kv.version.cmp(&0),
        (CompareTarget::Create, _) => kv.create_revision.cmp(&0),
        (CompareTarget::Mod, _) => kv.mod_revision.cmp(&0),
        (CompareTarget::Lease, _) => kv.lease.cmp(&0),
        (CompareTarget::Value, _) => kv.value.as_ref().cmp(&[]),
    }
}
