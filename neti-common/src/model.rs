//! A host as plain data: [`World`] answers what the kernel's maps and socket table would, for tests of the packet logic
//! and for those that compare it with the loaded programs.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use crate::{
    family::Family,
    headers::{TCP, UDP},
    maps::{
        DropKey, Dropped, Endpoint, Ends, Flow, Fragment, FragmentKey, Hint, Member, Path, Prefix,
        Range, RangeKey, Settings, SubjectKey, TwinIn, TwinOut, hops::Mac, path_flag, service,
    },
    ropes::{self, Ropes},
    tables::{Class, Socket, Tables},
};

/// A socket of the host. Ports in native order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenSocket<F: Family> {
    /// [`TCP`] or [`UDP`].
    pub protocol: u8,
    /// `None` is bound to all addresses.
    pub local: Option<F::Addr>,
    pub port: u16,
    /// Of a connection.
    pub peer: Option<(F::Addr, u16)>,
    /// A connection that our listener has not been told of yet.
    pub half_open: bool,
}

/// Hints by class and flow on the wire.
pub type Hints<F> = BTreeMap<(Class, Flow<F>), Hint<F>>;

/// Rules of a host, as tests write them: a class is the set of sets that a service is in.
#[derive(Debug, Clone)]
pub struct Rules<F: Family> {
    /// Ranges of [`service`]s, by the number of their set.
    pub sets: Vec<Vec<RangeInclusive<u32>>>,
    /// Source prefixes and their sets.
    pub prefixes: BTreeMap<ropes::Prefix<F>, u32>,
    pub subjects: BTreeMap<SubjectKey, u32>,
}

impl<F: Family> Default for Rules<F> {
    fn default() -> Self {
        // What is open to anyone.
        Self { sets: vec![Vec::new()], prefixes: BTreeMap::new(), subjects: BTreeMap::new() }
    }
}

impl<F: Family> Rules<F> {
    /// The class of a service.
    pub fn class(&self, service: u32) -> u32 {
        let sets = self.sets.iter().enumerate();
        let within = sets.filter(|(_, set)| set.iter().any(|range| range.contains(&service)));
        within.map(|(n, _)| 1 << n).sum()
    }

    /// Whether a class is in a set.
    pub fn has_class(&self, set: u32, class: u32) -> bool {
        (set as usize) < self.sets.len() && class >> set & 1 != 0
    }

    /// Makes a set of these services.
    pub fn set(&mut self, services: RangeInclusive<u32>) -> u32 {
        self.sets.push(vec![services]);
        self.sets.len() as u32 - 1
    }
}

/// The tables of one host.
#[derive(Debug, Clone)]
pub struct World<F: Family> {
    pub settings: Settings<F>,
    pub members: BTreeMap<F::Addr, Member<F>>,
    pub paths: BTreeMap<F::Addr, Path<F>>,
    pub rules: Rules<F>,
    pub vlans: BTreeSet<u16>,
    pub sockets: Vec<OpenSocket<F>>,
    pub hints: RefCell<Hints<F>>,
    pub drops: RefCell<BTreeMap<DropKey<F>, Dropped>>,
    pub fragments: RefCell<Vec<(FragmentKey<F>, Fragment<F>)>>,
    pub twins_out: RefCell<BTreeMap<Flow<F>, TwinOut>>,
    pub twins_in: RefCell<BTreeMap<Flow<F>, TwinIn<F>>>,
    /// Whether sockets may have names of a mixed form.
    pub mixed: Cell<bool>,
    /// Where packets to these peers went a moment ago.
    pub hops: RefCell<BTreeMap<F::Addr, [u8; 6]>>,
    /// How many twins there is room for.
    pub twin_room: usize,
    pub now: Cell<u64>,
}

