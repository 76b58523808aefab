//! A namespace whose maps, addresses and sockets are made to match a case's world, with the programs of the shipped
//! object.

mod sockets;

use std::{collections::BTreeMap, fs, marker::PhantomData};

use anyhow::{Context, Result, ensure};
use aya::{
    Ebpf, Pod,
    maps::{Array, HashMap, MapData, PerCpuArray},
};
use harness::{eventually, instance::fresh_instance, netns::Netns, packets::Wire};
use neti_common::{
    family::{Family, V4, V6},
    maps::{
        CLASS_WORDS, Counter, DropKey, Dropped, Flow, Hint, RangeKey, SET_WORDS, Settings,
        VLAN_WORDS, bloom,
        hops::{self, Hop},
        name,
    },
    model::{OpenSocket, World},
    ropes::Ropes,
    tables::Class,
    verdict::{Hook, Reason, counter_index},
};
use neti_userspace::loader::{self, Options, pins::Pins};
use socket2::Socket;
pub use sockets::Sockets;

use crate::{
    packet::{Packet, SYN},
    scene::{NEAR_MAC, OWN_MAC, ROUTER_MAC, Scene, frame},
};

/// The host's interface with the programs, and the far end of it.
pub const UPLINK: &str = "eth0";
pub const WIRE: &str = "wire";
/// Another one, past the programs.
const SIDE: &str = "side";
const SIDE_MAC: [u8; 6] = [2, 0, 0, 0, 1, 0x0a];

/// With 2 a listener answers by cookie and keeps nothing of a SYN, which the next case would find.
const SYN_COOKIES: &str = "net.ipv4.tcp_syncookies";

pub struct Stage<F: Scene> {
    pub host: Netns,
    /// Where the host's links end.
    pub peer: Netns,
    pub ebpf: Ebpf,
    pins: Pins,
    sockets: Vec<Socket>,
    /// The words of arrays as they were last written: to read thousands of them takes long.
    written: BTreeMap<String, Vec<u64>>,
    side: Wire,
    family: PhantomData<F>,
}

impl<F: Scene> Stage<F> {
    /// The programs are loaded, not attached.
    pub fn new() -> Result<Self> {
        let (host, peer) = (Netns::new("host")?, Netns::new("peer")?);
        host.enable_ipv6()?;
        // Reports of the groups that the addresses need are all sent before anything is attached.
        host.sysctl("net.ipv6.conf.default.mldv2_unsolicited_report_interval", "1")?;
        for (ours, theirs) in [(UPLINK, WIRE), (SIDE, "aside")] {
            host.veth(ours, &peer, theirs)?;
        }
        let [own, own_overlay, range, router, near, neighbour] =
            [F::OWN, F::OWN_OVERLAY, F::RANGE.0, F::ROUTER, F::NEAR, F::NEIGHBOUR]
                .map(|address| F::to_ip(&address));
        let (link, bits, length, flags) = (F::LINK, F::BITS, F::RANGE.1, F::ADDRESS_FLAGS);
        let [own_mac, side_mac, router_mac, near_mac] =
            [OWN_MAC, SIDE_MAC, ROUTER_MAC, NEAR_MAC].map(text);
        host.ip_batch(&format!(
            "link set {UPLINK} address {own_mac}\n\
             link set {SIDE} address {side_mac}\n\
             addr add {own}/{link} dev {UPLINK} {flags}\n\
             addr add {own_overlay}/{bits} dev lo {flags}\n\
             route add default via {router} dev {UPLINK}\n\
             route add {range}/{length} via {router} dev {UPLINK} src {own_overlay}\n\
             neigh add {router} lladdr {router_mac} dev {UPLINK} nud permanent\n\
             neigh add {near} lladdr {near_mac} dev {UPLINK} nud permanent\n\
             neigh add {neighbour} lladdr {router_mac} dev {UPLINK} nud permanent\n",
        ))?;
        for interface in ["all", UPLINK, SIDE] {
            host.sysctl(&format!("net.ipv4.conf.{interface}.rp_filter"), "0")?;
        }
        host.sysctl(SYN_COOKIES, "2")?;
        let pins = Pins::new(&fresh_instance());
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let mut ebpf =
            runtime.block_on(loader::load(&pins, Options { trace: false, xdp: true }))?;
        loader::hand_over(&mut ebpf, true)?;
        let side = Wire::open(&peer, "aside")?;
        Ok(Self {
            host,
            peer,
            ebpf,
            pins,
            sockets: Vec::new(),
            written: BTreeMap::new(),
            side,
            family: PhantomData,
        })
    }

