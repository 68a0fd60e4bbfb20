//! Range, as etcd applies it: all keys of the range first, then the filters, the order, the limit.
//!
//! In: a request that passed `validate`, and a snapshot. Out: the answer, a pure function of both.

use std::borrow::Cow;

use bytes::Bytes;

use crate::{
    etcd::{
        endpoint::header,
        keyspace::{Interval, Keyspace},
        status::Refusal,
    },
    pb::{
        etcdserverpb::{
            RangeRequest, RangeResponse,
            range_request::{SortOrder, SortTarget},
        },
        mvccpb::KeyValue,
    },
    store::{Revision, Snapshot},
};

pub(super) fn answer(
    keyspace: &Keyspace,
    present: &Snapshot,
    request: RangeRequest,
) -> Result<RangeResponse, Refusal> {
    let interval = Interval::new(request.key.clone(), request.range_end.clone());
    let snapshot = at(present, request.revision)?;
    let mut kvs = keyspace.pairs(&snapshot, &interval);
    let header = Some(header(header_revision(keyspace, present, &interval)));
    let count = kvs.len() as i64;
    if request.count_only {
        return Ok(RangeResponse { header, kvs: Vec::new(), more: false, count });
    }
    kvs.retain(|kv| is_between(kv, &request));
    sort(&mut kvs, request.sort_order(), request.sort_target());
    let more = truncate(&mut kvs, request.limit);
    if request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
    }
    Ok(RangeResponse { header, kvs, more, count })
}

/// The state that is asked for; 0 and below mean the present one.
pub(in crate::etcd) fn at(present: &Snapshot, revision: Revision) -> Result<Cow<'_, Snapshot>, Refusal> {
    if revision > present.revision() {
        return Err(Refusal::FutureRevision);
    }
    if revision <= 0 || revision == present.revision() {
        return Ok(Cow::Borrowed(present));
    }
    present.at(revision).map(Cow::Owned).map_err(|_| Refusal::Compacted)
}

/// APISIX reads `<prefix>/` only to know where to start watching, and may have loaded its objects some time before
/// that: the further back the watch starts, the less it can miss (apisix#13917, contract section 2).
fn header_revision(keyspace: &Keyspace, present: &Snapshot, interval: &Interval) -> Revision {
    if keyspace.is_root(interval) {
        return (present.oldest_revision() - 1).max(present.first_revision());
    }
    present.revision()
}

fn is_between(kv: &KeyValue, request: &RangeRequest) -> bool {
    let within = |revision, min, max| (min == 0 || revision >= min) && (max == 0 || revision <= max);
    within(kv.mod_revision, request.min_mod_revision, request.max_mod_revision)
        && within(kv.create_revision, request.min_create_revision, request.max_create_revision)
}

/// By key they are sorted already; by anything else, no order means ascending.
fn sort(kvs: &mut [KeyValue], order: SortOrder, target: SortTarget) {
    match target {
        SortTarget::Key => {}
        SortTarget::Version => kvs.sort_by_key(|kv| kv.version),
        SortTarget::Create => kvs.sort_by_key(|kv| kv.create_revision),
        SortTarget::Mod => kvs.sort_by_key(|kv| kv.mod_revision),
        SortTarget::Value => kvs.sort_by(|a, b| a.value.cmp(&b.value)),
    }
    if order == SortOrder::Descend {
        kvs.reverse();
    }
}

/// Cuts to the limit, if there is one, and tells whether anything was cut off.
fn truncate(kvs: &mut Vec<KeyValue>, limit: i64) -> bool {
    let limit = match usize::try_from(limit) {
        Ok(limit) if limit > 0 => limit,
        _ => return false,
    };
    let more = kvs.len() > limit;
    kvs.truncate(limit);
    more
}
