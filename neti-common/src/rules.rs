//! What the rules let a peer reach. They are asked in a number of steps that does not depend on how many there are: a
//! service has a class, a source has a set of classes.

use crate::{
    family::Family,
    headers::{TCP, UDP},
    maps::{Member, RangeKey, Settings, SubjectKey, members, service, set},
    tables::Tables,
};

/// What lets a peer reach a service of ours at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    No,
    /// It is a member.
    Member,
    Rule,
    OpenPort,
}

/// Asks the rules about a source that may be a member; `port` in network order. The packet's own part in its flow is not
/// looked at.
#[inline(always)]
pub fn admission<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings<F>,
    peer: &F::Addr,
    member: Option<&Member<F>>,
    protocol: u8,
    port: [u8; 2],
) -> Admission {
    if is_free(settings, member) {
        return Admission::Member;
    }
    let class = tables.class(settings.slot, service::of(protocol, u16::from_be_bytes(port)));
    // No rule is about this service.
    if class == 0 {
        return Admission::No;
    }
    let reaches = |set| tables.has_class(settings.slot, set, class);
    if let Some(member) = member
        && member.is_member()
        && reaches(set_of_member(tables, settings, member))
    {
        return Admission::Member;
    }
    if reaches(set_of_source(tables, settings, peer)) {
        return Admission::Rule;
    }
    if (protocol == TCP || protocol == UDP) && reaches(set::ANYONE) {
        return Admission::OpenPort;
    }
    Admission::No
}

/// Whether a source is a member that may reach all of us.
#[inline(always)]
pub fn is_free<F: Family>(settings: &Settings<F>, member: Option<&Member<F>>) -> bool {
    settings.members == members::ALL && member.is_some_and(Member::is_member)
}

#[inline(always)]
fn set_of_member<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings<F>,
    member: &Member<F>,
) -> u32 {
    let slot = settings.slot;
    if settings.members == members::BY_HOST {
        let host = SubjectKey { slot, kind: members::BY_HOST as u32, number: member.host };
        if let Some(set) = tables.subject(&host) {
            return set;
        }
    }
    let role = SubjectKey { slot, kind: members::BY_ROLE as u32, number: member.role };
    tables.subject(&role).unwrap_or(settings.others)
}

/// The set of the longest prefix of the rules that holds an address: a search among the lengths that occur, in which what
/// is found says where it is worth going on.
#[inline(always)]
pub fn set_of_source<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings<F>,
    address: &F::Addr,
) -> u32 {
    let (mut rope, mut set) = (settings.rope, settings.anywhere);
    // As deep as the tree of all lengths is.
    for _ in 0..F::BITS.ilog2() + 1 {
        if rope == 0 {
            break;
        }
        let length = rope as u32 & 0xff;
        rope >>= 8;
        let key = RangeKey { network: F::network(address, length), length, slot: settings.slot };
        if let Some(range) = tables.range(&key) {
            (rope, set) = (range.rope, range.set);
        }
    }
    set
}
