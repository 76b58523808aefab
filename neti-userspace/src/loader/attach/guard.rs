//! `neti_guard` on the interfaces beside the uplink, which come and go: each has a link of its own,
//! pinned by the interface's index.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context, Result, bail};
use aya::{
    Ebpf,
    programs::{LinkOrder, SchedClassifier, TcAttachType},
};
use neti_common::verdict::Hook;
use nix::{errno::Errno, net::if_::if_indextoname};

use super::{Pins, Place, Tc, attach_tcx, bpf, classifier, clsact, pins, program_of};

/// The program, and what it takes to attach it.
pub struct Guard {
    ebpf: Ebpf,
    pins: Pins,
    tc: Tc,
}

impl Guard {
    /// `ebpf` has the loaded programs.
    pub fn new(ebpf: Ebpf, pins: Pins, tc: Tc) -> Self {
        Self { ebpf, pins, tc }
    }

    /// Puts the guard onto the interface `index` of this network namespace, or swaps it for the one
    /// that is there, which loses no packet; `false` if there is no such interface (any more).
    ///
    /// # Errors
    /// If the kernel refuses it, or the pins cannot be read or written.
    pub fn put_on(&mut self, index: u32) -> Result<bool> {
        loop {
            let Some(name) = name(index)? else { return Ok(false) };
            let put = self.attach(index, &name);
            // Attaching goes by the name, which somebody may have changed or taken away meanwhile.
            if self::name(index)?.as_ref() == Some(&name) {
                return put.map(|()| true);
            }
        }
    }

    /// [`take_off`] with these pins.
    pub fn take_off(&self, index: u32) -> Result<()> {
        take_off(&self.pins, self.tc, index)
    }

    /// The interfaces on which the guard is pinned.
    pub fn pinned(&self) -> Result<BTreeSet<u32>> {
        self.pins.guards()
    }

    fn attach(&mut self, index: u32, name: &str) -> Result<()> {
        let path = self.pins.guard(index);
        let program = classifier(&mut self.ebpf, Hook::Guard)?;
        if self.tc == Tc::Clsact {
            return clsact::attach(program, &self.pins, index, name, Hook::Guard);
        }
        if path.exists() && !stands_on(&path, index, name) {
            pins::remove_link(&path)?;
        }
        let order = LinkOrder::first();
        attach_tcx(program, Place { path: &path, name, kind: TcAttachType::Ingress, order })?;
        if bpf::link_interface(&path)? != index {
            pins::remove_link(&path)?;
            bail!("the name is another interface's by now");
        }
        Ok(())
    }
}

/// Takes the guard off an interface that has become the uplink, or has gone: to another network
/// namespace perhaps, where it would keep members' packets from whoever is there. Idempotent.
pub fn take_off(pins: &Pins, tc: Tc, index: u32) -> Result<()> {
    match name(index)? {
        Some(name) if tc == Tc::Clsact => clsact::detach_guard(pins, &name),
        Some(_) => {}
        None => clsact::forget(pins, index)?,
    }
    let path = pins.guard(index);
    if path.exists() { pins::remove_link(&path) } else { Ok(()) }
}

/// Whether the link pinned at `path` is attached to this interface. Its index alone does not tell: it
/// is that of the network namespace to which the interface may have been moved.
fn stands_on(path: &Path, index: u32, name: &str) -> bool {
    let Ok((_, programs)) = SchedClassifier::query_tcx(name, TcAttachType::Ingress) else {
        return false;
    };
    bpf::link_interface(path).is_ok_and(|found| found == index)
        && programs.iter().any(|program| Some(program.id()) == program_of(path))
}

fn name(index: u32) -> Result<Option<String>> {
    match if_indextoname(index) {
        Ok(name) => Ok(Some(name.into_string().context("an interface's name")?)),
        Err(Errno::ENXIO | Errno::ENODEV) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("looking up the interface {index}")),
    }
}
