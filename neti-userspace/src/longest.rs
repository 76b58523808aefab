//! What the longest prefix says of each address, as routing tables say it.
//!
//! A table may have a million prefixes and be asked about a hundred thousand members: of the prefixes only what matters
//! is kept, which is where their answers change along the address space.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// An answer for every address. Two are equal if and only if they say the same of every address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LongestPrefix<T> {
    /// Ascending; each answer holds from its address up to the next one's, and none is that of its
    /// predecessor. Before the first one holds the default.
    changes: Vec<(IpAddr, T)>,
}

impl<T: Clone + Default + PartialEq> LongestPrefix<T> {
    /// What these prefixes say, of whose equals the first counts. Outside all of them the answer is the default.
    pub fn new(mut prefixes: Vec<(IpNet, T)>) -> Self {
        prefixes.sort_by_key(|(prefix, _)| (prefix.network(), prefix.prefix_len()));
        prefixes.dedup_by_key(|(prefix, _)| prefix.trunc());
        let mut all = Self::default();
        // The prefixes around the one at hand, the shortest first, each with its last address.
        let mut around: Vec<(IpAddr, T)> = Vec::new();
        for (prefix, answer) in prefixes {
            all.close(&mut around, Some(prefix.network()));
            all.change(prefix.network(), answer.clone());
            around.push((prefix.broadcast(), answer));
        }
        all.close(&mut around, None);
        all
    }

    /// What the longest prefix with `address` says; before the first one of all it may be `None` for the default.
    pub fn get(&self, address: IpAddr) -> Option<&T> {
        let after = self.changes.partition_point(|(start, _)| *start <= address);
        Some(&self.changes.get(after.checked_sub(1)?)?.1)
    }

    /// Ends the prefixes that end before `next`, or all.
    fn close(&mut self, around: &mut Vec<(IpAddr, T)>, next: Option<IpAddr>) {
        while let Some((last, _)) = around.last()
            && next.is_none_or(|next| *last < next)
        {
            let after = successor(*last);
            around.pop();
            let outer = around.last().map(|(_, answer)| answer.clone()).unwrap_or_default();
            // Behind the last address of all there is none.
            if let Some(after) = after {
                self.change(after, outer);
            }
        }
    }

    fn change(&mut self, start: IpAddr, answer: T) {
        // What begins at the same address is the longer prefix, or what follows a shorter one.
        self.changes.pop_if(|(last, _)| *last == start);
        let before = self.changes.last().map(|(_, answer)| answer.clone()).unwrap_or_default();
        if before != answer {
            self.changes.push((start, answer));
        }
    }
}

/// The next address; behind the last one of IPv4 come those of IPv6.
fn successor(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => match address.to_bits().checked_add(1) {
            Some(next) => Some(IpAddr::V4(next.into())),
            None => Some(Ipv6Addr::UNSPECIFIED.into()),
        },
        IpAddr::V6(address) => address.to_bits().checked_add(1).map(|next| IpAddr::V6(next.into())),
    }
}
