//! `neti_egress`: overlay -> real. What it keeps of flows that begin is in [`remember`].

mod remember;

use remember::{SourcePort, remember};

use network_types::eth::EthHdr;

use crate::{
    family::{Family, LinkMessage},
    filter::{ARP_SENDER, ARP_TARGET, HEADERS},
    headers::{
        Carried, Ip, Kind, Part, TCP, UDP, carried, ethertype, is_to_or_from_overlay, link_message,
        names_overlay, transport,
    },
    icmp,
    maps::{Path, Settings, path_flag},
    packet::{Packet, Skb},
    rewrite::{self, Port},
    tables::{Place, Tables},
    twins,
    verdict::{Reason, Verdict},
};

/// Gives a packet that leaves by the uplink the addresses it has on the wire. No overlay address gets past it.
#[inline(always)]
pub fn egress<F: Family, P: Skb, T: Tables<F>>(packet: &mut P, tables: &T) -> Verdict {
    let Some(settings) = tables.settings() else { return Verdict::UNSET };
    packet.pull(HEADERS + F::HEADER);
    let Carried { ethertype, l3 } = match carried(packet) {
        Ok(carried) => carried,
        Err(Reason::TooManyTags) => return Verdict::drop(Reason::TooManyTags),
        Err(_) => return Verdict::pass(Reason::NotOurs),
    };
    if ethertype == F::ETHERTYPE {
        let header = match F::parse(packet, l3, false) {
            Ok(header) => header,
            // An overlay address may stand where nobody has looked, and no host needs as much.
            Err(Reason::LongChain) => return Verdict::drop(Reason::LongChain),
            Err(Reason::RoutingHeader)
                if has_overlay_option(packet, settings, l3, l3 + F::MAX_HEADER) =>
            {
                return Verdict::drop(Reason::OverlayOption);
            }
            Err(_) => return unparsed(packet, settings, l3),
        };
        let ip = Ip::read(packet, header);
        return match ip.as_ref().and_then(|ip| tables.place(Place::Packet, ip)) {
            Some(ip) => leave(packet, tables, settings, ip),
            None => Verdict::pass(Reason::NotOurs),
        };
    }
    match ethertype {
        _ if Some(ethertype) == F::RESOLUTION => arp(packet, settings, l3),
        ethertype::IPV6 => Verdict::drop(Reason::Ipv6),
        _ => Verdict::pass(Reason::NotOurs),
    }
}

/// A packet that was redirected comes again, with the address of its next hop.
#[inline(always)]
pub fn egress_again<F: Family, P: Packet, T: Tables<F>>(packet: &P, tables: &T) {
    let ethertype: Option<[u8; 2]> = packet.load(EthHdr::LEN - 2);
    if ethertype == Some(F::ETHERTYPE.to_be_bytes())
        && let Some(peer) = packet.load(EthHdr::LEN + F::DST)
        && let Some(address) = packet.load(0)
    {
        tables.keep_hop(&peer, address);
    }
}

/// The stack asks for a neighbour in the name of the packet that waits for it (`arp_solicit`), which is not rewritten
/// yet, and would answer for any address of ours.
#[inline(always)]
fn arp<F: Family, P: Skb>(packet: &mut P, settings: &Settings<F>, l3: usize) -> Verdict {
    let (Some(sender), Some(target)) = (packet.load(l3 + ARP_SENDER), packet.load(l3 + ARP_TARGET))
    else {
        return Verdict::pass(Reason::NotOurs);
    };
    if settings.is_overlay(&target) {
        return Verdict::drop(Reason::UnknownOverlay);
    }
    if !settings.is_overlay(&sender) {
        return Verdict::pass(Reason::Link);
    }
    let is_request = packet.load::<[u8; 2]>(l3 + ARP_OPERATION) == Some([0, 1]);
    if !is_request || !settings.is_own_overlay(&sender) {
        return Verdict::drop(Reason::OverlaySource);
    }
    match packet.store(l3 + ARP_SENDER, &settings.reals[0]) {
        Some(()) => Verdict::pass(Reason::Translated),
        None => Verdict::drop(Reason::RewriteFailed),
    }
}

const ARP_OPERATION: usize = 6;

/// A header that we cannot read goes out as it is unless an overlay address stands where one would be read.
#[inline(always)]
fn unparsed<F: Family, P: Skb>(packet: &P, settings: &Settings<F>, l3: usize) -> Verdict {
    if is_to_or_from_overlay(packet, settings, l3) {
        return Verdict::drop(Reason::OverlaySource);
    }
    Verdict::pass(Reason::NotOurs)
}

