//! Names: a server that knows every name, and programs whose resolver asks it.

use std::{
    fs,
    net::{IpAddr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{PATIENCE, netns::Netns, traffic::UdpEcho};

/// The port of every DNS server.
const PORT: u16 = 53;
/// Length of a message's header (RFC 1035 4.1.1).
const HEADER: usize = 12;
const A: [u8; 2] = [0, 1];
const AAAA: [u8; 2] = [0, 28];

/// Answers each question for an address with its own, by UDP, until dropped.
#[derive(Debug)]
pub struct Dns {
    _server: UdpEcho,
}

impl Dns {
    /// On this address, which is the answer too.
    pub fn on(netns: &Netns, own: IpAddr) -> Result<Self> {
        let socket = netns
            .run(|| UdpSocket::bind((own, PORT)))
            .with_context(|| format!("bind udp {own} port {PORT} in {}", netns.name()))?;
        Ok(Self { _server: UdpEcho::answering(socket, move |asked| answer(asked, own))? })
    }
}

/// The answer to a message with one question: the address, if it is of the family asked for.
fn answer(asked: &[u8], own: IpAddr) -> Vec<u8> {
    let Some(question) = question(asked) else { return Vec::new() };
    let (kind, octets) = match own {
        IpAddr::V4(own) => (A, own.octets().to_vec()),
        IpAddr::V6(own) => (AAAA, own.octets().to_vec()),
    };
    let known = question.ends_with(&[kind, [0, 1]].concat());
    // The same id; an answer without error to a question that wanted recursion; one question.
    let mut text =
        [&asked[..2], &[0x81, 0x80, 0, 1, 0, known.into(), 0, 0, 0, 0], question].concat();
    if known {
        // The name of the question, its type and class, a minute, and the address (RFC 1035 4.1.3 and 4.1.4).
        text.extend([0xc0, HEADER as u8, kind[0], kind[1], 0, 1, 0, 0, 0, 60, 0]);
        text.push(octets.len() as u8);
        text.extend(octets);
    }
    text
}

/// A message's first question: labels up to an empty one, type and class.
fn question(message: &[u8]) -> Option<&[u8]> {
    let mut at = HEADER;
    while let length @ 1.. = *message.get(at)? {
        at += 1 + usize::from(length);
    }
    message.get(HEADER..at + 5)
}

/// Asks `server` for the address of its own family, from a socket that is connected to it or not, and checks the answer.
pub fn ask(netns: &Netns, server: IpAddr, connected: bool) -> Result<()> {
    let server = SocketAddr::new(server, PORT);
    let kind = if server.is_ipv4() { A } else { AAAA };
    let name = b"\x04neti\x07example\x00";
    let asked = [&[0x6e, 0x74, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], &name[..], &kind, &[0, 1]].concat();
    let any = crate::family::Family::of(server.ip()).any();
    let socket = netns.run(|| UdpSocket::bind((any, 0)))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    if connected {
        socket.connect(server)?;
        socket.send(&asked)?;
    } else {
        socket.send_to(&asked, server)?;
    }
    let mut heard = [0; 512];
    let (length, from) = socket.recv_from(&mut heard).context("read the answer")?;
    ensure!(from == server, "answered by {from}");
    ensure!(
        heard[..length] == answer(&asked, server.ip()),
        "another answer: {:?}",
        &heard[..length]
    );
    Ok(())
}

/// The files that make a program's resolver ask one server, and nothing else.
#[derive(Debug)]
pub struct Resolver {
    resolv_conf: PathBuf,
    nsswitch_conf: PathBuf,
}

impl Resolver {
    pub fn new(directory: &Path, server: IpAddr) -> Result<Self> {
        let (resolv_conf, nsswitch_conf) =
            (directory.join("resolv.conf"), directory.join("nsswitch.conf"));
        let patience = PATIENCE.as_secs();
        fs::write(&resolv_conf, format!("nameserver {server}\noptions timeout:{patience}\n"))?;
        fs::write(&nsswitch_conf, "hosts: dns\n")?;
        Ok(Self { resolv_conf, nsswitch_conf })
    }

    /// A command that will run inside `netns`, in a mount namespace of its own where /etc has these files.
    pub fn command(&self, netns: &Netns, program: &str) -> Command {
        const SCRIPT: &str = "mount --bind \"$1\" /etc/resolv.conf && \
                              mount --bind \"$2\" /etc/nsswitch.conf && shift 2 && exec \"$@\"";
        let mut command = netns.command("unshare");
        command.args(["--mount", "sh", "-ec", SCRIPT, "sh"]);
        command.arg(&self.resolv_conf).arg(&self.nsswitch_conf).arg(program);
        command
    }
}
