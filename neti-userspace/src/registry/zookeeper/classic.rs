//! The member nodes of Instagram's Neti of 2013: all that a member says stands in the node's name,
//! `<uuid>-<public>|<private>|<overlay>|<1 in the VPC, 0 in EC2-Classic>`. kazoo's `ShallowParty`
//! makes and lists them.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};

use crate::{
    addresses::{self, Addresses, IpFamily},
    membership::{FORMAT, HostId, MemberRecord, MemberState, first_generation},
};

/// The networks that there are, by their flags.
pub const NETWORKS: [&str; 2] = ["ec2", "vpc"];

/// What a name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    public: Ipv4Addr,
    private: Ipv4Addr,
    pub overlay: Ipv4Addr,
    network: &'static str,
}

impl Member {
    /// Reads a name, or says why it is none.
    pub fn parse(name: &str) -> std::result::Result<Self, String> {
        let wrong =
            |what: &str| format!("{what}; must be <uuid>-<public>|<private>|<overlay>|<0 or 1>");
        let (_, said) = name.split_once('-').ok_or_else(|| wrong("no -"))?;
        let fields: Vec<&str> = said.split('|').collect();
        let [public, private, overlay, flag] = fields[..] else {
            return Err(wrong(&format!("{} fields", fields.len())));
        };
        let address = |field, text: &str| {
            let address: Ipv4Addr =
                text.parse().map_err(|_| wrong(&format!("{field} = {text:?}: no IPv4 address")))?;
            let fit = addresses::real(address.into());
            fit.map(|_| address).map_err(|error| format!("{field} = {address}: {error}"))
        };
        Ok(Self {
            public: address("public", public)?,
            private: address("private", private)?,
            overlay: address("overlay", overlay)?,
            network: match flag {
                "0" => NETWORKS[0],
                "1" => NETWORKS[1],
                _ => return Err(wrong(&format!("flag = {flag:?}"))),
            },
        })
    }

    /// What the name of `record` says.
    ///
    /// # Errors
    /// If the record lacks what daemons of the original Neti need.
    pub fn of(record: &MemberRecord) -> Result<Self> {
        let four = |addresses: Addresses| match addresses.of(IpFamily::V4) {
            Some(IpAddr::V4(address)) => Some(address),
            _ => None,
        };
        let needed = |key: &str| {
            format!("layout classic: {key}: must be an IPv4 address, as the original Neti needs it")
        };
        let overlay = record.overlays.iter().find_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        });
        Ok(Self {
            public: four(record.public).with_context(|| needed("public"))?,
            private: four(record.private).with_context(|| needed("private"))?,
            overlay: overlay.with_context(|| needed("overlay"))?,
            network: network(&record.network)?,
        })
    }

    /// A name that nobody else has.
    pub fn name(&self) -> String {
        let uuid: u128 = rand::random();
        // RFC 9562 section 5.4: version 4, variant 10.
        let uuid = (uuid & !(0xf << 76) & !(0b11 << 62)) | 4 << 76 | 0b10 << 62;
        let Self { public, private, overlay, network } = self;
        let flag = u8::from(*network == NETWORKS[1]);
        format!("{uuid:032x}-{public}|{private}|{overlay}|{flag}")
    }

    pub fn record(&self, id: HostId) -> MemberRecord {
        let one = |address: Ipv4Addr| {
            let mut addresses = Addresses::default();
            addresses.insert(address.into());
            addresses
        };
        MemberRecord {
            format: FORMAT,
            id,
            overlays: vec![self.overlay.into()],
            private: one(self.private),
            public: one(self.public),
            network: self.network.to_owned(),
            role: String::new(),
            labels: Default::default(),
            version: String::new(),
            generation: first_generation(),
            // A name does not tell: it takes nothing from anybody.
            since: u64::MAX,
            state: MemberState::Up,
        }
    }
}

/// A network that can be told by its flag.
pub fn network(name: &str) -> Result<&'static str> {
    let known = NETWORKS.into_iter().find(|network| *network == name);
    known.with_context(|| {
        format!(
            "layout classic: network = {name:?}: must be {}, which are all that the original Neti \
             knows",
            NETWORKS.join(" or ")
        )
    })
}

