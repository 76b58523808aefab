//! Which members claim which address, and who contends with whom by that.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use imbl::ordmap::DiffItem;

use crate::{
    fleet::FleetSettings,
    membership::{HostId, MemberRecord, Members},
    view::{Me, claims},
};

/// The members that claim each address in the view of one host. `None` is before every id, so that
/// a range can begin with it; it is in no element.
#[derive(Debug)]
pub struct Claimants {
    me: Me,
    fleet: Arc<FleetSettings>,
    by_address: BTreeSet<(IpAddr, Option<HostId>)>,
}

impl Claimants {
    /// Those among `members` in the view of `me`, in a fleet with these settings.
    pub fn of(me: &Me, fleet: &Arc<FleetSettings>, members: &Members) -> Self {
        let claims = |record: &Arc<MemberRecord>| {
            let id = Some(record.id.clone());
            let claims = claims(me, &fleet.networks, record);
            claims.into_iter().map(move |address| (address, id.clone()))
        };
        let by_address = members.values().flat_map(claims).collect();
        Self { me: me.clone(), fleet: fleet.clone(), by_address }
    }

    /// Takes note of what `after` has otherwise than `before`, and answers with the ids of all whom
    /// it may matter to. So it may of those `also`, who are seen otherwise than before.
    pub fn note(
        &mut self,
        before: &Members,
        after: &Members,
        also: Vec<HostId>,
    ) -> BTreeSet<HostId> {
        let mut changed = BTreeMap::new();
        for item in before.diff(after) {
            let (id, old, new) = match item {
                DiffItem::Add(id, new) => (id, None, Some(new)),
                DiffItem::Update { old: (id, old), new: (_, new) } => (id, Some(old), Some(new)),
                DiffItem::Remove(id, old) => (id, Some(old), None),
            };
            let claims = |record: Option<&Arc<MemberRecord>>| {
                record.map(|record| self.claims(record)).unwrap_or_default()
            };
            let (old, new) = (claims(old), claims(new));
            for address in &old {
                self.by_address.remove(&(*address, Some(id.clone())));
            }
            self.by_address.extend(new.iter().map(|address| (*address, Some(id.clone()))));
            changed.insert(id.clone(), [old, new].concat());
        }
        for id in also {
            let claims = after.get(&id).map(|record| self.claims(record)).unwrap_or_default();
            changed.entry(id).or_default().extend(claims);
        }
        self.contest(after, changed)
    }

    /// Those who claim one of the addresses of somebody in `from`, those who contend with them, and
    /// so on.
    fn contest(&self, members: &Members, from: BTreeMap<HostId, Vec<IpAddr>>) -> BTreeSet<HostId> {
        let mut open: Vec<IpAddr> = from.values().flatten().copied().collect();
        let mut met: BTreeSet<HostId> = from.into_keys().collect();
        let mut done = BTreeSet::new();
        while let Some(address) = open.pop() {
            if !done.insert(address) {
                continue;
            }
            for id in self.who(address) {
                // What is ours is ours, whoever claims it: nobody matters to another by way of us.
                if *id != self.me.id
                    && met.insert(id.clone())
                    && let Some(record) = members.get(id)
                {
                    open.extend(self.claims(record));
                }
            }
        }
        met
    }

    fn claims(&self, record: &MemberRecord) -> Vec<IpAddr> {
        claims(&self.me, &self.fleet.networks, record)
    }

    fn who(&self, address: IpAddr) -> impl Iterator<Item = &HostId> {
        let from = self.by_address.range((address, None)..);
        from.take_while(move |(claimed, _)| *claimed == address).filter_map(|(_, id)| id.as_ref())
    }
}
