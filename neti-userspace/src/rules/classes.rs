//! Classes of services: those that are in the same sets are alike to the filter, and share one.

use std::collections::HashMap;

use super::{
    CLASSES,
    services::{self, Services},
};

pub struct Classes {
    /// Where the runs of services of one class begin, and where the last one ends.
    cuts: Vec<u32>,
    /// The class of each run. Class 0 is in no set.
    runs: Vec<usize>,
    /// How many classes there are, class 0 among them.
    pub count: usize,
}

impl Classes {
    /// Begins with one class of all services and splits it, set after set, into what is in the set and
    /// what is not.
    pub fn of(sets: &[impl AsRef<Services>]) -> Self {
        let ranges = sets.iter().flat_map(|set| set.as_ref().ranges());
        let mut cuts: Vec<u32> = ranges.flat_map(|(first, last)| [*first, last + 1]).collect();
        cuts.extend([0, services::COUNT]);
        cuts.sort_unstable();
        cuts.dedup();
        let runs = vec![0; cuts.len() - 1];
        let mut classes = Self { cuts, runs, count: 1 };

        // For which set each class was split last, and into what else.
        let mut splits: Vec<(Option<usize>, usize)> = vec![(None, 0)];
        for (index, set) in sets.iter().enumerate() {
            for run in classes.runs_within(set.as_ref()).collect::<Vec<_>>() {
                let class = classes.runs[run];
                if splits[class].0 != Some(index) {
                    splits[class] = (Some(index), splits.len());
                    splits.push((None, 0));
                }
                classes.runs[run] = splits[class].1;
            }
        }
        classes.count();
        classes
    }

    /// Numbers the classes that have services without gaps.
    fn count(&mut self) {
        let mut numbers = HashMap::from([(0, 0)]);
        for class in &mut self.runs {
            let next = numbers.len();
            *class = *numbers.entry(*class).or_insert(next);
        }
        self.count = numbers.len();
    }

    /// The classes in a set of those from which they were made; some more than once.
    pub fn within(&self, set: &Services) -> impl Iterator<Item = usize> {
        self.runs_within(set).map(|run| self.runs[run])
    }

    /// At how many places services of `set` that follow each other may be of different classes.
    pub fn cuts_within(&self, set: &Services) -> usize {
        let before = |service: u32| self.cuts.partition_point(|cut| *cut <= service);
        set.ranges().iter().map(|(first, last)| before(*last) - before(*first)).sum()
    }

    /// The class of each service. What would be beyond [`CLASSES`] is in class 0.
    pub fn by_service(&self) -> Vec<u16> {
        let mut by_service = Vec::with_capacity(services::COUNT as usize);
        for (ends, class) in self.cuts.windows(2).zip(&self.runs) {
            let class = if *class < CLASSES { *class as u16 } else { 0 };
            by_service.resize(ends[1] as usize, class);
        }
        by_service
    }

    fn runs_within(&self, set: &Services) -> impl Iterator<Item = usize> {
        let run = |service: u32| self.cuts.partition_point(|cut| *cut < service);
        set.ranges().iter().flat_map(move |(first, last)| run(*first)..run(last + 1))
    }
}
