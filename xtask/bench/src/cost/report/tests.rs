//! A report of fixed figures, in every form.

use std::collections::BTreeSet;

use roxmltree::Document;
use serde_json::{Value, json};

use super::Report;
use crate::report::Report as _;

/// A way whose name would be an element, were it not escaped.
const HOSTILE: &str = "<b>&\"'";
const WAYS: [&str; 4] = ["bare", HOSTILE, "neti", "neti XDP"];
/// By key: name and unit.
const METRICS: [(&str, &str, &str); 3] = [
    ("tcp_stream", "TCP stream", "Gbit/s"),
    ("tcp_round_trip_p50", "TCP round trip p50", "µs"),
    ("tcp_connections", "Connections & more", "new ones/s"),
];

/// The last way has no figures in the larger fleet.
fn fixture() -> Value {
    let size = |members: u32, ways: &[&str]| {
        let of_way = |(index, way): (usize, &&str)| {
            let figures = [10.0, 11.0, 9.0].map(|figure| figure * (index + 1) as f64);
            let mut of_way = json!({
                "median": figures[0], "min": figures[2], "max": figures[1], "values": figures,
            });
            if index > 0 {
                let ratio = (index + 1) as f64;
                of_way["of_bare"] =
                    json!({ "median": ratio, "min": ratio - 0.1, "max": ratio + 0.1 });
            }
            ((*way).to_owned(), of_way)
        };
        let of_metric = |(key, name, unit): (&str, &str, &str)| {
            let ways: Value = ways.iter().enumerate().map(of_way).collect();
            (key.to_owned(), json!({ "name": name, "unit": unit, "digits": 1, "ways": ways }))
        };
        let distribution = json!({ "1": 9.0, "50": 10.0, "90": 14.5, "99": 30.0, "99.9": 2_000.0 });
        let by_way: Value = ways.iter().map(|way| (*way, distribution.clone())).collect();
        json!({
            "members": members,
            "left_out": if ways.len() < WAYS.len() { json!({ "neti XDP": "too <slow>" }) } else { json!({}) },
            "workloads": METRICS.into_iter().map(of_metric).collect::<Value>(),
            "distributions": { "TCP round trips": by_way },
            "join_ms": { "median": 1.0, "min": 0.5, "max": 2.0, "values": [0.5, 1.0, 2.0] },
            "memory_kib": { "left": 10_240, "right": 20_480 },
            "programs": [
                { "program": "neti_egress", "packet": "a <SYN>", "hot_ns": 84.0, "cold_ns": null, "empty_ns": 20.0 },
                { "program": "neti_ingress", "packet": "a <SYN>", "hot_ns": 37.0, "cold_ns": 200.0, "empty_ns": 20.0 },
            ],
            "on_traffic": [
                { "program": "neti_egress", "traffic": "TCP stream", "ns": -2.5, "runs": 1000 },
            ],
        })
    };
    json!({
        "machine": { "kernel": "6.18.0 & later", "processors": 2, "processor": null },
        "version": "0.1.0 (abc)",
        "date": "2026-01-02",
        "command": "cargo xtask bench --members 8,1000000",
        "family": "IPv4",
        "rounds": 3,
        "quick": true,
        "sizes": [size(8, &WAYS), size(1_000_000, &WAYS[..3])],
    })
}

fn report() -> Report {
    serde_json::from_value(fixture()).unwrap()
}

/// What is between these two tags, as a document: HTML's head is not, for its elements have no ends.
fn body(page: &str) -> Document<'_> {
    let (from, to) = (page.find("<body").unwrap(), page.find("</body>").unwrap());
    Document::parse(&page[from..to + "</body>".len()]).unwrap()
}

fn texts<'a>(document: &'a Document<'_>) -> Vec<&'a str> {
    let texts = document.descendants().filter(|node| node.is_text());
    texts.filter_map(|node| node.text()).map(str::trim).collect()
}

/// What each plot says that it is.
fn plots<'a>(document: &'a Document<'_>) -> Vec<&'a str> {
    let svg = document.descendants().filter(|node| node.has_tag_name("svg"));
    svg.map(|plot| plot.attribute("aria-label").unwrap()).collect()
}

#[test]
fn what_is_written_is_read_again() {
    assert_eq!(report().json(), fixture());
}

