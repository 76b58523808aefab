//! `neti show`: what the pinned maps hold. The daemon's status file adds the names of hosts.

mod drops;
mod members;
mod stats;
mod status;

use std::io::{self, BufWriter, Write};

use anyhow::{Context, Result, bail};

use crate::{
    cli::{Show, ShowArgs, ShowWhat},
    loader::pins::{self, Pins},
    output,
};

pub fn run(args: &Show) -> Result<()> {
    let out = &mut BufWriter::new(io::stdout().lock());
    match &args.what {
        ShowWhat::Members(args) => {
            output::rows(out, &members::read(&pins(args)?)?, args.printing.format())?
        }
        ShowWhat::Stats(args) => {
            output::rows(
                out,
                &stats::read(&pins(&args.show)?, args.all)?,
                args.show.printing.format(),
            )?;
        }
        ShowWhat::Drops(args) => {
            let (drops, more) = drops::read(&pins(&args.show)?, args.would)?;
            output::rows(out, &drops, args.show.printing.format())?;
            if more > 0 {
                out.flush().context("writing the output")?;
                eprintln!("{more} more packets came too fast for their sources to be noted");
            }
        }
        ShowWhat::Status(args) => {
            output::facts(out, &status::read(&pins(args)?)?, args.printing.format())?
        }
    }
    out.flush().context("writing the output")
}

/// The pins of the instance asked for, which must have some.
fn pins(args: &ShowArgs) -> Result<Pins> {
    let name = args.instance.name();
    let pins = Pins::new(name);
    if !pins.maps().exists() {
        match pins::instances().as_slice() {
            [] => bail!("instance {name}: nothing of neti is on this host; start `neti run`"),
            others => bail!("instance {name}: not on this host; there are {}", others.join(", ")),
        }
    }
    Ok(pins)
}
