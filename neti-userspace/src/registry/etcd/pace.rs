//! How the fleet is followed.

use std::time::Duration;

use super::pages::PAGE;

/// What may be set about how the fleet is followed.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Keys per page.
    pub page: i64,
    /// After this time everything is listed again, whether or not something was missed; in a fleet
    /// of more than [`SMALL`] members after longer, so that lists cost no more per time.
    pub relist: Duration,
    /// Between two snapshots there is at least this time.
    pub gap: Duration,
    /// After this time without a word the server is asked for one.
    pub silence: Duration,
    /// The longest wait between two attempts during an outage, but for as much again at random.
    pub retry: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            page: PAGE,
            relist: Duration::from_secs(600),
            gap: Duration::from_millis(10),
            silence: Duration::from_secs(3),
            retry: Duration::from_secs(1),
        }
    }
}

/// A fleet of more members is listed less often.
const SMALL: usize = 10_000;

impl Pace {
    /// After which time a fleet of `count` members is to be listed again. Not all hosts do so at
    /// once.
    pub fn next_relist(&self, count: usize) -> Duration {
        let size = (count as f64 / SMALL as f64).max(1.0);
        self.relist.mul_f64(size * rand::random_range(0.75..1.25))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_fleet_is_listed_less_often() {
        let pace = Pace::default();
        for (count, minutes) in [(0, 10), (10_000, 10), (100_000, 100)] {
            let about = Duration::from_secs(60 * minutes);
            let next = pace.next_relist(count);
            assert!((about.mul_f64(0.75)..about.mul_f64(1.25)).contains(&next), "{next:?}");
        }
    }
}
