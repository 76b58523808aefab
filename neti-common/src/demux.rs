//! Overlay or direct? On the wire both forms of a flow look the same; the socket table tells them apart.

use crate::{
    family::Family,
    headers::{Kind, TCP, UDP},
    hints,
    maps::{Ends, Flow, Hint, Settings, Tuple, identity},
    tables::{Class, Socket, Tables},
};

/// A form: which name a flow's sockets use for the peer and for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Form {
    Overlay,
    Real,
    /// The peer by its overlay address, we by our real one.
    OverlayPeer,
    /// The peer by its real address, we by our overlay one.
    OverlayOwn,
}

impl Form {
    /// The order in which they are tried: overlay is what neti is for, mixed forms are rare.
    pub const ALL: [Self; 4] = [Self::Overlay, Self::Real, Self::OverlayPeer, Self::OverlayOwn];
}

/// Both names of both ends of a member's flow, and its ports.
#[derive(Debug, Clone, Copy)]
pub struct Names<F: Family> {
    pub real: Ends<F>,
    pub overlay: Ends<F>,
    /// The peer's port, network order.
    pub peer_port: [u8; 2],
    /// Our own port, network order.
    pub own_port: [u8; 2],
}

impl<F: Family> Names<F> {
    /// The names of a flow as seen from here, on the wire; `primary` is the peer's primary overlay address.
    #[inline(always)]
    pub fn of(flow: &Flow<F>, primary: &F::Addr, settings: &Settings<F>) -> Self {
        Self {
            real: Ends { peer: flow.tuple.dst, own: flow.tuple.src },
            overlay: Ends { peer: *primary, own: settings.overlays[0] },
            peer_port: flow.tuple.dport,
            own_port: flow.tuple.sport,
        }
    }

    #[inline(always)]
    pub fn ends(&self, form: Form) -> Ends<F> {
        match form {
            Form::Overlay => self.overlay,
            Form::Real => self.real,
            Form::OverlayPeer => Ends { peer: self.overlay.peer, own: self.real.own },
            Form::OverlayOwn => Ends { peer: self.real.peer, own: self.overlay.own },
        }
    }

    /// The tuple of a packet from the peer, as the socket table takes it.
    #[inline(always)]
    pub fn tuple(&self, form: Form) -> Tuple<F> {
        let ends = self.ends(form);
        Tuple { src: ends.peer, dst: ends.own, sport: self.peer_port, dport: self.own_port }
    }
}

/// What a flow's lookups have found.
#[derive(Debug, Clone, Copy)]
pub struct Found<F: Family> {
    pub ends: Ends<F>,
    /// The socket behind it, connected or not.
    pub socket: Socket,
    /// The hint that named it.
    pub hint: Option<(Class, Hint<F>)>,
}

/// The names by which a member's flow is known to what receives it here. `key` is its [`hints::member_key`], `kind` the
/// packet's part in it.
#[inline(always)]
pub fn demux<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings<F>,
    key: &Flow<F>,
    names: &Names<F>,
    kind: Kind,
) -> Found<F> {
    let (found, connected) = match key.protocol {
        TCP | UDP => by_socket(tables, settings, names, key.protocol),
        _ => (Found { ends: default(settings, names), socket: Socket::None, hint: None }, false),
    };
    // A pure SYN begins a connection: no hint can be about it.
    if connected || kind == Kind::TcpSyn || kind == Kind::EchoRequest {
        return found;
    }
    match hints::find(tables, key, true) {
        Some((class, hint)) => Found { ends: hint.ends, hint: Some((class, hint)), ..found },
        None => found,
    }
}

/// What `inbound_identity` says of a flow that nothing else decides.
#[inline(always)]
pub fn default<F: Family>(settings: &Settings<F>, names: &Names<F>) -> Ends<F> {
    if settings.identity == identity::OVERLAY { names.overlay } else { names.real }
}

/// A connection in any form decides; then the one form that finds a socket on its very address; then the setting.
#[inline(always)]
fn by_socket<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings<F>,
    names: &Names<F>,
    protocol: u8,
) -> (Found<F>, bool) {
    let mut overlay = Socket::None;
    let mut real = Socket::None;
    for form in Form::ALL {
        let tuple = names.tuple(form);
        let socket =
            if protocol == TCP { tables.tcp_socket(&tuple) } else { tables.udp_socket(&tuple) };
        if matches!(socket, Socket::Live | Socket::HalfOpen) {
            return (Found { ends: names.ends(form), socket, hint: None }, true);
        }
        // The mixed forms find the same unconnected sockets as these two.
        match form {
            Form::Overlay => overlay = socket,
            Form::Real => real = socket,
            Form::OverlayPeer | Form::OverlayOwn => {}
        }
    }
    let (ends, socket) = match (overlay, real) {
        (Socket::Specific, real) if real != Socket::Specific => (names.overlay, overlay),
        (overlay, Socket::Specific) if overlay != Socket::Specific => (names.real, real),
        _ if settings.identity == identity::OVERLAY => (names.overlay, overlay),
        _ => (names.real, real),
    };
    (Found { ends, socket, hint: None }, false)
}
