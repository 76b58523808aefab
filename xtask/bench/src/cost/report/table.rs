//! The figures in 80 columns.

use std::io::Write;

use anyhow::Result;
use harness::statistics::Spread;

use super::{Report, Run, Series, Size, scale::fixed};
use crate::programs;

pub fn print(report: &Report, out: &mut dyn Write) -> Result<()> {
    writeln!(
        out,
        "{}. Rounds: {}, of one client on one machine. Of bare: of the same turn.\n\
         bare: nothing between. iptables: a rule for each member in both tables, as the\n\
         first Neti. ipset + DNAT: as the original one. nftables: a set and a map. neti:\n\
         on both hosts, enforcing (tcx, or XDP and tcx), dialled by overlay address, or\n\
         direct. With many: one host has up to 1,000 members' addresses, dialled in turn.\n\
         Strangers' SYNs: sent, taken in and dropped by one processor; the first figure,\n\
         which stands for bare's, is that of a program that does nothing else. Let in: by\n\
         the only rule, or by the last one of 1,000; a member's is about its name.",
        report.family, report.rounds
    )?;
    report.sizes.iter().try_for_each(|size| one(size, out))
}

fn one(size: &Size, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "\n{} members", size.members)?;
    for (way, why) in &size.left_out {
        writeln!(out, "{way} is left out: {why}")?;
    }
    writeln!(
        out,
        "{:<22}{:<13}{:>7}{:>16}{:>8}{:>14}",
        "", "", "median", "min - max", "of bare", "min - max"
    )?;
    size.workloads.values().try_for_each(|series| rows(out, series))?;
    once(size, out)
}

fn rows(out: &mut dyn Write, series: &Series) -> Result<()> {
    let digits = series.digits;
    let titles = [&series.name[..], &series.unit].into_iter().chain(std::iter::repeat(""));
    for ((way, figures), title) in series.ways.iter().zip(titles) {
        let Spread { median, min, max } = figures.spread;
        let range = format!("{} - {}", fixed(min, digits), fixed(max, digits));
        write!(out, "{title:<22}{way:<13}{:>7}{range:>16}", fixed(median, digits))?;
        if let Some(Spread { median, min, max }) = figures.of_bare {
            let range = format!("{} - {}", fixed(min, 2), fixed(max, 2));
            write!(out, "{:>8}{range:>14}", fixed(median, 2))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// What is measured once.
fn once(size: &Size, out: &mut dyn Write) -> Result<()> {
    if let Some(joins) = &size.join_ms {
        writeln!(
            out,
            "\nA member's file is written -> it answers by its overlay address:\n  \
             median {:.1} ms, at most {:.1} ms, of {}",
            joins.spread.median,
            joins.spread.max,
            joins.values.len()
        )?;
    }
    let mib = |kib: &u64| format!("{:.1} MiB", *kib as f64 / 1024.0);
    let memory: Vec<String> = size.memory_kib.values().map(mib).collect();
    writeln!(out, "Resident memory of each daemon: {}", memory.join(", "))?;
    programs::print(out, &size.programs)?;
    writeln!(out, "A run on traffic, by the kernel's count, above an empty program:")?;
    for Run { program, traffic, ns, .. } in &size.on_traffic {
        writeln!(out, "  {program:<14}{traffic:<38}{ns:>6.0} ns")?;
    }
    Ok(())
}
