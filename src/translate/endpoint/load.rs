//! Endpoints to nodes, as Envoy spreads load over priorities, health and localities.
//!
//! In: endpoints with the health that the control plane gives them. Out: nodes, each host, port and priority once,
//! with small weights. Mapping rows 110 and 119 to 122. Never here: health that is found out by checks.
//!
//! Envoy's rules: a priority can take `overprovisioning_factor` times its healthy part, but never more than all; what
//! it cannot take goes to the next. Degraded endpoints come after the healthy ones of all priorities. When together
//! they cannot take all, a priority whose healthy part is below the panic threshold uses all its endpoints.

use std::collections::BTreeMap;

use crate::apisix::{MAX_WEIGHT, Node};

use super::{Endpoints, Health, Host, Locality};

/// The endpoints of one priority.
struct Level<'a> {
    localities: Vec<&'a Locality>,
    /// What it can take, in percent of all load.
    healthy: u32,
    degraded: u32,
    panics: bool,
}

/// Hosts that stand on one priority in APISIX, with their shares of the load.
type Shares<'a> = BTreeMap<(&'a str, u32), f64>;

/// The nodes of these endpoints, sorted. None where Envoy finds no host: it answers 503.
pub(in crate::translate) fn nodes(endpoints: &Endpoints, panic_threshold: f64) -> Vec<Node> {
    let levels = levels(endpoints, panic_threshold);
    let mut groups: BTreeMap<i64, Shares<'_>> = BTreeMap::new();
    let available: u32 = levels.values().map(|l| l.healthy + l.degraded).sum::<u32>().min(100);
    if levels.values().all(|l| l.panics) {
        total_panic(&levels, &mut groups);
    } else {
        spread(&levels, available, endpoints.overprovisioning, &mut groups);
    }
    let mut nodes: Vec<Node> = groups.into_iter().flat_map(|(p, shares)| group_nodes(p, shares)).collect();
    nodes.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.cmp(b)));
    nodes
}

fn levels(endpoints: &Endpoints, panic_threshold: f64) -> BTreeMap<u32, Level<'_>> {
    let mut levels: BTreeMap<u32, Level<'_>> = BTreeMap::new();
    for locality in endpoints.localities.iter().filter(|l| !l.hosts.is_empty()) {
        let empty = || Level { localities: Vec::new(), healthy: 0, degraded: 0, panics: false };
        levels.entry(locality.priority).or_insert_with(empty).localities.push(locality);
    }
    for level in levels.values_mut() {
        let measure = |h: &Host| if endpoints.weighted_health { u64::from(h.weight) } else { 1 };
        let all: u64 = level.counted().map(measure).sum::<u64>().max(1);
        let part = |health| {
            let some: u64 = level.hosts().filter(|h| h.health == health).map(measure).sum();
            (u128::from(some) * u128::from(endpoints.overprovisioning) / u128::from(all)).min(100) as u32
        };
        (level.healthy, level.degraded) = (part(Health::Healthy), part(Health::Degraded));
    }
    let together: u32 = levels.values().map(|l| l.healthy + l.degraded).sum();
    if together < 100 {
        levels.values_mut().for_each(|level| level.panics = level.usable_percent() < panic_threshold);
    }
    levels
}

impl<'a> Level<'a> {
    fn hosts(&self) -> impl Iterator<Item = &'a Host> {
        self.localities.iter().flat_map(|l| &l.hosts)
    }

    /// Draining hosts are on their way out: nobody counts on them.
    fn counted(&self) -> impl Iterator<Item = &'a Host> {
        self.hosts().filter(|h| h.health != Health::Draining)
    }

    fn usable_percent(&self) -> f64 {
        let usable = self.counted().filter(|h| h.health != Health::Unhealthy).count();
        100.0 * usable as f64 / self.counted().count().max(1) as f64
    }

    /// Divides `load` among the hosts of this health.
    fn share(&self, load: f64, health: Health, overprovisioning: u32, shares: &mut Shares<'a>) {
        let of_health = |l: &'a Locality| l.hosts.iter().filter(move |h| h.health == health);
        let localities: Vec<(f64, &Locality)> = self
            .localities
            .iter()
            .filter(|l| of_health(l).next().is_some())
            .map(|l| (effective_weight(l, of_health(l).count(), overprovisioning), *l))
            .collect();
        let sum: f64 = localities.iter().map(|(weight, _)| weight).sum();
        if sum > 0.0 {
            for (weight, locality) in localities.into_iter().filter(|(weight, _)| *weight > 0.0) {
                divide(load * weight / sum, of_health(locality), shares);
            }
        } else {
            divide(load, self.hosts().filter(|h| h.health == health), shares);
        }
    }
}

