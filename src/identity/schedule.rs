//! When a certificate is renewed.
//!
//! In: its times, the present time and a random number. Out: how long to wait. Never here: a clock.

use std::time::{Duration, SystemTime};

/// Renewed after this part of its lifetime, as Istio's agent does, so that an authority may be away as long.
const PART: f64 = 0.5;
/// Give or take this part: workloads that started together do not all ask in the same second.
const JITTER: f64 = 0.01;
/// Whatever the certificate says: nobody is asked for ever.
const SHORTEST: Duration = Duration::from_secs(1);

/// The wait from now until a certificate that has just been issued is renewed. `random` is from 0 to 1.
///
/// Authorities date certificates back, for clocks that are late: what counts is what is left of it. To a clock that is
/// late itself more seems to be left than there ever was.
pub fn until_renewal(
    not_before: SystemTime,
    not_after: SystemTime,
    now: SystemTime,
    random: f64,
) -> Duration {
    let lifetime = not_after.duration_since(not_before).unwrap_or_default();
    let rest = not_after.duration_since(now).unwrap_or_default();
    let reserve = lifetime.min(rest).mul_f64(1.0 - PART + JITTER * (2.0 * random - 1.0));
    rest.saturating_sub(reserve).max(SHORTEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn wait(from: u64, to: u64, now: u64, random: f64) -> f64 {
        until_renewal(at(from), at(to), at(now), random).as_secs_f64()
    }

    #[test]
    fn half_of_the_lifetime_is_left_give_or_take_a_hundredth() {
        let start = 1_000_000;
        let day = 24 * HOUR;
        for (random, hours) in [(0.0, 12.24), (0.5, 12.0), (1.0, 11.76)] {
            let waited = wait(start, start + day, start, random);
            assert!((waited - hours * HOUR as f64).abs() < 1e-3, "{random}: {waited}");
        }
    }

    #[test]
    fn a_certificate_that_is_dated_back_is_renewed_when_half_of_the_rest_is_over() {
        assert_eq!(wait(0, 24 * HOUR, 120, 0.5), (12 * HOUR - 60) as f64);
    }

    #[test]
    fn a_clock_that_is_late_waits_no_longer_than_the_certificate_is_good() {
        assert_eq!(wait(10 * HOUR, 34 * HOUR, 9 * HOUR, 0.5), (13 * HOUR) as f64);
    }

    #[test]
    fn nobody_is_asked_again_and_again() {
        // Three quarters over when it came; over; never good.
        assert_eq!(wait(0, 24 * HOUR, 18 * HOUR, 0.5), (3 * HOUR) as f64);
        assert_eq!(wait(0, 24 * HOUR, 25 * HOUR, 0.5), 1.0);
        assert_eq!(wait(24 * HOUR, 0, 0, 0.5), 1.0);
        assert_eq!(wait(0, 0, 0, 0.5), 1.0);
    }
}
