//! A case as a real frame: put on the wire before the host, or sent by the host onto it, with the programs attached, and
//! looked for on the other side.
//!
//! What arrives is seen twice: as a frame, by a packet socket of its EtherType, which the kernel asks after the programs
//! (`__netif_receive_skb_core`), and, as far as it is a whole datagram for the host, by a raw socket, which gets what the
//! kernel's own IP has let through. What leaves is seen on the wire, up to a marker sent after it.

use std::{io::Read, time::Duration};

use anyhow::{Context, Result, ensure};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType, Xdp, XdpMode, tc::TcAttachOptions};
use etherparse::IpSlice;
use harness::{PATIENCE, packets::Wire, within};
use neti_common::verdict::{Action, Hook};
use neti_userspace::loader::program;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    Case, same_bytes,
    scene::{NEAR_MAC, OWN_MAC, ROUTER_MAC, Scene, frame},
    stage::{Sockets, Stage, UPLINK, WIRE, counted_one, text},
};

/// Protocols of the cases that a raw socket is opened for.
const PROTOCOLS: [u8; 5] = [1, 6, 17, 58, 132];
/// The host's interface with the guard.
const BESIDE: &str = "eth1";
/// For experiments (IEEE 802); the marker carries a number.
const MARKER: u16 = 0x88b6;

pub struct LiveWire<F: Scene> {
    /// The programs of tc on one host, XDP's on another: it would take away from tc what it drops.
    tc: Host<F>,
    xdp: Host<F>,
    markers: u32,
}

struct Host<F: Scene> {
    stage: Stage<F>,
    /// The uplink, from inside and from the far end.
    inside: Wire,
    outside: Wire,
    /// Another interface, from the far end.
    beside: Wire,
    /// Gets the frames of the family that are let in.
    frames: Socket,
    /// Get the datagrams: of IPv4 with their header, of IPv6 without.
    datagrams: Vec<Socket>,
}

impl<F: Scene> Host<F> {
    fn new(attach: impl FnOnce(&mut Stage<F>) -> Result<()>) -> Result<Self> {
        let mut stage = Stage::new()?;
        stage.host.veth(BESIDE, &stage.peer, "outer")?;
        // One frame does for both interfaces.
        stage.host.ip(&format!("link set {BESIDE} address {}", text(OWN_MAC)))?;
        stage.host.sysctl(&format!("net.ipv4.conf.{BESIDE}.rp_filter"), "0")?;
        attach(&mut stage)?;
        let inside = Wire::open(&stage.host, UPLINK)?;
        let outside = Wire::open(&stage.peer, WIRE)?;
        let beside = Wire::open(&stage.peer, "outer")?;
        let open = |domain, protocol: i32| -> std::io::Result<Socket> {
            let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(protocol)))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let domain = if F::to_ip(&F::OWN).is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let (frames, datagrams) = stage.host.run(|| -> std::io::Result<_> {
            let frames = open(Domain::PACKET, F::ETHERTYPE.to_be().into())?;
            let datagrams = PROTOCOLS.map(|protocol| open(domain, protocol.into()));
            Ok((frames, datagrams.into_iter().collect::<std::io::Result<_>>()?))
        })?;
        Ok(Self { stage, inside, outside, beside, frames, datagrams })
    }

    /// What sockets have got since they were last asked.
    fn delivered(&mut self) -> Delivered {
        let frames = received(&mut self.frames);
        Delivered { frames, datagrams: self.datagrams.iter_mut().flat_map(received).collect() }
    }
}

#[derive(Default)]
struct Delivered {
    frames: Vec<Vec<u8>>,
    datagrams: Vec<Vec<u8>>,
}

fn received(socket: &mut Socket) -> Vec<Vec<u8>> {
    let mut buffer = vec![0; 1 << 16];
    std::iter::from_fn(|| socket.read(&mut buffer).ok().map(|length| buffer[..length].to_vec()))
        .collect()
}

impl<F: Scene> LiveWire<F> {
    pub fn new() -> Result<Self> {
        Ok(Self { tc: Host::new(attach_tc)?, xdp: Host::new(attach_xdp)?, markers: 0 })
    }

    pub fn check(&mut self, case: &Case<F>) -> Result<()> {
        match case.hook {
            Hook::Egress => self.leaves(case),
            Hook::Ingress | Hook::Guard => arrives(&mut self.tc, case),
            Hook::Filter => arrives(&mut self.xdp, case),
        }
    }

