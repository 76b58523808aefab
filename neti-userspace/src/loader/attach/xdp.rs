//! The filter in the driver (XDP): native mode or not at all.

use anyhow::{Context, Result, bail};
use aya::{
    Ebpf,
    programs::{
        Xdp, XdpMode,
        links::{FdLink, LinkError},
        xdp::XdpLink,
    },
};
use neti_common::verdict::Hook;

use super::{Attach, Pins, Uplink, pinned, pins, program, program_of};

/// Attaches the filter if the configuration and the driver want it, detaches it if they do not.
/// Returns whether it is attached. Where [`is_wanted`], its programs must be loaded.
pub fn attach(ebpf: &mut Ebpf, pins: &Pins, uplink: &Uplink, wanted: Attach) -> Result<bool> {
    let path = pins.link(Hook::Filter);
    let link = pinned(&path)?;
    if let Some(reason) = unsuitable(uplink, wanted) {
        tracing::debug!("no XDP on {}: {reason}", uplink.name);
        if link.is_some() {
            pins::remove_link(&path)?;
        }
        return Ok(false);
    }
    if uplink.xdp.is_some() && uplink.xdp != program_of(&path) {
        tracing::warn!(
            "uplink {} has an XDP program of somebody else, which stays; filtering in tcx alone",
            uplink.name
        );
        return Ok(false);
    }
    let program = ebpf.program_mut(program::FILTER);
    let program: &mut Xdp = program
        .with_context(|| format!("program {}: not in the object", program::FILTER))?
        .try_into()?;
    if let Some(link) = link {
        let id = program.attach_to_link(XdpLink::try_from(link)?)?;
        drop(FdLink::try_from(program.take_link(id)?)?);
        return Ok(true);
    }
    match program.attach_to_if_index(uplink.index, XdpMode::Driver) {
        Ok(id) => match FdLink::try_from(program.take_link(id)?) {
            Ok(link) => {
                link.pin(&path)?;
                Ok(true)
            }
            // Before kernel 5.9 there are no links for XDP: nothing that could be pinned.
            Err(LinkError::InvalidLink) => refused(uplink, wanted, "the kernel has no XDP links"),
            Err(error) => Err(error.into()),
        },
        Err(error) => refused(uplink, wanted, &format!("{:#}", anyhow::Error::new(error))),
    }
}

/// Whether XDP is to be tried on this uplink.
pub fn is_wanted(uplink: &Uplink, wanted: Attach) -> bool {
    unsuitable(uplink, wanted).is_none()
}

/// Why `wanted` does not ask for XDP on this uplink.
fn unsuitable(uplink: &Uplink, wanted: Attach) -> Option<&'static str> {
    match wanted {
        Attach::Xdp => None,
        Attach::Tcx => Some("attach = \"tcx\""),
        // Native XDP on veth costs the peer its TSO, and bridges, bonds and tunnels see frames that
        // a device below them has had already.
        Attach::Auto if uplink.kind.is_some() => Some("it is a virtual interface"),
        Attach::Auto if !uplink.vlans.is_empty() => Some("it has VLAN interfaces"),
        Attach::Auto => None,
    }
}

fn refused(uplink: &Uplink, wanted: Attach, why: &str) -> Result<bool> {
    match wanted {
        Attach::Xdp => bail!(
            "attach = \"xdp\": the driver of {} takes no native XDP: {why}; use \"auto\" or \"tcx\"",
            uplink.name
        ),
        _ => {
            tracing::info!("no native XDP on {}: {why}; filtering in tcx alone", uplink.name);
            Ok(false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_takes_xdp_on_devices_only() {
        let check = |kind: Option<&str>, vlans: &[u16], wanted, suits: bool| {
            let uplink = Uplink {
                name: "eth0".to_owned(),
                index: 2,
                mac: vec![2, 0, 0, 0, 0, 1],
                kind: kind.map(str::to_owned),
                addresses: Vec::new(),
                gateways: Default::default(),
                other_next_hop: Vec::new(),
                vlans: vlans.to_vec(),
                xdp: None,
            };
            assert_eq!(unsuitable(&uplink, wanted).is_none(), suits, "{kind:?} {wanted:?}");
        };
        check(None, &[], Attach::Auto, true);
        check(Some("veth"), &[], Attach::Auto, false);
        check(Some("bond"), &[], Attach::Auto, false);
        check(None, &[7], Attach::Auto, false);
        check(Some("veth"), &[], Attach::Xdp, true);
        check(None, &[], Attach::Tcx, false);
    }
}
