//! Promise: under `enforce`, with no rule and no open port, a host hears the answer to all that it asks of strangers, by
//! real programs and of either family, where the filter is in tc alone and where it is in XDP.

use std::{
    fs,
    io::ErrorKind,
    net::{IpAddr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use harness::{
    PATIENCE,
    dns::{self, Dns, Resolver},
    family::Family,
    host::{Host, counted},
    netns::Netns,
    stage::{PairStage, hooks_stage},
    topology::LAN,
    traffic::{TcpEcho, UdpClient, UdpEcho, tcp, udp},
    web::Web,
};
use serde_json::json;
use socket2::{Protocol, Socket, Type};

type Result = anyhow::Result<()>;

/// An echo server's.
const PORT: u16 = 7000;
const NTP: u16 = 123;
/// The name of everything, as every name is the stranger's.
const NAME: &str = "mirror.example";
/// What is downloaded: far more than a connection has under way at once.
const ARCHIVE: usize = 8 << 20;

/// A stranger who serves all that hosts usually ask strangers for.
struct Stranger {
    address: IpAddr,
    files: PathBuf,
    _servers: (Web, Dns, TcpEcho, [UdpEcho; 2]),
}

impl Stranger {
    fn serve(stage: &PairStage, family: Family) -> anyhow::Result<Self> {
        let netns = &stage.pair.stranger.netns;
        let address = stage.pair.stranger.real(family);
        let files = stage.fleet.dir().join(family.nft());
        fs::create_dir_all(&files)?;
        let archive: Vec<u8> = (0..ARCHIVE).map(|at| (at % 251) as u8).collect();
        fs::write(files.join("archive"), archive)?;
        fs::write(files.join("Packages"), packages())?;
        let directives = format!("root {};", files.display());
        let servers = (
            Web::start(netns, stage.fleet.dir(), family.nft(), &directives)?,
            Dns::on(netns, address)?,
            TcpEcho::on(netns, (family.any(), PORT))?,
            [UdpEcho::on(netns, (family.any(), PORT))?, UdpEcho::on(netns, (family.any(), NTP))?],
        );
        Ok(Self { address, files, _servers: servers })
    }

    fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address, port)
    }
}

/// The index of an archive of 5,000 packages, in the form that apt reads.
fn packages() -> String {
    let package = |number| {
        let sum = format!("{number:064x}");
        format!(
            "Package: neti-test-{number}\nVersion: 1.{number}\nArchitecture: all\n\
             Maintainer: Nobody <nobody@example.org>\nFilename: pool/{number}.deb\nSize: 1000\n\
             SHA256: {sum}\nDescription: a package that does not exist\n\n"
        )
    };
    (0..5_000).map(package).collect()
}

#[test]
fn a_host_hears_the_answer_to_all_that_it_asks() -> Result {
    let stage = hooks_stage(Family::ALL, json!({ "mode": "enforce" }))?;
    for family in Family::ALL {
        let stranger = Stranger::serve(&stage, family)?;
        for host in [&stage.left, &stage.right] {
            let asks = || -> Result {
                sockets_are_answered(host, &stranger)?;
                names_are_resolved(host, &stranger)?;
                files_are_downloaded(host, &stranger, &stranger.files.join(&host.name))?;
                clocks_are_set(host, &stranger)?;
                pings_are_answered(host, &stranger)?;
                routes_are_traced(host, &stranger)
            };
            asks().with_context(|| format!("{family}: {}", host.name))?;
        }
    }
    for reason in ["reply", "hinted", "icmp-error"] {
        ensure!(stage.right.count("filter", reason)? > 0, "{reason}: XDP judges");
        ensure!(stage.left.count("filter", reason)? == 0, "{reason}: there is no XDP");
    }
    Ok(())
}

