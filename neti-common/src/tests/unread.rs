//! Packets of which nothing lies in reach but what was asked for, as an skb has it whose data is in pages.

use etherparse::IpHeaders;

use super::*;
use crate::{
    family::Family,
    headers::TCP,
    maps::Flow,
    packet::{Covers, Owner, Packet, Plain, Skb},
};

in_both_families!(whatever_is_read_was_asked_for);

/// A frame of which the first bytes can be read.
struct Unread<'a> {
    frame: Frame<'a>,
    readable: usize,
}

impl Packet for Unread<'_> {
    fn holds(&self, length: usize) -> bool {
        self.frame.holds(length)
    }

    fn load<T: Plain>(&self, offset: usize) -> Option<T> {
        (offset + size_of::<T>() <= self.readable).then(|| self.frame.load(offset))?
    }

    fn pull(&mut self, length: usize) {
        self.readable = self.readable.max(length);
    }

    fn vlan_id(&self) -> Option<u16> {
        None
    }
}

impl Skb for Unread<'_> {
    fn store<T: Plain>(&mut self, offset: usize, value: &T) -> Option<()> {
        (offset + size_of::<T>() <= self.readable).then(|| self.frame.store(offset, value))?
    }

    fn update_l4<F: Family>(
        &mut self,
        offset: usize,
        difference: u32,
        covers: Covers,
    ) -> Option<()> {
        self.frame.update_l4::<F>(offset, difference, covers)
    }

    fn update_sum(&mut self, _: u32) {}

    fn is_forwarded(&self) -> bool {
        false
    }

    fn owner<F: Family>(&self, _: &Flow<F>) -> Owner {
        Owner::None
    }
}

/// Packets of all kinds from one end to the other, and errors about the other's.
fn frames<F: Scene>(src: F::Addr, dst: F::Addr) -> Vec<Vec<u8>> {
    let quoted = F::with_options(F::header(dst, src)).into_iter().map(tcp);
    let mut frames: Vec<_> = quoted.map(|quoted| F::too_big(src, dst, &quoted)).collect();
    frames.extend(F::with_options(F::header(src, dst)).into_iter().map(tcp));
    frames.extend(F::carrying(F::header(src, dst), F::HUDSON_OVERLAY).into_iter().map(tcp));
    for kind in [F::ECHO_REQUEST, F::ECHO_REPLY] {
        frames.push(F::echo(src, dst, kind, 7));
    }
    for other in [F::STRANGER, F::HUDSON_OVERLAY] {
        frames.extend(F::link_messages(src, dst, F::STRANGER, other));
    }
    let tags = [0x81, 0, 0, 0];
    let tagged = |frame: &Vec<u8>| [&frame[..12], &tags, &tags, &frame[12..]].concat();
    let with_tags: Vec<_> = frames.iter().map(tagged).collect();
    frames.extend(with_tags);
    frames
}

fn tcp(header: IpHeaders) -> Vec<u8> {
    let mut frame = Vec::new();
    link().ip(header).tcp(5_000, 5_000, 1, 2).ack(3).write(&mut frame, b"").unwrap();
    frame
}

fn whatever_is_read_was_asked_for<F: Scene>() {
    let mut world = hudson::<F>(identity::OVERLAY);
    world.connect(TCP, F::OVERLAY, 5_000, 5_000);
    for frame in frames::<F>(F::WALDEN, F::HUDSON) {
        is_read_alike(&frame, |frame| ingress(frame, &world), |frame| ingress(frame, &world));
    }
    for frame in frames::<F>(F::HUDSON_OVERLAY, F::WALDEN_OVERLAY) {
        is_read_alike(&frame, |frame| egress(frame, &world), |frame| egress(frame, &world));
    }
}

/// A program makes the same of a frame whether or not it is in reach.
fn is_read_alike(
    frame: &[u8],
    there: impl FnOnce(&mut Frame) -> Verdict,
    unread: impl FnOnce(&mut Unread) -> Verdict,
) {
    let (mut one, mut other) = (frame.to_vec(), frame.to_vec());
    let wanted = there(&mut Frame::new(&mut one));
    let got = unread(&mut Unread { frame: Frame::new(&mut other), readable: 0 });
    assert_eq!((got, other), (wanted, one), "{frame:02x?}");
}