/// The id of a member whose overlay address nobody has locked.
pub fn stand_in(overlay: Ipv4Addr) -> Option<HostId> {
    format!("classic-{overlay}").parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::membership::sample::{id, record};

    const UUID: &str = "6c84fb90a4d1416dbb32b8e5f1f5c7d1";

    #[test]
    fn a_name_says_what_a_record_is() {
        let member = Member::parse(&format!("{UUID}-54.0.0.9|10.0.0.9|100.64.0.9|1")).unwrap();
        let vpc = record("i-9", "100.64.0.9", "vpc").private("10.0.0.9").public("54.0.0.9");
        assert_eq!(member.record(id("i-9")), vpc.since(u64::MAX));
        let member = Member::parse(&format!("{UUID}-54.0.0.9|10.0.0.9|100.64.0.9|0")).unwrap();
        assert_eq!(member.record(id("i-9")).network, "ec2");
    }

    #[test]
    fn what_is_no_name_is_told() {
        let check = |name: &str, what: &str| {
            let error = Member::parse(name).unwrap_err();
            assert!(error.contains(what), "{name}: {error}");
        };
        check(UUID, "no -; must be <uuid>-");
        check(&format!("{UUID}-1.2.3.4|1.2.3.4|1.2.3.4"), "3 fields");
        check(&format!("{UUID}-1.2.3.4|1.2.3.4|1.2.3.4|0|x"), "5 fields");
        check(&format!("{UUID}-a-b|1.2.3.4|1.2.3.4|0"), "public = \"a-b\": no IPv4 address");
        check(&format!("{UUID}-1.2.3.4|::1|1.2.3.4|0"), "private = \"::1\": no IPv4 address");
        check(&format!("{UUID}-1.2.3.4|1.2.3.4|127.0.0.1|0"), "overlay = 127.0.0.1: is loopback");
        check(&format!("{UUID}-1.2.3.4|1.2.3.4|1.2.3.4|2"), "flag = \"2\"");
    }

    #[test]
    fn a_record_without_what_the_original_needs_is_told() {
        let check = |record: &MemberRecord, what: &str| {
            let error = Member::of(record).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        };
        let whole = record("i-9", "100.64.0.9", "vpc").private("10.0.0.9").public("54.0.0.9");
        assert!(Member::of(&whole).is_ok());
        check(&record("i-9", "100.64.0.9", "vpc").private("10.0.0.9"), "public: must be");
        check(&record("i-9", "100.64.0.9", "vpc").public("54.0.0.9"), "private: must be");
        check(&MemberRecord { overlays: Vec::new(), ..whole.clone() }, "overlay: must be");
        check(&MemberRecord { network: "dc".to_owned(), ..whole }, "must be ec2 or vpc");
    }

    proptest! {
        #[test]
        fn what_is_named_is_read(
            [public, private, overlay] in prop::array::uniform3(0x0b00_0000u32..0x7e00_0000),
            network in prop::sample::select(NETWORKS.to_vec()),
        ) {
            let [public, private, overlay] = [public, private, overlay].map(Ipv4Addr::from_bits);
            let member = Member { public, private, overlay, network };
            let name = member.name();
            let (uuid, _) = name.split_once('-').unwrap();
            prop_assert_eq!(uuid.len(), 32);
            prop_assert_eq!(&uuid[12..13], "4");
            prop_assert!(["8", "9", "a", "b"].contains(&&uuid[16..17]));
            prop_assert_eq!(Member::parse(&name), Ok(member));
            prop_assert_eq!(Member::of(&member.record(id("i-9"))).unwrap(), member);
        }

        #[test]
        fn any_text_is_read_or_refused(name in "[0-9a-f|.-]{0,80}|.{0,40}") {
            if let Ok(member) = Member::parse(&name) {
                prop_assert_eq!(Member::parse(&member.name()), Ok(member));
            }
        }
    }
}
