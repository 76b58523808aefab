//! Fragments: only the first one has ports, so what was decided for it holds for the others.

use crate::{
    family::Family,
    headers::{Ip, Part},
    maps::{Ends, Fragment, FragmentKey},
    tables::Tables,
    verdict::{Kind, Reason},
};

/// As long as the kernel waits for missing fragments (`IP_FRAG_TIME`), nanoseconds.
const LIFETIME: u64 = 30_000_000_000;

#[inline(always)]
fn key<F: Family>(ip: &Ip<F>) -> FragmentKey<F> {
    let protocol = if F::ID_PER_PROTOCOL { ip.protocol as u32 } else { 0 };
    FragmentKey { src: ip.src, dst: ip.dst, id: ip.id, protocol }
}

/// The ends that the first fragment of this datagram was let in with.
#[inline(always)]
pub fn find<F: Family, T: Tables<F>>(tables: &T, ip: &Ip<F>) -> Option<Ends<F>> {
    let fragment = tables.fragment(&key(ip))?;
    (tables.now().saturating_sub(fragment.seen) < LIFETIME).then_some(fragment.ends)
}

/// Keeps what was decided for the first fragment of a datagram that is let in.
#[inline(always)]
pub fn keep<F: Family, T: Tables<F>>(tables: &T, ip: &Ip<F>, ends: &Ends<F>) {
    tables.keep_fragment(&key(ip), &Fragment { seen: tables.now(), ends: *ends });
}

/// Keeps the names on the wire, if a first fragment is let in with them. Returns the `reason` for which the packet ends.
#[inline(always)]
pub fn keep_as_it_is<F: Family, T: Tables<F>>(tables: &T, ip: &Ip<F>, reason: Reason) -> Reason {
    // Of what is left to `neti_ingress` nothing is decided yet.
    if ip.part == Part::First && reason.kind() == Kind::Pass && reason != Reason::LeftToIngress {
        keep(tables, ip, &Ends { peer: ip.src, own: ip.dst });
    }
    reason
}
