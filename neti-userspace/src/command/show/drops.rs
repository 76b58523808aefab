//! `neti show drops`: whose packets were refused, and what would let them in.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Context, Result};
use aya::maps::{HashMap, IterableMap, Map, MapData, PerCpuArray};
use ipnet::IpNet;
use neti_common::{
    family::{Family, V4, V6},
    maps::{self, DropKey, Dropped, Notes, name},
    verdict::Reason,
};
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;
use serde_json::json;

use crate::{
    loader::{bpf, pins::Pins},
    membership::HostId,
    output::Row,
    status::{self, names, unix_now},
    store::kernel::{KernelStore, open},
};

/// Packets of one source to one service that came to the same end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    source: IpAddr,
    /// The member that has this address.
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<HostId>,
    /// As rules name it: `tcp/443`, `icmp`; none if the packet could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    reason: &'static str,
    packets: u64,
    /// How many of them `observe` let pass.
    would_drop: u64,
    /// Of the last one, seconds since 1970.
    last_seen: u64,
    /// How many seconds ago that was.
    #[serde(skip)]
    ago: u64,
    /// A key of the fleet's settings and an element or value of it that would have let them in, or that
    /// they are let in since.
    #[serde(skip_serializing_if = "Option::is_none")]
    admitted_by: Option<String>,
}

impl Row for Shown {
    const TITLES: &'static [&'static str] =
        &["SOURCE", "TO", "REASON", "PACKETS", "WOULD DROP", "LAST SEEN", "ADMITTED BY"];

    fn cells(&self) -> Vec<String> {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let member = self.member.as_ref().map(|id| format!(" ({id})")).unwrap_or_default();
        vec![
            format!("{}{member}", self.source),
            or_none(&self.service),
            self.reason.to_owned(),
            self.packets.to_string(),
            self.would_drop.to_string(),
            format!("{} s ago", self.ago),
            or_none(&self.admitted_by),
        ]
    }
}

/// Drops by source, most packets first, and how many packets are in none of them because more came than
/// there was time to note.
pub fn read(pins: &Pins, would: bool) -> Result<(Vec<Shown>, u64)> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).context("the monotonic clock")?;
    let me = status::read(pins.instance())?.map(|status| status.host);
    let (settings, _) = KernelStore::open(pins)?.settings()?;
    let host = Host {
        me,
        members: members(pins),
        restricted: settings.members != maps::members::ALL,
        now: now.tv_sec().cast_unsigned(),
    };
    let mut shown = [host.drops::<V4>(pins)?, host.drops::<V6>(pins)?].concat();
    shown.retain(|shown| !would || shown.would_drop > 0);
    shown.sort_by(|a, b| b.packets.cmp(&a.packets).then(a.source.cmp(&b.source)));
    let notes: PerCpuArray<MapData, Notes> = open(pins, name::NOTES, Map::PerCpuArray)?;
    let notes = notes.get(&0, 0).context(name::NOTES)?;
    Ok((shown, notes.iter().map(|notes| notes.left_out).sum()))
}

/// What is known here of who sends, and to whom.
struct Host {
    me: Option<HostId>,
    /// By real address, and by overlay address: what `observe` lets pass is translated when it is noted.
    members: BTreeMap<IpAddr, HostId>,
    /// Whether members are let in by rules alone.
    restricted: bool,
    /// `CLOCK_MONOTONIC`, seconds.
    now: u64,
}

/// Who has which address; nobody where the names are not to be had.
fn members(pins: &Pins) -> BTreeMap<IpAddr, HostId> {
    let names = names::read(pins.instance()).unwrap_or_default();
    let families = KernelStore::open(pins).and_then(|store| store.families());
    let Ok((v4, v6)) = families else { return BTreeMap::new() };
    let v4 = v4.members.values().map(|m| (V4::to_ip(&m.real), V4::to_ip(&m.overlays[0])));
    let v6 = v6.members.values().map(|m| (V6::to_ip(&m.real), V6::to_ip(&m.overlays[0])));
    let by_real: Vec<(IpAddr, HostId)> = v4
        .chain(v6)
        .filter_map(|(real, overlay)| Some((real, names.get(&overlay)?.clone())))
        .collect();
    names.into_iter().chain(by_real).collect()
}

impl Host {
    fn drops<F: Family>(&self, pins: &Pins) -> Result<Vec<Shown>> {
        let map: HashMap<MapData, DropKey<F>, Dropped> =
            open(pins, F::MAPS.drops, Map::LruHashMap)?;
        let drops: Vec<(DropKey<F>, Dropped)> =
            bpf::lookup_all(map.map()).context(F::MAPS.drops)?;
        Ok(drops.iter().filter_map(|(key, dropped)| self.shown::<F>(key, dropped)).collect())
    }

    /// `None` for a reason of another version of neti.
    fn shown<F: Family>(&self, key: &DropKey<F>, dropped: &Dropped) -> Option<Shown> {
        let reason = *Reason::ALL.get(usize::from(key.reason))?;
        let source = F::to_ip(&key.src);
        let member = self.members.get(&source).cloned();
        let ago = self.now.saturating_sub(dropped.seen / 1_000_000_000);
        let service = Service::of(key);
        Some(Shown {
            source,
            service: service.as_ref().map(ToString::to_string),
            reason: reason.as_str(),
            packets: dropped.packets,
            would_drop: dropped.would,
            last_seen: unix_now().saturating_sub(ago),
            ago,
            admitted_by: service
                .and_then(|service| self.rule(reason, source, member.as_ref(), &service)),
            member,
        })
    }
}

/// What a packet was sent to, as rules name it.
enum Service {
    Tcp(u16),
    Udp(u16),
    Icmp,
    Other(u8),
}

