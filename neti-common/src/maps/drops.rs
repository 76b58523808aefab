//! What is remembered of packets that were dropped.

use crate::family::Family;

/// Packets that were dropped, or would have been, and are alike.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DropKey<F: Family> {
    pub src: F::Addr,
    /// Network order; 0 for protocols without ports and for later fragments.
    pub port: [u8; 2],
    pub protocol: u8,
    /// A [`crate::verdict::Reason`].
    pub reason: u8,
    pub _pad: [u8; 4],
}

/// What is known of such packets.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    pub packets: u64,
    /// `CLOCK_MONOTONIC`, nanoseconds, of the last one.
    pub seen: u64,
    /// How many of them `observe` let pass.
    pub would: u64,
}

/// How one CPU keeps from noting more drops than there is time and room for.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Notes {
    /// In ticks of the kernel's clock, of which a second has 100 to 1,000: what there is time for.
    pub noted: Budget,
    /// In units of 2^30 ns: sources that were not there yet.
    pub fresh: Budget,
    /// How many were not noted, ever.
    pub left_out: u64,
    /// What the program that notes is handed: a [`crate::verdict::Reason`], and 1 if the packet goes on.
    pub reason: u32,
    pub would: u32,
}

/// How much of something there was in a time.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Budget {
    /// The number of that time.
    pub time: u64,
    pub taken: u64,
}

impl Notes {
    /// How many there is time for in a tick.
    pub const PER_TICK: u64 = 64;
    /// How many sources may be new in a second. More would push out, in a flood, whoever is there.
    pub const FRESH: u64 = 128;

    /// Whether there is time for another one in this tick; if not, it is counted.
    #[inline(always)]
    pub fn take(&mut self, tick: u64) -> bool {
        let taken = self.noted.take(tick, Self::PER_TICK);
        self.left_out += u64::from(!taken);
        taken
    }

    /// Whether there is a place at `now` (nanoseconds) for a source that is not there yet; if not, it is counted.
    #[inline(always)]
    pub fn take_fresh(&mut self, now: u64) -> bool {
        let taken = self.fresh.take(now >> 30, Self::FRESH);
        self.left_out += u64::from(!taken);
        taken
    }
}

impl Budget {
    /// Takes one of the `most` that there are in a time.
    #[inline(always)]
    pub fn take(&mut self, time: u64, most: u64) -> bool {
        if self.time != time {
            *self = Self { time, taken: 0 };
        }
        let left = self.taken < most;
        self.taken += u64::from(left);
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_budget_for_each_time_and_the_rest_is_counted() {
        let mut notes = Notes::default();
        for tick in 1..=2 {
            let taken = (0..Notes::PER_TICK + 5).filter(|_| notes.take(tick)).count();
            assert_eq!(taken as u64, Notes::PER_TICK);
        }
        for second in 1..=2 {
            let taken = (0..Notes::FRESH + 3).filter(|_| notes.take_fresh(second << 30)).count();
            assert_eq!(taken as u64, Notes::FRESH);
        }
        assert_eq!(notes.left_out, 16);
    }
}
