//! Builds the kernel programs, which the binary carries (`src/loader.rs`).
//!
//! Two kinds of machine can: one with the toolchain `neti-bpf`, which `cargo xtask setup` links to Debian's compiler with
//! its prebuilt core for the BPF target, and the usual developer's machine with rustup's nightly and rust-src.

use std::process::Command;

use aya_build::{Package, Toolchain, build_ebpf};

fn main() -> anyhow::Result<()> {
    println!("cargo:rerun-if-changed=../neti-common");
    println!("cargo:rerun-if-changed=../Cargo.lock");
    let linked = Command::new("rustup")
        .args(["run", "neti-bpf", "rustc", "--version"])
        .output()
        .is_ok_and(|output| output.status.success());
    let toolchain = if linked {
        // Opens `asm_experimental_arch` for aya's crates alone; "1" would make aya-build ask for build-std.
        // SAFETY: a build script has one thread.
        unsafe { std::env::set_var("RUSTC_BOOTSTRAP", "aya_ebpf,aya_ebpf_bindings,aya_ebpf_cty,dataplane") };
        Toolchain::Custom("neti-bpf")
    } else {
        Toolchain::Nightly
    };
    build_ebpf([Package { name: "neti-ebpf", root_dir: "../neti-ebpf", ..Package::default() }], toolchain)
}