impl<F: Family> World<F> {
    /// A host that has these addresses and knows nobody; `range` is the fleet's overlay range.
    pub fn new(real: F::Addr, overlay: F::Addr, range: Prefix<F>) -> Self {
        let mut settings =
            Settings { valid: 1, twin_first: 61_000, twin_last: 61_999, ..Settings::UNSET };
        settings.reals[0] = real;
        settings.overlays[0] = overlay;
        settings.ranges[0] = range;
        Self {
            settings,
            members: BTreeMap::new(),
            paths: BTreeMap::new(),
            rules: Rules::default(),
            vlans: BTreeSet::new(),
            sockets: Vec::new(),
            hints: RefCell::default(),
            drops: RefCell::default(),
            fragments: RefCell::default(),
            twins_out: RefCell::default(),
            twins_in: RefCell::default(),
            mixed: Cell::new(true),
            hops: RefCell::default(),
            twin_room: 1_000,
            now: Cell::new(1_000_000_000_000),
        }
    }

    /// Adds a member; packets for it go to the first of its real addresses.
    pub fn add_member(&mut self, overlay: F::Addr, reals: &[F::Addr], on_link: bool) {
        let host = self.paths.len() as u32 + 1;
        let mut member = Member {
            real: F::UNSPECIFIED,
            overlays: Settings::<F>::UNSET.overlays,
            host,
            generation: 1,
            role: 0,
            overlay_count: 1,
            flags: 0,
            _pad: [0; 2],
        };
        member.overlays[0] = overlay;
        let mut path = Path {
            overlay,
            real: reals[0],
            reals: Settings::<F>::UNSET.reals,
            primary: overlay,
            host,
            generation: 1,
            flags: if on_link { path_flag::REDIRECT } else { 0 },
            _pad: [0; 7],
        };
        for (slot, &real) in path.reals.iter_mut().zip(reals) {
            *slot = real;
            self.members.insert(real, Member { real, ..member });
        }
        self.paths.insert(overlay, path);
    }

    pub fn add_endpoint(&mut self, address: F::Addr, port: u16) {
        let free =
            self.settings.endpoints.iter_mut().find(|endpoint| endpoint.address == F::UNSPECIFIED);
        if let Some(slot) = free {
            *slot = Endpoint { address, port: port.to_be_bytes(), _pad: [0; 6] };
        }
    }

    /// Lets a source prefix of `length` bits reach services.
    pub fn allow(&mut self, length: u32, network: F::Addr, services: RangeInclusive<u32>) {
        let set = self.rules.set(services);
        self.rules.prefixes.insert((length, network), set);
        let ropes = Ropes::<F>::new(&self.rules.prefixes);
        (self.settings.rope, self.settings.anywhere) = (ropes.rope, ropes.anywhere);
    }

    /// Opens a port to anyone.
    pub fn open(&mut self, protocol: u8, port: u16) {
        let service = service::of(protocol, port);
        self.rules.sets[0].push(service..=service);
    }

    pub fn listen(&mut self, protocol: u8, local: Option<F::Addr>, port: u16) {
        self.sockets.push(OpenSocket { protocol, local, port, peer: None, half_open: false });
    }

    pub fn connect(&mut self, protocol: u8, ends: Ends<F>, port: u16, peer_port: u16) {
        let (local, peer) = (Some(ends.own), Some((ends.peer, peer_port)));
        self.sockets.push(OpenSocket { protocol, local, port, peer, half_open: false });
    }

    fn socket(&self, protocol: u8, inbound: &Flow<F>) -> Socket {
        let port = u16::from_be_bytes(inbound.dport);
        let peer = (inbound.src, u16::from_be_bytes(inbound.sport));
        let candidates = || {
            self.sockets
                .iter()
                .filter(move |socket| socket.protocol == protocol && socket.port == port)
        };
        let of_peer = |socket: &&OpenSocket<F>| {
            socket.local == Some(inbound.dst) && socket.peer == Some(peer)
        };
        if let Some(socket) = candidates().find(of_peer) {
            return if socket.half_open { Socket::HalfOpen } else { Socket::Live };
        }
        let unconnected =
            |local| candidates().any(move |socket| socket.peer.is_none() && socket.local == local);
        if unconnected(Some(inbound.dst)) {
            Socket::Specific
        } else if unconnected(None) {
            Socket::Wildcard
        } else {
            Socket::None
        }
    }
}

impl<F: Family> Tables<F> for World<F> {
    fn settings(&self) -> Option<&Settings<F>> {
        Some(&self.settings).filter(|settings| settings.valid != 0)
    }

    fn member(&self, real: &F::Addr) -> Option<&Member<F>> {
        self.members.get(real)
    }

