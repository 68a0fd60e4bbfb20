//! What every service reads: the store, the keys as clients see them, the leases.
//!
//! In: the store and the options. Out: headers and snapshots. Never here: a request.

use std::sync::Arc;

use super::{Options, keyspace::Keyspace, lease::Leases};
use crate::{
    pb::etcdserverpb::ResponseHeader,
    store::{Revision, Snapshot, Store},
};

/// The cluster, as every life of the endpoint names it: clients check that it stays the same.
const CLUSTER_ID: u64 = 0x6170_6973_6978_6d65;
/// The only member, which is always the leader.
pub(super) const MEMBER_ID: u64 = 0x7368_6d65_6d62_6572;
/// There was one election, long ago.
pub(super) const RAFT_TERM: u64 = 2;
/// The version whose behaviour is kept; APISIX wants a cluster of 3.4.0 or newer.
pub(super) const VERSION: &str = "3.5.0";

#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) store: Arc<Store>,
    pub(super) options: Options,
    pub(super) keyspace: Keyspace,
    pub(super) leases: Leases,
}

/// The endpoint as the gRPC services hold it: a stream outlives the call that started it.
#[derive(Debug, Clone)]
pub(super) struct Shared(pub(super) Arc<Endpoint>);

impl Endpoint {
    pub(super) fn new(store: Arc<Store>, options: Options) -> Self {
        Self { store, keyspace: Keyspace::new(&options.prefix), options, leases: Leases::default() }
    }

    /// The state, once there is one: "no keys yet" must never look like "no keys", which would wipe APISIX (contract
    /// section 2, duty 2).
    pub(super) async fn snapshot(&self) -> Arc<Snapshot> {
        self.store.ready().await;
        self.store.snapshot()
    }

    /// The header of an answer that has to do with no state.
    pub(super) fn header(&self) -> ResponseHeader {
        header(self.store.snapshot().revision())
    }
}

/// A header. Clients stop at a revision of 0 (apisix#13361), so that before the first commit it is 1.
pub(super) fn header(revision: Revision) -> ResponseHeader {
    ResponseHeader {
        cluster_id: CLUSTER_ID,
        member_id: MEMBER_ID,
        revision: revision.max(1),
        raft_term: RAFT_TERM,
    }
}
