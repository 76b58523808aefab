//! A case as plain Rust: the packet logic on the case's own tables.

use anyhow::{Result, ensure};
use neti_common::{
    egress::egress, filter::filter, guard::guard, ingress::ingress, packet::Frame, verdict::Hook,
};

use crate::{Case, same_bytes, scene::Scene};

pub fn check<F: Scene>(case: &Case<F>) -> Result<()> {
    // What one run keeps must not be found in the next.
    let world = case.world.clone();
    let mut bytes = case.input.clone();
    let mut frame = Frame::new(&mut bytes);
    let verdict = match case.hook {
        Hook::Filter => filter(&mut frame, &world),
        Hook::Ingress => ingress(&mut frame, &world),
        Hook::Egress => egress(&mut frame, &world),
        Hook::Guard => guard(&frame, &world),
    };
    ensure!(verdict == case.verdict, "{verdict:?}, not {:?}", case.verdict);
    if case.goes_on() { same_bytes(&bytes, &case.output) } else { Ok(()) }
}
