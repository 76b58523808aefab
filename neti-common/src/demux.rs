//! Overlay or direct? On the wire both forms of a flow look the same; the socket table tells them apart.

use crate::{
    family::Family,
    headers::{Kind, TCP, UDP},
    hints,
    maps::{Ends, Flow, Settings, identity},
    tables::{Socket, Tables},
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
    /// Those with one end overlay and one real, which are rare.
    const MIXED: [Self; 2] = [Self::OverlayPeer, Self::OverlayOwn];
}

/// Both names of both ends of a member's flow, and its ports in network order. Names are looked at where they are: the
/// kernel's stack has no room for four IPv6 addresses more.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a, F: Family> {
    pub real_peer: &'a F::Addr,
    pub real_own: &'a F::Addr,
    /// The peer's primary overlay address.
    pub overlay_peer: &'a F::Addr,
    pub overlay_own: &'a F::Addr,
    pub peer_port: [u8; 2],
    pub own_port: [u8; 2],
}

impl<F: Family> Names<'_, F> {
    #[inline(always)]
    fn of(&self, form: Form) -> (&F::Addr, &F::Addr) {
        match form {
            Form::Overlay => (self.overlay_peer, self.overlay_own),
            Form::Real => (self.real_peer, self.real_own),
            Form::OverlayPeer => (self.overlay_peer, self.real_own),
            Form::OverlayOwn => (self.real_peer, self.overlay_own),
        }
    }

    #[inline(always)]
    pub fn ends(&self, form: Form) -> Ends<F> {
        let (peer, own) = self.of(form);
        Ends { peer: *peer, own: *own }
    }

    /// The flow in this form.
    #[inline(always)]
    pub fn flow(&self, form: Form, protocol: u8) -> Flow<F> {
        let (peer, own) = self.of(form);
        let (sport, dport) = (self.own_port, self.peer_port);
        Flow { src: *own, dst: *peer, sport, dport, protocol: protocol as u32 }
    }
}

/// What a flow's lookups have found.
#[derive(Debug, Clone, Copy)]
pub struct Found<F: Family> {
    pub ends: Ends<F>,
    /// The socket behind it, connected or not.
    pub socket: Socket,
    /// A hint has named it.
    pub hinted: bool,
}

/// The names by which a member's flow is known to what receives it here. `key` is its [`hints::member_key`], `kind` the
/// packet's part in it. A packet that is `received` answers the hint that names it.
#[inline(always)]
pub fn demux<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings<F>,
    key: &Flow<F>,
    names: &Names<F>,
    kind: Kind,
    received: bool,
) -> Found<F> {
    let (form, socket) = match key.transport() {
        transport @ (TCP | UDP) => by_socket(tables, settings, names, transport),
        _ => (default(settings), Socket::None),
    };
    let connected = matches!(socket, Socket::Live | Socket::HalfOpen);
    // A pure SYN begins a connection: no hint can be about it.
    if !connected
        && kind != Kind::TcpSyn
        && kind != Kind::EchoRequest
        && let Some((class, hint)) = hints::find(tables, key, true)
    {
        if received {
            hints::answered(tables, key, class, &hint);
        }
        return Found { ends: hint.ends, socket, hinted: true };
    }
    // A container's connection may be older than its peer's membership.
    if !connected
        && matches!(kind, Kind::Tcp | Kind::TcpClose)
        && hints::find(tables, &names.flow(Form::Real, TCP), false).is_some()
    {
        return Found { ends: names.ends(Form::Real), socket, hinted: true };
    }
    Found { ends: names.ends(form), socket, hinted: false }
}

/// What `inbound_identity` says of a flow that nothing else decides.
#[inline(always)]
pub fn default<F: Family>(settings: &Settings<F>) -> Form {
    if settings.identity == identity::OVERLAY { Form::Overlay } else { Form::Real }
}

/// A connection in any form decides; then the one form that finds a socket on its very address; then the setting.
#[inline(always)]
fn by_socket<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings<F>,
    names: &Names<F>,
    protocol: u8,
) -> (Form, Socket) {
    let find = |form| {
        let inbound = names.flow(form, protocol).reversed();
        tables.socket(protocol, &inbound)
    };
    let is_connected = |socket| matches!(socket, Socket::Live | Socket::HalfOpen);
    let overlay = find(Form::Overlay);
    if is_connected(overlay) {
        return (Form::Overlay, overlay);
    }
    let real = find(Form::Real);
    if is_connected(real) {
        return (Form::Real, real);
    }
    // They find the same unconnected sockets as the others.
    if tables.has_mixed() {
        for form in Form::MIXED {
            let socket = find(form);
            if is_connected(socket) {
                return (form, socket);
            }
        }
    }
    match (overlay, real) {
        (Socket::Specific, real) if real != Socket::Specific => (Form::Overlay, overlay),
        (overlay, Socket::Specific) if overlay != Socket::Specific => (Form::Real, real),
        _ if settings.identity == identity::OVERLAY => (Form::Overlay, overlay),
        _ => (Form::Real, real),
    }
}
