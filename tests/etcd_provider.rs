//! APISIX's provider, simulated version by version, ends up with what the store holds, whatever happens on the way.
//!
//! `make soak-etcd` plays more; `SEED=7` plays other histories.

#[path = "support/provider/mod.rs"]
mod provider;
mod support;

use provider::{
    history::{History, Outcome, Size},
    version::{self, Version},
};

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name)
        .map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

fn play(version: &'static Version, size: Size, seed: u64) -> Outcome {
    let mut outcome = None;
    provider::run(async { outcome = Some(History::new(version, seed).play(size).await) });
    outcome.unwrap()
}

#[test]
fn no_change_is_lost_over_cuts_and_restarts() {
    let seed = setting("SEED", 1) as u64;
    let restarts = setting("RESTARTS", 10);
    let size = Size { cuts: setting("CUTS", 100), kept: restarts, lost: restarts };
    eprintln!("SEED={seed}");
    let mut all = Vec::new();
    for version in version::ALL {
        let outcome = play(version, size, seed);
        let Outcome { cuts, kept, lost, messages, reloads, duplicates, lost_windows, faults } = &outcome;
        eprintln!(
            "{:>4}: cuts={cuts} restarts_kept={kept} restarts_lost={lost} messages={messages} reloads={reloads} \
             duplicates={duplicates} faults={} lost_windows={lost_windows}",
            version.name,
            faults.len()
        );
        all.push(outcome);
    }
    let sum = |count: fn(&Outcome) -> u64| all.iter().map(count).sum::<u64>();
    let faults: Vec<&String> = all.iter().flat_map(|outcome| &outcome.faults).collect();
    eprintln!(
        "provider: cuts={} restarts_kept={} restarts_lost={} reloads={} duplicates={} faults={} lost=0",
        sum(|outcome| outcome.cuts as u64),
        sum(|outcome| outcome.kept as u64),
        sum(|outcome| outcome.lost as u64),
        sum(|outcome| outcome.reloads),
        sum(|outcome| outcome.duplicates),
        faults.len()
    );
    assert!(faults.is_empty(), "{faults:?}");
}
