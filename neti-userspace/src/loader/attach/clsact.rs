//! tc programs before kernel 6.6: filters of the clsact qdisc. A filter outlives its process without
//! a pin, so its handle tells that it is ours.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use aya::programs::{
    Link, SchedClassifier, TcAttachType,
    tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle},
};
use futures_util::TryStreamExt;
use neti_common::verdict::Hook;
use rtnetlink::Handle;

use super::{Pins, Uplink, program_name};
use crate::{status, uplink};

/// "neti" as a handle; one for all instances, for an uplink has one neti.
const HANDLE: TcHandle = TcHandle::new(0x6e65, 0x7469);
/// Priorities run upwards: first at ingress, last at egress.
const FIRST: u16 = 1;
const LAST: u16 = 0xfffe;

/// Attaches `program`, or swaps it for the one that is there.
pub fn attach(
    program: &mut SchedClassifier,
    pins: &Pins,
    uplink: &Uplink,
    hook: Hook,
) -> Result<()> {
    match tc::qdisc_add_clsact(&uplink.name) {
        // Remembered, so that `neti down` does not remove somebody else's.
        Ok(()) => mark_added(pins)?,
        Err(TcError::AlreadyAttached) => {}
        // EEXIST: the qdisc is there.
        Err(error) => tracing::debug!("adding clsact to {}: {error}", uplink.name),
    }
    let (kind, priority) = place(hook);
    let ours = SchedClassifierLink::attached(&uplink.name, kind, priority, HANDLE, None)?;
    let id = match program.attach_to_link(ours) {
        Ok(id) => id,
        Err(_) => {
            let options = NlOptions { priority, handle: HANDLE, classid: None };
            program.attach_with_options(&uplink.name, kind, TcAttachOptions::Netlink(options))?
        }
    };
    // Dropped, the link would detach the filter, which must outlive this process.
    std::mem::forget(program.take_link(id)?);
    Ok(())
}

/// Removes the filters and, if neti added it and nobody else uses it, the qdisc. Idempotent.
pub async fn remove(netlink: &Handle, pins: &Pins, index: u32) -> Result<()> {
    let Some(name) = uplink::name(netlink, index).await? else {
        // The interface took its filters with it.
        return Ok(());
    };
    for hook in [Hook::Ingress, Hook::Egress] {
        let (kind, priority) = place(hook);
        let filters = filters(netlink, index, hook).await?;
        if filters.contains(&u32::from(HANDLE)) {
            SchedClassifierLink::attached(&name, kind, priority, HANDLE, None)?
                .detach()
                .with_context(|| format!("detaching {} from {name}", program_name(hook)))?;
        }
    }
    let mark = mark(pins);
    if !mark.exists() {
        return Ok(());
    }
    let mut used = false;
    for hook in [Hook::Ingress, Hook::Egress] {
        used |= !filters(netlink, index, hook).await?.is_empty();
    }
    if !used {
        let mut request = netlink.qdisc().del(index as i32);
        let header = &mut request.message_mut().header;
        // TC_H_CLSACT is TC_H_INGRESS.
        header.parent = rtnetlink::packet_route::tc::TcHandle::INGRESS;
        request.execute().await.with_context(|| format!("removing clsact from {name}"))?;
    }
    fs::remove_file(&mark).with_context(|| format!("removing {}", mark.display()))
}

/// The handles of the filters at a hook; none where there is no clsact qdisc.
async fn filters(netlink: &Handle, index: u32, hook: Hook) -> Result<Vec<u32>> {
    let mut handle = netlink.traffic_filter(index as i32);
    let request = match hook {
        Hook::Egress => handle.get().egress(),
        _ => handle.get().ingress(),
    };
    let messages: Vec<_> = request.execute().try_collect().await.unwrap_or_default();
    // A filter's priority is listed once more without a handle, as the head of its chain.
    Ok(messages
        .iter()
        .map(|message| u32::from(message.header.handle))
        .filter(|h| *h != 0)
        .collect())
}

const fn place(hook: Hook) -> (TcAttachType, u16) {
    match hook {
        Hook::Egress => (TcAttachType::Egress, LAST),
        _ => (TcAttachType::Ingress, FIRST),
    }
}

fn mark(pins: &Pins) -> PathBuf {
    status::directory(pins.instance()).join("clsact")
}

fn mark_added(pins: &Pins) -> Result<()> {
    let directory = status::directory(pins.instance());
    fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
    let mark = mark(pins);
    fs::write(&mark, "").with_context(|| format!("writing {}", mark.display()))
}
