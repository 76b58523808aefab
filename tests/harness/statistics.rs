//! Medians: robust against the rounds in which the machine did something else.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What is said of some figures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// Of at least one figure; of none, all is NaN.
    pub fn of(figures: &[f64]) -> Self {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let last = sorted.len().saturating_sub(1);
        Self { median: (at(last / 2) + at(last.div_ceil(2))) / 2.0, min: at(0), max: at(last) }
    }

    /// Of each figure's ratio to the one of the same round.
    pub fn of_ratios(figures: &[f64], to: &[f64]) -> Self {
        let ratios: Vec<f64> = figures.iter().zip(to).map(|(figure, to)| figure / to).collect();
        Self::of(&ratios)
    }

    pub fn json(self) -> Value {
        json!({ "median": self.median, "min": self.min, "max": self.max })
    }
}

/// The smallest of the `sorted` figures that at least `percent` of them do not exceed; of none, NaN.
pub fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_of_odd_and_even_counts() {
        let spread = |median, min, max| Spread { median, min, max };
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), spread(2.0, 1.0, 3.0));
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 3.0]), spread(2.5, 1.0, 4.0));
        assert!(Spread::of(&[]).median.is_nan());
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine was half as fast in the second round: neither way is slower than the other.
        assert_eq!(Spread::of_ratios(&[10.0, 5.0], &[10.0, 5.0]).min, 1.0);
    }

    #[test]
    fn percentiles() {
        let figures: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((percentile(&figures, 50), percentile(&figures, 99)), (50.0, 99.0));
        assert_eq!(percentile(&[7.0], 99), 7.0);
    }
}
