//! From a frame to the headers that decide: link layer, IP, transport.

use core::ops::Deref;

use network_types::{eth::EthHdr, ip::IpProto};

use crate::{
    family::{Family, LinkMessage},
    maps::{Flow, Settings},
    packet::Packet,
    tables::Tables,
    verdict::Reason,
};

pub const TCP: u8 = IpProto::Tcp as u8;
pub const UDP: u8 = IpProto::Udp as u8;
pub const UDP_LITE: u8 = IpProto::UdpLite as u8;
pub const DCCP: u8 = IpProto::Dccp as u8;

/// EtherTypes in host order.
pub mod ethertype {
    pub const IPV4: u16 = 0x0800;
    pub const ARP: u16 = 0x0806;
    pub const VLAN: u16 = 0x8100;
    pub const QINQ: u16 = 0x88a8;
    pub const IPV6: u16 = 0x86dd;
    pub const EAPOL: u16 = 0x888e;
    pub const LLDP: u16 = 0x88cc;
    /// LACP and OAM (IEEE 802.3 Annex 57A).
    pub const SLOW_PROTOCOLS: u16 = 0x8809;
}

/// VLAN tags that we look behind, and the bytes of one.
pub const MAX_TAGS: usize = 2;
pub const TAG: usize = 4;

/// What a frame carries and where it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    pub ethertype: u16,
    pub l3: usize,
}

/// Looks behind up to two VLAN tags, whatever they are. Their number is opaque, so that the verifier follows the rest of the
/// program once and not once for each.
#[inline(always)]
pub fn carried<P: Packet>(packet: &P) -> Result<Carried, Reason> {
    let mut tags = 0;
    let mut ethertype = load_ethertype(packet, EthHdr::LEN)?;
    if is_tag(ethertype) != 0 {
        tags = 1 + is_tag(load_ethertype(packet, EthHdr::LEN + TAG)?);
        ethertype = load_ethertype(packet, EthHdr::LEN + TAG * tags)?;
        if is_tag(ethertype) != 0 {
            return Err(Reason::TooManyTags);
        }
    }
    let tags = packet.opaque(tags) & 3;
    Ok(Carried { ethertype, l3: EthHdr::LEN + TAG * tags })
}

/// Whether what arrives in this frame is for the uplink itself. The kernel strips priority tags (VID 0) after us, so that
/// what is inside is what it will see (`__netif_receive_skb_core`); any other tag belongs to a VLAN interface or to
/// nobody.
#[inline(always)]
pub fn untagged<F: Family, P: Packet, T: Tables<F>>(
    packet: &P,
    tables: &T,
    carried: Carried,
) -> Result<(), Reason> {
    let tags = (carried.l3 - EthHdr::LEN) / TAG;
    if let Some(id) = packet.vlan_id() {
        if tags == MAX_TAGS {
            return Err(Reason::TooManyTags);
        }
        own_vlan(id, tables)?;
    }
    for n in 0..MAX_TAGS {
        if n < tags {
            let control: [u8; 2] = packet.load(EthHdr::LEN + TAG * n).ok_or(Reason::Malformed)?;
            own_vlan(u16::from_be_bytes(control) & 0x0fff, tables)?;
        }
    }
    Ok(())
}

/// 1 for the EtherType of a VLAN tag, else 0.
#[inline(always)]
pub fn is_tag(ethertype: u16) -> usize {
    let differences = (ethertype ^ ethertype::VLAN) as u64 * (ethertype ^ ethertype::QINQ) as u64;
    (differences.wrapping_sub(1) >> 63) as usize
}

#[inline(always)]
fn load_ethertype<P: Packet>(packet: &P, l3: usize) -> Result<u16, Reason> {
    packet.load::<[u8; 2]>(l3 - 2).map(u16::from_be_bytes).ok_or(Reason::Malformed)
}

#[inline(always)]
fn own_vlan<F: Family, T: Tables<F>>(id: u16, tables: &T) -> Result<(), Reason> {
    if id == 0 {
        Ok(())
    } else if tables.has_vlan(id) {
        Err(Reason::OtherVlan)
    } else {
        Err(Reason::UnknownVlan)
    }
}

/// Whether a frame is layer-2 control traffic that a host needs: link-local groups, which no bridge forwards
/// (IEEE 802.1Q Table 8-1: LACP, LLDP, EAPOL, STP), and those protocols when they are sent to us alone.
#[inline(always)]
pub fn is_link_control<P: Packet>(packet: &P, ethertype: u16) -> bool {
    if matches!(ethertype, ethertype::EAPOL | ethertype::LLDP | ethertype::SLOW_PROTOCOLS) {
        return true;
    }
    matches!(packet.load::<[u8; 6]>(0), Some([0x01, 0x80, 0xc2, 0x00, 0x00, last]) if last < 0x10)
}

