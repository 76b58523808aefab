//! Nanoseconds, a bar for each.

use anyhow::Result;
use maud::Markup;
use plotters::{
    element::{Rectangle, Text},
    prelude::Color,
    style::text_anchor::HPos,
};

use super::{Area, SMALL, TEXT, WIDTH, plain, plot};
use crate::cost::report::look::{Colour, INK};

/// Units that a row's name takes, and each of its bars.
const NAME: i32 = 36;
const BAR: i32 = 34;
/// Units between rows.
const GAP: i32 = 14;
/// Units of a figure's letter, at most.
const LETTER: usize = 16;

/// A name, and its bars: nanoseconds, what they are of, and their colour.
pub struct Row {
    pub name: String,
    pub bars: Vec<Bar>,
}

pub type Bar = (f64, String, Colour);

/// All rows, by one scale. None if there are none.
pub fn costs(words: &str, rows: &[Row]) -> Result<Option<Markup>> {
    if rows.is_empty() {
        return Ok(None);
    }
    let height = rows.iter().map(|row| NAME + BAR * row.bars.len() as i32 + GAP).sum::<i32>();
    plot(words, (WIDTH, height as u32), |area| draw(area, rows)).map(Some)
}

fn draw(area: &Area<'_>, rows: &[Row]) -> Result<()> {
    let all = rows.iter().flat_map(|row| &row.bars).map(|(nanoseconds, ..)| *nanoseconds);
    let longest = all.fold(1.0, f64::max);
    let letters = rows.iter().flat_map(|row| &row.bars).map(|bar| figure(bar).chars().count());
    let beside = letters.max().unwrap_or_default() * LETTER;
    let room = f64::from(WIDTH) - beside as f64;
    let mut y = 0;
    for row in rows {
        let name = plain(TEXT, INK, HPos::Left);
        area.draw(&Text::new(row.name.clone(), (0, y + NAME / 2), name))?;
        y += NAME;
        for bar in &row.bars {
            let (nanoseconds, _, colour) = bar;
            // The clock's noise may make an empty program the slower one.
            let end = (nanoseconds.max(0.0) / longest * room).round() as i32;
            let shape = [(0, y + 3), (end.max(2), y + BAR - 3)];
            area.draw(&Rectangle::new(shape, colour.bright.filled()))?;
            let style = plain(SMALL, INK, HPos::Left);
            area.draw(&Text::new(figure(bar), (end + 12, y + BAR / 2), style))?;
            y += BAR;
        }
        y += GAP;
    }
    Ok(())
}

/// What stands beside a bar.
fn figure((nanoseconds, what, _): &Bar) -> String {
    format!("{nanoseconds:.0} ns {what}")
}
