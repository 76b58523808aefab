//! Tables for people: aligned columns, no lines around them, so that `awk` can read them too.

use std::io::{self, Write};

use comfy_table::{Table, presets::NOTHING};

use super::Row;

/// A title line and a line per row.
pub fn rows<R: Row>(out: &mut impl Write, rows: &[R]) -> io::Result<()> {
    let titles = [R::TITLES.iter().map(|title| (*title).to_owned()).collect()];
    lines(out, titles.into_iter().chain(rows.iter().map(Row::cells)))
}

/// A line per fact: its name and its text.
pub fn facts(out: &mut impl Write, facts: &[(&'static str, String)]) -> io::Result<()> {
    lines(out, facts.iter().map(|(name, text)| vec![(*name).to_owned(), text.clone()]))
}

fn lines(out: &mut impl Write, rows: impl Iterator<Item = Vec<String>>) -> io::Result<()> {
    let mut table = Table::new();
    table.load_preset(NOTHING).add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
