//! An axis that is labelled where it is told to be.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

use crate::cost::report::scale::Extent;

pub struct Axis {
    extent: Extent,
    labels: Vec<f64>,
    logarithmic: bool,
}

impl Axis {
    pub fn linear(from: f64, to: f64, labels: Vec<f64>) -> Self {
        Self { extent: Extent { from, to }, labels, logarithmic: false }
    }

    /// Of values above 0.
    pub fn logarithmic(extent: Extent, labels: Vec<f64>) -> Self {
        Self { extent, labels, logarithmic: true }
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (first, last): (i32, i32)) -> i32 {
        let Extent { from, to } = self.extent;
        let far = match self.logarithmic {
            true => (value / from).ln() / (to / from).ln(),
            false => (value - from) / (to - from),
        };
        first + (far * f64::from(last - first)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // Light ones would be between the others.
        if hint.weight().allow_light_points() { Vec::new() } else { self.labels.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.extent.from..self.extent.to
    }
}
