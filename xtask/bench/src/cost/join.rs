//! How long it takes until a member that was written to the registry can be reached.

use std::{
    io::ErrorKind,
    net::UdpSocket,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use harness::{
    PATIENCE, interrupt,
    topology::{LAN, UPLINK},
};

use super::{
    lab::Lab,
    server::{PORT, Servers},
};

/// How many members join.
const MEMBERS: u8 = 10;
/// Between two questions to a member that may not be known yet: what the figures are exact to.
const PERIOD: Duration = Duration::from_micros(100);

/// Milliseconds from the writing of each member's files until its first answer.
///
/// The members are addresses of one host, which runs no neti: it would only be in the way of what is measured, and
/// translation at one end is enough.
pub fn measure(lab: &Lab) -> Result<Vec<f64>> {
    let family = lab.family;
    let site = lab.neti.pair.lan.attach("joining", 100)?;
    let lasts = 100..100 + MEMBERS;
    for last in lasts.clone().skip(1) {
        site.netns.ip(LAN.addr_add(family, last, UPLINK).trim())?;
    }
    let servers = lasts.clone().map(|last| Servers::at(&site.netns, LAN.host(family, last)));
    let _servers = servers.collect::<Result<Vec<_>>>()?;
    lasts.map(|last| join(lab, last)).collect()
}

fn join(lab: &Lab, last: u8) -> Result<f64> {
    interrupt::go_on()?;
    let (overlay, real) = (lab.family.ghost(last), LAN.host(lab.family, last));
    let any = lab.family.any();
    let socket = lab.neti.left.site.netns.run(|| -> Result<UdpSocket> {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect((overlay, PORT))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    })?;
    ensure!(!answers(&socket)?, "{overlay} answers before it joins");

    let begun = Instant::now();
    let network = lab.neti.left.site.network;
    lab.neti.fleet.add_member(&format!("joining-{last}"), overlay, network, real)?;
    while !answers(&socket)? {
        ensure!(
            begun.elapsed() < PATIENCE,
            "{overlay} does not answer {PATIENCE:?} after it joined"
        );
        interrupt::go_on()?;
    }
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}

/// Asks, and looks whether this or an earlier question was answered.
fn answers(socket: &UdpSocket) -> Result<bool> {
    socket.send(&[0]).context("send a datagram")?;
    sleep(PERIOD);
    match socket.recv(&mut [0]) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error).context("receive a datagram"),
    }
}
