//! A namespace whose maps, addresses and sockets are made to match a case's world, with the programs of the shipped
//! object.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::AsRawFd,
};

use anyhow::{Context, Result, ensure};
use aya::{
    Ebpf, Pod,
    maps::{Array, HashMap, LpmTrie, MapData, PerCpuArray, lpm_trie::Key},
};
use harness::{eventually, instance::fresh_instance, netns::Netns, packets::Wire};
use neti_common::{
    family::V4,
    headers::TCP,
    maps::{Counter, Flow, Hint, OPEN_PORT_WORDS, Settings, VLAN_WORDS, name},
    model::{OpenSocket, World},
    tables::Class,
    verdict::{Hook, Reason, counter_index},
};
use neti_userspace::loader::{self, pins::Pins};
use socket2::{Domain, Socket, Type};

use crate::{
    packet::{Addr, Packet, SYN},
    scene::{NEAR_MAC, OWN_MAC, ROUTER_MAC, frame},
};

/// The host's interface with the programs, and the far end of it.
pub const UPLINK: &str = "eth0";
pub const WIRE: &str = "wire";
/// Another one, past the programs.
const SIDE: &str = "side";
const SIDE_MAC: [u8; 6] = [2, 0, 0, 0, 1, 0x0a];

/// With 2 a listener answers by cookie and keeps nothing of a SYN, which the next case would find.
const SYN_COOKIES: &str = "net.ipv4.tcp_syncookies";

const CLASSES: [(Class, &str); 4] = [
    (Class::LocalMember, name::HINTS_LOCAL_MEMBER4),
    (Class::LocalStranger, name::HINTS_LOCAL_STRANGER4),
    (Class::ForwardMember, name::HINTS_FORWARD_MEMBER4),
    (Class::ForwardStranger, name::HINTS_FORWARD_STRANGER4),
];

pub struct Stage {
    pub host: Netns,
    /// Where the host's links end.
    pub peer: Netns,
    pub ebpf: Ebpf,
    pins: Pins,
    sockets: Vec<Socket>,
    side: Wire,
}

impl Stage {
    /// The programs are loaded, not attached.
    pub fn new() -> Result<Self> {
        let (host, peer) = (Netns::new("host")?, Netns::new("peer")?);
        for (ours, theirs) in [(UPLINK, WIRE), (SIDE, "aside")] {
            host.veth(ours, &peer, theirs)?;
        }
        host.ip_batch(&format!(
            "link set {UPLINK} address {own}\n\
             link set {SIDE} address {side}\n\
             addr add 10.0.0.10/24 dev {UPLINK}\n\
             addr add 100.64.1.1/32 dev lo\n\
             route add default via 10.0.0.1 dev {UPLINK}\n\
             route add 100.64.0.0/16 via 10.0.0.1 dev {UPLINK} src 100.64.1.1\n\
             neigh add 10.0.0.1 lladdr {router} dev {UPLINK} nud permanent\n\
             neigh add 10.0.0.11 lladdr {near} dev {UPLINK} nud permanent\n\
             neigh add 10.0.0.66 lladdr {router} dev {UPLINK} nud permanent\n",
            own = text(OWN_MAC),
            side = text(SIDE_MAC),
            router = text(ROUTER_MAC),
            near = text(NEAR_MAC),
        ))?;
        for interface in ["all", UPLINK, SIDE] {
            host.sysctl(&format!("net.ipv4.conf.{interface}.rp_filter"), "0")?;
        }
        host.sysctl(SYN_COOKIES, "2")?;
        let pins = Pins::new(&fresh_instance());
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let ebpf = runtime.block_on(loader::load(&pins, false))?;
        let side = Wire::open(&peer, "aside")?;
        Ok(Self { host, peer, ebpf, pins, sockets: Vec::new(), side })
    }

