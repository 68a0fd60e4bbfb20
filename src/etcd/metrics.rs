//! What a monitoring system that knows etcd looks for, in Prometheus' text format.
//!
//! In: the store. Out: etcd's own names for what there is here. Never here: what the library knows of itself otherwise,
//! which is `crate::metrics`.

use std::sync::atomic::AtomicI64;

use prometheus_client::{
    encoding::text::encode,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

use super::endpoint::VERSION;
use crate::store::Store;

pub(super) fn text(store: &Store) -> String {
    let snapshot = store.snapshot();
    let mut registry = Registry::default();
    let mut gauge = |name: &str, help: &str, value: i64| {
        let gauge: Gauge = Gauge::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    };
    gauge("etcd_server_has_leader", "Whether there is a configuration to serve", snapshot.is_ready().into());
    gauge("etcd_debugging_mvcc_keys_total", "Objects that are served", count(snapshot.len()));
    gauge("etcd_mvcc_db_total_size_in_bytes", "Bytes of their keys and values", count(snapshot.bytes()));
    gauge("etcd_debugging_mvcc_current_revision", "The present revision", snapshot.revision());
    gauge(
        "etcd_debugging_mvcc_compact_revision",
        "The oldest that can be watched",
        snapshot.oldest_revision(),
    );
    gauge("etcd_debugging_mvcc_watch_stream_total", "Streams of watches", count(store.readers()));
    let version: Family<[(&str, &str); 1], Gauge<i64, AtomicI64>> = Family::default();
    version.get_or_create(&[("server_version", VERSION)]).set(1);
    registry.register("etcd_server_version", "The version whose behaviour is kept", version);
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = encode(&mut text, &registry);
    text
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
