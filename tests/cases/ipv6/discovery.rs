//! Neighbour discovery (RFC 4861) and listener discovery (RFC 3810), which a host cannot do without.

use neti_common::{
    family::{Family, V6},
    verdict::{Hook, Reason},
};

use crate::{
    Case,
    arriving::{at, at_both_hooks},
    leaving::{dropped, leaves},
    packet::Packet,
    scene::{
        Scene, come, host, observing_host, tagged,
        v6::{address, router_alert},
    },
};

type Addr = <V6 as Family>::Addr;

const LINK_LOCAL: Addr = address([0xfe80, 0, 0, 0, 0, 0, 0, 1]);
const OWN_LINK_LOCAL: Addr = address([0xfe80, 0, 0, 0, 0, 0, 0, 0x10]);
const ROUTERS: Addr = address([0xff02, 0, 0, 0, 0, 0, 0, 2]);
/// The group in which everyone asks for the host (RFC 4291 2.7.1).
const SOLICITED: Addr = address([0xff02, 0, 0, 0, 0, 1, 0xff00, 0x10]);
const REPORTS: Addr = address([0xff02, 0, 0, 0, 0, 0, 0, 0x16]);

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;

pub fn cases() -> Vec<Case<V6>> {
    [at_both_hooks(neighbours()), at_both_hooks(listeners()), leaving()].concat()
}

/// A message about these addresses, from the link itself.
fn about(kind: u8, src: Addr, dst: Addr, subjects: &[Addr]) -> Packet<V6> {
    let subjects: Vec<u8> = subjects.iter().flat_map(V6::octets).collect();
    Packet::icmp(src, dst, (kind, 0), [0; 4], &subjects).hops(255)
}

fn neighbours() -> Vec<Case<V6>> {
    let case = |name: &str, packet: &Packet<V6>| at(name, host(), packet);
    let discovered = |name, packet| case(name, &packet).ends(Reason::NeighbourDiscovery);
    let forged = |name, packet| case(name, &packet).ends(Reason::SpoofedOverlay);
    let unspecified = V6::UNSPECIFIED;
    let asked = || about(SOLICITATION, LINK_LOCAL, SOLICITED, &[V6::OWN]);
    let asked_overlay = || about(SOLICITATION, LINK_LOCAL, SOLICITED, &[V6::OWN_OVERLAY]);
    let mut cases = vec![
        discovered("a router solicitation", about(133, LINK_LOCAL, ROUTERS, &[])),
        discovered("a router advertisement", about(134, LINK_LOCAL, V6::EVERYONE, &[unspecified])),
        discovered("a neighbour solicitation", asked()),
        discovered(
            "a neighbour solicitation to us",
            about(SOLICITATION, V6::ROUTER, V6::OWN, &[V6::OWN]),
        ),
        discovered(
            "a solicitation that detects duplicates",
            about(SOLICITATION, unspecified, SOLICITED, &[V6::OWN]),
        ),
        discovered(
            "a neighbour advertisement",
            about(ADVERTISEMENT, V6::ROUTER, V6::OWN, &[V6::ROUTER]),
        ),
        discovered("a redirect", about(REDIRECT, LINK_LOCAL, V6::OWN, &[V6::NEAR, V6::STRANGER])),
        discovered(
            "a neighbour solicitation behind options",
            asked().options(&vec![router_alert()]),
        ),
        forged("a solicitation for our overlay address", asked_overlay()),
        forged(
            "a solicitation for our overlay address behind options",
            asked_overlay().options(&vec![router_alert()]),
        ),
        forged(
            "an advertisement of a member's overlay address",
            about(ADVERTISEMENT, LINK_LOCAL, V6::EVERYONE, &[V6::FAR_OVERLAY]),
        ),
        forged(
            "a redirect to an overlay address",
            about(REDIRECT, LINK_LOCAL, V6::OWN, &[V6::NOBODY, V6::STRANGER]),
        ),
        forged(
            "a redirect of an overlay address",
            about(REDIRECT, LINK_LOCAL, V6::OWN, &[LINK_LOCAL, V6::FAR_OVERLAY]),
        ),
        forged(
            "a solicitation from an overlay address",
            about(SOLICITATION, V6::FAR_OVERLAY, SOLICITED, &[V6::OWN]),
        ),
        at("a solicitation for our overlay address, observed", observing_host(), &asked_overlay())
            .ends(Reason::SpoofedOverlay),
        Case::new(
            "a solicitation under a priority tag",
            Hook::Ingress,
            host(),
            tagged(&come(&asked()), &[0]),
        )
        .ends(Reason::NeighbourDiscovery),
    ];
    for kind in 133..=137 {
        let far = |src: Addr| about(kind, src, V6::OWN, &[V6::OWN, V6::OWN]).hops(254);
        cases.push(
            case(&format!("ICMP {kind} that was forwarded"), &far(V6::STRANGER))
                .ends(Reason::Stranger),
        );
        cases.push(
            case(&format!("a member's ICMP {kind} that was forwarded"), &far(V6::FAR))
                .ends(Reason::Member),
        );
    }
    cases
}

