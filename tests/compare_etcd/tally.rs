//! How many calls were equal, explained or different, by name of the call and of the rule.

use std::collections::BTreeMap;

/// So many differences are shown; they tend to have few causes.
const SHOWN: usize = 20;

#[derive(Debug, Default)]
pub struct Tally {
    by_call: BTreeMap<&'static str, Counts>,
    by_rule: BTreeMap<&'static str, usize>,
    shown: usize,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    equal: usize,
    explained: usize,
    differ: usize,
}

impl Counts {
    fn calls(self) -> usize {
        self.equal + self.explained + self.differ
    }

    fn add(&mut self, other: Self) {
        self.equal += other.equal;
        self.explained += other.explained;
        self.differ += other.differ;
    }
}

impl Tally {
    pub fn equal(&mut self, call: &'static str) {
        self.by_call.entry(call).or_default().equal += 1;
    }

    pub fn explained(&mut self, call: &'static str, rules: &[&'static str]) {
        self.by_call.entry(call).or_default().explained += 1;
        for rule in rules {
            *self.by_rule.entry(rule).or_default() += 1;
        }
    }

    pub fn differ(&mut self, call: &'static str, describe: impl FnOnce() -> String) {
        self.by_call.entry(call).or_default().differ += 1;
        self.shown += 1;
        if self.shown <= SHOWN {
            println!("differ: {}\n", describe());
        }
    }

    pub fn add(&mut self, other: Self) {
        for (call, counts) in other.by_call {
            self.by_call.entry(call).or_default().add(counts);
        }
        for (rule, count) in other.by_rule {
            *self.by_rule.entry(rule).or_default() += count;
        }
    }

    fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.by_call.values().for_each(|&counts| total.add(counts));
        total
    }

    pub fn calls(&self) -> usize {
        self.total().calls()
    }

    pub fn differences(&self) -> usize {
        self.total().differ
    }

    /// Prints all counts; the last line is the sum.
    pub fn print(&self) {
        for (call, counts) in &self.by_call {
            let Counts { equal, explained, differ } = counts;
            println!("{call:<24} equal={equal} explained={explained} differ={differ}");
        }
        for (rule, count) in &self.by_rule {
            println!("explained by {rule}: {count}");
        }
        let total = self.total();
        let Counts { equal, explained, differ } = total;
        println!("etcd: calls={} equal={equal} explained={explained} differ={differ}", total.calls());
    }
}
