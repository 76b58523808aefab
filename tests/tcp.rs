//! Promise: TCP's rare states are as right by overlay as they are direct: SYN cookies, deferred accepts, half-closed
//! connections, sockets that vanish, and tuples used again.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd,
};

use anyhow::{Context, ensure};
use harness::{
    PATIENCE,
    family::Family,
    in_both_families,
    netns::Netns,
    socket::set_option,
    stage::{PairStage, enforcing_pair},
    traffic::{TcpEcho, dial, tcp},
};

type Result = anyhow::Result<()>;

in_both_families!(
    cookies_and_deferred_accepts on enforcing_pair(),
    half_closed_connections_flow_and_vanished_sockets_are_told on enforcing_pair(),
    a_tuple_in_time_wait_is_used_again_in_the_other_form on enforcing_pair(),
);

const PORT: u16 = 7000;
const IDENTITIES: [&str; 2] = ["real", "overlay"];

/// Both names of the right host.
fn forms(stage: &PairStage, family: Family) -> [SocketAddr; 2] {
    [stage.right.overlay(family), stage.right.real(family)].map(|ip| SocketAddr::new(ip, PORT))
}

/// A connection from the left host, both ends of it.
fn connection(
    stage: &PairStage,
    listener: &TcpListener,
    to: SocketAddr,
) -> anyhow::Result<(TcpStream, TcpStream)> {
    let client = dial(&stage.left.site.netns, None, to, PATIENCE)?;
    let (server, _) = listener.accept()?;
    server.set_read_timeout(Some(PATIENCE))?;
    server.set_write_timeout(Some(PATIENCE))?;
    Ok((client, server))
}

fn listen(netns: &Netns, family: Family) -> anyhow::Result<TcpListener> {
    netns.run(|| TcpListener::bind((family.any(), PORT))).context("listen")
}

fn set(stream: &impl AsRawFd, option: libc::c_int, value: libc::c_int) -> Result {
    set_option(stream, libc::IPPROTO_TCP, option, &value.to_ne_bytes())
        .with_context(|| format!("set TCP option {option}"))
}

/// A counter of /proc/net/netstat.
fn netstat(netns: &Netns, name: &str) -> anyhow::Result<u64> {
    let text = netns.run(|| fs::read_to_string("/proc/thread-self/net/netstat"))?;
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let found = names.split(' ').zip(values.split(' ')).find(|(field, _)| *field == name);
    let (_, value) = found.with_context(|| format!("{name} is in /proc/net/netstat"))?;
    Ok(value.parse()?)
}

fn cookies_and_deferred_accepts(stage: &PairStage, family: Family) -> Result {
    for identity in IDENTITIES {
        stage.identify(family, identity)?;
        let server = &stage.right.site.netns;
        let _echo = TcpEcho::on(server, (family.any(), PORT))?;
        server.sysctl("net.ipv4.tcp_syncookies", "2")?;
        for to in forms(stage, family) {
            let received = netstat(server, "SyncookiesRecv")?;
            tcp(&stage.left.site.netns, None, to).with_context(|| format!("{identity}: {to}"))?;
            // A SYN that is sent again gets a cookie again.
            assert!(netstat(server, "SyncookiesRecv")? > received, "{identity}: {to}");
        }
        server.sysctl("net.ipv4.tcp_syncookies", "1")?;

        let deferred = server.run(|| TcpListener::bind((family.any(), PORT + 1)))?;
        set(&deferred, libc::TCP_DEFER_ACCEPT, 20)?;
        deferred.set_nonblocking(true)?;
        for to in forms(stage, family) {
            let to = SocketAddr::new(to.ip(), PORT + 1);
            let mut client = dial(&stage.left.site.netns, None, to, PATIENCE)?;
            let waits = deferred.accept().is_err_and(|e| e.kind() == ErrorKind::WouldBlock);
            assert!(waits, "{identity}: {to} is not accepted before it says something");
            client.write_all(b"hello")?;
            let mut accepted = None;
            harness::eventually("it is accepted once it has", || {
                accepted = deferred.accept().ok();
                accepted.is_some()
            });
            let (mut server, _) = accepted.context("accepted")?;
            server.set_nonblocking(false)?;
            server.set_read_timeout(Some(PATIENCE))?;
            let mut heard = [0; 5];
            server.read_exact(&mut heard)?;
            server.write_all(&heard)?;
            client.read_exact(&mut heard)?;
            assert_eq!(&heard, b"hello", "{identity}: {to}");
        }
    }
    Ok(())
}

