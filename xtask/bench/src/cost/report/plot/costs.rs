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
/// Units that are left to figures beside bars.
const FIGURE: i32 = 200;

/// A name, and its bars: nanoseconds, what they are of, and their colour.
pub struct Row {
    pub name: String,
    pub bars: Vec<(f64, String, Colour)>,
}

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
    let room = f64::from(WIDTH as i32 - FIGURE);
    let mut y = 0;
    for row in rows {
        let name = plain(TEXT, INK, HPos::Left);
        area.draw(&Text::new(row.name.clone(), (0, y + NAME / 2), name))?;
        y += NAME;
        for (nanoseconds, what, colour) in &row.bars {
            // The clock's noise may make an empty program the slower one.
            let end = (nanoseconds.max(0.0) / longest * room).round() as i32;
            let bar = [(0, y + 3), (end.max(2), y + BAR - 3)];
            area.draw(&Rectangle::new(bar, colour.bright.filled()))?;
            let figure = format!("{nanoseconds:.0} ns {what}");
            let style = plain(SMALL, INK, HPos::Left);
            area.draw(&Text::new(figure, (end + 12, y + BAR / 2), style))?;
            y += BAR;
        }
        y += GAP;
    }
    Ok(())
}
