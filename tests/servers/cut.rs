//! Links that fail silently.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, SocketAddr},
};

use anyhow::ensure;
use harness::{
    PATIENCE,
    family::Family,
    in_each_family,
    netns::Netns,
    servers::{Cut, Etcd, EtcdOptions},
    traffic::{BRIEFLY, dial},
};

use crate::{Result, stage::stage};

in_each_family!(a_cut_is_silent_and_heals);

fn a_cut_is_silent_and_heals(family: Family) -> Result {
    let stage = stage(family)?;
    let etcd = Etcd::start(&stage.server.netns, stage.address, &EtcdOptions::default())?;
    let to = SocketAddr::new(stage.address, 2379);
    let client = &stage.client.netns;
    let peers = [stage.client.real(family)];
    for cut in [Cut::between, |netns: &Netns, _: &[IpAddr]| Cut::off(netns)] {
        let mut stream = dial(client, None, to, PATIENCE)?;
        let cut = cut(&stage.server.netns, &peers)?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
        stream.set_read_timeout(Some(BRIEFLY))?;
        let silence = stream.read(&mut [0]).map_err(|error| error.kind());
        ensure!(silence == Err(ErrorKind::WouldBlock), "{silence:?}");
        let refused = dial(client, None, to, BRIEFLY).map_err(|error| error.kind());
        ensure!(matches!(refused, Err(ErrorKind::TimedOut)), "{refused:?}");
        ensure!(etcd.operator().get("x")?.is_none(), "an operator beside the server gets in");
        cut.heal()?;
        // The kernel sends again what was lost.
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.contains("\"health\":\"true\""), "{answer}");
    }
    let cut = Cut::between(&stage.server.netns, &peers)?;
    drop(cut);
    dial(client, None, to, PATIENCE)?;
    Ok(())
}
