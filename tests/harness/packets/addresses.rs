//! Every address that a frame names, wherever in its headers.

use std::net::IpAddr;

use ipnet::IpNet;

/// Whether an address inside `range` stands anywhere in the frame's headers: in ARP and neighbour discovery, IPv4 and
/// IPv6, the packet inside an ICMP error, IP options and extension headers. Payload is not looked at: random data holds
/// any four bytes.
pub fn carries_overlay(frame: &[u8], range: IpNet) -> bool {
    addresses(frame).iter().any(|address| range.contains(address))
}

/// Every address in the frame's headers.
pub fn addresses(frame: &[u8]) -> Vec<IpAddr> {
    let mut at = 12;
    while frame.get(at..at + 2).is_some_and(|kind| matches!(kind, [0x81, 0] | [0x88, 0xa8])) {
        at += 4;
    }
    let Some(body) = frame.get(at + 2..) else { return Vec::new() };
    match frame.get(at..at + 2) {
        // RFC 826: sender's protocol address at 14, target's at 24.
        Some([0x08, 0x06]) => [14, 24].iter().filter_map(|&at| v4_at(body, at)).collect(),
        Some([0x08, 0x00] | [0x86, 0xdd]) => ip_addresses(body),
        _ => Vec::new(),
    }
}

fn ip_addresses(packet: &[u8]) -> Vec<IpAddr> {
    match packet.first().map(|first| first >> 4) {
        Some(4) => ipv4_addresses(packet),
        Some(6) => ipv6_addresses(packet),
        _ => Vec::new(),
    }
}

fn ipv4_addresses(packet: &[u8]) -> Vec<IpAddr> {
    let header = usize::from(packet[0] & 0x0f) * 4;
    let mut found: Vec<IpAddr> = [12, 16].iter().filter_map(|&at| v4_at(packet, at)).collect();
    // An option may hold an address at any offset.
    for at in 20..header.saturating_sub(3) {
        found.extend(v4_at(packet, at));
    }
    let offset = packet.get(6..8).map_or(0, |f| u16::from_be_bytes([f[0] & 0x1f, f[1]]));
    let error = matches!(packet.get(header), Some(3 | 4 | 5 | 11 | 12));
    if packet.get(9) == Some(&1) && offset == 0 && error {
        found.extend(packet.get(header + 8..).map(ip_addresses).unwrap_or_default());
    }
    found
}

fn ipv6_addresses(packet: &[u8]) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = [8, 24].iter().filter_map(|&at| v6_at(packet, at)).collect();
    let Some(&(mut next)) = packet.get(6) else { return found };
    let mut at = 40;
    // RFC 8200: hop-by-hop options, routing, fragment, destination options.
    while matches!(next, 0 | 43 | 44 | 60) {
        let Some(&[following, size, high, low]) = packet.get(at..at + 4) else { return found };
        if next == 44 && u16::from_be_bytes([high, low]) & 0xfff8 != 0 {
            return found;
        }
        let end = at + if next == 44 { 8 } else { (usize::from(size) + 1) * 8 };
        // An option may hold an address at any offset.
        found.extend((at..end.saturating_sub(15)).filter_map(|at| v6_at(packet, at)));
        (next, at) = (following, end);
    }
    if let (58, Some(message)) = (next, packet.get(at..)) {
        found.extend(icmpv6_addresses(message));
    }
    found
}

fn icmpv6_addresses(message: &[u8]) -> Vec<IpAddr> {
    match message.first() {
        Some(1..=4) => message.get(8..).map(ip_addresses).unwrap_or_default(),
        // RFC 4861: a redirect names two addresses and quotes a packet in one of its options.
        Some(137) => {
            let mut found: Vec<IpAddr> =
                [8, 24].iter().filter_map(|&at| v6_at(message, at)).collect();
            let mut options = message.get(40..).unwrap_or_default();
            while let [kind, units, ..] = options
                && *units > 0
            {
                if *kind == 4 {
                    found.extend(options.get(8..).map(ip_addresses).unwrap_or_default());
                }
                options = options.get(usize::from(*units) * 8..).unwrap_or_default();
            }
            found
        }
        Some(135 | 136) => v6_at(message, 8).into_iter().collect(),
        _ => Vec::new(),
    }
}

fn v4_at(bytes: &[u8], at: usize) -> Option<IpAddr> {
    let bytes: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(bytes.into())
}

fn v6_at(bytes: &[u8], at: usize) -> Option<IpAddr> {
    let bytes: [u8; 16] = bytes.get(at..at + 16)?.try_into().ok()?;
    Some(bytes.into())
}
