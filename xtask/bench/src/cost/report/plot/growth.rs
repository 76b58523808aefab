//! What becomes of the ratios to the way to compare with as the fleet grows.

use anyhow::Result;
use maud::Markup;
use plotters::{
    chart::ChartBuilder,
    element::PathElement,
    prelude::{Color, TRANSPARENT},
    series::LineSeries,
    style::text_anchor::HPos,
};

use super::{Area, SMALL, WIDTH, axis::Axis, mark, plain, plot};
use crate::cost::report::{
    Report, Series,
    look::{FAINT, GRID, INK, Look, Ways},
    scale::{Extent, count, short},
};

/// A way's look, and its ratios by members.
type Line = (Look, Vec<(f64, f64)>);

/// The medians of a metric's ratios. None where there are fewer than two sizes with some.
pub fn growth(report: &Report, metric: &str, ways: &Ways) -> Result<Option<Markup>> {
    let series =
        || report.sizes.iter().filter_map(|size| Some((size.members, size.workloads.get(metric)?)));
    let line = |(name, look): (&str, Look)| {
        let point = |(members, series): (u32, &Series)| {
            Some((f64::from(members), series.ways.get(name)?.of_bare?.median))
        };
        (look, series().filter_map(point).collect())
    };
    let lines: Vec<Line> = ways.bottom_up().map(line).collect();
    let points = || lines.iter().flat_map(|(_, points)| points);
    let x = Extent::around(points().map(|(members, _)| *members));
    let y = Extent::around(points().map(|(_, ratio)| *ratio).chain([0.9, 1.1]));
    let (Some((_, first)), Some(x), Some(y)) = (series().next(), x, y) else { return Ok(None) };
    if series().count() < 2 {
        return Ok(None);
    }
    let (name, baseline) = (&first.name, first.baseline());
    let words = format!("{name}: ratio to {baseline} by the number of members");
    let sizes: Vec<f64> = report.sizes.iter().map(|size| f64::from(size.members)).collect();
    plot(&words, (WIDTH, 420), |area| draw(area, &lines, &sizes, x, y)).map(Some)
}

fn draw(area: &Area<'_>, lines: &[Line], sizes: &[f64], x: Extent, y: Extent) -> Result<()> {
    let mut chart = ChartBuilder::on(area)
        .margin_top(16)
        .margin_right(32)
        .x_label_area_size(56)
        .y_label_area_size(88)
        .build_cartesian_2d(
            Axis::logarithmic(x, sizes.to_vec()),
            Axis::logarithmic(y, y.labels(0.12)),
        )?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .axis_style(TRANSPARENT)
        .bold_line_style(GRID.bright.stroke_width(2))
        .light_line_style(TRANSPARENT)
        .x_label_style(plain(SMALL, FAINT, HPos::Center))
        .y_label_style(plain(SMALL, FAINT, HPos::Right))
        .x_label_formatter(&|members| count(*members))
        .y_label_formatter(&|ratio| short(*ratio))
        .draw()?;
    let bare = PathElement::new(vec![(x.from, 1.0), (x.to, 1.0)], INK.bright.stroke_width(3));
    chart.draw_series([bare])?;
    for (look, points) in lines {
        chart.draw_series(LineSeries::new(points.iter().copied(), mark::stroke(*look)))?;
        for point in points {
            mark::mark(area, *look, chart.backend_coord(point))?;
        }
    }
    Ok(())
}