/// Both kinds of UDP socket, whole and in fragments, and TCP; and a port where nobody answers but the stack.
fn sockets_are_answered(host: &Host, stranger: &Stranger) -> Result {
    let netns = &host.site.netns;
    let server = stranger.at(PORT);
    counted(host, "reply", "pass", || tcp(netns, None, server).map(drop))?;
    for (connected, reason) in [(true, "reply"), (false, "hinted")] {
        for length in [10, 3000] {
            counted(host, reason, "pass", || {
                let client = UdpClient { connected, from: None };
                let answer = udp(netns, client, server, length, PATIENCE)
                    .with_context(|| format!("{length} bytes, connected {connected}"))?;
                ensure!(answer == server, "answered by {answer}");
                Ok(())
            })?;
        }
    }
    counted(host, "icmp-error", "pass", || {
        let client = UdpClient { connected: true, from: None };
        let asked = udp(netns, client, stranger.at(9), 10, PATIENCE);
        let error = asked.err().context("a closed port answers")?;
        ensure!(error.kind() == ErrorKind::ConnectionRefused, "{error}");
        Ok(())
    })
}

fn names_are_resolved(host: &Host, stranger: &Stranger) -> Result {
    let netns = &host.site.netns;
    for (connected, reason) in [(true, "reply"), (false, "hinted")] {
        counted(host, reason, "pass", || dns::ask(netns, stranger.address, connected))?;
    }
    Ok(())
}

/// By name, so that the resolver of the C library asks first.
fn files_are_downloaded(host: &Host, stranger: &Stranger, directory: &Path) -> Result {
    let netns = &host.site.netns;
    fs::create_dir(directory)?;
    let resolver = Resolver::new(directory, stranger.address)?;
    let there = directory.join("archive");
    let mut curl = resolver.command(netns, "curl");
    curl.args(["--silent", "--show-error", "--noproxy", "*", "--output"]).arg(&there);
    curl.arg(format!("http://{NAME}/archive"));
    counted(host, "reply", "pass", || netns.complete(curl).map(drop))?;
    ensure!(fs::read(&there)? == fs::read(stranger.files.join("archive"))?, "curl got other bytes");

    if Command::new("apt-get").arg("--version").output().is_err() {
        println!("skipped: apt-get, which is not on this machine");
        return Ok(());
    }
    let mut apt = resolver.command(netns, "apt-get");
    apt.args(["--error-on=any", "update"]).env_remove("http_proxy");
    apt.env("APT_CONFIG", apt_configuration(directory)?);
    counted(host, "reply", "pass", || netns.complete(apt).map(drop))?;
    let mut lists = fs::read_dir(directory.join("state/lists"))?.flatten();
    let index = lists.find(|file| file.file_name().to_string_lossy().ends_with("Packages"));
    let index = fs::read(index.context("apt-get keeps the index")?.path())?;
    ensure!(index == fs::read(stranger.files.join("Packages"))?, "apt-get got other bytes");
    Ok(())
}

/// Makes apt know one archive and keep all that it has in `directory`, whatever is configured on this machine.
fn apt_configuration(directory: &Path) -> anyhow::Result<PathBuf> {
    for kept in ["state/lists/partial", "cache/archives/partial", "etc"] {
        fs::create_dir_all(directory.join(kept))?;
    }
    let source = format!("deb [trusted=yes] http://{NAME}/ ./\n");
    fs::write(directory.join("etc/sources.list"), source)?;
    fs::write(directory.join("status"), "")?;
    let configuration = directory.join("apt.conf");
    let text = format!(
        "Dir \"{here}\"; Dir::Etc \"{here}/etc\"; Dir::State \"{here}/state\";\n\
         Dir::State::status \"{here}/status\"; Dir::Cache \"{here}/cache\";\n\
         Dir::Bin::Methods \"/usr/lib/apt/methods\"; APT::Sandbox::User \"root\";\n\
         Acquire::Retries \"0\"; Acquire::Languages \"none\";\n",
        here = directory.display()
    );
    fs::write(&configuration, text)?;
    Ok(configuration)
}