/// Whether an overlay address stands in the options of the header from `l3` to `l4`. All ranges are compared, used or not:
/// the verifier would follow each way out of [`Settings::is_overlay`] at each of the places where one may stand.
#[inline(always)]
fn has_overlay_option<F: Family, P: Skb>(
    packet: &P,
    settings: &Settings<F>,
    l3: usize,
    l4: usize,
) -> bool {
    F::any_option(packet, l3, l4, |address| {
        settings.ranges.iter().any(|range| range.contains(address))
    })
}

/// A packet that leaves, its ends as on the wire, and its path where the peer is a member.
struct Leaving<'a, F: Family> {
    ip: &'a Ip<F>,
    /// By value, which the verifier forgets the origin of.
    peer: F::Addr,
    own: F::Addr,
    path: Option<&'a Path<F>>,
    forwarded: bool,
}

impl<F: Family> Leaving<'_, F> {
    fn is_translated(&self) -> bool {
        self.peer != self.ip.dst || self.own != self.ip.src
    }

    /// Whether its socket, if there is one, has names of a mixed form.
    #[inline(always)]
    fn is_mixed(&self) -> bool {
        !self.forwarded
            && self.is_translated()
            && (self.peer == self.ip.dst || self.own == self.ip.src)
    }
}

#[inline(always)]
fn leave<F: Family, P: Skb, T: Tables<F>>(
    packet: &mut P,
    tables: &T,
    settings: &Settings<F>,
    ip: &Ip<F>,
) -> Verdict {
    let leaving = match resolve(tables, settings, ip, packet.is_forwarded()) {
        Ok(leaving) => leaving,
        Err(reason) => return Verdict::drop(reason),
    };
    // `ip_options_build` records the overlay route's source address.
    if has_overlay_option(packet, settings, ip.l3, ip.l4) {
        return Verdict::drop(Reason::OverlayOption);
    }
    let mut port = SourcePort::own([0; 2]);
    if ip.part != Part::Later
        && let Some(transport) = transport(packet, ip)
    {
        if transport.kind == Kind::Link
            && let Some(LinkMessage::About(count)) = link_message(packet, ip)
            && names_overlay(packet, settings, ip, count) == Some(true)
        {
            return Verdict::drop(Reason::UnknownOverlay);
        }
        if transport.kind == Kind::IcmpError
            && let Err(reason) = icmp::translate_out(packet, tables, settings, ip)
        {
            return Verdict::drop(reason);
        }
        if matches!(ip.protocol, TCP | UDP) && leaving.is_mixed() {
            tables.note_mixed();
        }
        if let Err(reason) = remember(packet, tables, settings, &leaving, &transport, &mut port) {
            return match transport.kind {
                Kind::TcpSyn if twins::refuse(packet, ip).is_some() => Verdict::reset(reason),
                _ => Verdict::drop(reason),
            };
        }
    }
    rewrite(packet, tables, &leaving, port).unwrap_or(Verdict::drop(Reason::RewriteFailed))
}

/// Where a packet goes and what it is called on the wire.
#[inline(always)]
fn resolve<'a, F: Family, T: Tables<F>>(
    tables: &'a T,
    settings: &'a Settings<F>,
    ip: &'a Ip<F>,
    forwarded: bool,
) -> Result<Leaving<'a, F>, Reason> {
    let from_overlay = settings.is_overlay(&ip.src);
    if from_overlay && !settings.is_own_overlay(&ip.src) {
        return Err(Reason::OverlaySource);
    }
    let own = if from_overlay { settings.reals[0] } else { ip.src };
    if settings.is_overlay(&ip.dst) {
        let path = tables.path(&ip.dst).ok_or(Reason::UnknownOverlay)?;
        return Ok(Leaving { ip, peer: path.real, own, path: Some(path), forwarded });
    }
    if from_overlay && tables.translated(&ip.dst).is_none() {
        return Err(Reason::OverlaySource);
    }
    Ok(Leaving { ip, peer: ip.dst, own, path: None, forwarded })
}

#[inline(always)]
fn rewrite<F: Family, P: Skb, T: Tables<F>>(
    packet: &mut P,
    tables: &T,
    leaving: &Leaving<F>,
    port: SourcePort,
) -> Option<Verdict> {
    if port.is_twin {
        rewrite::port(packet, leaving.ip, Port::Source, port.port)?;
    }
    let mut verdict = Verdict::pass(Reason::NotOurs);
    if leaving.is_translated() {
        rewrite::addresses(packet, leaving.ip, &leaving.own, &leaving.peer)?;
        verdict = match leaving.path {
            Some(path) if path.flags & path_flag::REDIRECT != 0 => match tables.hop(&path.real) {
                Some(address) => {
                    packet.store(0, &address.bytes())?;
                    Verdict::pass(Reason::Redirected)
                }
                None => Verdict::redirect(),
            },
            _ => Verdict::pass(Reason::Translated),
        };
    }
    if port.is_shared {
        verdict.reason = Reason::PortShared;
    }
    Some(verdict)
}
