//! The figures as one page of HTML: nothing in it comes from elsewhere, and nothing in it runs.

use anyhow::Result;
use harness::statistics::Spread;
use indexmap::IndexMap;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    Distribution, Figures, Report, Series, Size,
    look::{OWN, Ways, stylesheet},
    plot::{self, Row},
    scale::{count, fixed, time},
};
use crate::programs::Cost;

/// The whole page.
pub fn page(report: &Report) -> Result<String> {
    let ways = Ways::of(report);
    let sizes: Vec<String> = report.sizes.iter().map(|size| count(size.members.into())).collect();
    let growth = growth(report, &ways)?;
    let sections = report.sizes.iter().map(|size| section(size, &ways));
    let sections = sections.collect::<Result<Vec<_>>>()?;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "What neti costs, " (report.family) ", " (report.origin.date) }
                style { (PreEscaped(include_str!("page.css"))) (PreEscaped(stylesheet())) }
            }
            body {
                header {
                    h1 { "What neti costs" }
                    p {
                        "Hosts in network namespaces of one machine, alike but for what stands between their applications "
                        "and the wire. Everything is measured in rounds, each way in turn. A ratio is to bare, or to what "
                        "stands for it, in the same turn. Shown are medians of the turns of " (report.rounds)
                        " rounds, with the smallest and the greatest"
                        @if report.quick { "; these rounds were short" } "."
                    }
                    (origin(report))
                    (legend(&ways)?)
                    nav aria-label="Sections" {
                        @if growth.is_some() { a href="#growth" { "By the number of members" } " " }
                        @for (size, name) in report.sizes.iter().zip(&sizes) {
                            a href={ "#members-" (size.members) } { (name) " members" } " "
                        }
                    }
                }
                main {
                    @if let Some(growth) = growth { (growth) }
                    @for section in sections { (section) }
                }
            }
        }
    };
    Ok(page.into_string())
}

fn origin(report: &Report) -> Markup {
    let machine = &report.origin.machine;
    html! {
        dl.origin {
            dt { "neti" } dd { (report.origin.version) }
            dt { "Measured" } dd { (report.origin.date) ", " (report.family) }
            dt { "Machine" }
            dd {
                (machine.processors) " processors"
                @if let Some(processor) = &machine.processor { " (" (processor) ")" }
                ", Linux " (machine.kernel)
            }
            dt { "Again by" } dd { code { (report.origin.command) } }
        }
    }
}

fn legend(ways: &Ways) -> Result<Markup> {
    let entries = ways.all().map(|(name, look)| Ok((name, plot::sample(name, look)?)));
    let entries = entries.collect::<Result<Vec<_>>>()?;
    Ok(html! {
        ul.legend aria-label="Ways" {
            @for (name, sample) in entries {
                li { (sample) " " b { (name) } @if let Some(what) = meaning(name) { ": " (what) } }
            }
        }
    })
}

/// What a way is.
fn meaning(way: &str) -> Option<&'static str> {
    Some(match way {
        "bare" => "nothing between",
        "iptables" => "a rule for each member in both tables, as the first Neti",
        "ipset + DNAT" => "a set, and a rule for each member, as the original Neti",
        "nftables" => "a set and a map",
        "drop in XDP" => {
            "a program that drops strangers and does nothing else, for what bare cannot do"
        }
        "drop in tcx" => "the same, where neti is on interfaces like these",
        "neti" => "on both hosts, enforcing, in tcx",
        "neti direct" => "the same hosts, dialled by real addresses",
        "neti XDP" => "in XDP and tcx, which costs a veth pair its segmentation offload",
        _ => return None,
    })
}

fn growth(report: &Report, ways: &Ways) -> Result<Option<Markup>> {
    let mut figures = Vec::new();
    let metrics = report.sizes.iter().flat_map(|size| &size.workloads);
    for (metric, series) in metrics.collect::<IndexMap<_, _>>() {
        if let Some(plot) = plot::growth(report, metric, ways)? {
            figures.push(figure(&series.name, &series.ratio(), plot));
        }
    }
    Ok((!figures.is_empty()).then(|| {
        html! {
            section #growth {
                h2 { "By the number of members" }
                p { "Ratios, against how many others each host knows." }
                div.plots { @for figure in figures { (figure) } }
            }
        }
    }))
}

fn figure(name: &str, note: &str, plot: Markup) -> Markup {
    html! {
        figure { figcaption { b { (name) } " " span.note { (note) } } (plot) }
    }
}

fn section(size: &Size, ways: &Ways) -> Result<Markup> {
    let mut bars = Vec::new();
    for series in size.workloads.values() {
        if let Some(plot) = plot::ratios(series, ways)? {
            bars.push(figure(&series.name, &series.ratio(), plot));
        }
    }
    let mut curves = Vec::new();
    for (workload, by_way) in &size.distributions {
        if let Some(plot) = plot::distribution(workload, by_way, ways)? {
            curves.push(figure(workload, "", plot));
        }
    }
    let [packets, traffic] = costs(size);
    let packets = plot::costs("Nanoseconds of each program for one packet", &packets)?;
    let traffic = plot::costs("Nanoseconds of each program's run on traffic", &traffic)?;
    Ok(html! {
        section id={ "members-" (size.members) } {
            h2 { (grouped(size.members)) " members" }
            @for (way, why) in &size.left_out { p { b { (way) } " is left out: " (why) } }
            (ratios(size, ways))
            h3 { "Ratios" }
            div.plots { @for figure in bars { (figure) } }
            @if !curves.is_empty() {
                h3 { "Round trips of all rounds" }
                p { "Which part of them took no longer than a time. The scale is stretched towards all of them." }
                div.plots { @for figure in curves { (figure) } }
                @for (workload, by_way) in &size.distributions { (percentiles(workload, by_way)) }
            }
            h3 { "In the kernel, above an empty program" }
            div.plots {
                @if let Some(plot) = packets { (figure("One packet", "hot: again and again; cold: each of another peer", plot)) }
                @if let Some(plot) = traffic { (figure("A run on traffic", "by the kernel's count", plot)) }
            }
            (once(size))
            (all(size))
        }
    })
}

