//! Times, and how two systems' times are shown.

use std::time::Duration;

use crate::{mb, ms, system::System, usage::Usage};

/// What matters of many times.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// The one in the middle.
    pub median: Duration,
    /// What one in a hundred exceeds.
    pub p99: Duration,
}

impl Times {
    /// Of at least one.
    pub fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        Self { median: times[times.len() / 2], p99: times[times.len() * 99 / 100] }
    }
}

/// One thing for each system, the real one first.
pub type Both<T> = [T; 2];

/// Runs for each system in turn, round by round, so that what else runs on the machine meets both; all times of each.
pub fn in_turn(
    systems: &mut Both<System>,
    rounds: usize,
    mut run: impl FnMut(usize, &mut System) -> Vec<Duration>,
) -> Both<Vec<Duration>> {
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (which, system) in systems.iter_mut().enumerate() {
            times[which].extend(run(which, system));
        }
    }
    times
}

/// What is above the lines of [`show`].
pub fn head(title: &str) {
    println!("{title}");
    println!(
        "  {:<34} {:>9} {:>9} {:>9} {:>9} {:>7} {:>7} {:>6}",
        "ms", "etcd", "p99", "ours", "p99", "ratio", "of p99", "times"
    );
}

/// Shows times: etcd's, ours, and how many times longer etcd takes.
pub fn show(what: &str, times: &Both<Vec<Duration>>) {
    let count = times[0].len();
    let [etcd, ours] = times.clone().map(Times::of);
    println!(
        "  {what:<34} {:>9.3} {:>9.3} {:>9.3} {:>9.3} {:>7.1} {:>7.1} {count:>6}",
        ms(etcd.median),
        ms(etcd.p99),
        ms(ours.median),
        ms(ours.p99),
        ratio(etcd.median, ours.median),
        ratio(etcd.p99, ours.p99),
    );
}

fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}

/// Shows how many of something there are in a second, by the medians of the times for `count`.
pub fn show_rate(what: &str, count: usize, times: &Both<Vec<Duration>>) {
    let rate = |times: Vec<Duration>| count as f64 / Times::of(times).median.as_secs_f64();
    let [etcd, ours] = times.clone().map(rate);
    line(what, etcd, ours, ours / etcd);
}

/// Shows what the systems take of the machine: etcd's part, ours, and how many times more etcd takes.
pub fn show_usage(what: &str, usage: Both<Usage>) {
    let each = |unit: &str, figure: fn(Usage) -> f64| {
        let [etcd, ours] = usage.map(figure);
        line(&format!("{unit}, {what}"), etcd, ours, etcd / ours);
    };
    each("resident MB", |usage| mb(usage.resident));
    each("resident MB at most", |usage| mb(usage.peak));
    each("CPU s", |usage| usage.cpu.as_secs_f64());
}

fn line(what: &str, etcd: f64, ours: f64, ratio: f64) {
    println!("  {what:<34} {etcd:>9.1} {:>9} {ours:>9.1} {:>9} {ratio:>7.1}", "", "");
}
