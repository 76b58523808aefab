//! Where the servers run, and what is done to each of them.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, SocketAddr},
    ops::DerefMut,
    time::Duration,
};

use anyhow::ensure;
use harness::{
    PATIENCE,
    family::Family,
    netns::Netns,
    servers::Server,
    topology::{Lan, Site},
    traffic::{BRIEFLY, dial},
};

use crate::Result;

/// Long enough for a refusal, which these tools do not tell from a server that is not there yet.
pub const IMPATIENT: Duration = Duration::from_secs(1);

/// A network with a server's place and a client's.
pub struct Stage {
    pub server: Site,
    pub client: Site,
    pub address: IpAddr,
    _lan: Lan,
}

pub fn stage(family: Family) -> anyhow::Result<Stage> {
    let lan = Lan::new("registry", [family])?;
    let server = lan.attach("server", 20)?;
    let client = lan.attach("client", 10)?;
    Ok(Stage { address: server.real(family), server, client, _lan: lan })
}

/// Three places on one network.
pub fn three() -> anyhow::Result<(Lan, Vec<Site>)> {
    let lan = Lan::new("registry", [Family::V4])?;
    let sites = (21..24).map(|last| lan.attach(&format!("server-{last}"), last));
    let sites = sites.collect::<anyhow::Result<_>>()?;
    Ok((lan, sites))
}

pub fn places(sites: &[Site]) -> Vec<(&Netns, IpAddr)> {
    sites.iter().map(|site| (&site.netns, site.real(Family::V4))).collect()
}

/// Hangs, goes on, ends and comes back; `read` gives what is kept.
pub fn outlive<S: DerefMut<Target = Server>>(
    server: &mut S,
    to: SocketAddr,
    read: impl Fn(&S) -> anyhow::Result<Option<String>>,
) -> Result {
    let kept = read(server)?;
    ensure!(kept.is_some());
    server.hang();
    // Its kernel goes on: the connection is there, and nobody reads.
    let mut stream = dial(server.netns(), None, to, PATIENCE)?;
    stream.write_all(b"ruok")?;
    stream.set_read_timeout(Some(BRIEFLY))?;
    let silence = stream.read(&mut [0]).map_err(|error| error.kind());
    ensure!(silence == Err(ErrorKind::WouldBlock), "{silence:?}");
    server.go_on();
    ensure!(read(server)? == kept, "after it hung");
    server.kill();
    ensure!(!server.is_running());
    let refused = dial(server.netns(), None, to, PATIENCE).map_err(|error| error.kind());
    ensure!(matches!(refused, Err(ErrorKind::ConnectionRefused)), "{refused:?}");
    server.restart()?;
    ensure!(read(server)? == kept, "after a crash");
    server.stop();
    server.restart()?;
    ensure!(read(server)? == kept, "after an orderly end");
    Ok(())
}
