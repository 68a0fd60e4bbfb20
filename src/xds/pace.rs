//! How fast a control plane is told that what it sends is bad.
//!
//! In: each NACK, and when. Out: when to hear more. A server that answers each NACK with the same push would otherwise
//! keep both sides busy for as long as it likes; one that pushes when something changes is never held up.

use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(1);

/// NACKs in a window that are answered at once.
const MAX_NACKS: u32 = 20;

/// The NACKs of the present window.
#[derive(Debug)]
pub struct Pace {
    began: Instant,
    nacks: u32,
}

impl Pace {
    /// With none yet.
    pub fn new(now: Instant) -> Self {
        Self { began: now, nacks: 0 }
    }

    /// Counts a NACK. When there were too many, nothing is to be heard until then.
    pub fn nacked(&mut self, now: Instant) -> Option<Instant> {
        if now >= self.began + WINDOW {
            *self = Self::new(now);
        }
        self.nacks += 1;
        (self.nacks >= MAX_NACKS).then(|| self.began + WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_free_and_then_there_is_one_window_of_silence() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for _ in 1..MAX_NACKS {
            assert_eq!(pace.nacked(start), None);
        }
        assert_eq!(pace.nacked(start), Some(start + WINDOW));
        assert_eq!(pace.nacked(start + WINDOW), None, "a window of its own");
    }

    #[test]
    fn one_now_and_then_is_never_held_up() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        for _ in 0..1000 {
            now += WINDOW / 10;
            assert_eq!(pace.nacked(now), None);
        }
    }
}
