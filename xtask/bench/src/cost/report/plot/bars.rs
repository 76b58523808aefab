//! Ratios to the way to compare with: a bar from 1 to the median, and a line from the smallest to the greatest.

use anyhow::{Context, Result};
use harness::statistics::Spread;
use maud::Markup;
use plotters::{
    chart::ChartBuilder,
    element::{EmptyElement, PathElement, Rectangle, Text},
    prelude::{Color, TRANSPARENT},
    style::text_anchor::HPos,
};

use super::{Area, SMALL, TEXT, WIDTH, axis::Axis, bold, plain, plot};
use crate::cost::report::{
    Series,
    look::{FAINT, GRID, INK, Look, Ways},
    scale::{Extent, fixed, short},
};

/// Units from one bar to the next.
const ROW: u32 = 42;
/// Units of the axis below them.
const AXIS: u32 = 56;

/// All ways' ratios of a metric. None if there are none.
pub fn ratios(series: &Series, ways: &Ways) -> Result<Option<Markup>> {
    let rows = rows(series, ways);
    if rows.is_empty() {
        return Ok(None);
    }
    let words = format!("{}: ratio to {} by way", series.name, series.baseline());
    plot(&words, (WIDTH, height(rows.len())), |area| draw(area, &rows)).map(Some)
}

/// A way's name, look and ratio.
pub type Row<'a> = (&'a str, Look, Spread);

/// Of those that have a ratio.
pub fn rows<'a>(series: &Series, ways: &'a Ways) -> Vec<Row<'a>> {
    let ratio = |(name, look): (&'a str, Look)| Some((name, look, series.ways.get(name)?.of_bare?));
    ways.all().filter_map(ratio).collect()
}

/// Units that so many take.
pub fn height(rows: usize) -> u32 {
    rows as u32 * ROW + AXIS
}

/// Draws at least one.
pub fn draw(area: &Area<'_>, rows: &[Row<'_>]) -> Result<()> {
    let ratios = rows.iter().flat_map(|(_, _, ratio)| [ratio.min, ratio.max]);
    let x = Extent::around(ratios.chain([0.9, 1.1])).context("ratios are finite")?;
    let middle = |index: usize| (rows.len() - index) as f64 - 0.5;
    let mut chart = ChartBuilder::on(area)
        .margin_right(84)
        .margin_left(4)
        .x_label_area_size(AXIS)
        .y_label_area_size(180)
        .build_cartesian_2d(
            Axis::logarithmic(x, x.labels(0.12)),
            Axis::linear(0.0, rows.len() as f64, Vec::new()),
        )?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .axis_style(TRANSPARENT)
        .bold_line_style(GRID.bright.stroke_width(2))
        .light_line_style(TRANSPARENT)
        .x_label_style(plain(SMALL, FAINT, HPos::Center))
        .x_label_formatter(&|ratio| short(*ratio))
        .draw()?;
    let ink = INK.bright.stroke_width(3);
    for (index, (name, look, ratio)) in rows.iter().enumerate() {
        let [median, min, max] = [ratio.median, ratio.min, ratio.max].map(|ratio| x.within(ratio));
        let y = middle(index);
        let bar = [(1.0, y - 0.3), (median, y + 0.3)];
        chart.draw_series([Rectangle::new(bar, look.colour.bright.filled())])?;
        let end = |x| PathElement::new(vec![(x, y - 0.14), (x, y + 0.14)], ink);
        chart.draw_series([PathElement::new(vec![(min, y), (max, y)], ink), end(min), end(max)])?;
        let large = ratio.median >= 10.0;
        let figure = if large { short(ratio.median) } else { fixed(ratio.median, 2) };
        let beside = |at, text: String, offset, side| {
            let style = if look.own { bold(TEXT, INK, side) } else { plain(TEXT, INK, side) };
            EmptyElement::at((at, y)) + Text::new(text, (offset, 0), style)
        };
        chart.draw_series([beside(x.from, (*name).to_owned(), -12, HPos::Right)])?;
        chart.draw_series([beside(x.to, figure, 12, HPos::Left)])?;
    }
    let bare = PathElement::new(vec![(1.0, 0.0), (1.0, rows.len() as f64)], ink);
    chart.draw_series([bare])?;
    Ok(())
}
