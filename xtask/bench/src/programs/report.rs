//! The figures of each packet: a table, or JSON.

use std::io::Write;

use anyhow::Result;
use harness::family::Family;
use serde_json::{Value, json};

use super::Cost;
use crate::report;

pub struct Report {
    pub family: Family,
    pub sizes: Vec<Size>,
}

/// What was measured among so many other members.
pub struct Size {
    pub members: u32,
    pub costs: Vec<Cost>,
}

impl report::Report for Report {
    fn print(&self, out: &mut dyn Write) -> Result<()> {
        write!(out, "{}.", self.family)?;
        for Size { members, costs } in &self.sizes {
            writeln!(out, " {members} members")?;
            print(out, costs)?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let size = |size: &Size| json!({ "members": size.members, "programs": size.costs });
        json!({
            "machine": report::machine(),
            "family": self.family.to_string(),
            "sizes": self.sizes.iter().map(size).collect::<Vec<_>>(),
        })
    }
}

/// A line for each.
pub fn print(out: &mut dyn Write, costs: &[Cost]) -> Result<()> {
    writeln!(
        out,
        "Nanoseconds for one packet, above an empty program. Hot: the same packet again\n\
         and again, and with the empty program in times of that. Cold: each packet of\n\
         another peer, by a call of its own.\n\
         {:<16}{:<32}{:>8}{:>12}{:>10}",
        "", "", "hot", "of empty", "cold"
    )?;
    for cost in costs {
        let Cost { program, packet, hot, cold, .. } = cost;
        let (cold, times) = (cold.map_or(String::new(), |cold| format!("{cold:.0}")), cost.times());
        writeln!(out, "{program:<16}{packet:<32}{hot:>8.0}{times:>12.1}{cold:>10}")?;
    }
    Ok(())
}
