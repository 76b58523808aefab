//! The command line. Doc comments are the help.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::{config::DEFAULT_INSTANCE, output::Format};

mod fleet;

pub use fleet::{
    Fleet, FleetClaim, FleetConfirm, FleetRelease, FleetSet, FleetSettingsArgs, FleetShow,
    FleetWhat,
};

const CONFIG: &str = "/etc/neti/neti.toml";

/// An overlay between networks: stable addresses for the hosts of a fleet, translated in the kernel
/// to the address that is best from here; only members are let in.
#[derive(Debug, Parser)]
#[command(name = "neti", version, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    /// How much to log to stderr: error, warn, info, debug, trace, or a filter like `neti=debug`.
    #[arg(long, global = true, env = "NETI_LOG", value_name = "LEVEL", default_value = "info")]
    pub log: String,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Run(Run),
    Down(Down),
    Show(Show),
    Check(Check),
    Fleet(Fleet),
}

/// Join the fleet: take an overlay address, attach to the uplink and follow the registry.
///
/// Runs in the foreground until SIGTERM or SIGINT, then withdraws from the fleet. The kernel programs
/// stay attached, so that a restart interrupts nothing; `neti down` removes them.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  neti run --config /etc/neti/neti.toml")]
pub struct Run {
    #[command(flatten)]
    pub config: ConfigFile,
    /// Log every packet that the kernel programs drop; slow, for tracking down a fault.
    #[arg(long, env = "NETI_TRACE_DROPS")]
    pub trace_drops: bool,
}

/// Remove everything neti made on this host: programs, maps, routes and the overlay address.
///
/// The fleet that was saved in /var/lib/neti/state for a reboot goes too. Idempotent. The daemon must
/// have ended.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  neti down --instance default")]
pub struct Down {
    #[command(flatten)]
    pub instance: Instance,
    /// Take the instance's name from this configuration file.
    #[arg(long, env = "NETI_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Show the dataplane as the kernel has it; works without the daemon.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  neti show members\n  neti show stats --all\n  neti show status -j"
)]
pub struct Show {
    #[command(subcommand)]
    pub what: ShowWhat,
}

#[derive(Debug, Subcommand)]
pub enum ShowWhat {
    /// The members of the fleet that this host can reach, and by which address.
    #[command(after_help = "Example:\n  neti show members -p")]
    Members(ShowArgs),
    /// How many packets passed and were dropped, by reason.
    #[command(after_help = "Example:\n  neti show stats --all")]
    Stats(StatsArgs),
    /// Whose packets were dropped, most of them first, and the rule that would have let them in.
    ///
    /// The sources that the kernel remembers: the last 8,192 of each family, and of a flood a part. The
    /// counters of `neti show stats` miss none.
    #[command(after_help = "Examples:\n  neti show drops --would\n  neti show drops | head")]
    Drops(DropsArgs),
    /// The instance: its addresses, uplink, registry and problems.
    #[command(after_help = "Example:\n  neti show status -j")]
    Status(ShowArgs),
}

#[derive(Debug, Args)]
pub struct StatsArgs {
    #[command(flatten)]
    pub show: ShowArgs,
    /// Reasons that never occurred too.
    #[arg(long, env = "NETI_ALL")]
    pub all: bool,
}

#[derive(Debug, Args)]
pub struct DropsArgs {
    #[command(flatten)]
    pub show: ShowArgs,
    /// Only what `observe` let pass and `enforce` would drop.
    #[arg(long, env = "NETI_WOULD")]
    pub would: bool,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    #[command(flatten)]
    pub instance: Instance,
    #[command(flatten)]
    pub printing: Printing,
}

#[derive(Debug, Args)]
pub struct Printing {
    /// Print JSON.
    #[arg(short, long, env = "NETI_JSON")]
    pub json: bool,
    /// Print JSON for reading, indented.
    #[arg(short, long, env = "NETI_PRETTY")]
    pub pretty: bool,
}

impl Printing {
    pub fn format(&self) -> Format {
        Format::of(self.json, self.pretty)
    }
}

/// Check whether `neti run` would work, without changing anything.
///
/// Checks the configuration, this process's capabilities, the kernel programs, the uplink and the
/// fleet, lists all problems, and exits with 1 if there are any.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  neti check --config /etc/neti/neti.toml")]
pub struct Check {
    #[command(flatten)]
    pub config: ConfigFile,
}

#[derive(Debug, Args)]
pub struct ConfigFile {
    /// The configuration file.
    #[arg(long, env = "NETI_CONFIG", value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
}

impl ConfigFile {
    pub fn path(&self) -> &Path {
        &self.config
    }
}

#[derive(Debug, Args)]
pub struct Instance {
    /// The instance, as `instance` in the configuration names it [default: default].
    #[arg(long, env = "NETI_INSTANCE", value_name = "NAME", value_parser = instance)]
    pub instance: Option<String>,
}

impl Instance {
    pub fn name(&self) -> &str {
        self.instance.as_deref().unwrap_or(DEFAULT_INSTANCE)
    }
}

/// The name becomes part of paths, so it is checked before anything is done with it.
fn instance(text: &str) -> Result<String, String> {
    match crate::config::is_instance(text) {
        true => Ok(text.to_owned()),
        false => Err("must be 1 to 32 of a-z 0-9 -".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example_and_every_flag_a_variable() {
        fn check(command: &clap::Command) {
            let name = command.get_name();
            if name != "neti" {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("neti "), "{name} has no example");
            }
            for argument in command.get_arguments().filter(|argument| !argument.is_positional()) {
                assert!(argument.get_env().is_some(), "{name} {argument} has no variable");
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn parses() {
        let cli = Cli::parse_from(["neti", "show", "members", "--instance", "blue", "-j"]);
        let Command::Show(Show { what: ShowWhat::Members(args) }) = cli.command else {
            panic!("{cli:?}");
        };
        assert_eq!(args.instance.name(), "blue");
        assert_eq!(args.printing.format(), Format::Json);
        for wrong in [
            &["neti", "run", "--colour"][..],
            &["neti", "down", "--instance", "a/b"],
            &["neti", "fleet", "set"],
            &["neti", "fleet", "set", "mode=enforce", "--file", "fleet.json"],
            &["neti", "fleet", "claim", "../hudson"],
            &["neti", "fleet", "claim", "hudson", "--family", "ipv4"],
            &["neti", "fleet", "confirm", "--removals", "0"],
        ] {
            let error = Cli::try_parse_from(wrong).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{wrong:?}");
        }
    }
}
