//! `neti_ingress`: the filter, then real -> overlay.

use crate::{
    demux::{self, Names, demux},
    family::Family,
    filter::{Look, admit, arrive, later, look, unrelated},
    fragments,
    headers::{Ip, Part, Transport},
    hints, icmp,
    maps::{Ends, Member, Settings},
    packet::Skb,
    rewrite::{self, Port},
    tables::{Place, Tables},
    twins,
    verdict::{Reason, Verdict},
};

/// Judges a packet that arrives on the uplink and gives it the names that its receiver knows.
#[inline(always)]
pub fn ingress<F: Family, P: Skb, T: Tables<F>>(packet: &mut P, tables: &T) -> Verdict {
    let Some(settings) = tables.settings() else { return Verdict::UNSET };
    let reason = match arrive(packet, tables, settings) {
        Err(reason) => reason,
        Ok(header) => {
            let ip = Ip::read(packet, header);
            match ip.as_ref().and_then(|ip| tables.place(Place::Packet, ip)) {
                Some(ip) => receive(packet, tables, settings, ip),
                None => Reason::Malformed,
            }
        }
    };
    Verdict::of(reason, settings.mode)
}

/// What becomes of a packet, by the rules of [`crate::filter`].
#[inline(always)]
fn receive<F: Family, P: Skb, T: Tables<F>>(
    packet: &mut P,
    tables: &T,
    settings: &Settings<F>,
    ip: &Ip<F>,
) -> Reason {
    let member = tables.member(&ip.src);
    let admitted = member.is_some();
    // Broadcasts, addresses of ours that the fleet does not know, and members without overlay address have one form only.
    let member = member.filter(|member| member.overlay_count != 0 && settings.is_own_real(&ip.dst));
    match look(packet, settings, ip) {
        Look::At(reason) => reason,
        Look::Later => {
            let first = fragments::find(tables, ip);
            let reason = later(first.is_some(), admitted);
            match (first, member) {
                (Some(ends), _) => rename(packet, ip, &ends, reason),
                (None, Some(member)) => {
                    let names = names(settings, ip, &NO_PORTS, member);
                    rename(packet, ip, &names.ends(demux::default(settings)), reason)
                }
                (None, None) => reason,
            }
        }
        Look::Error => {
            let quoted = icmp::quote(packet, ip);
            let Some(quoted) = quoted.as_ref().and_then(|ip| tables.place(Place::Quoted, ip))
            else {
                let reason = icmp::unread(packet, settings, ip);
                return fragments::keep_as_it_is(
                    tables,
                    ip,
                    unrelated(tables, ip, admitted, reason),
                );
            };
            match icmp::related(packet, tables, settings, ip, quoted) {
                Ok(related) => icmp::translate_in(packet, ip, quoted, &related)
                    .unwrap_or(Reason::RewriteFailed),
                Err(reason) => {
                    fragments::keep_as_it_is(tables, ip, unrelated(tables, ip, admitted, reason))
                }
            }
        }
        Look::Packet(transport) => {
            let reason = admit(tables, settings, ip, &transport, admitted);
            match member {
                Some(member) => name(packet, tables, settings, ip, &transport, member),
                None => fragments::keep_as_it_is(tables, ip, reason),
            }
        }
    }
}

/// Gives a member's packet the names of its flow, and the port of its socket where the one on the wire is a twin's.
#[inline(always)]
fn name<F: Family, P: Skb, T: Tables<F>>(
    packet: &mut P,
    tables: &T,
    settings: &Settings<F>,
    ip: &Ip<F>,
    transport: &Transport,
    member: &Member<F>,
) -> Reason {
    let names = names(settings, ip, transport, member);
    let key = hints::member_key(settings, ip.protocol, &names);
    let ends = match twins::inbound(tables, &key) {
        Some(twin) => {
            if let Some((class, hint)) = hints::find(tables, &key, true) {
                hints::answered(tables, &key, class, &hint);
            }
            if rewrite::port(packet, ip, Port::Destination, twin.port()).is_none() {
                return Reason::RewriteFailed;
            }
            twin.ends
        }
        None => demux(tables, settings, &key, &names, transport.kind, true).ends,
    };
    if ip.part == Part::First {
        fragments::keep(tables, ip, &ends);
    }
    rename(packet, ip, &ends, Reason::Member)
}

/// Both names of both ends of a packet that a member sent to us.
#[inline(always)]
fn names<'a, F: Family>(
    settings: &'a Settings<F>,
    ip: &'a Ip<F>,
    transport: &Transport,
    member: &'a Member<F>,
) -> Names<'a, F> {
    Names {
        real_peer: &ip.src,
        real_own: &ip.dst,
        overlay_peer: &member.overlays[0],
        overlay_own: &settings.overlays[0],
        peer_port: transport.sport,
        own_port: transport.dport,
    }
}

/// What there is of a later fragment's transport.
const NO_PORTS: Transport =
    Transport { sport: [0; 2], dport: [0; 2], kind: crate::headers::Kind::Other };

/// Gives a packet that was let in for `reason` these ends.
#[inline(always)]
fn rename<F: Family, P: Skb>(packet: &mut P, ip: &Ip<F>, ends: &Ends<F>, reason: Reason) -> Reason {
    if rewrite::is_same(ip, ends) {
        return reason;
    }
    match rewrite::addresses(packet, ip, &ends.peer, &ends.own) {
        Some(()) => Reason::Translated,
        None => Reason::RewriteFailed,
    }
}
