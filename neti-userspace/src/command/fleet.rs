//! `neti fleet`: what an operator sees and does in the registry.

mod claim;
mod confirm;
mod list;
mod release;
mod set;
mod settings;
mod summary;

use std::io::{self, BufWriter, Write};

use anyhow::{Context, Result};

use crate::{
    cli::{ConfigFile, Fleet, FleetWhat},
    config::Config,
    registry::{self, Backend},
};

pub async fn run(args: &Fleet) -> Result<()> {
    let out = &mut BufWriter::new(io::stdout().lock());
    match &args.what {
        FleetWhat::List(args) => list::run(out, &open(&args.config)?, &args.printing).await?,
        FleetWhat::Summary(args) => summary::run(out, &open(&args.config)?, &args.printing).await?,
        FleetWhat::Settings(args) => settings::run(out, &open(&args.config)?).await?,
        FleetWhat::Set(args) => {
            let config = Config::load(args.config.path())?;
            let here = set::here::Here::of(&config).await;
            set::run(out, &registry::open(&config)?, &here, args).await?;
        }
        FleetWhat::Claim(args) => claim::run(out, &open(&args.config)?, args).await?,
        FleetWhat::Release(args) => release::run(out, &open(&args.config)?, args).await?,
        FleetWhat::Confirm(args) => {
            let config = Config::load(args.config.path())?;
            confirm::run(out, &registry::open(&config)?, &config.instance, args).await?;
        }
    }
    out.flush().context("writing the output")
}

/// The registry that the configuration names.
fn open(config: &ConfigFile) -> Result<Backend> {
    Ok(registry::open(&Config::load(config.path())?)?)
}

#[cfg(test)]
mod sample;
