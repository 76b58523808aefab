//! Latencies of each kind of change: a table, or JSON.

use std::io::Write;

use anyhow::Result;
use harness::{family::Family, statistics::percentile};
use serde_json::{Map, Value, json};

use super::policies::Change;
use crate::report;

/// One kind of change.
pub struct Row {
    pub change: Change,
    /// Milliseconds, in order of size.
    pub latencies: Vec<f64>,
}

pub struct Report {
    pub family: Family,
    pub members: u32,
    pub rules: u32,
    pub rows: Vec<Row>,
}

const PERCENTILES: [(&str, usize); 4] = [("p50", 50), ("p90", 90), ("p99", 99), ("max", 100)];

impl report::Report for Report {
    fn print(&self, out: &mut dyn Write) -> Result<()> {
        writeln!(
            out,
            "{}. Milliseconds from a policy's commit until a host judges by it; {} members, {}\n\
             allow rules, a directory as the registry.\n",
            self.family, self.members, self.rules
        )?;
        write!(out, "{:<28}{:>8}", "", "changes")?;
        for (name, _) in PERCENTILES {
            write!(out, "{name:>9}")?;
        }
        writeln!(out)?;
        for Row { change, latencies } in &self.rows {
            write!(out, "{:<28}{:>8}", change.name(), latencies.len())?;
            for (_, percent) in PERCENTILES {
                write!(out, "{:>9.1}", percentile(latencies, percent))?;
            }
            writeln!(out)?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let row = |row: &Row| {
            let figures = PERCENTILES
                .map(|(name, percent)| (name.to_owned(), percentile(&row.latencies, percent)));
            let mut latency: Map<String, Value> =
                figures.into_iter().map(|(name, figure)| (name, json!(figure))).collect();
            latency.insert("values".to_owned(), json!(row.latencies));
            (row.change.name().to_owned(), json!({ "latency_ms": latency }))
        };
        json!({
            "machine": report::machine(),
            "family": self.family.to_string(),
            "registry": "directory",
            "members": self.members,
            "rules": self.rules,
            "changes": self.rows.iter().map(row).collect::<Map<String, Value>>(),
        })
    }
}
