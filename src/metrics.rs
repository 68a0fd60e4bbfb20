//! What the library knows of itself, for a monitoring system.
//!
//! In: a [`Report`]. Out: Prometheus' text format. Never here: a counter of its own; all is read from the state that is
//! there, so that nothing is counted twice and a process that takes over goes on where it stands.

use std::sync::atomic::AtomicI64;

use prometheus_client::{
    encoding::text::encode,
    metrics::{family::Family, gauge::Gauge, info::Info},
    registry::Registry,
};

use crate::{
    apisix::Directory,
    status::{Host, Report},
    translate::Severity,
};

type Label = (&'static str, &'static str);
type Gauges = Family<[Label; 1], Gauge<i64, AtomicI64>>;

/// The metrics of one process.
pub fn text(report: &Report) -> String {
    let mut registry = Registry::with_prefix("apisix_mesh");
    let library = [("version", env!("CARGO_PKG_VERSION")), ("role", report.role())];
    registry.register("library", "The library in this process", Info::new(library));
    let snapshot = report.snapshot;
    gauge(&mut registry, "ready", "Whether there was a first configuration", snapshot.is_ready().into());
    gauge(&mut registry, "revision", "The present revision", snapshot.revision());
    let objects = family(&mut registry, "objects", "APISIX objects that are served");
    for directory in Directory::ALL {
        let prefix = format!("/{}/", directory.name());
        let held = snapshot.objects_under(&prefix).count();
        objects.get_or_create(&[("directory", directory.name())]).set(count(held));
    }
    if let Some(host) = &report.host {
        register_host(&mut registry, host);
    }
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = encode(&mut text, &registry);
    text
}

fn register_host(registry: &mut Registry, host: &Host) {
    gauge(registry, "etcd_watches", "Streams of watches on the etcd endpoint", count(host.watches));
    let source = host.source.get();
    gauge(registry, "xds_connected", "Whether the control plane answers", source.connected.into());
    if let Some(expires) = host.identity.and_then(|identity| identity.get().expires) {
        let help = "When the workload's certificate expires, in seconds since 1970";
        gauge(registry, "identity_expires_seconds", help, expires.cast_signed());
    }
    let resources = family(registry, "xds_resources", "Resources in force");
    let rejected = family(registry, "xds_rejected", "Resources that were refused; what was before stays");
    let pending = family(registry, "xds_pending", "Resources that others refer to and that have not come");
    let accepted =
        family(registry, "xds_accepted_seconds", "When a response was last accepted whole, since 1970");
    for (kind, status) in &source.types {
        let label = [("type", *kind)];
        resources.get_or_create(&label).set(count(status.resources));
        rejected.get_or_create(&label).set(count(status.rejected.len()));
        pending.get_or_create(&label).set(count(status.pending));
        if let Some(seconds) = status.accepted {
            accepted.get_or_create(&label).set(seconds.cast_signed());
        }
    }
    let issues = family(registry, "issues", "What the control plane asked for and APISIX cannot do");
    for severity in Severity::ALL {
        let found = host.issues.iter().filter(|issue| issue.severity == severity);
        issues.get_or_create(&[("severity", severity.name())]).set(count(found.count()));
    }
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: i64) {
    let gauge: Gauge = Gauge::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}

fn family(registry: &mut Registry, name: &str, help: &str) -> Gauges {
    let family = Gauges::default();
    registry.register(name, help, family.clone());
    family
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        apisix::Key,
        config::Config,
        store::{Delta, Options, Store},
    };

    #[test]
    fn a_follower_tells_what_it_serves_and_no_more() {
        let store = Store::new(Options::default());
        let put = |directory, id| (Key::new(directory, id), "{}".into());
        let puts =
            vec![put(Directory::Upstreams, "a"), put(Directory::Routes, "a"), put(Directory::Routes, "b")];
        store.commit(&Delta { puts, deletes: Vec::new() });
        let snapshot = store.snapshot();
        let text = text(&Report { config: &Config::default(), snapshot: &snapshot, host: None });
        for line in [
            r#"apisix_mesh_objects{directory="upstreams"} 1"#.to_owned(),
            r#"apisix_mesh_objects{directory="routes"} 2"#.to_owned(),
            "# TYPE apisix_mesh_revision gauge".to_owned(),
            format!("apisix_mesh_revision {}", snapshot.revision()),
            "apisix_mesh_ready 1".to_owned(),
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(text.contains(r#"role="follower""#) && !text.contains("xds"), "{text}");
    }
}