    /// Makes maps and sockets say what this world says.
    pub fn apply(&mut self, world: &World<F>, sockets: Sockets) -> Result<()> {
        self.sockets.clear();
        let uplink = self.host.index(UPLINK)?;
        // A fleet has settings of both families, those of the one without addresses too.
        self.settings(&without_addresses::<V4, F>(&world.settings, uplink))?;
        self.settings(&without_addresses::<V6, F>(&world.settings, uplink))?;
        self.settings(&Settings { uplink, ..world.settings })?;
        self.array(name::SETTINGS_SLOT)?.set(0, 0_u32, 0)?;
        let maps = F::MAPS;
        self.fill(maps.members, world.members.iter().map(|(k, v)| (*k, *v)))?;
        let mut bloom = vec![0_u64; bloom::WORDS as usize];
        for real in world.members.keys() {
            let (word, bit) = bloom::place::<F>(real);
            bloom[word as usize] |= 1 << bit;
        }
        self.words(maps.bloom, &bloom)?;
        self.fill(maps.overlays, world.paths.iter().map(|(k, v)| (*k, *v)))?;
        self.rules(world)?;
        let mut vlans = vec![0_u64; VLAN_WORDS as usize];
        for id in &world.vlans {
            vlans[usize::from(*id) / 64] |= 1 << (id % 64);
        }
        self.words(name::VLANS, &vlans)?;

        // Nothing has left that the daemon has not cleared, or it has cleared nothing.
        self.words(name::MIXED, &[0, u64::from(!world.mixed.get())])?;

        // Nothing went there a moment ago.
        for path in world.paths.values() {
            let index = hops::Key::of::<F>(&path.real).index;
            self.array(name::HOPS)?.set(index, Hop::default(), 0)?;
        }

        // The world's clock becomes the kernel's.
        let lag = now()?.wrapping_sub(world.now.get());
        for (class, map) in [
            (Class::LocalMember, maps.hints_local_member),
            (Class::LocalStranger, maps.hints_local_stranger),
            (Class::ForwardMember, maps.hints_forward_member),
            (Class::ForwardStranger, maps.hints_forward_stranger),
        ] {
            let hints = world.hints.borrow();
            let hints = hints.iter().filter(|((of, _), _)| *of == class);
            let hints: Vec<(Flow<F>, Hint<F>)> = hints
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
        self.fill(maps.fragments, fragments)?;
        let twins = world.twins_out.borrow().clone();
        self.array(name::TWINS_USED)?.set(0, u32::from(!twins.is_empty()), 0)?;
        self.fill(maps.twins_out, twins)?;
        let twins = world.twins_in.borrow().clone();
        self.fill(maps.twins_in, twins)?;
        self.open_sockets(world, sockets)
    }

    fn settings<G: Family>(&mut self, settings: &Settings<G>) -> Result<()> {
        self.array(G::MAPS.settings)?.set(0, *settings, 0)?;
        Ok(())
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
        let mut written = self.written.remove(name).unwrap_or_default();
        written.resize(words.len().max(written.len()), 0);
        let mut array: Array<_, u64> = self.array(name)?;
        for (index, (word, before)) in words.iter().zip(&mut written).enumerate() {
            if word != before {
                array.set(index as u32, *word, 0)?;
                *before = *word;
            }
        }
        self.written.insert(name.to_owned(), written);
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

    fn rules(&mut self, world: &World<F>) -> Result<()> {
        let rules = &world.rules;
        let ranges = Ropes::<F>::new(&rules.prefixes).ranges.into_iter();
        let ranges = ranges.map(|((length, network), range)| {
            (RangeKey::<F> { network, length, slot: world.settings.slot }, range)
        });
        self.fill(F::MAPS.ranges, ranges)?;
        self.fill(name::SUBJECTS, rules.subjects.clone())?;
        let class = |word: u32, n: u32| u64::from(rules.class(word * 4 + n)) << (16 * n);
        let classes = (0..CLASS_WORDS).map(|word| (0..4).map(|n| class(word, n)).sum());
        self.words(name::CLASSES, &classes.collect::<Vec<u64>>())?;
        let bit = |set, class| u64::from(rules.has_class(set, class)) << (class % 64);
        let sets = rules.sets.iter().zip(0..).flat_map(|(_, set)| {
            let word =
                move |word: u32| (word * 64..word * 64 + 64).map(|class| bit(set, class)).sum();
            (0..SET_WORDS).map(word)
        });
        self.words(name::SETS, &sets.collect::<Vec<u64>>())?;
        self.fill::<DropKey<F>, Dropped>(F::MAPS.drops, [])
    }

    fn open_sockets(&mut self, world: &World<F>, of: Sockets) -> Result<()> {
        for socket in &world.sockets {
            match socket.peer {
                Some(peer) if socket.half_open => self.half_open(socket, peer)?,
                _ => {
                    let open = self.host.run(|| sockets::open(socket, of));
                    self.sockets.push(open.with_context(|| format!("open {socket:?}"))?);
                }
            }
        }
        Ok(())
    }

    /// Lets a listener answer a SYN that comes in beside the programs, and nobody complete the connection.
    /// It stays half-open for as long as the kernel likes, so no other case may use its ports.
    fn half_open(&self, socket: &OpenSocket<F>, peer: (F::Addr, u16)) -> Result<()> {
        let own = socket.local.context("a half-open connection has an address")?;
        self.host.sysctl(SYN_COOKIES, "0")?;
        let syn = Packet::<F>::tcp(peer, (own, socket.port), SYN);
        self.side.send(&frame(SIDE_MAC, ROUTER_MAC, F::ETHERTYPE, &syn.bytes()))?;
        // In proc_net_tcp(5), 03 is SYN_RECV.
        eventually("the connection is half-open", || {
            let read = |name| fs::read_to_string(format!("/proc/thread-self/net/{name}"));
            self.host
                .run(|| ["tcp", "tcp6"].map(read))
                .iter()
                .flatten()
                .any(|table| table.lines().any(|line| line.contains(" 03 ")))
        });
        self.host.sysctl(SYN_COOKIES, "2")
    }
}

impl<F: Scene> Drop for Stage<F> {
    fn drop(&mut self) {
        if let Some(instance) = self.pins.maps().parent().and_then(|version| version.parent()) {
            let _ = fs::remove_dir_all(instance);
        }
    }
}

/// The settings of a fleet that has no addresses in this family.
fn without_addresses<G: Family, F: Family>(settings: &Settings<F>, uplink: u32) -> Settings<G> {
    Settings {
        uplink,
        twin_first: settings.twin_first,
        twin_last: settings.twin_last,
        mode: settings.mode,
        identity: settings.identity,
        echo: settings.echo,
        valid: settings.valid,
        ..Settings::UNSET
    }
}

/// `CLOCK_MONOTONIC`, as `bpf_ktime_get_ns` tells it.
fn now() -> Result<u64> {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)?;
    Ok(time.tv_sec().cast_unsigned() * 1_000_000_000 + time.tv_nsec().cast_unsigned())
}

pub fn text(mac: [u8; 6]) -> String {
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
