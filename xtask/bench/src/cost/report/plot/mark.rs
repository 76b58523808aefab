//! Marks and lines of the ways.

use anyhow::Result;
use maud::Markup;
use plotters::{
    element::{Circle, PathElement, Polygon, Rectangle},
    prelude::{Color, ShapeStyle},
};

use super::{Area, plot};
use crate::cost::report::look::{Look, Mark};

/// How a way's line is drawn.
pub fn stroke(look: Look) -> ShapeStyle {
    look.colour.bright.stroke_width(if look.own { 5 } else { 3 })
}

/// A way's mark around a point, in units.
pub fn mark(area: &Area<'_>, look: Look, (x, y): (i32, i32)) -> Result<()> {
    let colour = look.colour.bright;
    let (filled, line) = (colour.filled(), colour.stroke_width(4));
    let path = |points: [(i32, i32); 2]| {
        area.draw(&PathElement::new(points.map(|(dx, dy)| (x + dx, y + dy)).to_vec(), line))
    };
    match look.mark {
        Mark::None => {}
        Mark::Circle => area.draw(&Circle::new((x, y), 8, filled))?,
        Mark::Ring => area.draw(&Circle::new((x, y), 8, line))?,
        Mark::Square => area.draw(&Rectangle::new([(x - 7, y - 7), (x + 7, y + 7)], filled))?,
        Mark::Triangle => {
            area.draw(&Polygon::new(vec![(x, y - 9), (x + 9, y + 7), (x - 9, y + 7)], filled))?;
        }
        Mark::Cross => {
            path([(-7, -7), (7, 7)])?;
            path([(-7, 7), (7, -7)])?;
        }
        Mark::Plus => {
            path([(-9, 0), (9, 0)])?;
            path([(0, -9), (0, 9)])?;
        }
        Mark::Bar => path([(0, -10), (0, 10)])?,
        Mark::Dash => path([(-10, -4), (10, -4)])?,
    }
    Ok(())
}

/// What stands for a way beside its name.
pub fn sample(way: &str, look: Look) -> Result<Markup> {
    plot(way, (72, 28), |area| {
        area.draw(&PathElement::new(vec![(4, 14), (68, 14)], stroke(look)))?;
        mark(area, look, (36, 14))
    })
}
