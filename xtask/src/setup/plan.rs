//! What to do about what a machine lacks. Nothing here touches the machine.

use super::{
    BPF_TOOLCHAIN,
    machine::{Compiler, Machine},
};

/// Something that is built with or run, and the Debian package that brings it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tool {
    pub probe: Probe,
    pub package: &'static str,
}

/// How a tool is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A program on the PATH.
    Program(&'static str),
    /// A file, by its whole path.
    File(&'static str),
    /// A module of the distribution's own Python, [`PYTHON`].
    Module(&'static str),
}

impl Probe {
    /// What it is called in a list of what is missing.
    pub fn name(self) -> &'static str {
        match self {
            Self::Program(name) | Self::File(name) | Self::Module(name) => name,
        }
    }
}

/// How much of what is here is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// What building, the demo and the benchmark need.
    Basic,
    /// The real registry servers of the tests too.
    Registries,
}

impl Extent {
    /// The tools that belong to it.
    pub fn tools(self) -> impl Iterator<Item = Tool> {
        let registries: &[Tool] = match self {
            Self::Basic => &[],
            Self::Registries => &REGISTRIES,
        };
        TOOLS.iter().chain(registries).copied()
    }

    /// The command that sets all of it up.
    fn command(self) -> &'static str {
        match self {
            Self::Basic => "cargo xtask setup",
            Self::Registries => "cargo xtask setup --registries",
        }
    }
}

const fn tool(program: &'static str, package: &'static str) -> Tool {
    Tool { probe: Probe::Program(program), package }
}

const fn file(path: &'static str, package: &'static str) -> Tool {
    Tool { probe: Probe::File(path), package }
}

const fn module(name: &'static str, package: &'static str) -> Tool {
    Tool { probe: Probe::Module(name), package }
}

/// Everything that the build, the demo and most tests use.
const TOOLS: [Tool; 14] = [
    tool("conntrack", "conntrack"),
    tool("curl", "curl"),
    tool("ip", "iproute2"),
    tool("iperf3", "iperf3"),
    // What the original Neti was made of, to compare with.
    tool("ipset", "ipset"),
    tool("iptables-legacy", "iptables"),
    tool("nft", "nftables"),
    tool("nginx", "nginx-light"),
    tool("ping", "iputils-ping"),
    tool("tcpdump", "tcpdump"),
    tool("traceroute", "traceroute"),
    tool("wrk", "wrk"),
    // etcd's client is generated from its protocol when it is built.
    tool("protoc", "protobuf-compiler"),
    file("/usr/include/google/protobuf/descriptor.proto", "libprotobuf-dev"),
];

/// etcd and ZooKeeper, and what operators use with them. ZooKeeper's own package would bring a user and a desktop's Java;
/// the library is the whole server.
const REGISTRIES: [Tool; 6] = [
    tool("etcd", "etcd-server"),
    tool("etcdctl", "etcd-client"),
    tool("java", "default-jre-headless"),
    file("/usr/share/java/zookeeper.jar", "libzookeeper-java"),
    module("kazoo.client", "python3-kazoo"),
    // It makes the certificates of the tests with TLS.
    tool("openssl", "openssl"),
];

/// The Python that Debian's packages are for, whatever else is called python3.
pub const PYTHON: &str = "/usr/bin/python3";

/// Debian's Rust compiler with a prebuilt core for the BPF target.
const COMPILER_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];
const LINTS_PACKAGE: &str = "rust-web-clippy";
/// What bpf-linker is built with.
const LINKER_PACKAGES: [&str; 4] = ["llvm-22-dev", "libclang-22-dev", "libzstd-dev", "zlib1g-dev"];

/// Where `llvm-22-dev` puts LLVM.
pub const LLVM_PREFIX: &str = "/usr/lib/llvm-22";
/// The arguments of cargo that install bpf-linker with Debian's LLVM.
pub const LINKER_INSTALL: [&str; 8] = [
    "install",
    "bpf-linker",
    "--version=0.13.0",
    "--no-default-features",
    "--features=llvm-22",
    "--locked",
    "--quiet",
    "--force",
];