/// Which part of a datagram a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Whole,
    /// The first fragment, with the transport header.
    First,
    /// A fragment without a transport header.
    Later,
}

/// An IP header without its addresses, as [`Family::parse`] finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Offset of the header.
    pub l3: usize,
    /// Offset of the transport header.
    pub l4: usize,
    /// Bytes from `l4` to the packet's end, as its header says.
    pub payload: usize,
    /// Protocol number of the transport.
    pub protocol: u8,
    pub part: Part,
    /// Identification of the datagram, for fragments.
    pub id: [u8; 4],
}

/// An IP header. The addresses are read by themselves: LLVM copies a result with them byte by byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ip<F: Family> {
    pub header: Header,
    pub src: F::Addr,
    pub dst: F::Addr,
}

impl<F: Family> Ip<F> {
    #[inline(always)]
    pub fn read<P: Packet>(packet: &P, header: Header) -> Option<Self> {
        let src = packet.load(header.l3 + F::SRC)?;
        let dst = packet.load(header.l3 + F::DST)?;
        Some(Self { header, src, dst })
    }
}

impl<F: Family> Deref for Ip<F> {
    type Target = Header;

    #[inline(always)]
    fn deref(&self) -> &Header {
        &self.header
    }
}

/// What a packet is to the flow it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A pure SYN: the only TCP packet that begins a connection.
    TcpSyn,
    TcpSynAck,
    /// RST or FIN.
    TcpClose,
    Tcp,
    Udp,
    EchoRequest,
    EchoReply,
    /// An ICMP message that quotes a packet.
    IcmpError,
    /// A link's own protocol: neighbour or listener discovery.
    Link,
    Icmp,
    Other,
}

impl Kind {
    /// All of them, in the order of their numbers.
    const ALL: [Self; 11] = [
        Self::TcpSyn,
        Self::TcpSynAck,
        Self::TcpClose,
        Self::Tcp,
        Self::Udp,
        Self::EchoRequest,
        Self::EchoReply,
        Self::IcmpError,
        Self::Link,
        Self::Icmp,
        Self::Other,
    ];

    /// The same kind, of which the verifier no longer knows which it is: it follows the rules once, and not once for each.
    #[inline(always)]
    fn settled<P: Packet>(self, packet: &P) -> Self {
        let kind = Self::ALL.get(packet.opaque(self as usize));
        kind.copied().unwrap_or(Self::Other)
    }
}

/// A transport header. Ports in network order; an ICMP echo has its identifier in both; without ports, zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transport {
    pub sport: [u8; 2],
    pub dport: [u8; 2],
    pub kind: Kind,
}

const TCP_FLAGS: usize = 13;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;

/// Bytes of a transport header that have to be there.
#[inline(always)]
fn min_transport<F: Family>(protocol: u8) -> usize {
    match protocol {
        TCP => 20,
        UDP => 8,
        _ if protocol == F::ICMP => 8,
        _ => 0,
    }
}

/// Reads the transport header of a whole packet or first fragment; `None` where it is cut short.
#[inline(always)]
pub fn transport<F: Family, P: Packet>(packet: &mut P, ip: &Ip<F>) -> Option<Transport> {
    let needed = min_transport::<F>(ip.protocol);
    if ip.payload < needed {
        return None;
    }
    packet.pull(ip.l4 + needed);
    let tcp =
        if ip.protocol == TCP { tcp_kind(packet.load(ip.l4 + TCP_FLAGS)?) } else { Kind::Tcp };
    ported(packet, ip, tcp)
}

/// The same, of a [settled](Kind::settled) kind.
#[inline(always)]
pub fn settled_transport<F: Family, P: Packet>(packet: &mut P, ip: &Ip<F>) -> Option<Transport> {
    let transport = transport(packet, ip)?;
    Some(Transport { kind: transport.kind.settled(packet), ..transport })
}

/// Reads the transport header of a packet quoted in an ICMP error, of which only 8 bytes are sure
/// (RFC 792), so that nothing is known of a TCP packet's flags.
#[inline(always)]
pub fn quoted_transport<F: Family, P: Packet>(packet: &P, ip: &Ip<F>) -> Option<Transport> {
    ported(packet, ip, Kind::Tcp)
}

