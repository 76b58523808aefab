//! The tree of prefix lengths in which a search goes down, longer ones to the right.

/// A length, and the parts with the shorter and the longer ones.
#[derive(Debug)]
pub struct Node {
    length: u32,
    shorter: Option<Box<Node>>,
    longer: Option<Box<Node>>,
}

impl Node {
    /// The tree of these lengths, which are in order, with the fewest steps.
    pub fn balanced(lengths: &[u32]) -> Option<Box<Self>> {
        let middle = lengths.len() / 2;
        let (shorter, rest) = lengths.split_at(middle);
        let (length, longer) = rest.split_first()?;
        let (shorter, longer) = (Self::balanced(shorter), Self::balanced(longer));
        Some(Box::new(Self { length: *length, shorter, longer }))
    }

    /// The lengths at which a prefix of `length` leaves something on the way to its own, which is the last, and the rope
    /// from each to what is longer.
    pub fn way(tree: &Option<Box<Self>>, length: u32) -> Vec<(u32, u64)> {
        let mut way = Vec::new();
        let mut next = tree;
        while let Some(node) = next {
            if node.length <= length {
                way.push((node.length, Self::rope(&node.longer)));
            }
            if node.length == length {
                break;
            }
            next = if node.length < length { &node.longer } else { &node.shorter };
        }
        way
    }

    /// The lengths that are tried one after another in a part as long as none is found, the first in the lowest byte.
    pub fn rope(mut tree: &Option<Box<Self>>) -> u64 {
        let (mut rope, mut shift) = (0, 0);
        while let Some(node) = tree {
            rope |= u64::from(node.length) << shift;
            shift += 8;
            tree = &node.shorter;
        }
        rope
    }
}

/// The best trees of each height, by dynamic programming over the parts of the lengths (Knuth, "Optimum binary search
/// trees", 1971): a root costs a marker for each prefix of the longer part, but no more than there are networks of its
/// own length.
pub struct Trees {
    /// Each length that occurs and how many prefixes have it, in order.
    lengths: Vec<(u32, usize)>,
    /// By height, and by [`Self::part`]: how many markers are left in the part, and the root that does it. `None`: the
    /// part has more lengths than the height has room for.
    best: Vec<Vec<Option<(usize, usize)>>>,
}

impl Trees {
    /// Trees of at most this height, in which a tree of all lengths must find room.
    pub fn new(lengths: Vec<(u32, usize)>, height: usize) -> Self {
        let empty = vec![None; (lengths.len() + 1).pow(2)];
        let mut trees = Self { lengths, best: vec![empty; height + 1] };
        for height in 1..=height {
            for high in 1..=trees.lengths.len() {
                for low in 0..high {
                    let part = trees.part(low, high);
                    trees.best[height][part] = trees.root(height, low, high);
                }
            }
        }
        trees
    }

    /// How many prefixes and markers there are in the tree that has the fewest.
    pub fn fewest(&self) -> usize {
        self.size(self.best.len() - 1).unwrap_or(usize::MAX)
    }

    /// The tree of the least height in which there are at most so many; where there is none, the one that has the
    /// fewest.
    pub fn shallow(&self, most: usize) -> Option<Box<Node>> {
        let highest = self.best.len() - 1;
        let fits = |height: &usize| self.size(*height).is_some_and(|size| size <= most);
        self.tree((0..highest).find(fits).unwrap_or(highest), 0, self.lengths.len())
    }

    /// How many prefixes and markers there are in the best tree of this height.
    fn size(&self, height: usize) -> Option<usize> {
        let prefixes: usize = self.lengths.iter().map(|(_, count)| count).sum();
        Some(prefixes + self.markers(height, 0, self.lengths.len())?)
    }

    fn root(&self, height: usize, low: usize, high: usize) -> Option<(usize, usize)> {
        // From the right, so that how many prefixes are longer is a running sum.
        let mut longer = 0;
        let roots = (low..high).rev().filter_map(|root| {
            let (length, count) = self.lengths[root];
            let own = longer.min(1_usize.checked_shl(length).unwrap_or(usize::MAX));
            longer += count;
            let shorter = self.markers(height - 1, low, root)?;
            Some((own + shorter + self.markers(height - 1, root + 1, high)?, root))
        });
        roots.min()
    }

    fn markers(&self, height: usize, low: usize, high: usize) -> Option<usize> {
        if low == high {
            return Some(0);
        }
        self.best[height][self.part(low, high)].map(|(markers, _)| markers)
    }

    fn tree(&self, height: usize, low: usize, high: usize) -> Option<Box<Node>> {
        let (_, root) = self.best[height][self.part(low, high)]?;
        Some(Box::new(Node {
            length: self.lengths[root].0,
            shorter: self.tree(height - 1, low, root),
            longer: self.tree(height - 1, root + 1, high),
        }))
    }

    /// The place of the part of the lengths from `low` on up to `high`, which is none of it.
    fn part(&self, low: usize, high: usize) -> usize {
        low * (self.lengths.len() + 1) + high
    }
}