    /// Makes maps and sockets say what this world says.
    pub fn apply(&mut self, world: &World<V4>) -> Result<()> {
        self.sockets.clear();
        let settings = Settings { uplink: self.host.index(UPLINK)?, ..world.settings };
        self.array(name::SETTINGS4)?.set(0, settings, 0)?;
        self.array(name::SETTINGS_SLOT)?.set(0, 0_u32, 0)?;
        self.fill(name::MEMBERS4, world.members.iter().map(|(k, v)| (*k, *v)))?;
        self.fill(name::OVERLAYS4, world.paths.iter().map(|(k, v)| (*k, *v)))?;
        self.allow(world)?;
        let mut open = vec![0_u64; OPEN_PORT_WORDS as usize];
        for (protocol, port) in &world.open {
            let bit = usize::from(*port) + if *protocol == TCP { 0 } else { 1 << 16 };
            open[bit / 64] |= 1 << (bit % 64);
        }
        self.words(name::OPEN_PORTS, &open)?;
        let mut vlans = vec![0_u64; VLAN_WORDS as usize];
        for id in &world.vlans {
            vlans[usize::from(*id) / 64] |= 1 << (id % 64);
        }
        self.words(name::VLANS, &vlans)?;

        // The world's clock becomes the kernel's.
        let lag = now()?.wrapping_sub(world.now.get());
        for (class, map) in CLASSES {
            let hints = world.hints.borrow();
            let hints = hints.iter().filter(|((of, _), _)| *of == class);
            let hints: Vec<(Flow<V4>, Hint<V4>)> = hints
                .map(|((_, flow), hint)| {
                    (*flow, Hint { seen: hint.seen.wrapping_add(lag), ..*hint })
                })
                .collect();
            self.fill(map, hints)?;
        }
        let fragments = world.fragments.borrow().clone();
        let fragments = fragments.into_iter().map(|(key, mut fragment)| {
            fragment.seen = fragment.seen.wrapping_add(lag);
            (key, fragment)
        });
        self.fill(name::FRAGMENTS4, fragments)?;
        let twins = world.twins_out.borrow().clone();
        self.array(name::TWINS_USED)?.set(0, u32::from(!twins.is_empty()), 0)?;
        self.fill(name::TWINS_OUT4, twins)?;
        let twins = world.twins_in.borrow().clone();
        self.fill(name::TWINS_IN4, twins)?;
        self.open_sockets(world)
    }

    /// Packets of one hook, by reason and whether they would have been dropped.
    pub fn counted(&mut self, hook: Hook) -> Result<Vec<((Reason, bool), u64)>> {
        let map = self.ebpf.map(name::COUNTERS).context("the object has counters")?;
        let counters: PerCpuArray<_, Counter> = map.try_into()?;
        let mut counted = Vec::new();
        for &reason in Reason::ALL {
            for would in [false, true] {
                let values = counters.get(&counter_index(hook, reason, would), 0)?;
                let packets = values.iter().map(|counter| counter.packets).sum();
                counted.push(((reason, would), packets));
            }
        }
        Ok(counted)
    }

    fn array<V: Pod>(&mut self, name: &str) -> Result<Array<&mut MapData, V>> {
        let map =
            self.ebpf.map_mut(name).with_context(|| format!("the object has no map {name}"))?;
        Ok(map.try_into()?)
    }

    fn words(&mut self, name: &str, words: &[u64]) -> Result<()> {
        let mut array: Array<_, u64> = self.array(name)?;
        for (index, word) in words.iter().enumerate() {
            let index = index as u32;
            if array.get(&index, 0)? != *word {
                array.set(index, *word, 0)?;
            }
        }
        Ok(())
    }

