//! Services, which are what rules let a peer reach: a TCP port, a UDP port, or any other protocol as a
//! whole has a number.

use crate::fleet::PortRange;

pub use neti_common::{
    headers::{TCP, UDP},
    maps::service::{COUNT, of as number},
};

/// The numbers, first and last, of all services of `protocol` or of those behind its `ports`.
pub const fn range(protocol: u8, ports: Option<PortRange>) -> (u32, u32) {
    match ports {
        Some(PortRange { first, last }) => (number(protocol, first), number(protocol, last)),
        None => (number(protocol, 0), number(protocol, u16::MAX)),
    }
}

/// The first two ranges, by their indices, that have a service in common; the one that begins first
/// comes first.
pub fn overlap(ranges: impl IntoIterator<Item = (u32, u32)>) -> Option<(usize, usize)> {
    let mut ranges: Vec<_> =
        ranges.into_iter().enumerate().map(|(index, range)| (range, index)).collect();
    ranges.sort_unstable();
    // As long as none overlaps, no range reaches farther than the one that begins last.
    let mut pairs = ranges.windows(2);
    let pair = pairs.find(|pair| pair[1].0.0 <= pair[0].0.1)?;
    Some((pair[0].1, pair[1].1))
}

/// A set of services: ranges of their numbers, in order, with a gap between each two.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Services(Vec<(u32, u32)>);

impl Services {
    pub fn new(ranges: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().collect();
        ranges.sort_unstable();
        let mut joined: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match joined.last_mut() {
                Some((_, end)) if first <= *end + 1 => *end = last.max(*end),
                _ => joined.push((first, last)),
            }
        }
        Self(joined)
    }

    pub fn all() -> Self {
        Self(vec![(0, COUNT - 1)])
    }

    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn union(&self, other: &Self) -> Self {
        Self::new(self.0.iter().chain(&other.0).copied())
    }

    pub fn contains(&self, other: &Self) -> bool {
        other.0.iter().all(|(first, last)| {
            // Those of ours that begin behind it cannot hold it, nor can those before the last one.
            let around = self.0.partition_point(|(begin, _)| begin <= first);
            around > 0 && *last <= self.0[around - 1].1
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn services_are_numbered_without_gaps() {
        assert_eq!(range(TCP, None), (0, 65_535));
        assert_eq!(range(UDP, None), (65_536, 131_071));
        assert_eq!(number(0, 9), 131_072);
        assert_eq!(range(255, None), (COUNT - 1, COUNT - 1));
        let ports = PortRange { first: 80, last: 81 };
        assert_eq!(range(UDP, Some(ports)), (65_616, 65_617));
        assert_eq!(range(1, None), (131_073, 131_073));
    }

    fn ranges() -> impl Strategy<Value = Vec<(u32, u32)>> {
        prop::collection::vec((0u32..40, 0u32..6).prop_map(|(first, n)| (first, first + n)), 0..6)
    }

    fn members(ranges: &[(u32, u32)]) -> BTreeSet<u32> {
        ranges.iter().flat_map(|(first, last)| *first..=*last).collect()
    }

    proptest! {
        #[test]
        fn they_are_sets(one in ranges(), other in ranges()) {
            let (a, b) = (Services::new(one.clone()), Services::new(other.clone()));
            prop_assert_eq!(members(a.ranges()), members(&one));
            prop_assert!(a.ranges().windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
            let both = a.union(&b);
            prop_assert_eq!(members(both.ranges()), &members(&one) | &members(&other));
            prop_assert_eq!(a.contains(&b), members(&one).is_superset(&members(&other)));
            prop_assert!(both.contains(&a) && Services::all().contains(&both));
        }

        #[test]
        fn an_overlap_is_found(ranges in ranges()) {
            let together: usize = ranges.iter().map(|(first, last)| (last - first + 1) as usize).sum();
            match overlap(ranges.iter().copied()) {
                None => prop_assert_eq!(members(&ranges).len(), together),
                Some((one, other)) => {
                    prop_assert!(one != other);
                    let (one, other) = (members(&[ranges[one]]), members(&[ranges[other]]));
                    prop_assert!(!one.is_disjoint(&other));
                }
            }
        }
    }
}