/// The table to read first: the ratios of all metrics.
fn ratios(size: &Size, ways: &Ways) -> Markup {
    let cell = |series: &Series, way: &str| {
        let Some(Figures { spread, of_bare, .. }) = series.ways.get(way) else {
            return html! { span aria-label="not measured" { "–" } };
        };
        match of_bare {
            Some(ratio) => html! { (fixed(ratio.median, 2)) },
            None => html! { (fixed(spread.median, series.digits)) " " (series.unit) },
        }
    };
    html! {
        div.wide tabindex="0" { table {
            caption { "Medians: of what is compared with itself, of the others the ratio to it" }
            thead { tr {
                th scope="col" { "Metric" }
                @for (way, look) in ways.all() { th scope="col" .own[look.own] { (way) } }
                th scope="col" { "Better" }
            } }
            tbody { @for series in size.workloads.values() { tr {
                th scope="row" { (series.name) }
                @for (way, look) in ways.all() { td .own[look.own] { (cell(series, way)) } }
                td { @if series.less_is_better() { "less" } @else { "more" } }
            } } }
        } }
    }
}

fn percentiles(workload: &str, by_way: &IndexMap<String, Distribution>) -> Markup {
    html! {
        details {
            summary { (workload) ": times" }
            div.wide tabindex="0" { table {
                caption { (workload) ", of all rounds" }
                thead { tr {
                    th scope="col" { "Way" }
                    @for percent in plot::PERCENTS { th scope="col" { (percent) " %" } }
                } }
                tbody { @for (way, distribution) in by_way { tr {
                    th scope="row" { (way) }
                    @for percent in plot::PERCENTS {
                        td { (distribution.get(percent).map_or("too few".to_owned(), |us| time(*us))) }
                    }
                } } }
            } }
        }
    }
}

fn once(size: &Size) -> Markup {
    html! {
        ul {
            @if let Some(Figures { spread: Spread { median, max, .. }, values, .. }) = &size.join_ms {
                li {
                    "From writing a member's file until it answers by its overlay address: "
                    (format!("{median:.1}")) " ms, at most " (format!("{max:.1}")) " ms, of " (values.len()) "."
                }
            }
            @if !size.memory_kib.is_empty() {
                li {
                    "Resident memory of each daemon: "
                    @for (index, kib) in size.memory_kib.values().enumerate() {
                        @if index > 0 { ", " } (format!("{:.1} MiB", *kib as f64 / 1024.0))
                    } "."
                }
            }
        }
    }
}

/// Every figure.
fn all(size: &Size) -> Markup {
    let range = |Spread { min, max, .. }: Spread, digits: usize| {
        format!("{} – {}", fixed(min, digits), fixed(max, digits))
    };
    html! {
        details {
            summary { "All figures with " (grouped(size.members)) " members" }
            div.wide tabindex="0" { table {
                caption { "All figures with " (grouped(size.members)) " members" }
                thead { tr { @for head in ["Metric", "Way", "Median", "Min – max", "Ratio", "Min – max"] {
                    th scope="col" { (head) }
                } } }
                tbody { @for series in size.workloads.values() { @for (way, figures) in &series.ways { tr {
                    th scope="row" { (series.name) ", " (series.unit) }
                    th scope="row" { (way) }
                    td { (fixed(figures.spread.median, series.digits)) }
                    td { (range(figures.spread, series.digits)) }
                    @if let Some(ratio) = figures.of_bare {
                        td { (fixed(ratio.median, 2)) } td { (range(ratio, 2)) }
                    } @else { td {} td {} }
                } } } }
            } }
        }
    }
}

/// What is drawn of the programs: single packets, and traffic.
fn costs(size: &Size) -> [Vec<Row>; 2] {
    let packet = |cost: &Cost| {
        let cold = cost.cold.map(|cold| (cold, "cold".to_owned(), OWN[2]));
        let bars = [(cost.hot, "hot".to_owned(), OWN[0])].into_iter().chain(cold).collect();
        Row { name: format!("{}: {}", cost.program, cost.packet), bars }
    };
    let mut traffic: IndexMap<&str, Vec<_>> = IndexMap::new();
    for run in &size.on_traffic {
        let bars = traffic.entry(&run.traffic).or_default();
        let colour = OWN[bars.len() % OWN.len()];
        bars.push((run.ns, run.program.clone(), colour));
    }
    let traffic = traffic.into_iter().map(|(name, bars)| Row { name: name.to_owned(), bars });
    [size.programs.iter().map(packet).collect(), traffic.collect()]
}

/// A number with its thousands apart.
fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let (first, rest) = digits.split_at((digits.len() - 1) % 3 + 1);
    let rest = rest.as_bytes().chunks(3).map(|digits| format!(",{}", digits.escape_ascii()));
    first.chars().map(String::from).chain(rest).collect()
}
