//! Random choices, as conditions on nginx's `$request_id`.
//!
//! In: a share of all requests. Out: a condition that holds for that share. `$request_id` is 32 random hexadecimal
//! digits, the same for as long as a request lives, so that APISIX's routes and plugins agree about it, as Envoy's
//! route and cluster choices agree about a request's random value. Choices that Envoy makes apart read digits of their
//! own. Never here: randomness itself; the same share gives the same condition.

use crate::{
    apisix::Condition,
    pb::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType},
};

const REQUEST_ID: &str = "request_id";
/// Digits that one choice reads: a share is off by half a millionth at most.
const DIGITS: usize = 5;
const ALL: u32 = 1 << (4 * DIGITS);

/// What is chosen: each reads digits of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// `runtime_fraction` of a route's match.
    Route,
    /// One of several weighted clusters.
    Cluster,
    /// Whether a fault aborts.
    Abort,
    /// Whether a fault delays.
    Delay,
    /// Whether any other filter acts.
    Filter,
}

/// A share of all requests.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Share {
    None,
    Some(Condition),
    All,
}

impl Share {
    /// The requests whose random number, from 0 to below 1, is below `share`.
    pub fn below(choice: Choice, share: f64) -> Self {
        match steps(share) {
            0 => Self::None,
            ALL => Self::All,
            steps => Self::Some(is_below(choice, steps)),
        }
    }

    /// The share that a percentage tells.
    pub fn of(choice: Choice, percent: &FractionalPercent) -> Self {
        Self::below(choice, fraction(percent))
    }
}

/// The percentage as a number from 0 to 1.
pub(super) fn fraction(percent: &FractionalPercent) -> f64 {
    let whole = match DenominatorType::try_from(percent.denominator) {
        Ok(DenominatorType::Hundred) | Err(_) => 100.0,
        Ok(DenominatorType::TenThousand) => 10_000.0,
        Ok(DenominatorType::Million) => 1_000_000.0,
    };
    (f64::from(percent.numerator) / whole).min(1.0)
}

/// A share that is there never vanishes, and one that is not all never is.
fn steps(share: f64) -> u32 {
    if share <= 0.0 || share.is_nan() {
        0
    } else if share >= 1.0 {
        ALL
    } else {
        ((share * f64::from(ALL)).round() as u32).clamp(1, ALL - 1)
    }
}

/// The digits of `choice` read as a number are below `steps`, which is above 0 and below [`ALL`].
fn is_below(choice: Choice, steps: u32) -> Condition {
    let digits: Vec<u32> = (0..DIGITS).rev().map(|at| (steps >> (4 * at)) & 15).collect();
    let alternatives: Vec<String> = (0..DIGITS)
        .filter(|&at| digits[at] > 0)
        .map(|at| {
            let same: String = digits[..at].iter().map(|d| format!("{d:x}")).collect();
            same + &smaller(digits[at])
        })
        .collect();
    let skipped = match choice as usize * DIGITS {
        0 => String::new(),
        digits => format!(".{{{digits}}}"),
    };
    Condition::matches(REQUEST_ID, format!("^{skipped}(?:{})", alternatives.join("|")))
}

/// A hexadecimal digit below this one.
fn smaller(digit: u32) -> String {
    match digit {
        1 => "0".to_owned(),
        2..=10 => format!("[0-{}]", digit - 1),
        11 => "[0-9a]".to_owned(),
        _ => format!("[0-9a-{:x}]", digit - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(choice: Choice, share: f64) -> String {
        match Share::below(choice, share) {
            Share::Some(Condition::Test { operand: crate::apisix::Operand::Text(pattern), .. }) => pattern,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn exactly_the_numbers_below_the_share_match() {
        for share in [0.5, 0.1, 0.001, 1.0 / 3.0, 0.999, 1e-6, 11.0 / 16.0, 12.5 / 16.0] {
            let pattern = regex::Regex::new(&pattern(Choice::Cluster, share)).unwrap();
            let steps = steps(share);
            for number in (0..ALL).step_by(4099).chain([0, steps - 1, steps, ALL - 1]) {
                let id = format!("fffff{number:05x}fffff");
                assert_eq!(pattern.is_match(&id), number < steps, "{share}: {id} and {pattern}");
            }
        }
    }

    #[test]
    fn nothing_and_everything_need_no_condition() {
        assert_eq!(Share::below(Choice::Route, 0.0), Share::None);
        assert_eq!(Share::below(Choice::Route, 1.0), Share::All);
        assert_eq!(pattern(Choice::Route, 0.5), "^(?:[0-7])");
        assert_eq!(pattern(Choice::Abort, 1e-12), "^.{10}(?:00000)");
    }

    #[test]
    fn a_percentage_has_its_denominator() {
        let of = |numerator, denominator| fraction(&FractionalPercent { numerator, denominator });
        assert_eq!(of(50, 0), 0.5);
        assert_eq!(of(1, 1), 0.0001);
        assert_eq!(of(2_000_000, 2), 1.0);
    }
}
