//! The interfaces of a network namespace, and what the kernel tells of their coming and going.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use nix::net::if_::if_nameindex;
use rtnetlink::{
    MulticastGroup,
    packet_route::{AddressFamily, link::LinkHeader},
};

use crate::netlink::notifications::Notifications;

/// What became of an interface, by its index. One that is moved to another network namespace goes
/// here and comes there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is there; it may have been before.
    Comes(u32),
    Goes(u32),
}

/// A subscription to these.
pub struct Links(Notifications);

impl Links {
    pub fn subscribe() -> Result<Self> {
        Notifications::subscribe(&[MulticastGroup::Link]).map(Self)
    }

    /// The next changes, in their order; `None` if some were lost.
    pub async fn changes(&mut self) -> Result<Option<Vec<Change>>> {
        self.0.arrive().await.context("waiting for changes of interfaces")?;
        let mut changes = Vec::new();
        let whole = self.0.take(|kind, payload| changes.extend(change(kind, payload)));
        Ok(whole.context("reading changes of interfaces")?.then_some(changes))
    }
}

/// The interfaces that have gone at some time, and those that are there after all.
pub fn settle(changes: &[Change]) -> (BTreeSet<u32>, BTreeSet<u32>) {
    let (mut gone, mut there) = (BTreeSet::new(), BTreeSet::new());
    for change in changes {
        match *change {
            Change::Comes(index) => there.insert(index),
            Change::Goes(index) => gone.insert(index) | there.remove(&index),
        };
    }
    (gone, there)
}

/// All interfaces, by index.
pub fn list() -> Result<BTreeMap<u32, String>> {
    let interfaces = if_nameindex().context("listing interfaces")?;
    let name = |interface: &nix::net::if_::Interface| interface.name().to_string_lossy().into();
    Ok(interfaces.iter().map(|interface| (interface.index(), name(interface))).collect())
}

// From linux/rtnetlink.h.
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;

/// What a message tells. Bridges tell of their ports by the same types, under a family of their own:
/// a port that leaves its bridge stays an interface.
fn change(kind: u16, payload: &[u8]) -> Option<Change> {
    let header = LinkHeader::parse(payload).ok()?;
    match kind {
        _ if header.interface_family != AddressFamily::Unspec => None,
        RTM_NEWLINK => Some(Change::Comes(header.index)),
        RTM_DELLINK => Some(Change::Goes(header.index)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Change::*, *};

    #[test]
    fn of_many_changes_the_last_one_holds() {
        let check = |changes: &[Change], gone: &[u32], there: &[u32]| {
            let expected = (gone.iter().copied().collect(), there.iter().copied().collect());
            assert_eq!(settle(changes), expected, "{changes:?}");
        };
        check(&[], &[], &[]);
        check(&[Comes(7), Comes(7), Comes(8)], &[], &[7, 8]);
        check(&[Comes(7), Goes(7), Comes(8)], &[7], &[8]);
        check(&[Goes(7), Comes(7)], &[7], &[7]);
        check(&[Comes(7), Goes(7), Comes(7), Goes(7)], &[7], &[]);
    }

    #[test]
    fn only_what_is_told_of_interfaces_themselves_counts() {
        let check = |kind, family: AddressFamily, expected| {
            let mut payload = [0; 20];
            payload[0] = u8::from(family);
            payload[4..8].copy_from_slice(&7u32.to_ne_bytes());
            assert_eq!(change(kind, &payload), expected);
        };
        check(RTM_NEWLINK, AddressFamily::Unspec, Some(Comes(7)));
        check(RTM_DELLINK, AddressFamily::Unspec, Some(Goes(7)));
        check(RTM_NEWLINK, AddressFamily::Bridge, None);
        check(RTM_DELLINK, AddressFamily::Bridge, None);
        check(20, AddressFamily::Unspec, None);
        assert_eq!(change(RTM_NEWLINK, &[0; 15]), None, "cut short");
    }
}