/// What is to be done, in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// rustup itself is missing; nothing can be done about that here.
    pub rustup: bool,
    /// No compiler for the kernel programs, and only the user can bring one.
    pub nightly: bool,
    /// Debian packages to install.
    pub packages: Vec<&'static str>,
    /// Tools to install elsewhere.
    pub tools: Vec<Tool>,
    /// Link Debian's compiler as a rustup toolchain.
    pub link: bool,
    /// Build bpf-linker.
    pub linker: bool,
}

/// What `machine` needs.
pub fn plan(machine: &Machine) -> Plan {
    let mut plan = Plan { rustup: !machine.rustup, linker: !machine.linker, ..Plan::default() };
    if !machine.debian12 {
        plan.nightly = machine.compiler.is_none();
        plan.tools = machine.missing.clone();
        return plan;
    }
    if machine.compiler.is_none() {
        plan.link = true;
        if !machine.debian_compiler {
            plan.packages.extend(COMPILER_PACKAGES);
        }
    }
    if machine.compiler != Some(Compiler::Nightly) && !machine.lints {
        plan.packages.push(LINTS_PACKAGE);
    }
    if plan.linker {
        plan.packages.extend(LINKER_PACKAGES);
    }
    plan.packages.extend(machine.missing.iter().map(|tool| tool.package));
    plan
}

