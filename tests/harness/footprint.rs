//! What a host looks like from outside: everything that neti could change, to compare before and after.

use std::{collections::BTreeMap, fs, io, path::Path};

use anyhow::{Result, ensure};

use crate::{
    bpf::Map,
    host::{Host, PINS, RUN},
    netns::Netns,
};

/// Commands whose output tells the state of a namespace.
const COMMANDS: [&str; 10] = [
    "ip -o addr show",
    "ip -o link show",
    "ip -4 route show table all",
    "ip -4 rule show",
    "ip -4 neigh show nud permanent",
    "ip -6 route show table all",
    "ip -6 rule show",
    "ip -6 neigh show nud permanent",
    "tc qdisc show",
    "nft list ruleset",
];

/// Sysctls that an overlay might be tempted to set.
const SYSCTLS: [(&str, &[&str]); 2] = [
    (
        "ipv4",
        &["accept_local", "arp_announce", "arp_filter", "arp_ignore", "forwarding", "rp_filter"],
    ),
    (
        "ipv6",
        &["accept_ra", "disable_ipv6", "forwarding", "ndisc_notify", "proxy_ndp", "use_tempaddr"],
    ),
];

/// The state of a namespace, by the command or sysctl that tells it.
pub fn footprint(netns: &Netns) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for command in COMMANDS {
        // An interface takes its link-local address by itself, some time after it is up.
        let text = netns.exec(command)?;
        let lines =
            text.lines().filter(|line| !line.contains("fe80:") && !line.contains("ff00::/8"));
        found.insert(command.to_owned(), lines.map(|line| format!("{line}\n")).collect());
    }
    for interface in ["all", "default", "lo", "eth0"] {
        for (family, keys) in SYSCTLS {
            for key in keys {
                let path = format!("/proc/sys/net/{family}/conf/{interface}/{key}");
                let value = netns.run(|| fs::read_to_string(&path))?;
                found.insert(path, value);
            }
        }
    }
    for (name, attach_type) in [("tcx ingress", BPF_TCX_INGRESS), ("tcx egress", BPF_TCX_EGRESS)] {
        let programs = netns.run(|| attached("eth0", attach_type))?;
        found.insert(name.to_owned(), format!("{programs} programs"));
    }
    Ok(found)
}

// From linux/bpf.h; bpftool of Debian 12 does not list tcx.
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_TCX_EGRESS: u32 = 47;

/// How many programs the kernel has attached to a tcx hook.
fn attached(interface: &str, attach_type: u32) -> Result<u32> {
    #[repr(C)]
    #[derive(Default)]
    struct Query {
        target_ifindex: u32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        prog_ids: u64,
        count: u32,
        pad: u32,
        prog_attach_flags: u64,
        link_ids: u64,
        link_attach_flags: u64,
        revision: u64,
    }
    let target_ifindex = nix::net::if_::if_nametoindex(interface)?;
    let mut query = Query { target_ifindex, attach_type, ..Query::default() };
    let size = size_of_val(&query);
    // SAFETY: the attribute is live and of the size given; without arrays the kernel writes only the count.
    let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY, &raw mut query, size) };
    ensure!(result == 0, "ask what is attached to {interface}: {}", io::Error::last_os_error());
    Ok(query.count)
}

/// What `after` has otherwise than `before`, line by line.
pub fn difference(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Vec<String> {
    let mut lines = Vec::new();
    for (what, text) in after {
        let old = before.get(what).map_or("", String::as_str);
        lines.extend(
            text.lines()
                .filter(|l| !old.lines().any(|o| o == *l))
                .map(|l| format!("+ {what}: {l}")),
        );
        lines.extend(
            old.lines()
                .filter(|o| !text.lines().any(|l| l == *o))
                .map(|o| format!("- {what}: {o}")),
        );
    }
    lines
}

/// Files of a host's instance that are left under /sys/fs/bpf, /run and /var/lib.
pub fn files(host: &Host) -> Vec<String> {
    let paths = [
        Path::new(PINS).join(&host.instance),
        Path::new(RUN).join(&host.instance),
        Path::new(RUN).join(format!("{}.lock", host.instance)),
        host.state_file(),
    ];
    paths.iter().filter(|path| path.exists()).map(|path| path.display().to_string()).collect()
}

/// All maps that a host's neti has pinned, by their names.
pub fn maps(host: &Host) -> Result<BTreeMap<String, Map>> {
    let directory = host.pin("maps")?;
    let mut maps = BTreeMap::new();
    for entry in fs::read_dir(&directory)? {
        let entry = entry?;
        maps.insert(entry.file_name().to_string_lossy().into_owned(), Map::open(&entry.path())?);
    }
    ensure!(!maps.is_empty(), "{}: no map is pinned", directory.display());
    Ok(maps)
}

/// The kernel's memory for them, in bytes.
pub fn map_memory(host: &Host) -> Result<u64> {
    maps(host)?.values().try_fold(0, |sum, map| Ok(sum + map.memory()?))
}

/// Starts neti, which must fail with code 1, say each of `words` in one line, and leave nothing.
///
/// # Errors
/// If it does otherwise.
pub fn fails(host: &mut Host, words: &[&str]) -> Result<()> {
    let before = footprint(&host.site.netns)?;
    let (code, text) = host.fail()?;
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("neti: ")).collect();
    ensure!(code == Some(1), "exit code {code:?}:\n{text}");
    ensure!(lines.len() == 1, "one line says why:\n{text}");
    for word in words {
        ensure!(lines[0].contains(word), "{word:?} is not in: {}", lines[0]);
    }
    ensure!(!text.contains("panicked"), "{text}");
    let left = difference(&before, &footprint(&host.site.netns)?);
    ensure!(left.is_empty(), "a failed start leaves: {left:#?}");
    // The lock's file may stay: to remove a lock file is a race with whoever takes it.
    let kept: Vec<String> = files(host).into_iter().filter(|f| !f.ends_with(".lock")).collect();
    ensure!(kept.is_empty(), "a failed start leaves: {kept:?}");
    Ok(())
}
