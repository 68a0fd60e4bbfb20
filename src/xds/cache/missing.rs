//! Names of one type that are referred to and have no resource.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use super::expiry::Expiry;

/// The names, and which of them are still waited for.
#[derive(Debug, Default)]
pub struct Missing {
    /// Whether nobody need wait any longer: it was told as overdue, or the control plane said that it does not exist.
    settled: BTreeMap<Arc<str>, bool>,
    awaited: usize,
    overdue: Expiry,
}

impl Missing {
    /// Waits for a name until then; for ever if none.
    pub fn add(&mut self, name: &Arc<str>, until: Option<Instant>) {
        if self.settled.insert(name.clone(), false) != Some(false) {
            self.awaited += 1;
        }
        self.overdue.set(name, until);
    }

    /// The name is missed no longer; whether it was.
    pub fn remove(&mut self, name: &Arc<str>) -> bool {
        self.settle(name);
        self.settled.remove(name).is_some()
    }

    /// The name is missed and not waited for; whether that is news.
    pub fn settle(&mut self, name: &Arc<str>) -> bool {
        let Some(settled) = self.settled.get_mut(name) else { return false };
        let is_news = !std::mem::replace(settled, true);
        if is_news {
            self.awaited -= 1;
            self.overdue.set(name, None);
        }
        is_news
    }

    /// Settles what has been waited for long enough.
    pub fn take_overdue(&mut self, now: Instant) -> Vec<Arc<str>> {
        let overdue = self.overdue.take_due(now);
        for name in &overdue {
            self.settle(name);
        }
        overdue
    }

    /// Whether a name is missed and worth waiting for.
    pub fn awaits(&self, name: &str) -> bool {
        self.settled.get(name) == Some(&false)
    }

    /// Whether no name is worth waiting for.
    pub fn is_settled(&self) -> bool {
        self.awaited == 0
    }

    /// When the first name has been waited for long enough.
    pub fn next_overdue(&self) -> Option<Instant> {
        self.overdue.next()
    }

    /// All names, sorted.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &Arc<str>> {
        self.settled.keys()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_name_is_waited_for_until_it_comes_is_settled_or_overdue() {
        let (mut missing, now) = (Missing::default(), Instant::now());
        let names: Vec<Arc<str>> = ["a", "b", "c", "d"].map(Arc::from).into();
        for (name, seconds) in names.iter().zip([Some(1), Some(2), None, Some(3)]) {
            missing.add(name, seconds.map(|s| now + Duration::from_secs(s)));
        }
        missing.add(&names[0], Some(now + Duration::from_secs(2)));
        assert!(missing.remove(&names[3]) && !missing.remove(&names[3]));
        assert_eq!(missing.take_overdue(now + Duration::from_secs(2)), names[..2]);
        assert!(!missing.awaits("a") && missing.awaits("c") && !missing.is_settled());
        assert!(missing.settle(&names[2]) && !missing.settle(&names[2]));
        assert!(missing.is_settled() && missing.next_overdue().is_none());
        assert_eq!(missing.names().len(), 3);
        missing.add(&names[2], None);
        assert!(!missing.is_settled(), "it is missed anew");
    }
}