impl Service {
    /// `None` if the packet could not be read.
    fn of<F: Family>(key: &DropKey<F>) -> Option<Self> {
        let port = u16::from_be_bytes(key.port);
        Some(match key.protocol {
            0 => return None,
            neti_common::headers::TCP => Self::Tcp(port),
            neti_common::headers::UDP => Self::Udp(port),
            protocol if protocol == F::ICMP => Self::Icmp,
            protocol => Self::Other(protocol),
        })
    }
}

impl std::fmt::Display for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(port) => write!(f, "tcp/{port}"),
            Self::Udp(port) => write!(f, "udp/{port}"),
            Self::Icmp => write!(f, "icmp"),
            Self::Other(protocol) => write!(f, "{protocol}"),
        }
    }
}

impl Host {
    /// What would let such packets in; `None` where no rule can: they are broken, or forged, or parts of
    /// what a rule must admit as a whole.
    fn rule(
        &self,
        reason: Reason,
        source: IpAddr,
        member: Option<&HostId>,
        service: &Service,
    ) -> Option<String> {
        match reason {
            // The first rule to a host would shut out all others.
            Reason::Role if !self.restricted => {
                Some("members reach all of this host by now".into())
            }
            Reason::Role => {
                let me = self.me.as_ref()?;
                // The names may be behind, and are those of members with overlay addresses here.
                let from = member.map_or("any".to_owned(), |peer| format!("host {peer}"));
                Some(format!("member_rules: \"from {from} to host {me} {service}\""))
            }
            Reason::Stranger | Reason::NotAReply | Reason::IcmpUnrelated => {
                let from = IpNet::from(source).to_string();
                let rule = match service {
                    Service::Tcp(port) => {
                        json!({ "from": from, "protocol": "tcp", "ports": [port.to_string()] })
                    }
                    Service::Udp(port) => {
                        json!({ "from": from, "protocol": "udp", "ports": [port.to_string()] })
                    }
                    Service::Icmp => json!({ "from": from, "protocol": "icmp" }),
                    Service::Other(protocol) => json!({ "from": from, "protocol": protocol }),
                };
                Some(format!("allow: {rule}"))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        let members = [("10.0.0.11".parse().unwrap(), "sierra".parse().unwrap())].into();
        Host { me: Some("hudson".parse().unwrap()), members, restricted: true, now: 100 }
    }

    fn shown(src: &str, protocol: u8, port: u16, reason: Reason) -> Shown {
        let dropped = Dropped { packets: 3, seen: 93_500_000_000, would: 2 };
        let (port, reason) = (port.to_be_bytes(), reason as u8);
        let source: IpAddr = src.parse().unwrap();
        let shown = match V4::of(source) {
            Some(src) => {
                host().shown(&DropKey::<V4> { src, port, protocol, reason, _pad: [0; 4] }, &dropped)
            }
            None => {
                let src = V6::of(source).unwrap();
                host().shown(&DropKey::<V6> { src, port, protocol, reason, _pad: [0; 4] }, &dropped)
            }
        };
        shown.unwrap()
    }

    #[test]
    fn a_drop_tells_who_and_what_and_when_and_what_would_help() {
        let cells = shown("203.0.113.9", 6, 443, Reason::Stranger).cells();
        let rule = r#"allow: {"from":"203.0.113.9/32","protocol":"tcp","ports":["443"]}"#;
        assert_eq!(cells, ["203.0.113.9", "tcp/443", "stranger", "3", "2", "7 s ago", rule]);
    }

    #[test]
    fn the_rule_is_one_that_the_settings_take() {
        for (src, protocol, reason) in [
            ("203.0.113.9", 6, Reason::NotAReply),
            ("203.0.113.9", 17, Reason::Stranger),
            ("203.0.113.9", 1, Reason::IcmpUnrelated),
            ("203.0.113.9", 132, Reason::Stranger),
            ("2001:db8::9", 58, Reason::Stranger),
            ("10.0.0.11", 6, Reason::Role),
        ] {
            let rule = shown(src, protocol, 443, reason).admitted_by.unwrap();
            let (key, element) = rule.split_once(": ").unwrap();
            let fleet = format!("{{\"overlay\": [\"100.64.0.0/16\"], \"{key}\": [{element}]}}");
            let read = crate::fleet::FleetSettings::parse("fleet", fleet.as_bytes());
            assert!(read.is_ok(), "{fleet}: {}", read.unwrap_err());
        }
    }

    #[test]
    fn a_member_without_a_name_is_let_in_by_a_rule_for_all_and_nobody_by_the_first_rule() {
        let sierra = "sierra".parse().unwrap();
        let rule = |host: Host, member| {
            let source = "10.0.0.99".parse().unwrap();
            host.rule(Reason::Role, source, member, &Service::Tcp(443))
        };
        let any = "member_rules: \"from any to host hudson tcp/443\"";
        assert_eq!(rule(host(), None).as_deref(), Some(any));
        let open = Host { restricted: false, ..host() };
        let by_now = "members reach all of this host by now";
        assert_eq!(rule(open, Some(&sierra)).as_deref(), Some(by_now));
        assert_eq!(rule(Host { me: None, ..host() }, None), None);
    }

    #[test]
    fn no_rule_admits_what_is_broken_or_forged() {
        for reason in [Reason::Malformed, Reason::SpoofedOverlay, Reason::FragmentWithoutFirst] {
            assert_eq!(shown("203.0.113.9", 6, 443, reason).admitted_by, None);
        }
        let unread = shown("203.0.113.9", 0, 0, Reason::Malformed);
        assert_eq!((unread.service, unread.admitted_by), (None, None));
    }
}
