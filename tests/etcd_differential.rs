//! A real etcd and ours hold the same history and give the same answers. `CALLS=1000000 SEED=1` asks more and repeats.
//!
//! Needs `etcd` (Debian's `etcd-server`), or another in `ETCD`. Without it the test says so and passes, except in CI,
//! where it fails.

mod compare_etcd;
mod support;

use apisix_mesh::pb::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest,
    MemberListRequest, StatusRequest, cluster_client::ClusterClient, lease_client::LeaseClient,
    maintenance_client::MaintenanceClient,
};
use compare_etcd::{RULES, RealEtcd, compare, setting};
use tonic::transport::Channel;

/// A wrong field number would not survive a talk with a real etcd.
#[tokio::test]
async fn our_messages_are_etcds() {
    let Some(real) = RealEtcd::start().await else { return };
    let channel = Channel::from_shared(format!("http://{}", real.address)).unwrap().connect().await.unwrap();

    let member = ClusterClient::new(channel.clone())
        .member_list(MemberListRequest { linearizable: true })
        .await
        .unwrap()
        .into_inner()
        .members
        .remove(0);
    assert_eq!((member.name.as_str(), member.is_learner), ("default", false));
    assert!(member.client_ur_ls[0].contains(&real.address) && member.peer_ur_ls[0].starts_with("http://"));

    let status = MaintenanceClient::new(channel.clone()).status(StatusRequest {}).await.unwrap().into_inner();
    let header = status.header.unwrap();
    assert_eq!((status.leader, header.member_id), (member.id, member.id));
    assert!(status.version.starts_with("3.") && status.raft_term == header.raft_term && status.raft_term > 0);
    assert!(status.raft_index >= status.raft_applied_index && status.raft_applied_index > 0);
    assert!(status.db_size >= status.db_size_in_use && status.db_size_in_use > 0);

    let mut lease = LeaseClient::new(channel);
    let granted = lease.lease_grant(LeaseGrantRequest { ttl: 60, id: 7 }).await.unwrap().into_inner();
    assert_eq!((granted.id, granted.ttl), (7, 60));
    let left =
        lease.lease_time_to_live(LeaseTimeToLiveRequest { id: 7, keys: true }).await.unwrap().into_inner();
    assert_eq!((left.id, left.granted_ttl), (7, 60));
    let all = lease.lease_leases(LeaseLeasesRequest {}).await.unwrap().into_inner();
    assert_eq!(all.leases[0].id, 7);
    let requests = tokio_stream::once(LeaseKeepAliveRequest { id: 7 });
    let kept = lease.lease_keep_alive(requests).await.unwrap().into_inner().message().await.unwrap().unwrap();
    assert_eq!((kept.id, kept.ttl), (7, 60));
    lease.lease_revoke(LeaseRevokeRequest { id: 7 }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_calls_get_etcds_answers() {
    let Some(real) = RealEtcd::start().await else { return };
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = setting("SEED", clock.as_secs());
    let tally = compare(&real, seed, setting("CALLS", 3000)).await;
    tally.print();
    assert_eq!(tally.differences(), 0, "SEED={seed}");
}

#[test]
fn every_explained_difference_is_documented() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/etcd.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, table) = text.split_once("| Rule | Difference |").unwrap();
    let rows: Vec<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let rules: Vec<&str> = RULES.iter().map(|rule| rule.name).collect();
    for rule in &rules {
        assert!(rows.contains(rule), "docs/etcd.md has no row for {rule}");
    }
    for row in &rows {
        assert!(rules.contains(row), "tests/compare_etcd/rules.rs has no rule {row}");
    }
}