/// `tcp` is what a TCP packet is.
#[inline(always)]
fn ported<F: Family, P: Packet>(packet: &P, ip: &Ip<F>, tcp: Kind) -> Option<Transport> {
    let kind = match ip.protocol {
        TCP => tcp,
        UDP => Kind::Udp,
        _ if ip.protocol == F::ICMP => return icmp_transport(packet, ip),
        _ => return Some(Transport { sport: [0; 2], dport: [0; 2], kind: Kind::Other }),
    };
    let (sport, dport) = ports(packet, ip.l4)?;
    Some(Transport { sport, dport, kind })
}

#[inline(always)]
fn ports<P: Packet>(packet: &P, l4: usize) -> Option<([u8; 2], [u8; 2])> {
    let [a, b, c, d] = packet.load(l4)?;
    Some(([a, b], [c, d]))
}

#[inline(always)]
fn tcp_kind(flags: u8) -> Kind {
    if flags & (RST | FIN) != 0 {
        Kind::TcpClose
    } else if flags & SYN == 0 {
        Kind::Tcp
    } else if flags & ACK == 0 {
        Kind::TcpSyn
    } else {
        Kind::TcpSynAck
    }
}

#[inline(always)]
fn icmp_transport<F: Family, P: Packet>(packet: &P, ip: &Ip<F>) -> Option<Transport> {
    let kind: u8 = packet.load(ip.l4)?;
    if kind == F::ECHO_REQUEST || kind == F::ECHO_REPLY {
        let id = packet.load(ip.l4 + 4)?;
        let kind = if kind == F::ECHO_REQUEST { Kind::EchoRequest } else { Kind::EchoReply };
        return Some(Transport { sport: id, dport: id, kind });
    }
    let kind = match F::link_message(packet, ip, kind) {
        Some(_) => Kind::Link,
        None if F::is_icmp_error(kind) => Kind::IcmpError,
        None => Kind::Icmp,
    };
    Some(Transport { sport: [0; 2], dport: [0; 2], kind })
}

/// What a packet of the kind [`Kind::Link`] says.
#[inline(always)]
pub fn link_message<F: Family, P: Packet>(packet: &P, ip: &Ip<F>) -> Option<LinkMessage> {
    F::link_message(packet, ip, packet.load(ip.l4)?)
}

/// Whether an overlay address stands where the header at `l3`, which could not be read, would have its addresses.
#[inline(always)]
pub fn is_to_or_from_overlay<F: Family, P: Packet>(
    packet: &P,
    settings: &Settings<F>,
    l3: usize,
) -> bool {
    let is_overlay =
        |at: usize| packet.load(l3 + at).is_some_and(|address| settings.is_overlay(&address));
    is_overlay(F::SRC) || is_overlay(F::DST)
}

/// Whether one of the first `count` addresses behind an ICMP header is an overlay address, which is on no link; `None`
/// where they are cut short.
#[inline(always)]
pub fn names_overlay<F: Family, P: Packet>(
    packet: &mut P,
    settings: &Settings<F>,
    ip: &Ip<F>,
    count: usize,
) -> Option<bool> {
    let start = ip.l4 + ICMP_HEADER;
    packet.pull(start + MAX_SUBJECTS * size_of::<F::Addr>());
    for n in 0..MAX_SUBJECTS {
        if n < count && settings.is_overlay(&packet.load(start + n * size_of::<F::Addr>())?) {
            return Some(true);
        }
    }
    Some(false)
}

/// Addresses that neighbour discovery can be about: a redirect's target and destination (RFC 4861 4.5).
const MAX_SUBJECTS: usize = 2;
/// Bytes of an ICMP header, of either family.
pub const ICMP_HEADER: usize = 8;

/// Where a protocol that covers the addresses keeps its checksum, from its header on.
#[inline(always)]
pub fn checksum_offset<F: Family>(protocol: u8) -> Option<usize> {
    match protocol {
        TCP => Some(16),
        UDP | UDP_LITE | DCCP => Some(6),
        _ if F::ICMP_PSEUDO_HEADER && protocol == F::ICMP => Some(2),
        _ => None,
    }
}

/// A flow as seen from the sender of this packet.
#[inline(always)]
pub fn flow<F: Family>(ip: &Ip<F>, transport: &Transport) -> Flow<F> {
    let Transport { sport, dport, .. } = *transport;
    Flow { src: ip.src, dst: ip.dst, sport, dport, protocol: ip.protocol as u32 }
}
