//! `neti_ingress`: the filter, then real -> overlay.

use crate::{
    demux::{self, Names, demux},
    family::Family,
    filter::{Judged, What, arrive, judge},
    fragments,
    headers::{Ip, Part, Transport, flow, flow_in},
    hints, icmp,
    maps::{Ends, Member, Settings, Tuple},
    packet::Skb,
    rewrite::{self, Port},
    tables::Tables,
    twins,
    verdict::{Kind, Reason, Verdict},
};

/// Judges a packet that arrives on the uplink and gives it the names that its receiver knows.
#[inline(always)]
pub fn ingress<F: Family, P: Skb, T: Tables<F>>(packet: &mut P, tables: &T) -> Verdict {
    let Some(settings) = tables.settings() else { return Verdict::UNSET };
    let reason = match arrive(packet, tables, settings) {
        Err(reason) => reason,
        Ok(ip) => {
            let judged = judge(packet, tables, settings, &ip);
            if judged.reason.kind() == Kind::Pass {
                translate(packet, tables, settings, &ip, &judged).unwrap_or(Reason::RewriteFailed)
            } else {
                judged.reason
            }
        }
    };
    Verdict::of(reason, settings.mode)
}

/// `None` where the packet could not be rewritten.
#[inline(always)]
fn translate<F: Family, P: Skb, T: Tables<F>>(
    packet: &mut P,
    tables: &T,
    settings: &Settings<F>,
    ip: &Ip<F>,
    judged: &Judged<F>,
) -> Option<Reason> {
    let wire = Ends { peer: ip.src, own: ip.dst };
    let member = match judged.member {
        // Broadcasts, addresses of ours that the fleet does not know, and members without overlay address have one form
        // only.
        Some(member) if member.overlay_count != 0 && settings.is_own_real(&ip.dst) => Some(member),
        _ => None,
    };
    let (ends, port) = match (judged.what, member) {
        (What::Error(related), _) => return icmp::translate_in(packet, ip, &related),
        (What::Later(Some(first)), _) => (first, None),
        (What::Later(None), Some(member)) => (without_ports(settings, ip, member), None),
        (What::Packet(transport), Some(member)) => name(tables, settings, ip, &transport, member),
        (What::Later(None) | What::Packet(_) | What::Nothing, _) => (wire, None),
    };
    if ip.part == Part::First {
        fragments::keep(tables, ip, &ends);
    }
    if let Some(port) = port {
        rewrite::port(packet, ip, Port::Destination, port)?;
    }
    if !rewrite::is_same(ip, &ends) {
        rewrite::addresses(packet, ip, &ends.peer, &ends.own)?;
        return Some(Reason::Translated);
    }
    Some(judged.reason)
}

/// The names of a member's packet, and the port of its socket where the one on the wire is a twin's.
#[inline(always)]
fn name<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings<F>,
    ip: &Ip<F>,
    transport: &Transport,
    member: &Member<F>,
) -> (Ends<F>, Option<[u8; 2]>) {
    let flow = flow_in(ip, transport);
    let primary = &member.overlays[0];
    let key = hints::member_key(settings, &flow, primary);
    if let Some(twin) = twins::inbound(tables, &key) {
        if let Some((class, hint)) = hints::find(tables, &key, true) {
            hints::answered(tables, &key, class, hint);
        }
        return (twin.ends, Some(twin.port));
    }
    let names = Names::of(&flow, primary, settings);
    let found = demux(tables, settings, &key, &names, transport.kind);
    if let Some((class, hint)) = found.hint {
        hints::answered(tables, &key, class, hint);
    }
    (found.ends, None)
}

/// The names of a member's fragment whose first one was not seen.
#[inline(always)]
fn without_ports<F: Family>(settings: &Settings<F>, ip: &Ip<F>, member: &Member<F>) -> Ends<F> {
    let tuple = Tuple { src: ip.dst, dst: ip.src, sport: [0; 2], dport: [0; 2] };
    demux::default(settings, &Names::of(&flow(ip.protocol, tuple), &member.overlays[0], settings))
}
