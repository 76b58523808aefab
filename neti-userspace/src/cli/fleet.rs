//! `neti fleet`: the registry's side.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

use super::{ConfigFile, Printing};
use crate::{addresses::IpFamily, membership::HostId};

/// Look after the fleet: its members, its settings and its overlay addresses, in the registry.
///
/// Works on any machine that reaches the registry which the configuration file names, with the rights
/// that the registry gives to the user named there; neti need not run on it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  neti fleet list\n  neti fleet set mode=enforce --dry-run\n  \
                        neti fleet release hudson")]
pub struct Fleet {
    #[command(subcommand)]
    pub what: FleetWhat,
}

#[derive(Debug, Subcommand)]
pub enum FleetWhat {
    /// The members in the registry; what is skipped there is told on stderr.
    #[command(after_help = "Example:\n  neti fleet list -p")]
    List(FleetShow),
    /// The fleet in numbers: members by network, role and version, settings, locked addresses.
    #[command(after_help = "Example:\n  neti fleet summary -j")]
    Summary(FleetShow),
    /// Print the fleet's settings as they stand in the registry.
    #[command(after_help = "Example:\n  neti fleet settings > fleet.json")]
    Settings(FleetSettingsArgs),
    Set(FleetSet),
    Claim(FleetClaim),
    Release(FleetRelease),
    Confirm(FleetConfirm),
}

#[derive(Debug, Args)]
pub struct FleetShow {
    #[command(flatten)]
    pub config: ConfigFile,
    #[command(flatten)]
    pub printing: Printing,
}

#[derive(Debug, Args)]
pub struct FleetSettingsArgs {
    #[command(flatten)]
    pub config: ConfigFile,
}

/// Change the fleet's settings, all of them or key by key.
///
/// They are validated before they are written, and written only if nobody else has changed them in
/// the meantime. What changes is printed; the hosts take it over at once, but for overlay ranges,
/// which take a restart of each neti. Rules that concern no member, or add nothing to others, are told
/// on stderr.
///
/// Refused without --force: what takes away addresses or networks that hosts have; a policy that,
/// enforced, would cut off ssh (no failsafe range, or this very session), hosts from a server of the
/// registry that is a member, or a host from all other members; to enforce in place of settings that
/// cannot be read.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  neti fleet set mode=enforce max_removals=50\n  \
                  neti fleet set open+=tcp/80 echo= --dry-run\n  \
                  neti fleet set hosts.web-1.mode=enforce\n  \
                  neti fleet set 'allow+={\"from\": \"192.0.2.0/24\", \"protocol\": \"icmp\"}'\n  \
                  neti fleet set 'member_rules=[\"from role web to role db tcp/5432\"]'\n  \
                  neti fleet set --file fleet.json",
    group = ArgGroup::new("what").required(true).args(["file", "changes"])
)]
pub struct FleetSet {
    #[command(flatten)]
    pub config: ConfigFile,
    /// Replace all settings by those of this file; `-` is standard input.
    #[arg(long, env = "NETI_FILE", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Change this key. VALUE is JSON, or a word that needs no quotes; without one the key is removed,
    /// so that its default holds. KEY+=VALUE adds an element to a list, or several as a list, and KEY-=VALUE
    /// removes them; hosts.ID.KEY, roles.NAME.KEY and the like change one name and leave the others alone.
    #[arg(value_name = "KEY=VALUE")]
    pub changes: Vec<String>,
    /// Only tell what would change.
    #[arg(long, env = "NETI_DRY_RUN")]
    pub dry_run: bool,
    /// Change also what takes away addresses or networks that hosts have, or cuts off ssh, the registry
    /// or members, and tell what that is.
    #[arg(long, env = "NETI_FORCE")]
    pub force: bool,
}

/// Lock an overlay address for a host, as its first start would, and print it.
///
/// For registries in which hosts may write nothing but their own records. A host that has an address
/// keeps it, so this can be repeated.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  neti fleet claim hudson --family v4")]
pub struct FleetClaim {
    #[command(flatten)]
    pub config: ConfigFile,
    /// The host's id.
    #[arg(value_name = "ID")]
    pub id: HostId,
    /// v4 or v6; may be given twice [default: those in which the fleet has an overlay range].
    #[arg(long, env = "NETI_FAMILY", value_name = "FAMILY", value_parser = family, value_delimiter = ',')]
    pub family: Vec<IpFamily>,
}

/// Free the overlay addresses of a host that is no more.
///
/// Refused while the host is a member. Its addresses go to other hosts from then on.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  neti fleet release hudson")]
pub struct FleetRelease {
    #[command(flatten)]
    pub config: ConfigFile,
    /// The host's id.
    #[arg(value_name = "ID")]
    pub id: HostId,
}

/// Tell all hosts that the removals which they hold are meant.
///
/// A host holds removals when more members vanish at once than `max_removals` in the fleet's settings
/// allows: it goes on reaching them until they come back or this says that they are gone.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  neti fleet confirm\n  neti fleet confirm --removals 40")]
pub struct FleetConfirm {
    #[command(flatten)]
    pub config: ConfigFile,
    /// At most how many members may be removed [default: as many as this host's daemon holds].
    #[arg(long, env = "NETI_REMOVALS", value_name = "NUMBER", value_parser = removals)]
    pub removals: Option<usize>,
}

fn family(text: &str) -> Result<IpFamily, String> {
    match text {
        "v4" => Ok(IpFamily::V4),
        "v6" => Ok(IpFamily::V6),
        _ => Err("must be v4 or v6".to_owned()),
    }
}

fn removals(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "must be a number of members, at least 1".to_owned())
}