impl Plan {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What is missing, a word or two each.
    pub fn what(&self) -> Vec<&'static str> {
        self.lines().into_iter().map(|(what, _)| what).collect()
    }

    /// What the user must do, if this program cannot do all of it.
    pub fn for_the_reader(&self, machine: &Machine) -> Option<String> {
        let able = machine.debian12 && !self.rustup && (machine.root || self.packages.is_empty());
        if self.is_empty() || able {
            return None;
        }
        let mut text = String::from("this machine lacks:");
        for (what, how) in self.lines() {
            text += &format!("\n  {what:<24} {how}");
        }
        if machine.debian12 && !machine.root {
            text += &format!("\nAs root, `{}` installs all of it.", machine.extent.command());
        } else if !machine.debian12 {
            let command = machine.extent.command();
            text += &format!("\nOn Debian 12, as root, `{command}` installs all of it.");
        }
        Some(text)
    }

    /// What is missing and how to get it, a line each.
    fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        if self.rustup {
            lines.push(("rustup", "see https://rustup.rs".to_owned()));
        }
        if self.nightly {
            let how = "rustup toolchain install nightly --component rust-src";
            lines.push(("a compiler for BPF", how.to_owned()));
        }
        let package = |name: &&'static str| (*name, format!("apt-get install {name}"));
        lines.extend(self.packages.iter().map(package));
        let elsewhere = |tool: &Tool| {
            let how = format!("your distribution's package (Debian's is {})", tool.package);
            (tool.probe.name(), how)
        };
        lines.extend(self.tools.iter().map(elsewhere));
        if self.link {
            let how = format!("rustup toolchain link {BPF_TOOLCHAIN} /usr");
            lines.push((BPF_TOOLCHAIN, how));
        }
        if self.linker {
            let how = if self.packages.is_empty() {
                "cargo install bpf-linker --version 0.13.0 --locked".to_owned()
            } else {
                format!("LLVM_PREFIX={LLVM_PREFIX} cargo {}", LINKER_INSTALL.join(" "))
            };
            lines.push(("bpf-linker", how));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Debian 12 machine as root that has everything.
    fn complete() -> Machine {
        Machine {
            debian12: true,
            root: true,
            rustup: true,
            compiler: Some(Compiler::Debian),
            debian_compiler: true,
            lints: true,
            linker: true,
            extent: Extent::Basic,
            missing: Vec::new(),
        }
    }

    fn fresh() -> Machine {
        Machine {
            compiler: None,
            debian_compiler: false,
            lints: false,
            linker: false,
            missing: Extent::Basic.tools().collect(),
            ..complete()
        }
    }

    #[track_caller]
    fn check(machine: &Machine, expected: &Plan) {
        assert_eq!(plan(machine), *expected);
    }

    #[test]
    fn nothing_is_done_where_nothing_is_missing() {
        check(&complete(), &Plan::default());
        let developer =
            Machine { compiler: Some(Compiler::Nightly), debian12: false, ..complete() };
        check(&developer, &Plan::default());
        assert_eq!(Plan::default().for_the_reader(&developer), None);
        let nightly_on_debian = Machine {
            compiler: Some(Compiler::Nightly),
            debian_compiler: false,
            lints: false,
            ..complete()
        };
        check(&nightly_on_debian, &Plan::default());
    }

    #[test]
    fn exactly_what_is_missing_is_installed() {
        let machine = Machine { missing: vec![tool("nft", "nftables")], ..complete() };
        check(&machine, &Plan { packages: vec!["nftables"], ..Plan::default() });
        check(&Machine { compiler: None, ..complete() }, &Plan { link: true, ..Plan::default() });
        check(
            &Machine { lints: false, ..complete() },
            &Plan { packages: vec![LINTS_PACKAGE], ..Plan::default() },
        );
        check(
            &Machine { linker: false, ..complete() },
            &Plan { packages: LINKER_PACKAGES.to_vec(), linker: true, ..Plan::default() },
        );
    }

    #[test]
    fn a_fresh_machine_gets_everything() {
        let plan = plan(&fresh());
        assert!(plan.link && plan.linker);
        for package in ["rustc-web", "libstd-rust-web-dev-bpf", "llvm-22-dev", "libprotobuf-dev"] {
            assert!(plan.packages.contains(&package), "{package}");
        }
        assert_eq!(plan.for_the_reader(&fresh()), None);
    }

    #[test]
    fn registries_are_only_for_who_asks() {
        let packages = |extent: Extent| {
            let missing = extent.tools().collect();
            plan(&Machine { extent, missing, ..complete() }).packages
        };
        let (basic, registries) = (packages(Extent::Basic), packages(Extent::Registries));
        assert_eq!(registries[..basic.len()], basic);
        let wanted = [
            "etcd-server",
            "etcd-client",
            "default-jre-headless",
            "libzookeeper-java",
            "python3-kazoo",
            "openssl",
        ];
        assert_eq!(registries[basic.len()..], wanted);
        let user = Machine {
            extent: Extent::Registries,
            root: false,
            missing: vec![module("kazoo.client", "python3-kazoo")],
            ..complete()
        };
        let text = plan(&user).for_the_reader(&user).unwrap();
        assert!(text.contains("apt-get install python3-kazoo\n"), "{text}");
        assert!(text.contains("`cargo xtask setup --registries`"), "{text}");
    }

    #[test]
    fn without_root_only_packages_are_left_to_the_user() {
        let user = Machine { root: false, ..fresh() };
        let text = plan(&user).for_the_reader(&user).unwrap();
        assert!(text.contains("apt-get install rustc-web\n"), "{text}");
        assert!(text.contains("LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker"), "{text}");
        let only_link = Machine { root: false, compiler: None, ..complete() };
        assert_eq!(plan(&only_link).for_the_reader(&only_link), None);
    }

    #[test]
    fn elsewhere_every_missing_thing_has_a_line() {
        let extent = Extent::Registries;
        let missing = extent.tools().collect();
        let machine = Machine { debian12: false, extent, missing, ..fresh() };
        let text = plan(&machine).for_the_reader(&machine).unwrap();
        let nightly = "rustup toolchain install nightly --component rust-src";
        for wanted in [nightly, "nft ", "descriptor.proto ", "kazoo.client ", "libzookeeper-java"] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        assert!(text.contains("\n  bpf-linker               cargo install bpf-linker"), "{text}");
        assert!(!text.contains("apt-get"), "{text}");
        // A heading, the compiler, the tools, bpf-linker, and what Debian would do.
        assert_eq!(text.lines().count(), 1 + 1 + extent.tools().count() + 1 + 1, "{text}");
    }

    #[test]
    fn without_rustup_nothing_is_attempted() {
        let machine = Machine { rustup: false, ..fresh() };
        let text = plan(&machine).for_the_reader(&machine).unwrap();
        assert!(text.contains("https://rustup.rs"), "{text}");
    }
}
