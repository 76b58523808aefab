//! A case as a real frame: put on the wire before the host, or sent by the host onto it, with the programs attached, and
//! looked for on the other side.
//!
//! What arrives is seen by raw sockets, which get whole datagrams after the programs; what they cannot see (fragments,
//! what is not IP) is judged by the counters alone. What leaves is seen on the wire, up to a marker sent after it.

use std::{io::Read, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType, Xdp, XdpMode, tc::TcAttachOptions};
use harness::{PATIENCE, packets::Wire, within};
use neti_common::verdict::{Action, Hook};
use neti_userspace::loader::program;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    Case, same_bytes,
    scene::{NEAR_MAC, OWN, OWN_MAC, OWN_OVERLAY, ROUTER_MAC, frame},
    stage::{Stage, UPLINK, WIRE, counted_one},
};

/// Protocols of the cases.
const PROTOCOLS: [i32; 4] =
    [libc::IPPROTO_ICMP, libc::IPPROTO_TCP, libc::IPPROTO_UDP, libc::IPPROTO_SCTP];
/// For experiments (IEEE 802); the marker carries a number.
const MARKER: u16 = 0x88b6;

pub struct LiveWire {
    /// The programs of tc on one host, XDP's on another: it would take away from tc what it drops.
    tc: Host,
    xdp: Host,
    markers: u32,
}

struct Host {
    stage: Stage,
    /// The uplink, from inside and from the far end.
    inside: Wire,
    outside: Wire,
    receivers: Vec<Socket>,
}

impl Host {
    fn new(attach: impl FnOnce(&mut Stage) -> Result<()>) -> Result<Self> {
        let mut stage = Stage::new()?;
        attach(&mut stage)?;
        let inside = Wire::open(&stage.host, UPLINK)?;
        let outside = Wire::open(&stage.peer, WIRE)?;
        let receive = |protocol| -> std::io::Result<Socket> {
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(protocol)))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let receivers = PROTOCOLS.iter().map(|protocol| stage.host.run(|| receive(*protocol)));
        let receivers = receivers.collect::<std::io::Result<_>>()?;
        Ok(Self { stage, inside, outside, receivers })
    }

    /// The datagrams that raw sockets have got.
    fn delivered(&mut self) -> Vec<Vec<u8>> {
        let mut delivered = Vec::new();
        for socket in &mut self.receivers {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(length) = socket.read(&mut buffer) {
                delivered.push(buffer[..length].to_vec());
            }
        }
        delivered
    }
}

impl LiveWire {
    pub fn new() -> Result<Self> {
        Ok(Self { tc: Host::new(attach_tc)?, xdp: Host::new(attach_xdp)?, markers: 0 })
    }

    pub fn check(&mut self, case: &Case) -> Result<()> {
        match case.hook {
            Hook::Egress => self.leaves(case),
            Hook::Ingress => arrives(&mut self.tc, case),
            Hook::Filter => arrives(&mut self.xdp, case),
        }
    }

    fn leaves(&mut self, case: &Case) -> Result<()> {
        let host = &mut self.tc;
        host.stage.apply(&case.world)?;
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

fn arrives(host: &mut Host, case: &Case) -> Result<()> {
    host.stage.apply(&case.world)?;
    host.delivered();
    let before = host.stage.counted(case.hook)?;
    host.outside.send(&case.input)?;
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
    let Some(wanted) = receivable(&case.output) else { return Ok(()) };
    if !case.goes_on() {
        let delivered = host.delivered();
        ensure!(!delivered.iter().any(|one| one == wanted), "a dropped packet is delivered");
        return Ok(());
    }
    let mut delivered = Vec::new();
    let came = within(Duration::from_secs(5), || {
        delivered.extend(host.delivered());
        delivered.iter().any(|one| one == wanted)
    });
    match delivered.first() {
        _ if came => Ok(()),
        Some(other) => same_bytes(other, wanted),
        None => bail!("counted, but delivered to no raw socket"),
    }
}

/// The datagram in a frame, where a raw socket would get it just so: whole, for an address of the host's, untagged but
/// for priority.
fn receivable(frame: &[u8]) -> Option<&[u8]> {
    let mut l3 = 14;
    while frame.get(l3 - 2..l3)? == [0x81, 0] {
        let id = u16::from_be_bytes([frame[l3], frame[l3 + 1]]) & 0x0fff;
        if id != 0 {
            return None;
        }
        l3 += 4;
    }
    let packet = frame.get(l3..).filter(|_| frame[l3 - 2..l3] == [0x08, 0])?;
    let length = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    let fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x3fff;
    let ours = [&OWN[..], &OWN_OVERLAY[..]].contains(&packet.get(16..20)?);
    (fragment == 0 && ours).then(|| packet.get(..length)).flatten()
}

fn attach_tc(stage: &mut Stage) -> Result<()> {
    let host = stage.host.clone();
    for (name, at) in
        [(program::INGRESS, TcAttachType::Ingress), (program::EGRESS, TcAttachType::Egress)]
    {
        let program = stage.ebpf.program_mut(name).context("the object has both programs")?;
        let program: &mut SchedClassifier = program.try_into()?;
        let order = TcAttachOptions::TcxOrder(LinkOrder::default());
        host.run(|| program.attach_with_options(UPLINK, at, order))?;
    }
    Ok(())
}

fn attach_xdp(stage: &mut Stage) -> Result<()> {
    let host = stage.host.clone();
    let program = stage.ebpf.program_mut(program::FILTER).context("the object has the filter")?;
    let program: &mut Xdp = program.try_into()?;
    host.run(|| program.attach(UPLINK, XdpMode::Driver))?;
    Ok(())
}
