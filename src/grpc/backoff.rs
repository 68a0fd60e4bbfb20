//! How long to wait before the next try.
//!
//! Full jitter: any time between nothing and a bound that doubles. Clients that lost the same control plane then
//! come back spread out, not in one second.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// The bounds of the wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffOptions {
    /// The bound of the first wait.
    pub initial: Duration,
    /// What the bound never exceeds.
    pub max: Duration,
}

impl Default for BackoffOptions {
    fn default() -> Self {
        Self { initial: Duration::from_millis(500), max: Duration::from_secs(30) }
    }
}

/// The waits of one client.
#[derive(Debug)]
pub struct Backoff {
    options: BackoffOptions,
    bound: Duration,
    random: u64,
}

impl Backoff {
    /// Seeded by the system, each time differently.
    pub fn new(options: BackoffOptions) -> Self {
        Self::seeded(options, RandomState::new().hash_one(0))
    }

    fn seeded(options: BackoffOptions, seed: u64) -> Self {
        // Of xorshift's states zero alone is a dead end.
        Self { options, bound: options.initial.min(options.max), random: seed.max(1) }
    }

    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.bound.mul_f64(self.fraction());
        self.bound = self.bound.saturating_mul(2).min(self.options.max);
        wait
    }

    /// A wait from the upper half of the largest bound, for errors that trying again soon cannot cure.
    pub fn next_slow_wait(&mut self) -> Duration {
        self.bound = self.options.max;
        self.options.max.mul_f64(0.5 + self.fraction() / 2.0)
    }

    /// To be called when the server gave something good and stayed, not when it merely took the connection.
    pub fn reset(&mut self) {
        self.bound = self.options.initial.min(self.options.max);
    }

    /// For how long a server has to stay until it is as good as new.
    pub fn probation(&self) -> Duration {
        self.options.max
    }

    /// A random number from 0 to 1, by xorshift64.
    pub fn fraction(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(initial: u64, max: u64) -> BackoffOptions {
        BackoffOptions { initial: Duration::from_secs(initial), max: Duration::from_secs(max) }
    }

    #[test]
    fn a_thousand_clients_come_back_spread_over_the_whole_time() {
        let mut tenths = [0; 10];
        for client in 0..1000u64 {
            let mut backoff = Backoff::seeded(seconds(10, 10), RandomState::new().hash_one(client));
            backoff.next_wait();
            tenths[backoff.next_wait().as_secs() as usize] += 1;
        }
        assert!(tenths.iter().all(|&n| (50..=160).contains(&n)), "{tenths:?}");
    }

    #[test]
    fn the_bound_doubles_up_to_the_maximum() {
        let mut backoff = Backoff::new(seconds(1, 5));
        for bound in [1, 2, 4, 5, 5, 5] {
            assert_eq!(backoff.bound, Duration::from_secs(bound));
            assert!(backoff.next_wait() <= Duration::from_secs(bound));
        }
        backoff.reset();
        assert_eq!(backoff.bound, Duration::from_secs(1));
    }

    #[test]
    fn a_slow_wait_is_never_short() {
        let mut backoff = Backoff::new(seconds(1, 10));
        assert!((0..100).all(|_| (5..=10).contains(&backoff.next_slow_wait().as_secs())));
    }

    #[test]
    fn an_endless_maximum_does_not_overflow() {
        let mut backoff = Backoff::new(seconds(u64::MAX / 4, u64::MAX / 4));
        backoff.bound = Duration::from_secs(1 << 40);
        backoff.next_wait();
    }
}