/// A locality's weight; less when so many of its hosts are missing that those left cannot make up for them.
fn effective_weight(locality: &Locality, usable: usize, overprovisioning: u32) -> f64 {
    let counted = locality.hosts.iter().filter(|h| h.health != Health::Draining).count();
    let part = usable as f64 / counted.max(1) as f64 * f64::from(overprovisioning) / 100.0;
    f64::from(locality.weight.unwrap_or(0)) * part.min(1.0)
}

fn divide<'a>(load: f64, hosts: impl Iterator<Item = &'a Host>, shares: &mut Shares<'a>) {
    let hosts: Vec<&Host> = hosts.collect();
    let sum: f64 = hosts.iter().map(|h| f64::from(h.weight)).sum();
    for host in hosts {
        *shares.entry((&host.host, host.port)).or_default() += load * f64::from(host.weight) / sum;
    }
}

/// No priority can be told from the others: each takes what it has hosts for.
fn total_panic<'a>(levels: &BTreeMap<u32, Level<'a>>, groups: &mut BTreeMap<i64, Shares<'a>>) {
    let shares = groups.entry(0).or_default();
    for level in levels.values() {
        divide(level.hosts().count() as f64, level.hosts(), shares);
    }
}

/// What takes load stands on the priority of the first that does. What takes none as long as nothing changes stands
/// behind it, for retries.
fn spread<'a>(
    levels: &BTreeMap<u32, Level<'a>>,
    available: u32,
    overprovisioning: u32,
    groups: &mut BTreeMap<i64, Shares<'a>>,
) {
    let last = levels.keys().next_back().map_or(0, |p| i64::from(*p));
    let mut left = 100.0;
    let mut active = None;
    for (health, behind) in [(Health::Healthy, 0), (Health::Degraded, last + 1)] {
        for (priority, level) in levels {
            let percent = if health == Health::Healthy { level.healthy } else { level.degraded };
            if percent == 0 {
                continue;
            }
            let load = (100.0 * f64::from(percent) / f64::from(available)).min(left);
            left = if left - load < 1e-9 { 0.0 } else { left - load };
            let own = -i64::from(*priority) - behind;
            let place = if load > 0.0 { *active.get_or_insert(own) } else { own };
            let shares = groups.entry(place).or_default();
            // A spare's hosts have no load to divide yet, but among themselves they would.
            let load = if load > 0.0 { load } else { 100.0 };
            match level.panics {
                true => divide(load, level.hosts(), shares),
                false => level.share(load, health, overprovisioning, shares),
            }
        }
    }
}

fn group_nodes(priority: i64, mut shares: Shares<'_>) -> Vec<Node> {
    shares.retain(|_, share| *share > 0.0);
    let weights = small_weights(&shares.values().copied().collect::<Vec<_>>());
    let node = |(((host, port), _), weight): (((&str, u32), f64), u32)| Node {
        host: host.to_owned(),
        port,
        weight,
        priority,
    };
    shares.into_iter().zip(weights).map(node).collect()
}

/// Whole numbers with the proportions of `shares`, as small as they can be and never above [`MAX_WEIGHT`].
pub(in crate::translate) fn small_weights(shares: &[f64]) -> Vec<u32> {
    let largest = shares.iter().copied().fold(0.0, f64::max);
    if largest <= 0.0 {
        return vec![0; shares.len()];
    }
    // Exact where a small denominator makes all shares whole; the proportions within a thousandth elsewhere.
    let smallest = shares.iter().copied().filter(|s| *s > 0.0).fold(f64::MAX, f64::min);
    let whole = (1..=60)
        .map(|n| f64::from(n) / smallest)
        .find(|scale| largest * scale <= f64::from(MAX_WEIGHT) && shares.iter().all(|s| is_whole(s * scale)));
    let scale = whole.unwrap_or(f64::from(MAX_WEIGHT) / largest);
    let weights: Vec<u32> = shares
        .iter()
        .map(|s| if *s > 0.0 { ((s * scale).round() as u32).clamp(1, MAX_WEIGHT) } else { 0 })
        .collect();
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    weights.into_iter().map(|w| w / divisor).collect()
}