    fn fill<K: Pod, V: Pod>(
        &mut self,
        name: &str,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<()> {
        let map =
            self.ebpf.map_mut(name).with_context(|| format!("the object has no map {name}"))?;
        let mut map: HashMap<_, K, V> = map.try_into()?;
        let old: Vec<K> = map.keys().collect::<std::result::Result<_, _>>()?;
        for key in old {
            map.remove(&key)?;
        }
        for (key, value) in entries {
            map.insert(key, value, 0)?;
        }
        Ok(())
    }

    fn allow(&mut self, world: &World<V4>) -> Result<()> {
        let map = self.ebpf.map_mut(name::ALLOW4).context("the object has allow rules")?;
        let mut map: LpmTrie<_, Addr, neti_common::maps::Allow> = map.try_into()?;
        let old: Vec<Key<Addr>> = map.keys().collect::<std::result::Result<_, _>>()?;
        for key in old {
            map.remove(&key)?;
        }
        for (length, prefix, allow) in &world.allow {
            map.insert(&Key::new(*length, prefix.network), allow, 0)?;
        }
        Ok(())
    }

    fn open_sockets(&mut self, world: &World<V4>) -> Result<()> {
        for socket in &world.sockets {
            match socket.peer {
                Some(peer) if socket.half_open => self.half_open(socket, peer)?,
                _ => {
                    let open = self.host.run(|| open(socket));
                    self.sockets.push(open.with_context(|| format!("open {socket:?}"))?);
                }
            }
        }
        Ok(())
    }

    /// Lets a listener answer a SYN that comes in beside the programs, and nobody complete the connection.
    /// It stays half-open for as long as the kernel likes, so no other case may use its ports.
    fn half_open(&self, socket: &OpenSocket<V4>, peer: (Addr, u16)) -> Result<()> {
        let own = socket.local.context("a half-open connection has an address")?;
        self.host.sysctl(SYN_COOKIES, "0")?;
        let syn = Packet::tcp(peer, (own, socket.port), SYN);
        self.side.send(&frame(SIDE_MAC, ROUTER_MAC, 0x0800, &syn.bytes()))?;
        // In proc_net_tcp(5), 03 is SYN_RECV.
        eventually("the connection is half-open", || {
            let table = self.host.run(|| fs::read_to_string("/proc/thread-self/net/tcp"));
            table.is_ok_and(|table| table.lines().any(|line| line.contains(" 03 ")))
        });
        self.host.sysctl(SYN_COOKIES, "2")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(instance) = self.pins.maps().parent().and_then(|version| version.parent()) {
            let _ = fs::remove_dir_all(instance);
        }
    }
}

/// A socket of this namespace. Connections are made without a word on the wire (`TCP_REPAIR`).
fn open(wanted: &OpenSocket<V4>) -> io::Result<Socket> {
    let local = SocketAddrV4::new(wanted.local.unwrap_or_default().into(), wanted.port);
    let kind = if wanted.protocol == TCP { Type::STREAM } else { Type::DGRAM };
    let socket = Socket::new(Domain::IPV4, kind, None)?;
    socket.set_reuse_address(true)?;
    if wanted.protocol == TCP && wanted.peer.is_some() {
        repair(&socket)?;
    }
    socket.bind(&SocketAddr::from(local).into())?;
    if let Some((peer, port)) = wanted.peer {
        socket.connect(&SocketAddr::from((Ipv4Addr::from(peer), port)).into())?;
    } else if wanted.protocol == TCP {
        socket.listen(16)?;
    }
    Ok(socket)
}

fn repair(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option is an int, and its length is given.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_REPAIR,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `CLOCK_MONOTONIC`, as `bpf_ktime_get_ns` tells it.
fn now() -> Result<u64> {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)?;
    Ok(time.tv_sec().cast_unsigned() * 1_000_000_000 + time.tv_nsec().cast_unsigned())
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// What has been counted since `before`, which must be one packet with this verdict.
pub fn counted_one(
    before: &[((Reason, bool), u64)],
    after: &[((Reason, bool), u64)],
    wanted: (Reason, bool),
) -> Result<()> {
    let new: Vec<_> = before
        .iter()
        .zip(after)
        .filter(|((_, before), (_, after))| before != after)
        .map(|((verdict, before), (_, after))| (*verdict, after - before))
        .collect();
    ensure!(new == [(wanted, 1)], "counted {new:?}, not one {wanted:?}");
    Ok(())
}
