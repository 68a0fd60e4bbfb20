//! Conditions of which a part may be unknown: what holds at least, and what holds at most.
//!
//! In: conditions, constants and unknowns, with AND, OR and NOT between them. Out: a condition that never holds where
//! the whole does not ([`Bounds::at_least`]), and one that always holds where the whole may ([`Bounds::at_most`]).
//! A guard takes the side on which it lets nobody pass who should not.

use crate::apisix::Condition;

/// A condition, or what every request is like.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Truth {
    Never,
    Always,
    When(Condition),
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bounds {
    pub at_least: Truth,
    pub at_most: Truth,
}

impl Truth {
    fn of(constant: bool) -> Self {
        if constant { Self::Always } else { Self::Never }
    }

    fn all(parts: impl Iterator<Item = Self>) -> Self {
        let mut conditions = Vec::new();
        for part in parts {
            match part {
                Self::Never => return Self::Never,
                Self::Always => {}
                Self::When(Condition::All(more)) => conditions.extend(more),
                Self::When(condition) => conditions.push(condition),
            }
        }
        Condition::all(conditions).map_or(Self::Always, Self::When)
    }

    fn any(parts: impl Iterator<Item = Self>) -> Self {
        let mut conditions = Vec::new();
        for part in parts {
            match part {
                Self::Always => return Self::Always,
                Self::Never => {}
                Self::When(Condition::Any(more)) => conditions.extend(more),
                Self::When(condition) => conditions.push(condition),
            }
        }
        Condition::any(conditions).map_or(Self::Never, Self::When)
    }
}

impl std::ops::Not for Truth {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::Never => Self::Always,
            Self::Always => Self::Never,
            Self::When(condition) => Self::When(!condition),
        }
    }
}

impl Bounds {
    /// Nothing is known.
    pub fn unknown() -> Self {
        Self { at_least: Truth::Never, at_most: Truth::Always }
    }

    /// The same for every request.
    pub fn constant(holds: bool) -> Self {
        Self::exact(Truth::of(holds))
    }

    /// Just this condition.
    pub fn when(condition: Condition) -> Self {
        Self::exact(Truth::When(condition))
    }

    fn exact(truth: Truth) -> Self {
        Self { at_least: truth.clone(), at_most: truth }
    }

    /// All of them hold.
    pub fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        let (least, most): (Vec<_>, Vec<_>) = parts.into_iter().map(|b| (b.at_least, b.at_most)).unzip();
        Self { at_least: Truth::all(least.into_iter()), at_most: Truth::all(most.into_iter()) }
    }

    /// At least one of them holds.
    pub fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        let (least, most): (Vec<_>, Vec<_>) = parts.into_iter().map(|b| (b.at_least, b.at_most)).unzip();
        Self { at_least: Truth::any(least.into_iter()), at_most: Truth::any(most.into_iter()) }
    }
}

impl std::ops::Not for Bounds {
    type Output = Self;

    fn not(self) -> Self {
        Self { at_least: !self.at_most, at_most: !self.at_least }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(value: &str) -> Bounds {
        Bounds::when(Condition::equals("a", value))
    }

    #[test]
    fn an_unknown_part_widens_what_may_hold_and_narrows_what_does() {
        let both = Bounds::all([is("1"), Bounds::unknown()]);
        assert_eq!(both.at_least, Truth::Never);
        assert_eq!(both.at_most, is("1").at_most);
        let either = Bounds::any([is("1"), Bounds::unknown()]);
        assert_eq!(either.at_least, is("1").at_least);
        assert_eq!(either.at_most, Truth::Always);
    }

    #[test]
    fn a_negation_turns_the_bounds_over() {
        let not_both = !Bounds::all([is("1"), Bounds::unknown()]);
        assert_eq!(not_both.at_least, (!is("1")).at_least);
        assert_eq!(not_both.at_most, Truth::Always);
    }

    #[test]
    fn constants_vanish() {
        assert_eq!(Bounds::all([is("1"), Bounds::constant(true)]), is("1"));
        assert_eq!(Bounds::any([is("1"), Bounds::constant(false)]), is("1"));
        assert_eq!(Bounds::all([]), Bounds::constant(true));
        assert_eq!(Bounds::any([]), Bounds::constant(false));
    }
}
