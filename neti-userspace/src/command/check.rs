//! `neti check`: everything that `neti run` would stumble over, found without changing anything.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::{Context, Result, anyhow, bail};
use ipnet::IpNet;
use rtnetlink::Handle;

use super::run::host;
use crate::{
    cli::Check,
    config::Config,
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
    let mut index = 0;
    match uplink::find(&netlink, &config.uplink).await {
        Ok(uplink) => {
            index = uplink.index;
            findings.push(("uplink", describe(&config, &uplink)));
        }
        Err(error) => findings.push(("uplink", Err(error))),
    }
    match registry::open(&config.registry) {
        Ok(registry) => findings.extend(fleet(&registry, &netlink, index).await),
        Err(error) => findings.push(("registry", Err(error))),
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
    let next_hop = uplink.gateway.map_or("no gateway".to_owned(), |via| format!("gateway {via}"));
    let address = reals.first().context("no address")?;
    Ok(format!("{} (index {}), {address}, {next_hop}", uplink.name, uplink.index))
}

async fn fleet(registry: &impl Registry, netlink: &Handle, uplink: u32) -> Vec<Finding> {
    let fleet = match registry.fleet().await {
        Ok(fleet) => fleet,
        Err(error) => return vec![("fleet", Err(error))],
    };
    let ranges: Vec<IpNet> = fleet.overlay.iter().copied().map(IpNet::V4).collect();
    let names: Vec<_> = ranges.iter().map(IpNet::to_string).collect();
    let good = format!("overlay {}, {}", names.join(", "), fleet.mode.as_str());
    let twins = format!("{}, which the kernel gives to no socket", fleet.twin_ports);
    vec![
        ("fleet", overlap::check(netlink, uplink, &ranges).await.map(|()| good)),
        ("twin ports", ports::check(fleet.twin_ports).map(|()| twins)),
    ]
}
