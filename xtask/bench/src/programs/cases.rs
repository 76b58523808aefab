//! The packets: one for each way that many take through a program.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};

use anyhow::{Context, Result};
use harness::{PATIENCE, family::Family, rivals::Member, traffic::dial};

use super::Cost;
use crate::{
    cost::{lab::Neti, members::Fleetmates, server::PORT},
    packet::{Attached, Content, Outcome, frame},
};

/// Peers whose packets come in turn, at the most.
const PEERS: u32 = 20_000;
/// A port that nobody listens on, and one that no connection has.
const CLOSED: u16 = 80;
const UNUSED: u16 = 1000;

/// One kind of packet.
pub struct Case {
    pub packet: &'static str,
    /// Of different peers, where it matters whose it is; the first comes again and again too.
    frames: Vec<Vec<u8>>,
    outcome: Outcome,
}

impl Case {
    /// What it costs in a program.
    pub fn cost(&self, program: &Attached) -> Result<Cost> {
        let frames = self.frames.iter().map(|frame| &frame[..]);
        // Also of a single one: what becomes of it shows that it went the way it should.
        let cold = program.cold(frames, self.outcome)?;
        let (hot, empty) = self.hot(program)?;
        let cold = (self.frames.len() > 1).then_some(cold);
        let (program, packet) = (program.name.into(), self.packet.into());
        Ok(Cost { program, packet, hot, cold, empty })
    }

    /// What the first one costs again and again, above an empty program, and what that costs.
    pub fn hot(&self, program: &Attached) -> Result<(f64, f64)> {
        let first = self.frames.first().context("there is a packet")?;
        Ok((program.hot(first)?, program.empty()?))
    }
}

/// What all packets are made of.
pub struct Cases {
    family: Family,
    /// Our own real address, and that of the host with XDP.
    own: IpAddr,
    xdp: IpAddr,
    /// Any members, and those of them that have connections to us.
    members: Vec<Member>,
    connections: Vec<(Member, Connection)>,
    /// One by real addresses, to the first of those.
    direct: Connection,
}

/// A connection of ours, whose socket the programs find.
struct Connection {
    own: SocketAddr,
    _stream: TcpStream,
}

impl Connection {
    fn to(neti: &Neti, peer: IpAddr) -> Result<Self> {
        let to = SocketAddr::new(peer, PORT);
        let stream = dial(&neti.left.site.netns, None, to, PATIENCE);
        let stream = stream.with_context(|| format!("connect to {to}"))?;
        Ok(Self { own: stream.local_addr()?, _stream: stream })
    }
}

impl Cases {
    pub fn new(neti: &Neti, fleetmates: &Fleetmates, xdp: IpAddr) -> Result<Self> {
        let family = fleetmates.family;
        let connected = |member: Member| Ok((member, Connection::to(neti, member.0)?));
        let connections: Vec<_> = fleetmates.peers().map(connected).collect::<Result<_>>()?;
        let ((_, real), _) = connections.first().context("there are members")?;
        Ok(Self {
            family,
            own: neti.left.real(family),
            xdp,
            members: fleetmates.spread(PEERS).collect(),
            direct: Connection::to(neti, *real)?,
            connections,
        })
    }

    /// Those of `neti_filter`.
    pub fn filter(&self) -> Result<Vec<Case>> {
        let own = SocketAddr::new(self.xdp, CLOSED);
        let members = || self.members.iter().map(|(_, real)| (SocketAddr::new(*real, PORT), own));
        let strangers = || self.strangers().map(|stranger| (stranger, own));
        Ok(vec![
            case("stranger's SYN", Content::Syn, strangers(), Outcome::Dropped)?,
            case("stranger's segment", Content::Ack, strangers().take(1), Outcome::Dropped)?,
            case("member's SYN", Content::Syn, members(), Outcome::Passed)?,
            case("member's segment", Content::Ack, members().take(1), Outcome::Passed)?,
        ])
    }

    /// Those of `neti_ingress`, where nothing has judged before it.
    pub fn ingress(&self) -> Result<Vec<Case>> {
        let own = |port| SocketAddr::new(self.own, port);
        let members =
            || self.members.iter().map(|(_, real)| (SocketAddr::new(*real, UNUSED), own(CLOSED)));
        let strangers = || self.strangers().map(|stranger| (stranger, own(CLOSED)));
        let connections = self.connections.iter().map(|((_, real), connection)| {
            (SocketAddr::new(*real, PORT), own(connection.own.port()))
        });
        let ((_, first), _) = &self.connections[0];
        let direct = [(SocketAddr::new(*first, PORT), self.direct.own)].into_iter();
        Ok(vec![
            case("stranger's SYN", Content::Syn, strangers(), Outcome::Dropped)?,
            case("stranger's segment", Content::Ack, strangers().take(1), Outcome::Dropped)?,
            case("overlay connection", Content::Ack, connections, Outcome::Translated)?,
            case("direct connection", Content::Ack, direct, Outcome::Passed)?,
            case("member's SYN", Content::Syn, members(), Outcome::Translated)?,
        ])
    }

    /// Those of `neti_egress`.
    pub fn egress(&self) -> Result<Vec<Case>> {
        let connections = || {
            self.connections
                .iter()
                .map(|((overlay, _), connection)| (connection.own, SocketAddr::new(*overlay, PORT)))
        };
        let ((_, first), _) = &self.connections[0];
        let direct = [(self.direct.own, SocketAddr::new(*first, PORT))].into_iter();
        let stranger = [(SocketAddr::new(self.own, UNUSED), self.stranger(0))].into_iter();
        Ok(vec![
            case("overlay connection", Content::Ack, connections(), Outcome::Translated)?,
            case("overlay connection's SYN", Content::Syn, connections(), Outcome::Translated)?,
            case("overlay, UDP", Content::Udp, connections(), Outcome::Translated)?,
            case("direct connection", Content::Ack, direct, Outcome::Passed)?,
            case("segment to a stranger", Content::Ack, stranger, Outcome::Passed)?,
        ])
    }
}

impl Cases {
    /// As many as there are members.
    fn strangers(&self) -> impl Iterator<Item = SocketAddr> {
        (0..self.members.len()).map(|number| self.stranger(number))
    }

    fn stranger(&self, number: usize) -> SocketAddr {
        // All over the network: what follows one another may be one after the other in a table.
        let (number, port) = ((number as u32).wrapping_mul(0x9e37_79b1) >> 15, 40_000);
        match self.family {
            Family::V4 => SocketAddr::from((Ipv4Addr::from_bits(0xc612_0000 + number), port)),
            Family::V6 => {
                let network = Ipv6Addr::new(0x2001, 0xdb8, 0x198, 0x51, 0, 0, 0, 0);
                SocketAddr::from((
                    Ipv6Addr::from_bits(network.to_bits() + u128::from(number)),
                    port,
                ))
            }
        }
    }
}

/// A kind of packet between these ends.
fn case(
    packet: &'static str,
    content: Content,
    ends: impl Iterator<Item = (SocketAddr, SocketAddr)>,
    outcome: Outcome,
) -> Result<Case> {
    let frames = ends.map(|(from, to)| frame(from, to, content)).collect::<Result<_>>()?;
    Ok(Case { packet, frames, outcome })
}