fn is_whole(n: f64) -> bool {
    (n - n.round()).abs() < 1e-6
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `priority health...`, with `h`, `d`, `u` and `r` (draining) for one host each.
    fn endpoints(levels: &[(u32, &str)]) -> Endpoints {
        let mut next = 0;
        let mut host = |letter| {
            next += 1;
            let health = match letter {
                'h' => Health::Healthy,
                'd' => Health::Degraded,
                'r' => Health::Draining,
                _ => Health::Unhealthy,
            };
            Host {
                host: format!("h{next:02}"),
                port: 80,
                weight: 1,
                health,
                hostname: String::new(),
                socket: Default::default(),
                labels: Default::default(),
            }
        };
        let localities = levels
            .iter()
            .map(|(priority, hosts)| Locality {
                priority: *priority,
                weight: None,
                hosts: hosts.chars().map(&mut host).collect(),
            })
            .collect();
        Endpoints { localities, overprovisioning: 140, ..Endpoints::default() }
    }

    fn shown(levels: &[(u32, &str)], panic: f64) -> Vec<String> {
        let node = |n: Node| format!("{} {} {}", n.host, n.weight, n.priority);
        nodes(&endpoints(levels), panic).into_iter().map(node).collect()
    }

    #[test]
    fn a_whole_level_takes_all_and_the_next_stands_behind() {
        assert_eq!(shown(&[(0, "hh"), (1, "h")], 50.0), ["h01 1 0", "h02 1 0", "h03 1 -1"]);
        assert_eq!(shown(&[(0, "hhhu"), (1, "h")], 50.0), ["h01 1 0", "h02 1 0", "h03 1 0", "h05 1 -1"]);
    }

    #[test]
    fn what_a_level_cannot_take_goes_to_the_next() {
        // 140 * 1/2 = 70% stay, 30% spill.
        assert_eq!(shown(&[(0, "hu"), (1, "h")], 50.0), ["h01 7 0", "h03 3 0"]);
        assert_eq!(shown(&[(0, "uu"), (1, "h")], 50.0), ["h03 1 -1"]);
    }

    #[test]
    fn degraded_hosts_come_after_all_healthy_ones() {
        assert_eq!(
            shown(&[(0, "hhhd"), (1, "h")], 50.0),
            ["h01 1 0", "h02 1 0", "h03 1 0", "h05 1 -1", "h04 1 -2"]
        );
        // 140 * 1/2 = 70% healthy, 30% of the load is left for the degraded one.
        assert_eq!(shown(&[(0, "hd")], 50.0), ["h01 7 0", "h02 3 0"]);
    }

    #[test]
    fn below_the_panic_threshold_all_hosts_are_used() {
        assert_eq!(shown(&[(0, "huu")], 50.0), ["h01 1 0", "h02 1 0", "h03 1 0"]);
        assert_eq!(shown(&[(0, "huu")], 0.0), ["h01 1 0"]);
        assert_eq!(shown(&[(0, "uuu")], 0.0), [""; 0]);
        assert_eq!(shown(&[(0, "uu"), (1, "u")], 50.0), ["h01 1 0", "h02 1 0", "h03 1 0"]);
        assert_eq!(shown(&[], 50.0), [""; 0]);
    }

    // What Envoy 1.40 does with these, seen by running it.
    #[test]
    fn draining_hosts_are_not_counted_but_help_in_a_panic() {
        assert_eq!(shown(&[(0, "hrrr")], 50.0), ["h01 1 0"]);
        assert_eq!(shown(&[(0, "rr")], 50.0), ["h01 1 0", "h02 1 0"]);
        assert_eq!(shown(&[(0, "ur")], 50.0), ["h01 1 0", "h02 1 0"]);
        assert_eq!(shown(&[(0, "rr")], 0.0), [""; 0]);
        assert_eq!(shown(&[(0, "hur"), (1, "h")], 50.0), ["h01 7 0", "h04 3 0"]);
    }

    #[test]
    fn levels_that_can_take_all_together_share_it() {
        assert_eq!(shown(&[(0, "huuu"), (1, "hhu")], 50.0), ["h01 14 0", "h05 13 0", "h06 13 0"]);
        assert_eq!(shown(&[(0, "duu"), (1, "du")], 50.0), ["h01 23 -2", "h04 27 -2"]);
    }

    #[test]
    fn a_locality_loses_what_its_missing_hosts_cannot_make_up_for() {
        let mut endpoints = endpoints(&[(0, "hhuu"), (0, "hh")]);
        endpoints.localities.iter_mut().for_each(|l| l.weight = Some(10));
        let nodes = nodes(&endpoints, 0.0);
        // 10 * 0.5 * 1.4 = 7 to 10.
        let weights: Vec<u32> = nodes.iter().map(|n| n.weight).collect();
        assert_eq!(weights, [7, 7, 10, 10]);
    }

    #[test]
    fn weights_are_small_and_keep_their_proportions() {
        assert_eq!(small_weights(&[90.0, 10.0]), [9, 1]);
        assert_eq!(small_weights(&[100.0, 100.0]), [1, 1]);
        assert_eq!(small_weights(&[2.0 / 3.0, 1.0]), [2, 3]);
        assert_eq!(small_weights(&[4_000_000_000.0, 1.0]), [1000, 1]);
        assert_eq!(small_weights(&[37.0, 63.0]), [37, 63]);
        assert_eq!(small_weights(&[]), Vec::<u32>::new());
        assert_eq!(small_weights(&[0.0, 5.0]), [0, 1]);
    }
}
