//! `cargo xtask test`: `cargo test`, cut down to a line per test program while all goes well.

mod digest;

use std::{
    env,
    io::{BufRead as _, BufReader, IsTerminal as _},
    time::Instant,
};

use anyhow::{Context, Result, bail};
use digest::Digest;

use crate::{
    build,
    run::{cargo, shown},
    setup::{self, Extent},
};

/// Runs the tests whose name contains `filter`, or all; `arguments` go to the test programs.
pub fn run(filter: Option<&str>, arguments: &[String]) -> Result<()> {
    setup::run(Extent::Registries)?;
    let started = Instant::now();
    let neti = build::neti(false)?;
    if !std::io::stderr().is_terminal() {
        eprintln!("building the tests");
    }
    shown(build::progress(&mut cargo(&["test", "--no-run"])))?;

    // Cargo names the test programs on stderr, they report on stdout: one pipe keeps the order.
    let (output, both) = std::io::pipe().context("make a pipe")?;
    let mut command = cargo(&["test", "--no-fail-fast", "--color=never"]);
    // Output of tests that pass: one that could not do its work here says so.
    command.args(filter).args(["--", "--show-output"]).args(arguments);
    command.env("NETI_BIN", neti).env("CARGO_TERM_QUIET", "false");
    command.env("RUST_TEST_THREADS", threads());
    command.stdout(both.try_clone().context("make a pipe")?).stderr(both);
    let mut child = command.spawn().context("run cargo test")?;
    // The command holds ends of the pipe, which would never close.
    drop(command);

    let mut digest = Digest::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("read what cargo test prints")?;
        if let Some(text) = digest.line(&String::from_utf8_lossy(&line)) {
            println!("{text}");
        }
    }
    let status = child.wait().context("wait for cargo test")?;
    if let Some(text) = digest.rest(status.success()) {
        println!("{text}");
    }
    println!("\n{}", digest.summary(status.success(), started.elapsed()));
    if !status.success() {
        bail!("tests failed ({status})");
    }
    if digest.ran() == 0 {
        match filter {
            Some(filter) => bail!("no test ran: no test's name contains {filter:?}"),
            None => bail!("no test ran"),
        }
    }
    Ok(())
}

/// Twice as many tests at once as there are processors: many wait for something to time out.
fn threads() -> String {
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    env::var("RUST_TEST_THREADS").unwrap_or_else(|_| (2 * processors()).to_string())
}
