//! Range, as etcd applies it: all keys of the range first, then the filters, the order, the limit.
//!
//! In: a request that passed `validate`, and a snapshot. Out: the answer, a pure function of both.

use std::borrow::Cow;

use bytes::Bytes;

use crate::{
    etcd::{
        endpoint::header,
        keyspace::{Interval, Keyspace, Pair},
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
    let interval = keyspace.stored(&Interval::new(request.key.clone(), request.range_end.clone()));
    let snapshot = at(present, request.revision)?;
    let header = Some(header(present.revision()));
    let most = most_pairs(&request);
    let (mut kvs, mut count) = (Vec::new(), 0);
    for pair in keyspace.each(&snapshot, &interval) {
        count += 1;
        if kvs.len() < most && is_between(&pair, &request) {
            kvs.push(pair.message());
        }
    }
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

/// No watch is behind this one.
const BEHIND_NO_WATCH: Revision = 1;

/// What APISIX is told under keys that it reads for nothing but the revision. `<prefix>/` says where to start watching,
/// maybe some time after objects were loaded: the further back, the less can be missed (apisix#13917, contract section 2).
/// Some versions read another key to know where to go on after a watch that died in silence, and would skip what it did
/// not tell (apisix#13067): they are given no revision to skip to.
pub(super) fn told_revision(
    keyspace: &Keyspace,
    present: &Snapshot,
    request: &RangeRequest,
) -> Option<Revision> {
    let (key, range_end) = (&request.key, &request.range_end);
    if keyspace.is_root(key, range_end) {
        Some((present.oldest_revision() - 1).max(present.first_revision()))
    } else if keyspace.is_jump_mark(key, range_end) {
        Some(BEHIND_NO_WATCH)
    } else {
        None
    }
}

/// How many pairs to look at after they are counted: one beyond the limit says that there are more.
fn most_pairs(request: &RangeRequest) -> usize {
    match usize::try_from(request.limit) {
        _ if request.count_only => 0,
        Ok(limit) if reads_no_further_than_its_limit(request) => limit.saturating_add(1),
        _ => usize::MAX,
    }
}

/// With neither an order nor a filter, etcd sorts what is within the limit by key, even if by something else.
fn reads_no_further_than_its_limit(request: &RangeRequest) -> bool {
    let filters = [
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    ];
    request.limit > 0 && request.sort_order() == SortOrder::None && filters == [0; 4]
}

fn is_between(pair: &Pair, request: &RangeRequest) -> bool {
    let within = |revision, min, max| (min == 0 || revision >= min) && (max == 0 || revision <= max);
    within(pair.mod_revision, request.min_mod_revision, request.max_mod_revision)
        && within(pair.create_revision, request.min_create_revision, request.max_create_revision)
}

/// By key they are sorted already; by anything else, no order means ascending. What is equal stays sorted by key.
fn sort(kvs: &mut [KeyValue], order: SortOrder, target: SortTarget) {
    let compare = |a: &KeyValue, b: &KeyValue| match target {
        SortTarget::Key => a.key.cmp(&b.key),
        SortTarget::Version => a.version.cmp(&b.version),
        SortTarget::Create => a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => a.value.cmp(&b.value),
    };
    match order {
        SortOrder::None if target == SortTarget::Key => {}
        SortOrder::None | SortOrder::Ascend => kvs.sort_by(compare),
        SortOrder::Descend => kvs.sort_by(|a, b| compare(b, a)),
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