#[test]
fn a_page_is_well_formed_and_complete_in_itself() {
    let page = report().html().unwrap();
    body(&page);
    for elsewhere in ["http:", "https:", "src=", "url(", "@import", "<script", "<link"] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
    for wrong in ["NaN", "inf", HOSTILE, "<SYN>"] {
        assert!(!page.contains(wrong), "{wrong}");
    }
}

#[test]
fn a_page_says_where_it_comes_from() {
    let page = report().html().unwrap();
    let document = body(&page);
    let said = texts(&document).concat();
    for wanted in ["6.18.0 & later", "0.1.0 (abc)", "2026-01-02", "--members 8,1000000", "IPv4"] {
        assert!(said.contains(wanted), "{wanted}");
    }
}

#[test]
fn every_way_and_metric_has_plots_and_cells() {
    let page = report().html().unwrap();
    let document = body(&page);
    let plots = plots(&document);
    let of = |words: &str| plots.iter().filter(|plot| **plot == words).count();
    for (_, name, _) in METRICS {
        assert_eq!(of(&format!("{name}: ratio to bare by way")), 2, "{name}");
        assert_eq!(of(&format!("{name}: ratio to bare by the number of members")), 1, "{name}");
    }
    assert_eq!(of("TCP round trips: the part that took no longer than a time, by way"), 2);
    assert_eq!(of("Nanoseconds of each program for one packet"), 2);
    for way in WAYS {
        assert_eq!(of(way), 1, "the legend has {way}");
    }
    let cells = document.descendants().filter(|node| node.has_tag_name("th"));
    let heads: BTreeSet<&str> = cells.filter_map(|node| node.text()).collect();
    let named = WAYS.into_iter().chain(METRICS.map(|(_, name, _)| name));
    let missing: Vec<&str> = named.filter(|name| !heads.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?} have no cells in {heads:?}");
    assert_eq!(page.matches("not measured").count(), METRICS.len());
    assert!(page.contains("too &lt;slow&gt;"), "why one is left out");
}

#[test]
fn plots_have_what_was_measured() {
    let page = report().html().unwrap();
    let document = body(&page);
    let curves = document
        .descendants()
        .find(|node| {
            node.attribute("aria-label").is_some_and(|of| of.starts_with("TCP round trips:"))
        })
        .unwrap();
    let points =
        |line: roxmltree::Node<'_, '_>| line.attribute("points")?.split(' ').count().into();
    let lines = curves.descendants().filter(|node| node.has_tag_name("polyline"));
    // A space stands behind each.
    let whole = lines.filter_map(points).filter(|points: &usize| *points == 5 + 1).count();
    assert_eq!(whole, WAYS.len());
}

#[test]
fn the_headline_has_every_way_of_the_largest_fleet() {
    let svg = report().svg().unwrap();
    let document = Document::parse(&svg).unwrap();
    let said = texts(&document);
    let count = |wanted: &str| said.iter().filter(|said| **said == wanted).count();
    assert_eq!(count(HOSTILE), METRICS.len());
    assert_eq!(count("neti"), METRICS.len());
    assert_eq!(count("2.00"), METRICS.len());
    assert_eq!(count("neti XDP"), 0);
    assert_eq!(count("less is better"), 1);
}

#[test]
fn the_headline_is_of_a_fleet_in_which_most_was_measured() {
    let mut fixture = fixture();
    fixture["sizes"][1]["workloads"].as_object_mut().unwrap().shift_remove("tcp_stream").unwrap();
    let report: Report = serde_json::from_value(fixture).unwrap();
    let svg = report.svg().unwrap();
    assert!(svg.contains("\n8 members") && svg.contains("\nTCP stream\n"), "{svg}");
}

#[test]
fn tables_have_80_columns() {
    let mut text = Vec::new();
    report().print(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let longest = text.lines().map(|line| line.chars().count()).max().unwrap();
    assert!(longest <= 80, "{longest}: {text}");
    assert!(text.contains("TCP round trip p50    bare            10.0"), "{text}");
}

#[test]
fn figures_of_nothing_can_be_shown() {
    let mut fixture = fixture();
    fixture["sizes"] = json!([]);
    let report: Report = serde_json::from_value(fixture.clone()).unwrap();
    body(&report.html().unwrap());
    assert!(report.svg().is_err());
}