/// Sends from one end to the other until its end, after the other one has closed its direction.
fn flows_half_closed(mut from: &TcpStream, mut to: &TcpStream) -> Result {
    to.shutdown(Shutdown::Write)?;
    let mut end = Vec::new();
    from.read_to_end(&mut end)?;
    ensure!(end.is_empty(), "nothing was sent before the end");
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut heard = Vec::new();
    std::thread::scope(|scope| -> Result {
        let writer = scope.spawn(|| -> Result {
            from.write_all(&sent)?;
            Ok(from.shutdown(Shutdown::Write)?)
        });
        to.read_to_end(&mut heard)?;
        writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    ensure!(heard == sent, "{} of {} bytes came, or others", heard.len(), sent.len());
    Ok(())
}

/// Takes a socket away without a word to its peer, as a crash of its host would.
fn vanish(stream: TcpStream) -> Result {
    // A socket in repair mode is closed without FIN or RST (`tcp_close`).
    set(&stream, libc::TCP_REPAIR, 1)
}

/// What a peer is told when it says something to a socket that is no more.
fn told(mut stream: &TcpStream) -> anyhow::Result<ErrorKind> {
    stream.write_all(b"are you there?")?;
    let read = stream.read(&mut [0; 10]);
    Ok(read.err().context("the connection should be reset")?.kind())
}

fn half_closed_connections_flow_and_vanished_sockets_are_told(
    stage: &PairStage,
    family: Family,
) -> Result {
    for identity in IDENTITIES {
        stage.identify(family, identity)?;
        let listener = listen(&stage.right.site.netns, family)?;
        for to in forms(stage, family) {
            let what = || format!("{identity}: {to}");
            let (client, server) = connection(stage, &listener, to)?;
            flows_half_closed(&server, &client).with_context(what)?;
            let (client, server) = connection(stage, &listener, to)?;
            flows_half_closed(&client, &server).with_context(what)?;

            let (client, server) = connection(stage, &listener, to)?;
            vanish(server)?;
            assert_eq!(told(&client).with_context(what)?, ErrorKind::ConnectionReset, "{}", what());
            let (client, server) = connection(stage, &listener, to)?;
            vanish(client)?;
            assert_eq!(told(&server).with_context(what)?, ErrorKind::ConnectionReset, "{}", what());
        }
    }
    Ok(())
}

fn a_tuple_in_time_wait_is_used_again_in_the_other_form(
    stage: &PairStage,
    family: Family,
) -> Result {
    let mut port = 21_000;
    for identity in IDENTITIES {
        stage.identify(family, identity)?;
        let netns = &stage.left.site.netns;
        let listener = listen(&stage.right.site.netns, family)?;
        let [overlay, real] = forms(stage, family);
        for (first, second) in [(overlay, real), (real, overlay)] {
            for client_closes in [true, false] {
                port += 1;
                let what = format!("{identity}: {second} after {first}, by {client_closes}");
                let from = Some(SocketAddr::new(family.any(), port));
                let client = dial(netns, from, first, PATIENCE)?;
                let (server, _) = listener.accept()?;
                let (closes, follows) =
                    if client_closes { (client, server) } else { (server, client) };
                // Who closes first waits; both have said and heard their end before the tuple is used again.
                closes.shutdown(Shutdown::Write)?;
                (&follows).read_to_end(&mut Vec::new())?;
                drop(follows);
                (&closes).read_to_end(&mut Vec::new())?;
                drop(closes);
                let again = dial(netns, from, second, PATIENCE).with_context(|| what.clone())?;
                let (server, _) = listener.accept()?;
                server.set_read_timeout(Some(PATIENCE))?;
                flows_half_closed(&server, &again).with_context(|| what.clone())?;
            }
        }
    }
    Ok(())
}