/// A message of listener discovery about a group.
fn listening(kind: u8, src: Addr, dst: Addr) -> Packet<V6> {
    Packet::icmp(src, dst, (kind, 0), [0; 4], &V6::octets(&SOLICITED)).hops(1)
}

fn listeners() -> Vec<Case<V6>> {
    let alert = vec![router_alert()];
    let mut cases = Vec::new();
    for (kind, what) in [(130, "query"), (131, "report"), (132, "done"), (143, "second report")] {
        let heard = |name: String, src, hops, reason| {
            let packet = listening(kind, src, REPORTS).options(&alert).hops(hops);
            at(format!("a listener {what} {name}"), host(), &packet).ends(reason)
        };
        cases.extend([
            heard("from the link".into(), LINK_LOCAL, 1, Reason::ListenerDiscovery),
            heard("from nobody yet".into(), V6::UNSPECIFIED, 1, Reason::ListenerDiscovery),
            heard("that may go further".into(), LINK_LOCAL, 2, Reason::Stranger),
            heard("from an overlay address".into(), V6::FAR_OVERLAY, 1, Reason::SpoofedOverlay),
            // It may have come over routers: a hop limit of 1 is what is left, not what it began with.
            heard("from afar".into(), V6::STRANGER, 1, Reason::Stranger),
        ]);
    }
    cases
}

fn leaving() -> Vec<Case<V6>> {
    let alert = vec![router_alert()];
    let asked = |src, target| about(SOLICITATION, src, SOLICITED, &[target]);
    let told = |src, target| about(ADVERTISEMENT, src, V6::EVERYONE, &[target]);
    let overlay = V6::OWN_OVERLAY;
    vec![
        leaves("a solicitation", &asked(OWN_LINK_LOCAL, V6::NEAR)),
        leaves("a solicitation that detects duplicates", &asked(V6::UNSPECIFIED, V6::OWN)),
        leaves("an advertisement", &told(V6::OWN, V6::OWN)),
        leaves("a router solicitation", &about(133, OWN_LINK_LOCAL, ROUTERS, &[])),
        leaves("a listener report", &listening(143, OWN_LINK_LOCAL, REPORTS).options(&alert)),
        dropped(
            "a solicitation for an overlay address",
            &asked(OWN_LINK_LOCAL, V6::FAR_OVERLAY),
            Reason::UnknownOverlay,
        ),
        dropped(
            "an advertisement of our overlay address",
            &told(OWN_LINK_LOCAL, overlay),
            Reason::UnknownOverlay,
        ),
        dropped(
            "a solicitation in the overlay's name",
            &asked(overlay, V6::NEAR),
            Reason::OverlaySource,
        ),
        dropped(
            "a redirect of an overlay address",
            &about(REDIRECT, OWN_LINK_LOCAL, V6::NEAR, &[V6::FAR, V6::FAR_OVERLAY]),
            Reason::UnknownOverlay,
        ),
        dropped(
            "a listener report in the overlay's name",
            &listening(143, overlay, REPORTS).options(&alert),
            Reason::OverlaySource,
        ),
    ]
}
