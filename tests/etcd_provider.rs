//! APISIX's provider, simulated version by version, ends up with what the store holds, whatever happens on the way.
//!
//! `CUTS=10000 RESTARTS=1000 cargo test --release --test etcd_provider -- --nocapture` plays more, `SEED=7` other histories.

#[path = "support/provider/mod.rs"]
mod provider;
mod support;

use provider::{
    history::{History, Size},
    version,
};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

#[test]
fn no_change_is_lost_over_cuts_and_restarts() {
    let seed = setting("SEED", 1);
    let restarts = setting("RESTARTS", 20) as usize;
    let size = Size { cuts: setting("CUTS", 200) as usize, kept: restarts, lost: restarts };
    eprintln!("SEED={seed} {size:?} for each version");
    for version in version::ALL {
        provider::run(async {
            let mut history = History::new(version, seed);
            history.play(size).await;
            let world = history.world;
            eprintln!(
                "{}: {:?} cuts={} {:?}",
                version.name,
                world.tally,
                world.network.cuts(),
                world.clock.now()
            );
        });
    }
}
