//! Datagrams in fragments.

use anyhow::{Context, Result};
use etherparse::{IpFragOffset, IpHeaders, Ipv6FragmentHeader, ip_number};

/// Length of a frame's header.
const ETHERNET: usize = 14;

/// The untagged frame's datagram, cut after `at` bytes of its payload, a multiple of eight.
pub fn cut(frame: &[u8], at: u16, id: u16) -> Result<[Vec<u8>; 2]> {
    let end = usize::from(at);
    Ok([part(frame, (0, Some(end)), id)?, part(frame, (end, None), id)?])
}

/// The same datagram as the one and only fragment of itself, which IPv6 may have (RFC 6946).
pub fn atomic(frame: &[u8], id: u16) -> Result<Vec<u8>> {
    part(frame, (0, None), id)
}

/// A frame with the payload between two offsets of a datagram, the second one of which may be its end.
fn part(frame: &[u8], (start, end): (usize, Option<usize>), id: u16) -> Result<Vec<u8>> {
    let (mut ip, payload) =
        IpHeaders::from_slice(&frame[ETHERNET..]).context("read the headers")?;
    let payload = payload.payload;
    let payload = payload.get(start..end.unwrap_or(payload.len())).context("cut the payload")?;
    let offset = IpFragOffset::try_new((start / 8) as u16)?;
    match &mut ip {
        IpHeaders::Ipv4(header, _) => {
            header.identification = id;
            header.dont_fragment = false;
            header.more_fragments = end.is_some();
            header.fragment_offset = offset;
            header.set_payload_len(payload.len())?;
            header.header_checksum = header.calc_header_checksum();
        }
        IpHeaders::Ipv6(header, extensions) => {
            let fragment =
                Ipv6FragmentHeader::new(header.next_header, offset, end.is_some(), id.into());
            header.next_header = ip_number::IPV6_FRAG;
            header.set_payload_length(Ipv6FragmentHeader::LEN + payload.len())?;
            extensions.fragment = Some(fragment);
        }
    }
    let mut out = frame[..ETHERNET].to_vec();
    ip.write(&mut out)?;
    out.extend(payload);
    Ok(out)
}
