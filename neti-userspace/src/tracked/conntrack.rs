//! The kernel's connection tracking, by netfilter's netlink (linux/netfilter/nfnetlink_conntrack.h).

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context, Result, bail};
use neti_common::headers::TCP;
use netlink_packet_core::{
    DecodeError, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, NlasIterator,
};
use netlink_sys::{Socket, protocols::NETLINK_NETFILTER};

/// A flow that the kernel tracks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tracked {
    pub protocol: u8,
    /// Where it began and whom it dialled.
    pub original: Ends,
    /// Who answers, and whom. Other ends than the original's are what was translated.
    pub reply: Ends,
    /// Packets went both ways.
    pub answered: bool,
    /// One of [`tcp`]; 0 of other protocols.
    pub state: u8,
}

/// The ends of a packet. A ping has its identifier for both ports, a protocol without ports zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    pub src: SocketAddr,
    pub dst: SocketAddr,
}

/// `enum tcp_conntrack`.
pub mod tcp {
    pub const SYN_SENT: u8 = 1;
    pub const SYN_RECV: u8 = 2;
    pub const ESTABLISHED: u8 = 3;
    pub const FIN_WAIT: u8 = 4;
    pub const CLOSE_WAIT: u8 = 5;
    pub const LAST_ACK: u8 = 6;
}

