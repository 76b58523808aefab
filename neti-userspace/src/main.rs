//! The command `neti`: reads the command line, runs the command, and says how it ended.

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
};

use anyhow::Result;
use clap::Parser;
use neti_userspace::{
    cli::{Cli, Command},
    command,
};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // Usage errors exit with 2 here.
    let cli = Cli::parse();
    match log(&cli.log).and_then(|()| run(cli.command)) {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("neti: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        match command {
            Command::Run(args) => command::run::run(&args).await.map(|()| ExitCode::SUCCESS),
            Command::Down(args) => command::down::run(&args).await.map(|()| ExitCode::SUCCESS),
            Command::Show(args) => command::show::run(&args).map(|()| ExitCode::SUCCESS),
            Command::Check(args) => command::check::run(&args).await,
            Command::Fleet(args) => command::fleet::run(&args).await.map(|()| ExitCode::SUCCESS),
        }
    });
    // Who was interrupted does not wait for the verifier.
    runtime.shutdown_background();
    done
}

fn log(filter: &str) -> Result<()> {
    // The one warns of every request that nobody waits for any more, as when a start is interrupted,
    // the other of every attempt to reach a server.
    let libraries = "netlink_proto=error,zookeeper_client=error";
    let filter = EnvFilter::try_new(format!("{libraries},{filter}")).map_err(|error| {
        anyhow::anyhow!("--log {filter}: {error}; must be like info or neti_userspace=debug")
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .init();
    Ok(())
}

/// Whoever reads our output has had enough (`neti show stats | head -1`), which is no failure.
/// Rust ignores SIGPIPE, so that it arrives here as an error.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    })
}
