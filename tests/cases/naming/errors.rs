//! Errors that routers and peers send about packets of ours.

use neti_common::{
    headers::{TCP, UDP},
    tables::Class,
    verdict::Reason,
};

use crate::{
    Case,
    arriving::{PEER, PORT, at},
    packet::{ACK, Packet},
    scene::{Scene, come, ends, hint, host, host_with, member_flow},
};

pub fn cases<F: Scene>() -> Vec<Case<F>> {
    let connected = |protocol, ends| host_with(|world| world.connect(protocol, ends, PORT, PEER));
    let overlay = ends(F::FAR_OVERLAY, F::OWN_OVERLAY);
    let sent = |own, peer| Packet::tcp((own, PORT), (peer, PEER), ACK);
    let asked = |own, peer| Packet::udp((own, PORT), (peer, PEER));
    let pinged = host();
    hint(&pinged, Class::LocalMember, member_flow(F::ICMP, 9, (F::FAR_OVERLAY, 9)), overlay, 1);
    let told = |case: Case<F>| case.ends(Reason::IcmpError);
    vec![
        told(
            at(
                "a router on an overlay connection",
                connected(TCP, overlay),
                &Packet::too_big(F::ROUTER, F::OWN, sent(F::OWN, F::FAR)),
            )
            .becomes(come::<F>(&Packet::too_big(
                F::ROUTER,
                F::OWN_OVERLAY,
                sent(F::OWN_OVERLAY, F::FAR_OVERLAY),
            ))),
        ),
        told(at(
            "a router on a direct connection",
            connected(TCP, ends(F::FAR, F::OWN)),
            &Packet::too_big(F::ROUTER, F::OWN, sent(F::OWN, F::FAR)),
        )),
        told(
            at(
                "a peer on our overlay question",
                connected(UDP, overlay),
                &Packet::port_unreachable(F::FAR, F::OWN, asked(F::OWN, F::FAR)),
            )
            .becomes(come::<F>(&Packet::port_unreachable(
                F::FAR_OVERLAY,
                F::OWN_OVERLAY,
                asked(F::OWN_OVERLAY, F::FAR_OVERLAY),
            ))),
        ),
        told(
            at(
                "a router on an overlay ping",
                pinged,
                &Packet::error(
                    F::ROUTER,
                    F::OWN,
                    F::TIME_EXCEEDED,
                    Packet::ping(F::OWN, F::FAR, 9),
                    usize::MAX,
                ),
            )
            .becomes(come::<F>(&Packet::error(
                F::ROUTER,
                F::OWN_OVERLAY,
                F::TIME_EXCEEDED,
                Packet::ping(F::OWN_OVERLAY, F::FAR_OVERLAY, 9),
                usize::MAX,
            ))),
        ),
        told(at(
            "a stranger on our connection to it",
            connected(TCP, ends(F::STRANGER, F::OWN)),
            &Packet::too_big(F::ROUTER, F::OWN, sent(F::OWN, F::STRANGER)),
        )),
        at(
            "about a connection that we do not have",
            host(),
            &Packet::too_big(F::ROUTER, F::OWN, sent(F::OWN, F::STRANGER)),
        )
        .ends(Reason::IcmpUnrelated),
        at(
            "about a packet that somebody else sent",
            connected(TCP, ends(F::STRANGER, F::OWN)),
            &Packet::too_big(F::ROUTER, F::OWN, sent(F::NEIGHBOUR, F::STRANGER)),
        )
        .ends(Reason::IcmpUnrelated),
        at(
            "a quote cut short",
            host(),
            &Packet::error(F::ROUTER, F::OWN, F::TOO_BIG, sent(F::OWN, F::STRANGER), 12),
        )
        .ends(Reason::IcmpUnrelated),
    ]
}
