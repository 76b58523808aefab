//! The connections of each set-up: a table, or JSON.

use std::io::Write;

use anyhow::Result;
use harness::{crowd::Counts, family::Family};
use serde_json::{Value, json};

use crate::report;

/// One set-up.
pub struct Row {
    pub setup: &'static str,
    /// The most that the kernel could track in each namespace.
    pub most: u64,
    pub counts: Counts,
    /// What the kernel tracked on the client and on the server while all were open.
    pub entries: [usize; 2],
    /// Until all were open, or those that had not opened were given up.
    pub seconds: f64,
    /// What the first connection that failed said, if it said anything.
    pub fault: Option<String>,
}

impl Row {
    fn failed(&self) -> usize {
        self.counts.tried - self.counts.talked
    }
}

pub struct Report {
    pub family: Family,
    pub rows: Vec<Row>,
}

impl report::Report for Report {
    fn print(&self, out: &mut dyn Write) -> Result<()> {
        writeln!(
            out,
            "{}. Connections of two hosts, all open at the same time, then a byte there and back\n\
             over each. The kernel may track {} in each namespace.\n",
            self.family,
            self.rows.first().map_or(0, |row| row.most)
        )?;
        writeln!(
            out,
            "{:<26}{:>8}{:>8}{:>8}{:>9}{:>14}{:>7}",
            "", "tried", "open", "failed", "seconds", "tracked: left", "right"
        )?;
        for row in &self.rows {
            let Row { setup, counts: Counts { tried, open, .. }, entries, seconds, .. } = row;
            let [left, right] = entries;
            writeln!(
                out,
                "{setup:<26}{tried:>8}{open:>8}{:>8}{seconds:>9.1}{left:>14}{right:>7}",
                row.failed()
            )?;
        }
        for row in &self.rows {
            if let Some(fault) = &row.fault {
                writeln!(out, "\n{}: the first to fail: {fault}", row.setup)?;
            }
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let row = |row: &Row| {
            let Row { setup, most, counts, entries, seconds, fault } = row;
            json!({
                "setup": setup, "tracked_at_most": most, "tried": counts.tried, "open": counts.open,
                "used": counts.talked, "failed": row.failed(), "tracked": entries,
                "seconds": seconds, "fault": fault,
            })
        };
        json!({
            "machine": report::machine(),
            "family": self.family.to_string(),
            "setups": self.rows.iter().map(row).collect::<Vec<_>>(),
        })
    }
}