/// How many flows are tracked in this network namespace; absent where the kernel tracks nothing,
/// and would begin to if it were asked for them.
const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET`.
const GET: u16 = 1 << 8 | 1;
/// Length of `struct nlmsghdr` and of `struct nfgenmsg`, which follows it.
const HEADER: usize = 16;
const GENERIC: usize = 4;

/// `IPS_SEEN_REPLY`.
const SEEN_REPLY: u32 = 1 << 1;

/// All flows of this network namespace that are tracked.
pub fn tracked() -> Result<Vec<Tracked>> {
    if fs::read_to_string(COUNT).map_or(true, |count| count.trim() == "0") {
        return Ok(Vec::new());
    }
    let mut socket = Socket::new(NETLINK_NETFILTER).context("opening netfilter's netlink")?;
    socket.bind_auto().context("binding netfilter's netlink")?;
    let kernel = netlink_sys::SocketAddr::new(0, 0);
    socket.connect(&kernel).context("connecting netfilter's netlink")?;
    let mut request = Vec::new();
    request.extend(((HEADER + GENERIC) as u32).to_ne_bytes());
    request.extend(GET.to_ne_bytes());
    request.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    // Sequence, port, and `AF_UNSPEC`: both families.
    request.extend([0; 8 + GENERIC]);
    socket.send(&request, 0).context("asking for tracked flows")?;
    let mut tracked = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full().context("reading tracked flows")?;
        if !messages(&datagram, &mut tracked).context("parsing tracked flows")? {
            return Ok(tracked);
        }
    }
}

/// Reads the messages of a datagram; `false` if the last one was among them.
fn messages(mut left: &[u8], into: &mut Vec<Tracked>) -> Result<bool> {
    while !left.is_empty() {
        let message = NetlinkBuffer::new_checked(left)?;
        match message.message_type() {
            NLMSG_DONE => return Ok(false),
            NLMSG_ERROR => {
                let code = message.payload().first_chunk().copied().map(i32::from_ne_bytes);
                bail!(io::Error::from_raw_os_error(-code.unwrap_or(0)));
            }
            _ => into.extend(flow(message.payload().get(GENERIC..).unwrap_or_default())?),
        }
        // Messages are aligned to 4 bytes.
        let length = (message.length() as usize).next_multiple_of(4);
        left = left.get(length..).unwrap_or_default();
    }
    Ok(true)
}

/// `CTA_*`: attributes of a flow and of what is nested in them.
mod attribute {
    pub const ORIGINAL: u16 = 1;
    pub const REPLY: u16 = 2;
    pub const STATUS: u16 = 3;
    pub const PROTOINFO: u16 = 4;
    pub const PROTOINFO_TCP: u16 = 1;
    pub const TCP_STATE: u16 = 1;
    pub const TUPLE_IP: u16 = 1;
    pub const TUPLE_PROTO: u16 = 2;
    pub const V4_SRC: u16 = 1;
    pub const V4_DST: u16 = 2;
    pub const V6_SRC: u16 = 3;
    pub const V6_DST: u16 = 4;
    pub const PROTO_NUM: u16 = 1;
    pub const SRC_PORT: u16 = 2;
    pub const DST_PORT: u16 = 3;
    pub const ICMP_ID: u16 = 4;
    pub const ICMPV6_ID: u16 = 7;
}

/// A flow from its attributes; `None` if they say too little.
fn flow(attributes: &[u8]) -> Result<Option<Tracked>, DecodeError> {
    let (mut original, mut reply, mut answered, mut state) = (None, None, false, 0);
    each(attributes, |kind, value| {
        match kind {
            attribute::ORIGINAL => original = tuple(value)?,
            attribute::REPLY => reply = tuple(value)?,
            attribute::STATUS => {
                let status = value.try_into().map(u32::from_be_bytes).unwrap_or(0);
                answered = status & SEEN_REPLY != 0;
            }
            attribute::PROTOINFO => state = tcp_state(value)?,
            _ => {}
        }
        Ok(())
    })?;
    let (Some((protocol, original)), Some((_, reply))) = (original, reply) else { return Ok(None) };
    let state = if protocol == TCP { state } else { 0 };
    Ok(Some(Tracked { protocol, original, reply, answered, state }))
}

fn tcp_state(attributes: &[u8]) -> Result<u8, DecodeError> {
    let mut state = 0;
    each(attributes, |kind, value| match kind {
        attribute::PROTOINFO_TCP => each(value, |kind, value| {
            if kind == attribute::TCP_STATE {
                state = value.first().copied().unwrap_or(0);
            }
            Ok(())
        }),
        _ => Ok(()),
    })?;
    Ok(state)
}

/// Protocol and ends of a tuple.
fn tuple(attributes: &[u8]) -> Result<Option<(u8, Ends)>, DecodeError> {
    let (mut src, mut dst, mut protocol) = (None, None, None);
    let (mut src_port, mut dst_port) = (0, 0);
    each(attributes, |outer, value| {
        each(value, |kind, value| {
            let port = || value.try_into().map(u16::from_be_bytes).unwrap_or(0);
            match (outer, kind) {
                (attribute::TUPLE_IP, attribute::V4_SRC | attribute::V6_SRC) => src = ip(value),
                (attribute::TUPLE_IP, attribute::V4_DST | attribute::V6_DST) => dst = ip(value),
                (attribute::TUPLE_PROTO, attribute::PROTO_NUM) => protocol = value.first().copied(),
                (attribute::TUPLE_PROTO, attribute::SRC_PORT) => src_port = port(),
                (attribute::TUPLE_PROTO, attribute::DST_PORT) => dst_port = port(),
                (attribute::TUPLE_PROTO, attribute::ICMP_ID | attribute::ICMPV6_ID) => {
                    (src_port, dst_port) = (port(), port());
                }
                _ => {}
            }
            Ok(())
        })
    })?;
    let (Some(src), Some(dst), Some(protocol)) = (src, dst, protocol) else { return Ok(None) };
    let ends = Ends { src: SocketAddr::new(src, src_port), dst: SocketAddr::new(dst, dst_port) };
    Ok(Some((protocol, ends)))
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(value).map(IpAddr::from);
    v4().or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from)).ok()
}

fn each(
    attributes: &[u8],
    mut visit: impl FnMut(u16, &[u8]) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute?;
        visit(attribute.kind(), attribute.value())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn ends(src: &str, dst: &str) -> Ends {
        Ends { src: src.parse().unwrap(), dst: dst.parse().unwrap() }
    }

    fn addresses(ends: Ends) -> Vec<u8> {
        let octets = |ip| match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let first = if ends.src.is_ipv4() { attribute::V4_SRC } else { attribute::V6_SRC };
        let both =
            [nested(first, &octets(ends.src.ip())), nested(first + 1, &octets(ends.dst.ip()))];
        nested(attribute::TUPLE_IP, &both.concat())
    }

    fn tcp_tuple(kind: u16, ends: Ends) -> Vec<u8> {
        let proto = [
            nested(attribute::PROTO_NUM, &[TCP]),
            nested(attribute::SRC_PORT, &ends.src.port().to_be_bytes()),
            nested(attribute::DST_PORT, &ends.dst.port().to_be_bytes()),
        ];
        let proto = nested(attribute::TUPLE_PROTO, &proto.concat());
        nested(kind, &[addresses(ends), proto].concat())
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn reads_what_was_translated() {
        for (original, reply) in [
            (
                ends("172.17.0.2:5000", "198.51.100.9:443"),
                ends("198.51.100.9:443", "10.0.0.10:5000"),
            ),
            (
                ends("[fd00::2]:5000", "[2001:db8::9]:443"),
                ends("[2001:db8::9]:443", "[fd00::10]:1"),
            ),
        ] {
            let info = nested(attribute::TCP_STATE, &[tcp::ESTABLISHED]);
            let body = [
                vec![0; GENERIC],
                tcp_tuple(attribute::ORIGINAL, original),
                tcp_tuple(attribute::REPLY, reply),
                nested(attribute::STATUS, &0xe_u32.to_be_bytes()),
                nested(attribute::PROTOINFO, &nested(attribute::PROTOINFO_TCP, &info)),
                nested(99, b"what nobody knows"),
            ];
            let one = message(GET, &body.concat());
            let mut found = Vec::new();
            let more = messages(&[one.clone(), one].concat(), &mut found).unwrap();
            let state = tcp::ESTABLISHED;
            let flow = Tracked { protocol: TCP, original, reply, answered: true, state };
            assert_eq!((more, found), (true, vec![flow, flow]));
        }
    }

    #[test]
    fn a_ping_has_its_identifier_for_ports() {
        let ends = ends("10.0.0.10:7", "198.51.100.9:7");
        let proto = [nested(attribute::PROTO_NUM, &[1]), nested(attribute::ICMP_ID, &[0, 7])];
        let proto = nested(attribute::TUPLE_PROTO, &proto.concat());
        let body = [addresses(ends), proto].concat();
        assert_eq!(tuple(&body).unwrap(), Some((1, ends)));
    }

    #[test]
    fn the_end_and_errors_are_told() {
        assert!(!messages(&message(NLMSG_DONE, &[0; 4]), &mut Vec::new()).unwrap());
        let denied = message(NLMSG_ERROR, &[(-libc::EPERM).to_ne_bytes(), [0; 4]].concat());
        let error = messages(&denied, &mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("not permitted"), "{error}");
        assert!(messages(&message(GET, &[0; 4])[..10], &mut Vec::new()).is_err(), "cut short");
    }
}