    fn leaves(&mut self, case: &Case<F>) -> Result<()> {
        let host = &mut self.tc;
        host.stage.apply(&case.world, Sockets::OwnFamily)?;
        self.markers += 1;
        let before = host.stage.counted(case.hook)?;
        let sent = host.inside.send(&case.input);
        // A sender is told of a drop (`NET_XMIT_DROP`).
        ensure!(sent.is_err() != case.goes_on(), "sent: {sent:?}");
        let after = host.stage.counted(case.hook)?;
        counted_one(&before, &after, (case.verdict.reason, case.verdict.would))?;

        let number = self.markers.to_be_bytes();
        let marker = frame(ROUTER_MAC, OWN_MAC, MARKER, &[&number[..], &[0; 46]].concat());
        host.inside.send(&marker)?;
        let mut sent = Vec::new();
        let came = within(PATIENCE, || match host.outside.receive() {
            Some(frame) if frame == marker => true,
            Some(frame) => {
                sent.push(frame);
                false
            }
            None => false,
        });
        ensure!(came, "the marker is not on the wire");
        // The receiving stack takes the outermost tag out of what it shows.
        let mut wanted = case.output.clone();
        if wanted[12..14] == [0x81, 0] {
            wanted.drain(12..16);
        }
        match case.verdict.action {
            Action::Redirect => wanted[..6].copy_from_slice(&NEAR_MAC),
            Action::Drop | Action::Reset => {
                ensure!(sent.is_empty(), "on the wire: {sent:02x?}");
                return Ok(());
            }
            Action::Next => {}
        }
        ensure!(sent.len() == 1, "{} frames on the wire, not one: {sent:02x?}", sent.len());
        same_bytes(&sent[0], &wanted)
    }
}

fn arrives<F: Scene>(host: &mut Host<F>, case: &Case<F>) -> Result<()> {
    host.stage.apply(&case.world, Sockets::OwnFamily)?;
    host.delivered();
    let before = host.stage.counted(case.hook)?;
    let wire = if case.hook == Hook::Guard { &host.beside } else { &host.outside };
    wire.send(&case.input)?;
    let mut result = Ok(());
    within(PATIENCE, || match host.stage.counted(case.hook) {
        Ok(after) if after == before => false,
        Ok(after) => {
            result = counted_one(&before, &after, (case.verdict.reason, case.verdict.would));
            true
        }
        Err(error) => {
            result = Err(error);
            true
        }
    });
    result?;
    let Some(wanted) = received_as::<F>(&case.output) else { return Ok(()) };
    let transport = transport::<F>(&wanted[14..]);
    if !case.goes_on() {
        let Delivered { frames, datagrams } = host.delivered();
        ensure!(!frames.contains(&wanted), "a dropped frame is let in");
        let passed = transport.is_some_and(|transport| {
            datagrams.iter().any(|datagram| datagram.ends_with(transport))
        });
        ensure!(!passed, "a dropped packet is delivered");
        return Ok(());
    }
    let mut all = Delivered::default();
    let came = within(Duration::from_secs(5), || {
        let Delivered { frames, datagrams } = host.delivered();
        all.frames.extend(frames);
        all.datagrams.extend(datagrams);
        let delivered = transport.is_none_or(|transport| {
            all.datagrams.iter().any(|datagram| datagram.ends_with(transport))
        });
        delivered && all.frames.contains(&wanted)
    });
    match all.frames.first() {
        _ if came => Ok(()),
        Some(other) if *other != wanted => same_bytes(other, &wanted),
        Some(_) => anyhow::bail!("let in, but the kernel's IP gave it to no raw socket"),
        None => anyhow::bail!("counted, but not let in"),
    }
}

/// The frame that a packet socket of the family gets: without priority tags. Nothing where it is of another EtherType, or
/// of a VLAN.
fn received_as<F: Scene>(frame: &[u8]) -> Option<Vec<u8>> {
    let mut at = 12;
    while frame.get(at..at + 2)? == [0x81, 0] {
        if u16::from_be_bytes([frame[at + 2], frame[at + 3]]) & 0x0fff != 0 {
            return None;
        }
        at += 4;
    }
    let is_ip = frame[at..at + 2] == F::ETHERTYPE.to_be_bytes();
    is_ip.then(|| [&frame[..12], &frame[at..]].concat())
}

/// What a raw socket's datagram ends with: the transport of a whole packet that is for the host itself.
fn transport<F: Scene>(packet: &[u8]) -> Option<&[u8]> {
    let ip = IpSlice::from_slice(packet).ok()?;
    let ours = [F::OWN, F::OWN_OVERLAY].map(|own| F::to_ip(&own));
    let payload = ip.payload();
    let is_whole = !payload.fragmented && PROTOCOLS.contains(&payload.ip_number.0);
    (is_whole && ours.contains(&ip.destination_addr())).then_some(payload.payload)
}

fn attach_tc<F: Scene>(stage: &mut Stage<F>) -> Result<()> {
    let host = stage.host.clone();
    for (name, interface, at) in [
        (program::INGRESS, UPLINK, TcAttachType::Ingress),
        (program::EGRESS, UPLINK, TcAttachType::Egress),
        (program::GUARD, BESIDE, TcAttachType::Ingress),
    ] {
        let program = stage.ebpf.program_mut(name).context("the object has all programs")?;
        let program: &mut SchedClassifier = program.try_into()?;
        let order = TcAttachOptions::TcxOrder(LinkOrder::default());
        host.run(|| program.attach_with_options(interface, at, order))?;
    }
    Ok(())
}

fn attach_xdp<F: Scene>(stage: &mut Stage<F>) -> Result<()> {
    let host = stage.host.clone();
    let program = stage.ebpf.program_mut(program::FILTER).context("the object has the filter")?;
    let program: &mut Xdp = program.try_into()?;
    host.run(|| program.attach(UPLINK, XdpMode::Driver))?;
    Ok(())
}
