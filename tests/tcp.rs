//! Promise: TCP's rare states are as right by overlay as they are direct: SYN cookies, deferred accepts, half-closed
//! connections, sockets that vanish, tuples used again, and connections that are older than neti.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    mem::size_of_val,
    net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream},
    os::fd::AsRawFd,
};

use anyhow::{Context, ensure};
use harness::{
    PATIENCE,
    host::Fleet,
    netns::Netns,
    stage::{PairStage, pair_stage},
    topology::pair,
    traffic::{TcpEcho, dial, exchange, tcp},
};
use serde_json::json;

type Result = anyhow::Result<()>;

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const PORT: u16 = 7000;
const IDENTITIES: [&str; 2] = ["real", "overlay"];

fn stage(identity: &str) -> anyhow::Result<PairStage> {
    pair_stage(json!({ "mode": "enforce", "identity": identity }))
}

/// Both names of the right host.
fn forms(stage: &PairStage) -> [SocketAddrV4; 2] {
    [stage.right.overlay(), stage.right.real()].map(|ip| SocketAddrV4::new(ip, PORT))
}

/// A connection from the left host, both ends of it.
fn connection(
    stage: &PairStage,
    listener: &TcpListener,
    to: SocketAddrV4,
) -> anyhow::Result<(TcpStream, TcpStream)> {
    let client = dial(&stage.left.site.netns, None, to, PATIENCE)?;
    let (server, _) = listener.accept()?;
    server.set_read_timeout(Some(PATIENCE))?;
    server.set_write_timeout(Some(PATIENCE))?;
    Ok((client, server))
}

fn listen(netns: &Netns) -> anyhow::Result<TcpListener> {
    netns.run(|| TcpListener::bind((ANY, PORT))).context("listen")
}

fn set(stream: &impl AsRawFd, option: libc::c_int, value: libc::c_int) -> Result {
    let length = size_of_val(&value) as libc::socklen_t;
    let value = (&raw const value).cast();
    // SAFETY: the option is an int, and its length is given.
    let result =
        unsafe { libc::setsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, option, value, length) };
    ensure!(result == 0, "set TCP option {option}: {}", std::io::Error::last_os_error());
    Ok(())
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

#[test]
fn cookies_and_deferred_accepts() -> Result {
    for identity in IDENTITIES {
        let stage = stage(identity)?;
        let server = &stage.right.site.netns;
        let _echo = TcpEcho::on(server, (ANY, PORT))?;
        server.sysctl("net.ipv4.tcp_syncookies", "2")?;
        for to in forms(&stage) {
            let received = netstat(server, "SyncookiesRecv")?;
            tcp(&stage.left.site.netns, None, to).with_context(|| format!("{identity}: {to}"))?;
            assert_eq!(netstat(server, "SyncookiesRecv")?, received + 1, "{identity}: {to}");
        }
        server.sysctl("net.ipv4.tcp_syncookies", "1")?;

        let deferred = server.run(|| TcpListener::bind((ANY, PORT + 1)))?;
        set(&deferred, libc::TCP_DEFER_ACCEPT, 20)?;
        deferred.set_nonblocking(true)?;
        for to in forms(&stage) {
            let to = SocketAddrV4::new(*to.ip(), PORT + 1);
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

#[test]
fn half_closed_connections_flow_and_vanished_sockets_are_told() -> Result {
    for identity in IDENTITIES {
        let stage = stage(identity)?;
        let listener = listen(&stage.right.site.netns)?;
        for to in forms(&stage) {
            let what = || format!("{identity}: {to}");
            let (client, server) = connection(&stage, &listener, to)?;
            flows_half_closed(&server, &client).with_context(what)?;
            let (client, server) = connection(&stage, &listener, to)?;
            flows_half_closed(&client, &server).with_context(what)?;

            let (client, server) = connection(&stage, &listener, to)?;
            vanish(server)?;
            assert_eq!(told(&client).with_context(what)?, ErrorKind::ConnectionReset, "{}", what());
            let (client, server) = connection(&stage, &listener, to)?;
            vanish(client)?;
            assert_eq!(told(&server).with_context(what)?, ErrorKind::ConnectionReset, "{}", what());
        }
    }
    Ok(())
}

#[test]
fn a_tuple_in_time_wait_is_used_again_in_the_other_form() -> Result {
    for identity in IDENTITIES {
        let stage = stage(identity)?;
        let netns = &stage.left.site.netns;
        let listener = listen(&stage.right.site.netns)?;
        let [overlay, real] = forms(&stage);
        let mut port = 21_000;
        for (first, second) in [(overlay, real), (real, overlay)] {
            for client_closes in [true, false] {
                port += 1;
                let what = format!("{identity}: {second} after {first}, by {client_closes}");
                let from = Some(SocketAddrV4::new(ANY, port));
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

#[test]
fn connections_older_than_neti_survive_its_start() -> Result {
    for identity in IDENTITIES {
        let pair = pair()?;
        let (left, right, stranger) = (&pair.left, &pair.right, &pair.stranger);
        let sites = [left, right, stranger];
        let echoes = sites.map(|site| TcpEcho::on(&site.netns, (ANY, PORT)));
        let _echoes = echoes.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
        let mut streams = Vec::new();
        for (from, to) in [(left, right), (right, left), (left, stranger), (stranger, left)] {
            let stream = tcp(&from.netns, None, SocketAddrV4::new(to.private, PORT))?;
            streams.push((format!("{identity}: {} to {}", from.private, to.private), stream));
        }
        let fleet = Fleet::new(json!({ "mode": "enforce", "identity": identity }))?;
        let (mut left, mut right) = (fleet.host("left", left)?, fleet.host("right", right)?);
        // The first one judges by itself for a while: its peer is no member yet.
        left.start()?;
        for (what, stream) in &streams {
            exchange(stream, 200_000).with_context(|| format!("{what}: neti on one host"))?;
        }
        right.start()?;
        right.await_members(&["left"]);
        left.await_members(&["right"]);
        for (what, stream) in &streams {
            exchange(stream, 200_000).with_context(|| format!("{what}: neti on both hosts"))?;
        }
        // Only what is old goes on.
        let stranger = &stranger.netns;
        let to = SocketAddrV4::new(left.real(), PORT);
        assert!(harness::traffic::tcp_silent(stranger, to), "{identity}: a new connection");
        tcp(&right.site.netns, None, SocketAddrV4::new(left.overlay(), PORT))?;
    }
    Ok(())
}
