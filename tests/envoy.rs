//! The real Envoy as judge: for every case and request it and APISIX with our objects do the same, or the translation
//! has said that they do not.
//!
//! `tests/envoy/get` fetches the binary, `ENVOY=path` names another; without one the test says so and passes.
//! `make compare-envoy` runs it by itself; `CASES=folder` names further cases.

#[path = "support/judge/mod.rs"]
mod judge;
mod support;

#[test]
fn apisix_does_what_envoy_does() {
    let Some(binary) = judge::binary() else {
        eprintln!("skipped: no Envoy; tests/envoy/get build/envoy fetches it, or ENVOY=path names it");
        return;
    };
    for cluster in judge::refused(&binary) {
        println!("Envoy refuses the cluster {cluster}");
    }
    let report = judge::compare(&binary);
    for (reason, count) in &report.listed {
        println!("listed {count}: {reason}");
    }
    for difference in &report.differ {
        println!("differ: {difference}");
    }
    println!("{report}");
    assert!(report.cases >= 300 && report.requests >= 20 * report.cases, "{report}");
    assert!(report.differ.is_empty(), "{} differ", report.differ.len());
}
