//! `neti check`: everything that `neti run` would stumble over, found without changing anything.

use std::{
    io::{self, Write},
    net::IpAddr,
    process::ExitCode,
};

use anyhow::{Error, Result, anyhow, bail};
use rtnetlink::Handle;

use super::run::host;
use crate::{
    addresses::{IpFamily, list},
    cli::Check,
    config::Config,
    fleet::FleetSettings,
    loader::{self, attach, permission, pins, pins::Pins},
    notrack,
    registry::{self, Registry},
    uplink::{self, Uplink, overlap, ports},
};

/// What one check found: its subject, and what is good or wrong with it.
type Finding = (&'static str, Result<String>);

pub async fn run(args: &Check) -> Result<ExitCode> {
    let findings = check(args).await;
    let out = &mut io::stdout().lock();
    let mut code = ExitCode::SUCCESS;
    for (subject, found) in findings {
        match found {
            Ok(good) => writeln!(out, "ok       {subject}: {good}")?,
            Err(wrong) => {
                code = ExitCode::FAILURE;
                writeln!(out, "problem  {subject}: {wrong:#}")?;
            }
        }
    }
    Ok(code)
}

async fn check(args: &Check) -> Vec<Finding> {
    let file = args.config.path();
    let config = match Config::load(file) {
        Ok(config) => config,
        // Nothing else can be checked without it.
        Err(error) => return vec![("configuration", Err(error.into()))],
    };
    let mut findings = vec![
        ("configuration", Ok(format!("{} is valid", file.display()))),
        ("permission", capabilities()),
        ("bpf file system", bpffs()),
        ("kernel programs", loader::verify().map(|()| "the kernel takes them".to_owned())),
    ];
    if config.notrack {
        findings.push(("notrack", nft()));
    }
    let netlink = match uplink::netlink() {
        Ok(netlink) => netlink,
        Err(error) => {
            findings.push(("uplink", Err(error)));
            return findings;
        }
    };
    // Without an uplink the fleet's settings can still be checked.
    let mut uplink = None;
    match uplink::find(&netlink, &config.uplink).await {
        Ok(found) => {
            findings.push(("uplink", describe(&config, &found)));
            uplink = Some(found);
        }
        Err(error) => findings.push(("uplink", Err(error))),
    }
    match registry::open(&config) {
        Ok(registry) => {
            findings.extend(fleet(&registry, &netlink, &config, uplink.as_ref()).await);
        }
        Err(error) => findings.push(("registry", Err(error.into()))),
    }
    findings
}

fn capabilities() -> Result<String> {
    let missing = permission::missing();
    if missing.is_empty() {
        Ok("all capabilities are there".to_owned())
    } else {
        Err(anyhow!("missing {}", missing.join(", ")))
    }
}

fn bpffs() -> Result<String> {
    match pins::is_mounted()? {
        true => Ok(format!("mounted on {}", pins::BPFFS)),
        false => Ok(format!("`neti run` will mount it on {}", pins::BPFFS)),
    }
}

fn nft() -> Result<String> {
    if !notrack::available() {
        bail!("nft is not installed; it is in the package nftables");
    }
    Ok("nft is there".to_owned())
}

fn describe(config: &Config, uplink: &Uplink) -> Result<String> {
    let reals = host::reals(config, uplink)?;
    attach::check_free(&Pins::new(&config.instance), uplink)?;
    let reals = reals.iter().map(|real| match uplink.gateways.of(IpFamily::of(*real)) {
        Some(gateway) => format!("{real} by gateway {gateway}"),
        None => format!("{real} without a gateway"),
    });
    Ok(format!("{} (index {}), {}", uplink.name, uplink.index, list(reals)))
}

async fn fleet(
    registry: &impl Registry,
    netlink: &Handle,
    config: &Config,
    uplink: Option<&Uplink>,
) -> Vec<Finding> {
    let fleet = match registry.fleet().await {
        Ok(fleet) => fleet,
        Err(error) => return vec![("fleet", Err(error.into()))],
    };
    let mode = fleet.mode_of(&config.host, &config.role);
    let good = format!("overlay {}, {} on this host", list(&fleet.overlay), mode.as_str());
    let twins = format!("{}, which the kernel gives to no socket", fleet.twin_ports);
    let index = uplink.map_or(0, |uplink| uplink.index);
    let mut findings = vec![
        ("fleet", overlap::check(netlink, index, &fleet.overlay).await.map(|()| good)),
        ("network", host::network(config, &fleet).map(|()| config.network.clone())),
        ("role", role(config, &fleet)),
        ("twin ports", ports::check(fleet.twin_ports).map(|()| twins)),
    ];
    // What is wrong with the uplink's addresses is a finding of its own.
    if let Some(uplink) = uplink
        && let Ok(reals) = host::reals(config, uplink)
    {
        findings.push(("overlay addresses", families(uplink, &reals, &fleet)));
    }
    findings
}

fn role(config: &Config, fleet: &FleetSettings) -> Result<String> {
    fleet.policy.check_role(&config.role).map_err(Error::msg)?;
    Ok(if config.role.is_empty() { "none".to_owned() } else { config.role.clone() })
}

fn families(uplink: &Uplink, reals: &[IpAddr], fleet: &FleetSettings) -> Result<String> {
    let (carried, missing) = host::families(uplink, reals, fleet)?;
    let missing = missing
        .iter()
        .map(|family| format!("; none of {family}, for the uplink has no global {family} address"));
    Ok(format!("{}{}", list(&carried), missing.collect::<String>()))
}
