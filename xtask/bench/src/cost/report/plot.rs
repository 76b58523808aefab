//! Plots of figures, as SVG.

mod axis;
mod bars;
mod costs;
mod curves;
mod growth;
mod headline;
mod mark;

use anyhow::{Context, Result};
use maud::{Markup, PreEscaped, html};
use plotters::{
    coord::Shift,
    prelude::{Color, DrawingArea, IntoDrawingArea, IntoFont, SVGBackend, TextStyle},
    style::{
        FontStyle,
        text_anchor::{HPos, Pos, VPos},
    },
};

pub use self::{
    bars::ratios,
    costs::{Row, costs},
    curves::{PERCENTS, distribution},
    growth::growth,
    headline::headline,
    mark::sample,
};
use super::look::Colour;

/// What plots are drawn on. A plot's unit is half a pixel of a screen that shows it as it is: coordinates are whole numbers.
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Units from side to side of a plot that stands beside others.
const WIDTH: u32 = 720;
/// Sizes of text, in units.
const TEXT: u32 = 26;
const SMALL: u32 = 24;

/// How text is written: of a size in units, to this side of its point.
fn plain(size: u32, colour: Colour, side: HPos) -> TextStyle<'static> {
    // The backend takes its sizes for something else than those of SVG, which it divides by 1.24.
    let font = ("sans-serif", f64::from(size) * 1.24).into_font();
    let color = colour.bright.to_backend_color();
    TextStyle { font, color, pos: Pos::new(side, VPos::Center) }
}

fn bold(size: u32, colour: Colour, side: HPos) -> TextStyle<'static> {
    let style = plain(size, colour, side);
    TextStyle { font: style.font.style(FontStyle::Bold), ..style }
}

/// A plot within a page, which says in words what it is of.
fn plot(
    words: &str,
    size: (u32, u32),
    draw: impl FnOnce(&Area<'_>) -> Result<()>,
) -> Result<Markup> {
    let shapes = shapes(size, draw)?;
    let (width, height) = size;
    Ok(html! {
        svg viewBox={ "0 0 " (width) " " (height) } role="img" aria-label=(words) { (PreEscaped(shapes)) }
    })
}

/// What is drawn, without the element around it.
fn shapes(size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<String> {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    draw(&area)?;
    area.present()?;
    drop(area);
    let inside = svg.split_once('>').and_then(|(_, rest)| rest.rsplit_once("</svg>"));
    let (inside, _) = inside.context("a plot is one element")?;
    Ok(inside.to_owned())
}
