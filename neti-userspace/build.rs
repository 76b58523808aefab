//! Builds the kernel programs, which the binary carries (`src/loader.rs`).
//!
//! Two kinds of machine can: one with the toolchain `neti-bpf`, which `cargo xtask setup` links to Debian's compiler with
//! its prebuilt core for the BPF target, and the usual developer's machine with rustup's nightly and rust-src.

use std::{path::Path, process::Command};

use anyhow::bail;
use aya_build::{Package, Toolchain, build_ebpf};

fn main() -> anyhow::Result<()> {
    println!("cargo:rerun-if-changed=../neti-common");
    println!("cargo:rerun-if-changed=../Cargo.lock");
    let debian =
        answer(&["neti-bpf", "rustc", "--print=target-libdir", "--target=bpfel-unknown-none"]);
    let nightly = answer(&["nightly", "rustc", "--print=sysroot"]);
    let toolchain = if debian.is_some_and(|libraries| Path::new(&libraries).is_dir()) {
        // Opens `asm_experimental_arch` for these crates alone; "1" would make aya-build ask for build-std.
        let crates = "aya_ebpf,aya_ebpf_bindings,aya_ebpf_cty,dataplane";
        // SAFETY: a build script has one thread.
        unsafe { std::env::set_var("RUSTC_BOOTSTRAP", crates) };
        Toolchain::Custom("neti-bpf")
    } else if nightly.is_some_and(|root| Path::new(&root).join(CORE_SOURCE).exists()) {
        Toolchain::Nightly
    } else {
        bail!(
            "no compiler for the kernel programs: neither the toolchain neti-bpf nor nightly with \
             rust-src works; run `cargo xtask setup`"
        );
    };
    if !Command::new("bpf-linker").arg("--version").output().is_ok_and(|o| o.status.success()) {
        bail!("bpf-linker is missing or does not run; run `cargo xtask setup`");
    }
    build_ebpf(
        [Package { name: "neti-ebpf", root_dir: "../neti-ebpf", ..Package::default() }],
        toolchain,
    )
}

const CORE_SOURCE: &str = "lib/rustlib/src/rust/library/core/Cargo.toml";

/// What `rustup run` prints, if it works.
fn answer(arguments: &[&str]) -> Option<String> {
    let output = Command::new("rustup").arg("run").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