    fn path(&self, overlay: &F::Addr) -> Option<&Path<F>> {
        self.paths.get(overlay)
    }

    fn range(&self, key: &RangeKey<F>) -> Option<Range> {
        Ropes::new(&self.rules.prefixes).get(key)
    }

    fn class(&self, _: u32, service: u32) -> u32 {
        self.rules.class(service)
    }

    fn has_class(&self, _: u32, set: u32, class: u32) -> bool {
        self.rules.has_class(set, class)
    }

    fn subject(&self, key: &SubjectKey) -> Option<u32> {
        self.rules.subjects.get(key).copied()
    }

    fn has_vlan(&self, id: u16) -> bool {
        self.vlans.contains(&id)
    }

    fn tcp_socket(&self, inbound: &Flow<F>) -> Socket {
        self.socket(TCP, inbound)
    }

    fn udp_socket(&self, inbound: &Flow<F>) -> Socket {
        self.socket(UDP, inbound)
    }

    fn hint(&self, class: Class, flow: &Flow<F>) -> Option<Hint<F>> {
        self.hints.borrow().get(&(class, *flow)).copied()
    }

    fn keep_hint(&self, class: Class, flow: &Flow<F>, hint: &Hint<F>) {
        self.hints.borrow_mut().insert((class, *flow), *hint);
    }

    fn update_hint(&self, class: Class, flow: &Flow<F>, seen: u64, state: u64) {
        if let Some(hint) = self.hints.borrow_mut().get_mut(&(class, *flow)) {
            (hint.seen, hint.state) = (seen, state);
        }
    }

    fn fragment(&self, key: &FragmentKey<F>) -> Option<Fragment<F>> {
        self.fragments
            .borrow()
            .iter()
            .rev()
            .find(|(kept, _)| kept == key)
            .map(|(_, fragment)| *fragment)
    }

    fn keep_fragment(&self, key: &FragmentKey<F>, fragment: &Fragment<F>) {
        self.fragments.borrow_mut().push((*key, *fragment));
    }

    fn note(&self, key: &DropKey<F>, would: bool) {
        let mut drops = self.drops.borrow_mut();
        let dropped = drops.entry(*key).or_default();
        dropped.packets += 1;
        dropped.would += u64::from(would);
        dropped.seen = self.now.get();
    }

    fn noted(&self, key: &DropKey<F>) -> Option<u64> {
        self.drops.borrow().get(key).map(|dropped| dropped.seen)
    }

    fn has_mixed(&self) -> bool {
        self.mixed.get()
    }

    fn note_mixed(&self) {
        self.mixed.set(true);
    }

    fn hop(&self, real: &F::Addr) -> Option<Mac> {
        self.hops.borrow().get(real).copied().and_then(Mac::new)
    }

    fn keep_hop(&self, real: &F::Addr, address: [u8; 6]) {
        self.hops.borrow_mut().insert(*real, address);
    }

    fn has_twins(&self) -> bool {
        !self.twins_out.borrow().is_empty()
    }

    fn twin_out(&self, flow: &Flow<F>) -> Option<TwinOut> {
        self.twins_out.borrow().get(flow).copied()
    }

    fn twin_in(&self, flow: &Flow<F>) -> Option<TwinIn<F>> {
        self.twins_in.borrow().get(flow).copied()
    }

    fn keep_twin_in(&self, wire: &Flow<F>, twin: &TwinIn<F>) {
        if self.twin_room > 0 {
            self.twins_in.borrow_mut().insert(*wire, *twin);
        }
    }

    fn claim_twin(&self, wire: &Flow<F>, twin: &TwinIn<F>) -> bool {
        let mut twins = self.twins_in.borrow_mut();
        if twins.contains_key(wire) || twins.len() >= self.twin_room {
            return false;
        }
        twins.insert(*wire, *twin);
        true
    }

    fn keep_twin_out(&self, socket: &Flow<F>, wire: &Flow<F>) -> bool {
        self.twins_out.borrow_mut().insert(*socket, TwinOut { port: wire.sport, _pad: [0; 2] });
        true
    }

    fn now(&self) -> u64 {
        self.now.get()
    }

    fn random(&self) -> u32 {
        0
    }
}
