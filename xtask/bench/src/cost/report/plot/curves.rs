//! Distributions: which part of all round trips took no longer than a time. The axis of the parts is stretched where it comes
//! near to all of them, for there the ways differ most.

use anyhow::Result;
use maud::Markup;
use plotters::{
    chart::ChartBuilder,
    prelude::{Color, TRANSPARENT},
    series::LineSeries,
    style::text_anchor::HPos,
};

use super::{Area, SMALL, WIDTH, axis::Axis, mark, plain, plot};
use crate::cost::report::{
    Distribution,
    look::{FAINT, GRID, Look, Ways},
    scale::{Extent, time},
};
use indexmap::IndexMap;

/// What is labelled and marked, in percent.
pub const PERCENTS: [&str; 5] = ["50", "90", "99", "99.9", "99.99"];

/// A way's look, and its points: microseconds, and how far up.
type Curve = (Look, Vec<(f64, f64)>);

/// All ways' distributions of a workload. None if there are none.
pub fn distribution(
    workload: &str,
    by_way: &IndexMap<String, Distribution>,
    ways: &Ways,
) -> Result<Option<Markup>> {
    let curve = |(name, look): (&str, Look)| {
        let point = |(percent, time): (&String, &f64)| Some((*time, nines(percent)?));
        Some((look, by_way.get(name)?.iter().filter_map(point).collect()))
    };
    let curves: Vec<Curve> = ways.bottom_up().filter_map(curve).collect();
    let times = curves.iter().flat_map(|(_, points)| points).map(|(time, _)| *time);
    let Some(x) = Extent::around(times) else { return Ok(None) };
    let words = format!("{workload}: the part that took no longer than a time, by way");
    plot(&words, (WIDTH, 480), |area| draw(area, &curves, x)).map(Some)
}

/// How many nines a percentage has: 1 for 90, 2 for 99; 0 for 0.
fn nines(percent: &str) -> Option<f64> {
    percent.parse().ok().map(|percent: f64| 2.0 - (100.0 - percent).log10())
}

fn draw(area: &Area<'_>, curves: &[Curve], x: Extent) -> Result<()> {
    let highest = curves.iter().flat_map(|(_, points)| points).map(|(_, up)| *up);
    let highest = highest.fold(1.0, f64::max);
    let labels: Vec<(&str, f64)> =
        PERCENTS.iter().filter_map(|percent| Some((*percent, nines(percent)?))).collect();
    let label = |up: &f64| {
        let named = labels.iter().find(|(_, at)| (at - up).abs() < 1e-6);
        named.map_or(String::new(), |(percent, _)| format!("{percent} %"))
    };
    let mut chart = ChartBuilder::on(area)
        .margin_top(16)
        .margin_right(40)
        .x_label_area_size(56)
        .y_label_area_size(124)
        .build_cartesian_2d(
            Axis::logarithmic(x, x.labels(0.2)),
            Axis::linear(0.0, highest * 1.02, labels.iter().map(|(_, up)| *up).collect()),
        )?;
    chart
        .configure_mesh()
        .axis_style(TRANSPARENT)
        .bold_line_style(GRID.bright.stroke_width(2))
        .light_line_style(TRANSPARENT)
        .x_label_style(plain(SMALL, FAINT, HPos::Center))
        .y_label_style(plain(SMALL, FAINT, HPos::Right))
        .x_label_formatter(&|microseconds| time(*microseconds))
        .y_label_formatter(&label)
        .draw()?;
    for (look, points) in curves {
        chart.draw_series(LineSeries::new(points.iter().copied(), mark::stroke(*look)))?;
        let marked = |up: f64| labels.iter().any(|(_, at)| (at - up).abs() < 1e-6);
        for point in points.iter().filter(|(_, up)| marked(*up)) {
            mark::mark(area, *look, chart.backend_coord(point))?;
        }
    }
    Ok(())
}
