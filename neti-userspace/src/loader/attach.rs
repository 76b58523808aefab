//! Attaches the programs to the uplink, or swaps them under the links that are pinned, which loses
//! no packet.

mod clsact;
mod guard;
mod xdp;

use std::{fmt, fs, io, path::Path};

use anyhow::{Context, Result, bail};
use aya::{
    Ebpf,
    programs::{
        LinkOrder, ProgramId, ProgramInfo, SchedClassifier, TcAttachType,
        links::{FdLink, LinkError, PinnedLink},
        tc::{SchedClassifierLink, TcAttachOptions},
    },
};
use neti_common::verdict::Hook;

use super::{
    bpf,
    pins::{self, Pins},
    program,
};
use crate::{config::Attach, uplink::Uplink};

pub use clsact::remove as remove_clsact;
pub use guard::{Guard, take_off};
pub use xdp::is_wanted as wants_xdp;

/// What the programs are attached by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Means {
    /// The filter is in the driver as well.
    pub xdp: bool,
    pub tc: Tc,
}

/// How tc programs are attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tc {
    Tcx,
    /// Before kernel 6.6.
    Clsact,
}

impl fmt::Display for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tc = match self.tc {
            Tc::Tcx => "tcx",
            Tc::Clsact => "clsact",
        };
        write!(f, "{}{tc}", if self.xdp { "xdp+" } else { "" })
    }
}

/// The means of tc that this kernel offers for the uplink.
pub fn available(uplink: &Uplink) -> Tc {
    match SchedClassifier::query_tcx(&uplink.name, TcAttachType::Ingress) {
        Ok(_) => Tc::Tcx,
        Err(_) => Tc::Clsact,
    }
}

/// Attaches all programs. Egress comes first: as long as it is alone, what is translated on its way
/// out gets no answer; the other way round the host would ask with overlay addresses on the wire.
pub fn attach(
    ebpf: &mut Ebpf,
    pins: &Pins,
    uplink: &Uplink,
    wanted: Attach,
    tc: Tc,
) -> Result<Means> {
    let links = pins.links();
    fs::create_dir_all(&links).with_context(|| format!("creating {}", links.display()))?;
    super::hand_over(ebpf, wants_xdp(uplink, wanted))?;
    // At the last start it may have been an interface like any other.
    guard::take_off(pins, tc, uplink.index)?;
    for hook in [Hook::Egress, Hook::Ingress] {
        let program = classifier(ebpf, hook)?;
        let attached = match tc {
            Tc::Tcx => attach_to_uplink(program, pins, uplink, hook),
            Tc::Clsact => clsact::attach(program, pins, uplink.index, &uplink.name, hook),
        };
        attached.with_context(|| format!("uplink {}: attaching {hook:?}", uplink.name))?;
    }
    let xdp = xdp::attach(ebpf, pins, uplink, wanted)
        .with_context(|| format!("uplink {}: attaching XDP", uplink.name))?;
    if !xdp {
        super::forget_xdp(ebpf)?;
    }
    Ok(Means { xdp, tc })
}

/// Errors if another instance's programs are on this uplink, or this instance's on another
/// interface: both are what a daemon leaves behind, and both must be removed by name.
pub fn check_free(pins: &Pins, uplink: &Uplink) -> Result<()> {
    let attached = attached_programs(uplink);
    for (hook, id) in &attached {
        if program_of(&pins.link(*hook)) == Some(*id) {
            continue;
        }
        let has_pinned = |instance: &String| {
            let links = Pins::new(instance).links_of_all_versions(*hook);
            links.iter().any(|link| program_of(link) == Some(*id))
        };
        match pins::instances().into_iter().find(has_pinned) {
            Some(owner) if owner == pins.instance() => bail!(
                "uplink {}: instance {owner} of another version of neti, whose maps have another \
                 layout, is attached to it; `neti down --instance {owner}` removes it",
                uplink.name,
            ),
            Some(owner) => bail!(
                "uplink {}: the programs of instance {owner} are attached to it; `neti down \
                 --instance {owner}` removes them",
                uplink.name,
            ),
            None => bail!(
                "uplink {}: a program named {} (id {id}) is attached to it, but no instance of \
                 neti has it pinned; detach it (`bpftool net detach` or end its owner)",
                uplink.name,
                program_name(*hook),
            ),
        }
    }
    for hook in [Hook::Ingress, Hook::Egress] {
        let path = pins.link(hook);
        let Some(id) = program_of(&path) else { continue };
        let gone = bpf::link_interface(&path).is_ok_and(|index| index == 0);
        if !gone && !attached.contains(&(hook, id)) {
            let instance = pins.instance();
            bail!(
                "instance {instance}: its programs are attached to another interface or in \
                 another network namespace than uplink {}; `neti down --instance {instance}` \
                 removes them",
                uplink.name,
            );
        }
    }
    Ok(())
}

