//! When resources that were given for a time are to go.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Instant,
};

/// The ends of the resources of one type that have one.
#[derive(Debug, Default)]
pub struct Expiry {
    of: HashMap<Arc<str>, Instant>,
    due: BTreeSet<(Instant, Arc<str>)>,
}

impl Expiry {
    /// Replaces the end of a resource; none means that it has none.
    pub fn set(&mut self, name: &Arc<str>, end: Option<Instant>) {
        let before = match end {
            Some(end) => self.of.insert(name.clone(), end),
            None => self.of.remove(name),
        };
        if let Some(before) = before {
            self.due.remove(&(before, name.clone()));
        }
        self.due.extend(end.map(|end| (end, name.clone())));
    }

    /// Whether a resource has an end.
    pub fn has(&self, name: &str) -> bool {
        self.of.contains_key(name)
    }

    /// The first end.
    pub fn next(&self) -> Option<Instant> {
        self.due.first().map(|(end, _)| *end)
    }

    /// Takes out whatever has ended.
    pub fn take_due(&mut self, now: Instant) -> Vec<Arc<str>> {
        let mut ended = Vec::new();
        while self.next().is_some_and(|end| end <= now) {
            if let Some((_, name)) = self.due.pop_first() {
                self.of.remove(&name);
                ended.push(name);
            }
        }
        ended
    }
}
