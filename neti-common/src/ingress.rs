//! `neti_ingress`: the filter, then real -> overlay.

use crate::{
    demux::{self, Names, demux},
    family::Family,
    filter::{Look, admit, arrive, later, look, refusal, reply, unrelated},
    fragments,
    headers::{Ip, Kind, Part, Transport, flow},
    hints, icmp,
    maps::{Ends, Flow, Member, Settings, TwinIn, mode},
    packet::Skb,
    rewrite::{self, Port},
    rules::is_free,
    tables::{Place, Socket, Tables},
    twins,
    verdict::{self, Reason, Verdict},
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
    let peer = tables.member(&ip.src);
    // Broadcasts, addresses of ours that the fleet does not know, and members without overlay address have one form only.
    let member = peer.filter(|member| member.overlay_count != 0 && settings.is_own_real(&ip.dst));
    match look(packet, settings, ip) {
        Look::At(reason) => reason,
        Look::Later => {
            let first = fragments::find(tables, ip);
            let reason = later(first.is_some(), is_free(settings, peer));
            match (first, member) {
                (Some(ends), _) => rename(packet, ip, &ends, reason),
                (None, Some(member)) if reason == Reason::Member => {
                    let names = names(settings, ip, &NO_PORTS, member);
                    rename(packet, ip, &names.ends(demux::default(settings)), reason)
                }
                (None, _) => reason,
            }
        }
        Look::Error => {
            let quoted = icmp::quote(packet, ip);
            let Some(quoted) = quoted.as_ref().and_then(|ip| tables.place(Place::Quoted, ip))
            else {
                let reason = icmp::unread(packet, settings, ip);
                let reason = unrelated(tables, settings, ip, peer, reason);
                return fragments::keep_as_it_is(tables, ip, reason);
            };
            match icmp::related(packet, tables, settings, ip, quoted) {
                Ok(related) => icmp::translate_in(packet, ip, quoted, &related)
                    .unwrap_or(Reason::RewriteFailed),
                Err(reason) => {
                    let reason = unrelated(tables, settings, ip, peer, reason);
                    fragments::keep_as_it_is(tables, ip, reason)
                }
            }
        }
        Look::Packet(transport) => {
            let admitted = admit(tables, settings, ip, &transport, peer);
            let refused = admitted.is_some_and(|reason| reason.kind() == verdict::Kind::Refuse);
            // What `observe` lets pass reaches its socket as if it had been let in.
            if let Some(member) = member
                && !(refused && settings.mode == mode::ENFORCE)
            {
                return name(packet, tables, settings, ip, &transport, member, (admitted, refused));
            }
            let reason = match admitted {
                Some(reason) => reason,
                None => {
                    let named = peer.filter(|peer| peer.overlay_count != 0);
                    let key = match named {
                        Some(peer) => {
                            let names = names(settings, ip, &transport, peer);
                            hints::member_key(settings, ip.protocol, &names)
                        }
                        None => flow(ip, &transport).reversed(),
                    };
                    reply(tables, ip, &transport, peer, &key, named.is_some())
                }
            };
            fragments::keep_as_it_is(tables, ip, reason)
        }
    }
}

/// Gives a member's packet the names of its flow, and the port of its socket where the one on the wire is a twin's. If it
/// is neither admitted nor refused by the rules, it must be a reply; what is refused comes here under `observe` only.
#[inline(always)]
fn name<F: Family, P: Skb, T: Tables<F>>(
    packet: &mut P,
    tables: &T,
    settings: &Settings<F>,
    ip: &Ip<F>,
    transport: &Transport,
    member: &Member<F>,
    (admitted, mut refused): (Option<Reason>, bool),
) -> Reason {
    let names = names(settings, ip, transport, member);
    let key = hints::member_key(settings, ip.protocol, &names);
    let mut reason = admitted.unwrap_or(Reason::Reply);
    let ends = match twins::inbound(tables, &key) {
        Some(twin) => {
            let hint = hints::find(tables, &key, true);
            if let Some((class, hint)) = hint {
                hints::answered(tables, &key, class, &hint);
            } else if admitted.is_none() && !is_live(tables, &key, &twin) {
                (reason, refused) = (refusal(Some(member), transport), true);
                if settings.mode == mode::ENFORCE {
                    return reason;
                }
            }
            if rewrite::port(packet, ip, Port::Destination, twin.port()).is_none() {
                return Reason::RewriteFailed;
            }
            twin.ends
        }
        None => {
            let found = demux(tables, settings, &key, &names, transport.kind, true);
            // What has neither ports nor an identifier no hint can know.
            let is_reply =
                found.socket == Socket::Live || (found.hinted && transport.kind != Kind::Icmp);
            if admitted.is_none() && !is_reply {
                (reason, refused) = (refusal(Some(member), transport), true);
                if settings.mode == mode::ENFORCE {
                    return reason;
                }
            }
            found.ends
        }
    };
    if ip.part == Part::First {
        fragments::keep(tables, ip, &ends);
    }
    match rename(packet, ip, &ends, reason) {
        Reason::Translated if refused => reason,
        renamed => renamed,
    }
}

/// Whether the socket is still there that a twin's port belongs to.
#[inline(always)]
fn is_live<F: Family, T: Tables<F>>(tables: &T, key: &Flow<F>, twin: &TwinIn<F>) -> bool {
    let socket = Flow { src: twin.ends.own, dst: twin.ends.peer, sport: twin.port(), ..*key };
    tables.socket(key.transport(), &socket.reversed()) == Socket::Live
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
