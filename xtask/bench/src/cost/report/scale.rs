//! Axes that are logarithmic: what they show, and where they are labelled.

/// From which value to which.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extent {
    pub from: f64,
    pub to: f64,
}

impl Extent {
    /// Around all of these, which are above 0, and a little beyond. None where there are none.
    pub fn around(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let of = |extent: Option<Self>, value| match extent {
            None => Some(Self { from: value, to: value }),
            Some(Self { from, to }) => Some(Self { from: from.min(value), to: to.max(value) }),
        };
        let seen = values.into_iter().filter(|value| value.is_normal() && *value > 0.0);
        let Self { from, to } = seen.fold(None, of)?;
        let room = (to / from).powf(0.04).max(1.05);
        Some(Self { from: from / room, to: to * room })
    }

    /// A value, or the end that is nearer to it.
    pub fn within(self, value: f64) -> f64 {
        value.clamp(self.from, self.to)
    }

    /// Round values in it, as many as fit where each needs this share of the axis.
    pub fn labels(self, share: f64) -> Vec<f64> {
        let room = (self.to / self.from).ln() * share;
        let fit = |labels: &[f64]| labels.windows(2).all(|pair| (pair[1] / pair[0]).ln() >= room);
        let narrow = self.to / self.from < 6.0;
        let candidates = if narrow { self.steps() } else { self.decades() };
        candidates.into_iter().find(|labels| fit(labels)).unwrap_or_default()
    }

    /// Multiples of round steps, from fine ones to coarse ones.
    fn steps(self) -> Vec<Vec<f64>> {
        let decade = (self.to - self.from).log10().floor() as i32;
        let decades = (decade - 1..=decade + 1).map(|power| 10_f64.powi(power));
        let steps = decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|digit| digit * decade));
        let multiples = |step: f64| {
            let (first, last) = ((self.from / step).ceil() as i64, (self.to / step).floor() as i64);
            (first..=last).map(|number| number as f64 * step).collect()
        };
        steps.map(multiples).collect()
    }

    /// Digits of all decades, from many to every third decade's 1.
    fn decades(self) -> Vec<Vec<f64>> {
        const DIGITS: [(&[f64], usize); 6] = [
            (&[1.0, 2.0, 3.0, 5.0, 7.0], 1),
            (&[1.0, 2.0, 5.0], 1),
            (&[1.0, 3.0], 1),
            (&[1.0], 1),
            (&[1.0], 2),
            (&[1.0], 3),
        ];
        let (low, high) = (self.from.log10().floor() as i32, self.to.log10().ceil() as i32);
        let labels = |(digits, step): (&[f64], usize)| {
            let decades = (low..=high).step_by(step).map(|power| 10_f64.powi(power));
            let all = decades.flat_map(|decade| digits.iter().map(move |digit| digit * decade));
            all.filter(|value| (self.from..=self.to).contains(value)).collect()
        };
        DIGITS.map(labels).into_iter().collect()
    }
}

/// A number in as few digits as a label needs.
pub fn short(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let digits = (2 - value.abs().log10().floor() as i32).clamp(0, 4) as usize;
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// A figure with so many digits after the point, fewer if it is large: beyond four digits it means nothing.
pub fn fixed(value: f64, digits: usize) -> String {
    let before = value.abs().log10().max(0.0) as usize;
    format!("{value:.*}", digits.min(3_usize.saturating_sub(before)))
}

/// A count, by thousands and millions.
pub fn count(value: f64) -> String {
    match value {
        1e6.. => format!("{}M", short(value / 1e6)),
        1e3.. => format!("{}k", short(value / 1e3)),
        _ => short(value),
    }
}

/// A time in microseconds, with its unit.
pub fn time(microseconds: f64) -> String {
    match microseconds {
        1e6.. => format!("{} s", short(microseconds / 1e6)),
        1e3.. => format!("{} ms", short(microseconds / 1e3)),
        _ => format!("{} µs", short(microseconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[f64], expected: &[&str]) {
        let labels = Extent::around(values.iter().copied()).unwrap().labels(0.15);
        assert_eq!(labels.into_iter().map(short).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn labels_are_round_and_few() {
        check(&[0.97, 1.04], &["0.95", "1", "1.05"]);
        check(&[0.2, 1.1], &["0.2", "0.3", "0.5", "0.7", "1"]);
        check(&[0.3, 1.1], &["0.4", "0.6", "0.8", "1"]);
        check(&[12.0, 9_000.0], &["10", "30", "100", "300", "1000", "3000", "10000"]);
        check(&[1.0, 1e9], &["10", "1000", "100000", "10000000", "1000000000"]);
        check(&[1.0], &["0.96", "0.98", "1", "1.02", "1.04"]);
    }

    #[test]
    fn nothing_has_no_extent() {
        assert_eq!(Extent::around([]), None);
        assert_eq!(Extent::around([0.0, f64::NAN, f64::INFINITY]), None);
    }

    #[test]
    fn large_figures_have_fewer_digits() {
        let figures = [0.0, 0.966, 9.5, 31.094, 989.23, 1_193.5].map(|figure| fixed(figure, 2));
        assert_eq!(figures, ["0.00", "0.97", "9.50", "31.09", "989.2", "1194"]);
        assert_eq!(fixed(61_234.5, 0), "61234");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([8.0, 8_000.0, 1e6].map(count), ["8", "8k", "1M"]);
        assert_eq!([0.5, 12.0, 1_500.0, 2e6].map(time), ["0.5 µs", "12 µs", "1.5 ms", "2 s"]);
        assert_eq!([0.1 + 0.2, 20.0, 0.0].map(short), ["0.3", "20", "0"]);
    }
}
