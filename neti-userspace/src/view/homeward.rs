//! Which of a member's addresses packets may come from by the uplink, as this host's own routes have it.

use std::{collections::BTreeSet, net::IpAddr};

use super::{Me, problem};
use crate::{
    membership::{MemberRecord, Problem},
    reverse::ReversePath,
};

/// Those of a member's real addresses that may send by the uplink: a private one only where the way back
/// leads out of it, for a container may have that address here. Public ones are whose they are.
pub fn homeward(
    me: &Me,
    member: &MemberRecord,
    mut reals: Vec<IpAddr>,
    problems: &mut BTreeSet<Problem>,
) -> Vec<IpAddr> {
    reals.retain(|&address| {
        let elsewhere = elsewhere(&me.reverse, member, address);
        if let Some(interface) = elsewhere {
            problems.insert(problem(
                member,
                format!(
                    "private address {address} is routed out of {interface} here, and not out of \
                     the uplink; refused"
                ),
            ));
        }
        elsewhere.is_none()
    });
    reals
}

/// The interface, other than the uplink, that an address of `member` is routed out of, if that matters.
fn elsewhere<'a>(
    reverse: &'a ReversePath,
    member: &MemberRecord,
    address: IpAddr,
) -> Option<&'a str> {
    if member.public.contains(address) { None } else { reverse.elsewhere(address) }
}

/// Whether `member` is seen otherwise by these routes than by those.
pub fn is_rerouted(these: &ReversePath, those: &ReversePath, member: &MemberRecord) -> bool {
    member
        .private
        .iter()
        .any(|address| elsewhere(these, member, address) != elsewhere(those, member, address))
}
