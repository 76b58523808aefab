//! Our own record as it is to stand in the registry, and what it means if something else stands
//! there. Without I/O.

use std::time::SystemTime;

use crate::{membership::MemberRecord, registry::taken};

/// What stands under our record's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub value: Vec<u8>,
    pub revision: i64,
    /// 0: none.
    pub lease: i64,
}

/// What is to be done where something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is as we left it.
    Ours,
    /// Our record belongs there.
    Write,
    /// It is somebody else's, for the reason given.
    Theirs(String),
}

/// The record of `name` that was found, if it is one.
pub fn parse(name: &str, found: &Found) -> Option<MemberRecord> {
    MemberRecord::parse(name, &found.value).ok()
}

/// The time from which a host holds its addresses, in ms, if `before` stood under its key.
pub fn since(ours: &MemberRecord, before: Option<&MemberRecord>) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = now.as_millis() as u64;
    let before = before.filter(|before| before.real_addresses() == ours.real_addresses());
    before.map_or(now, |before| before.since.min(now))
}

/// What is to be done where `found` stands and `ours`, which is written as `value`, is kept alive by
/// `lease`. A host that `starts` takes over what it has left; one that has been running does not
/// take back what the next one has taken over.
pub fn judge(
    ours: &MemberRecord,
    value: &[u8],
    lease: i64,
    found: Option<&Found>,
    starts: bool,
) -> Verdict {
    let Some(found) = found else { return Verdict::Write };
    if found.lease == lease {
        return if found.value == value { Verdict::Ours } else { Verdict::Write };
    }
    match parse(ours.id.as_str(), found) {
        // What is no record is nobody's.
        None => Verdict::Write,
        Some(other) if other.real_addresses() != ours.real_addresses() => {
            Verdict::Theirs(taken(ours, &other))
        }
        // Nobody keeps alive what has no lease.
        Some(_) if starts || found.lease == 0 => Verdict::Write,
        Some(_) => Verdict::Theirs(format!(
            "another neti of this host has registered host id {}; one of the two must end",
            ours.id
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::sample::record;

    fn sierra() -> MemberRecord {
        record("sierra", "100.64.0.2", "ec2").private("10.0.0.11").since(5)
    }

    fn found(record: &MemberRecord, lease: i64) -> Option<Found> {
        Some(Found { value: serde_json::to_vec(record).unwrap(), revision: 3, lease })
    }

    /// What is to be done by a host that has been running, and by one that starts.
    fn both(found: Option<&Found>) -> [Verdict; 2] {
        let value = serde_json::to_vec(&sierra()).unwrap();
        [false, true].map(|starts| judge(&sierra(), &value, 7, found, starts))
    }

    #[test]
    fn what_is_missing_or_no_record_is_written() {
        assert_eq!(both(None), [Verdict::Write, Verdict::Write]);
        let broken = Found { value: b"{".to_vec(), revision: 3, lease: 8 };
        assert_eq!(both(Some(&broken)), [Verdict::Write, Verdict::Write]);
    }

    #[test]
    fn our_own_stays_unless_it_was_changed() {
        assert_eq!(both(found(&sierra(), 7).as_ref()), [Verdict::Ours, Verdict::Ours]);
        let changed = found(&sierra().since(4), 7);
        assert_eq!(both(changed.as_ref()), [Verdict::Write, Verdict::Write]);
    }

    #[test]
    fn a_start_takes_over_from_the_last_one_and_not_the_other_way_round() {
        let [running, starting] = both(found(&sierra(), 8).as_ref());
        let Verdict::Theirs(why) = running else { panic!("{running:?}") };
        assert!(why.starts_with("another neti of this host has registered host id sierra"));
        assert_eq!(starting, Verdict::Write);
        assert_eq!(both(found(&sierra(), 0).as_ref()), [Verdict::Write, Verdict::Write]);
    }

    #[test]
    fn another_host_is_let_be() {
        let other = record("sierra", "100.64.0.2", "ec2").private("10.0.0.12");
        for verdict in both(found(&other, 8).as_ref()) {
            let Verdict::Theirs(why) = verdict else { panic!("{verdict:?}") };
            assert!(why.starts_with("host id sierra is in use by a host with 10.0.0.12"), "{why}");
        }
    }

    #[test]
    fn addresses_are_held_since_they_were_registered() {
        let unclaimed = sierra().since(0);
        assert_eq!(since(&unclaimed, Some(&sierra())), 5);
        let before = since(&unclaimed, None);
        let moved = record("sierra", "100.64.0.2", "ec2").private("10.0.0.12").since(5);
        assert!(since(&unclaimed, Some(&moved)) >= before);
        let future = sierra().since(u64::MAX);
        assert!(since(&unclaimed, Some(&future)) < u64::MAX);
    }
}