/// The programs on the uplink that bear neti's names.
fn attached_programs(uplink: &Uplink) -> Vec<(Hook, u32)> {
    let mut found = Vec::new();
    for (hook, kind) in
        [(Hook::Ingress, TcAttachType::Ingress), (Hook::Egress, TcAttachType::Egress)]
    {
        // Fails where the kernel has no tcx; there the filter's handle is one for all instances.
        let Ok((_, programs)) = SchedClassifier::query_tcx(&uplink.name, kind) else { continue };
        found.extend(
            programs
                .iter()
                .filter(|program| program.name_as_str() == Some(program_name(hook)))
                .map(|program| (hook, program.id())),
        );
    }
    found
}

/// The program under the link pinned at `path`.
fn program_of(path: &Path) -> Option<u32> {
    let link = FdLink::from(PinnedLink::from_pin(path).ok()?);
    Some(link.info().ok()?.program_id())
}

const fn program_name(hook: Hook) -> &'static str {
    match hook {
        Hook::Filter => program::FILTER,
        Hook::Ingress => program::INGRESS,
        Hook::Egress => program::EGRESS,
        Hook::Guard => program::GUARD,
    }
}

fn classifier(ebpf: &mut Ebpf, hook: Hook) -> Result<&mut SchedClassifier> {
    let name = program_name(hook);
    let program = ebpf.program_mut(name);
    let program = program.with_context(|| format!("program {name}: not in the object"))?;
    Ok(program.try_into()?)
}

/// We stand first at ingress, so that nobody sees real addresses before us, and last at egress, so
/// that nobody sees them after us. Only the guards of other instances come before us, to whom this is
/// an interface like any other: what we translate may lie in their ranges.
fn attach_to_uplink(
    program: &mut SchedClassifier,
    pins: &Pins,
    uplink: &Uplink,
    hook: Hook,
) -> Result<()> {
    let (kind, order) = match hook {
        Hook::Egress => (TcAttachType::Egress, LinkOrder::last()),
        _ => (TcAttachType::Ingress, behind_guards(&uplink.name)?),
    };
    attach_tcx(program, Place { path: &pins.link(hook), name: &uplink.name, kind, order })
}

fn behind_guards(name: &str) -> Result<LinkOrder> {
    let (_, programs) = SchedClassifier::query_tcx(name, TcAttachType::Ingress)?;
    let is_guard = |program: &&ProgramInfo| program.name_as_str() == Some(program::GUARD);
    Ok(match programs.iter().take_while(is_guard).last() {
        // SAFETY: the kernel has just told the id.
        Some(guard) => LinkOrder::after_program_id(unsafe { ProgramId::new(guard.id()) }),
        None => LinkOrder::first(),
    })
}

/// Where a program is to stand.
struct Place<'a> {
    /// Of the link's pin.
    path: &'a Path,
    /// Of the interface.
    name: &'a str,
    kind: TcAttachType,
    /// Among the others, if it does not stand there yet.
    order: LinkOrder,
}

/// Attaches `program`, or swaps it for the one under the link that is pinned.
fn attach_tcx(program: &mut SchedClassifier, place: Place<'_>) -> Result<()> {
    let Place { path, name, kind, order } = place;
    if let Some(link) = pinned(path)? {
        let id = program.attach_to_link(SchedClassifierLink::try_from(link)?)?;
        // Let go of, the link stays attached by its pin.
        drop(FdLink::try_from(program.take_link(id)?)?);
        return Ok(());
    }
    let id = program.attach_with_options(name, kind, TcAttachOptions::TcxOrder(order))?;
    FdLink::try_from(program.take_link(id)?)?.pin(path)?;
    Ok(())
}

/// The link pinned at `path`. The pin of a link whose interface is gone is removed.
fn pinned(path: &Path) -> Result<Option<FdLink>> {
    match PinnedLink::from_pin(path) {
        Ok(link) if bpf::link_interface(path)? != 0 => Ok(Some(link.into())),
        Ok(_) => {
            pins::remove_link(path)?;
            Ok(None)
        }
        Err(LinkError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("opening {}", path.display())),
    }
}