/// NTP clients have unconnected sockets, on a port of their own or on the servers'.
fn clocks_are_set(host: &Host, stranger: &Stranger) -> Result {
    let any = Family::of(stranger.address).any();
    for own in [NTP, 0] {
        let socket = host.site.netns.run(|| UdpSocket::bind((any, own)))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        counted(host, "hinted", "pass", || {
            // Version 4, client (RFC 5905 7.3).
            let mut asked = [0; 48];
            asked[0] = 4 << 3 | 3;
            socket.send_to(&asked, stranger.at(NTP))?;
            let mut heard = [0; 100];
            let (length, from) =
                socket.recv_from(&mut heard).with_context(|| format!("from port {own}"))?;
            ensure!(from == stranger.at(NTP) && heard[..length] == asked, "{from} answers");
            Ok(())
        })?;
    }
    Ok(())
}

fn pings_are_answered(host: &Host, stranger: &Stranger) -> Result {
    let (netns, to) = (&host.site.netns, stranger.address);
    let family = Family::of(to).flag();
    // Root has raw sockets where no group may have the others.
    for (groups, kind) in [("1 0", "SOCK_RAW"), ("0 0", "SOCK_DGRAM")] {
        netns.sysctl("net.ipv4.ping_group_range", groups)?;
        for size in [56, 3000] {
            counted(host, "hinted", "pass", || {
                let patience = PATIENCE.as_secs();
                let line = format!("ping {family} -v -n -c 1 -s {size} -W {patience} {to}");
                let output = netns.output(&line)?;
                let said = String::from_utf8([output.stderr, output.stdout].concat())?;
                ensure!(output.status.success(), "{line}: {said}");
                ensure!(said.contains(&format!("socktype: {kind}")), "{line}: no {kind}: {said}");
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// traceroute(8) by each of its means; and with one socket for all probes, as BSD's has it.
fn routes_are_traced(host: &Host, stranger: &Stranger) -> Result {
    let (netns, to) = (&host.site.netns, stranger.address);
    let router = LAN.host(Family::of(to), 1);
    for means in ["", "--icmp", "--tcp --port=80"] {
        counted(host, "icmp-error", "pass", || {
            let patience = PATIENCE.as_secs();
            let said =
                netns.exec(&format!("traceroute -n -q 1 -m 3 -w {patience} {means} {to}"))?;
            let hops: Vec<Option<IpAddr>> = said
                .lines()
                .skip(1)
                .map(|line| line.split_whitespace().nth(1)?.parse().ok())
                .collect();
            ensure!(hops == [Some(router), Some(to)], "traceroute {means}: {said}");
            Ok(())
        })?;
    }
    counted(host, "icmp-error", "pass", || {
        let hop = expired_at(netns, stranger.at(33_434))?;
        ensure!(hop == router, "an unconnected socket's probe ends at {hop}");
        Ok(())
    })
}

/// Who says that a datagram of an unconnected socket came no further than one hop.
fn expired_at(netns: &Netns, to: SocketAddr) -> anyhow::Result<IpAddr> {
    let family = Family::of(to.ip());
    // A raw socket hears the IPv4 header too, which has no options here.
    let (protocol, kind, at) = match family {
        Family::V4 => (Protocol::ICMPV4, 11, family.header()),
        Family::V6 => (Protocol::ICMPV6, 3, 0),
    };
    let errors = netns.run(|| Socket::new(family.domain(), Type::RAW, Some(protocol)))?;
    errors.set_read_timeout(Some(PATIENCE))?;
    let errors = UdpSocket::from(errors);
    let probe = netns.run(|| Socket::new(family.domain(), Type::DGRAM, None))?;
    match family {
        Family::V4 => probe.set_ttl_v4(1)?,
        Family::V6 => probe.set_unicast_hops_v6(1)?,
    }
    probe.send_to(b"probe", &to.into())?;
    let mut heard = [0; 1000];
    loop {
        let (_, from) = errors.recv_from(&mut heard).context("no router says a word")?;
        if heard[at] == kind {
            return Ok(from.ip());
        }
    }
}
