//! The plot that says most, for a page that is not ours: it brings its own background.

use anyhow::{Context, Result};
use maud::{PreEscaped, html};
use plotters::{element::Text, style::text_anchor::HPos};

use super::{TEXT, WIDTH, bars, bold, plain, shapes};
use crate::cost::report::{
    Report, Series, Size,
    look::{FAINT, INK, Ways, stylesheet},
    scale::count,
};

/// Metrics that are shown if they were measured, in this order.
const METRICS: [&str; 6] = [
    "tcp_stream",
    "tcp_round_trip_p50",
    "http_requests",
    "tcp_connections",
    "udp_packets",
    "many_connections",
];
const COLUMNS: usize = 2;
/// Units between columns.
const GUTTER: u32 = 60;
/// Units around everything, and above each panel.
const MARGIN: u32 = 40;
const TITLE: u32 = 56;

/// The ratios of the most important metrics, in the largest fleet that most of them were measured in.
pub fn headline(report: &Report, ways: &Ways) -> Result<String> {
    let measured =
        |size: &Size| METRICS.iter().filter(|key| size.workloads.contains_key(**key)).count();
    let size = report.sizes.iter().max_by_key(|size| (measured(size), size.members));
    let size = size.context("no figures")?;
    let panels: Vec<(&Series, Vec<bars::Row<'_>>)> = METRICS
        .iter()
        .filter_map(|metric| size.workloads.get(*metric))
        .map(|series| (series, bars::rows(series, ways)))
        .filter(|(_, rows)| !rows.is_empty())
        .collect();
    let most = panels.iter().map(|(_, rows)| rows.len()).max().context("no ratios to show")?;
    let panel = TITLE + bars::height(most);
    let width = 2 * MARGIN + COLUMNS as u32 * (WIDTH + GUTTER) - GUTTER;
    let height = 2 * MARGIN + 2 * TITLE + panels.len().div_ceil(COLUMNS) as u32 * panel;
    let about = format!(
        "{} members, {}: ratio to bare, the same hosts with nothing between",
        count(f64::from(size.members)),
        report.family
    );
    let drawn = shapes((width, height), |area| {
        let title = bold(32, INK, HPos::Left);
        area.draw(&Text::new(about.clone(), (MARGIN as i32, (MARGIN + TITLE / 2) as i32), title))?;
        for (index, (series, rows)) in panels.iter().enumerate() {
            let (column, row) = ((index % COLUMNS) as u32, (index / COLUMNS) as u32);
            let corner = (MARGIN + column * (WIDTH + GUTTER), MARGIN + 2 * TITLE + row * panel);
            let heading = area.clone().shrink(corner, (WIDTH, TITLE));
            heading.draw(&Text::new(series.name.clone(), (4, 20), bold(28, INK, HPos::Left)))?;
            let direction = series.direction();
            heading.draw(&Text::new(direction, (636, 20), plain(TEXT, FAINT, HPos::Right)))?;
            let below = (corner.0, corner.1 + TITLE);
            let drawn = area.clone().shrink(below, (WIDTH, bars::height(rows.len())));
            bars::draw(&drawn, rows)?;
        }
        Ok(())
    })?;
    let style = format!(
        ".paper{{fill:#fff}}{}@media (prefers-color-scheme: dark){{.paper{{fill:#0d1117}}}}\
         text{{font-family:system-ui,sans-serif}}",
        stylesheet()
    );
    let svg = html! {
        svg xmlns="http://www.w3.org/2000/svg" width=(width / 2) height=(height / 2)
            viewBox={ "0 0 " (width) " " (height) } role="img" aria-label=(about) {
            style { (PreEscaped(style)) }
            rect class="paper" width=(width) height=(height) rx="16" {}
            (PreEscaped(drawn))
        }
    };
    Ok(format!("{}\n", svg.into_string()))
}
