use prost::Message;

use super::*;
use crate::pb::json::any_from_json;
use ResourceType::{Cluster as CDS, ClusterLoadAssignment as EDS, Listener as LDS};

fn cluster(name: &str, timeout: &str) -> Any {
    any_from_json(&serde_json::json!({"@type": CDS.type_url(), "name": name, "type": "EDS",
        "edsClusterConfig": {"edsConfig": {"ads": {}}}, "connectTimeout": timeout}))
    .unwrap()
}

fn endpoints(name: &str) -> Any {
    any_from_json(&serde_json::json!({"@type": EDS.type_url(), "clusterName": name})).unwrap()
}

fn names(changes: &[Change]) -> Vec<String> {
    changes.iter().map(|c| format!("{} {}", c.kind.noun(), c.name)).collect()
}

#[test]
fn only_what_changed_is_told() {
    let (mut cache, now) = (Cache::new(Duration::from_secs(15)), Instant::now());
    let applied = cache.apply(CDS, &[cluster("b", "1s"), cluster("a", "1s")], now);
    assert_eq!(names(&applied.changes), ["cluster a", "cluster b"]);
    assert!(cache.apply(CDS, &[cluster("a", "1s"), cluster("b", "1s")], now).changes.is_empty());
    cache.apply(EDS, &[endpoints("a")], now);
    let applied = cache.apply(CDS, &[cluster("b", "2s")], now);
    assert_eq!(names(&applied.changes), ["cluster a", "cluster b", "endpoint a"]);
}

#[test]
fn it_is_complete_when_every_name_has_come() {
    let (mut cache, now) = (Cache::new(Duration::from_secs(15)), Instant::now());
    cache.apply(CDS, &[cluster("a", "1s"), cluster("b", "1s")], now);
    cache.apply(EDS, &[endpoints("a"), endpoints("b")], now);
    assert!(!cache.complete(), "listeners have not been answered");
    cache.apply(LDS, &[], now);
    assert!(cache.complete());
}

#[test]
fn point_21_a_missing_name_is_waited_for_and_told_once() {
    let (mut cache, now) = (Cache::new(Duration::from_secs(15)), Instant::now());
    cache.apply(LDS, &[], now);
    cache.apply(CDS, &[cluster("a", "1s")], now);
    let later = now + Duration::from_secs(15);
    assert_eq!(cache.next_overdue(), Some(later));
    assert!(!cache.complete() && cache.take_overdue(now).missing.is_empty());
    assert_eq!(names(&cache.take_overdue(later).missing), ["endpoint a"]);
    assert!(cache.take_overdue(later).missing.is_empty() && cache.next_overdue().is_none());
    assert!(cache.complete(), "it stays complete");
}

#[test]
fn without_a_timeout_it_waits_for_ever() {
    let (mut cache, now) = (Cache::new(Duration::ZERO), Instant::now());
    cache.apply(LDS, &[], now);
    cache.apply(CDS, &[cluster("a", "1s")], now);
    assert!(cache.take_overdue(now + Duration::from_secs(1_000_000)).missing.is_empty());
    assert!(!cache.complete() && cache.next_overdue().is_none());
}

#[test]
fn a_rejected_child_is_not_waited_for() {
    let (mut cache, now) = (Cache::new(Duration::from_secs(15)), Instant::now());
    cache.apply(LDS, &[], now);
    cache.apply(CDS, &[cluster("a", "1s")], now);
    let bad =
        serde_json::json!({"@type": EDS.type_url(), "clusterName": "a", "endpoints": [{"priority": 999}]});
    assert_eq!(cache.apply(EDS, &[any_from_json(&bad).unwrap()], now).rejected.len(), 1);
    assert!(cache.complete());
}

/// The broken one may be any of those that are absent.
#[test]
fn a_nameless_broken_resource_keeps_the_absent_ones() {
    let (mut cache, now) = (Cache::new(Duration::from_secs(15)), Instant::now());
    cache.apply(CDS, &[cluster("a", "1s"), cluster("b", "1s")], now);
    let broken = Any { type_url: CDS.type_url().to_owned(), value: bytes::Bytes::from_static(b"\x0a\xff") };
    let applied = cache.apply(CDS, &[cluster("a", "2s"), broken], now);
    assert_eq!(names(&applied.changes), ["cluster a"]);
    assert_eq!(applied.rejected[0].name, "resources[1]");
    assert_eq!(cache.rejected(CDS).count(), 1);
    assert_eq!(names(&cache.apply(CDS, &[cluster("a", "2s")], now).changes), ["cluster b"]);
    assert_eq!(cache.rejected(CDS).count(), 0);
}

/// An unchanged resource is known by its bytes: were it decoded, one that breaks the rules would be found out.
#[test]
fn a_repeated_resource_is_not_decoded() {
    let (mut cache, now) = (Cache::new(Duration::from_secs(15)), Instant::now());
    let message = crate::pb::envoy::config::cluster::v3::Cluster::default().encode_to_vec();
    let refused_by_the_rules = Resource::new("planted", &message);
    cache.by_hash[CDS as usize].insert(refused_by_the_rules.hash, refused_by_the_rules.name.clone());
    cache.snapshot.insert(CDS, refused_by_the_rules);
    let any = Any { type_url: CDS.type_url().to_owned(), value: message.into() };
    let applied = cache.apply(CDS, &[any], now);
    assert!(applied.rejected.is_empty() && applied.changes.is_empty());
}
