//! What the ways look like in plots: neti strong, what it is compared with muted, each with a mark of its own, so that nobody
//! has to tell colours apart.

use std::fmt::Write as _;

use indexmap::IndexSet;
use plotters::style::RGBColor;

use super::Report;

/// A colour on a bright background, and the one in its place on a dark one.
#[derive(Clone, Copy)]
pub struct Colour {
    pub bright: RGBColor,
    dark: RGBColor,
}

const fn colour(bright: [u8; 3], dark: [u8; 3]) -> Colour {
    const fn rgb([red, green, blue]: [u8; 3]) -> RGBColor {
        RGBColor(red, green, blue)
    }
    Colour { bright: rgb(bright), dark: rgb(dark) }
}

/// Text, and what is compared with.
pub const INK: Colour = colour([0x1f, 0x23, 0x28], [0xe6, 0xed, 0xf3]);
/// Labels of axes.
pub const FAINT: Colour = colour([0x59, 0x63, 0x6e], [0x91, 0x98, 0xa1]);
/// Lines behind the figures.
pub const GRID: Colour = colour([0xd8, 0xde, 0xe4], [0x30, 0x36, 0x3d]);
/// Of neti's ways, by Okabe and Ito.
pub const OWN: [Colour; 3] = [
    colour([0x00, 0x72, 0xb2], [0x45, 0xa5, 0xe6]),
    colour([0x00, 0x9e, 0x73], [0x1f, 0xc0, 0x94]),
    colour([0x56, 0xb4, 0xe9], [0x8c, 0xc4, 0xe8]),
];
/// Of the others.
const OTHERS: [Colour; 5] = [
    colour([0xd1, 0xa8, 0x6a], [0xbf, 0x97, 0x59]),
    colour([0xb5, 0x83, 0xa8], [0xa0, 0x74, 0x95]),
    colour([0x6b, 0x76, 0x82], [0x7b, 0x86, 0x93]),
    colour([0x8a, 0x8f, 0x4d], [0x9a, 0x9f, 0x5c]),
    colour([0xc0, 0xc6, 0xcc], [0x55, 0x5e, 0x68]),
];

/// Stands at points of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    None,
    Circle,
    Square,
    Triangle,
    Cross,
    Ring,
    Plus,
    Bar,
    Dash,
}

/// How a way is drawn.
#[derive(Clone, Copy)]
pub struct Look {
    pub colour: Colour,
    pub mark: Mark,
    /// Whether it is neti's.
    pub own: bool,
}

/// All ways of a report, the one that most are compared with first.
pub struct Ways(Vec<(String, Look)>);

impl Ways {
    pub fn of(report: &Report) -> Self {
        let series = report.sizes.iter().flat_map(|size| size.workloads.values());
        let names: IndexSet<&String> = series.flat_map(|series| series.ways.keys()).collect();
        let (mut own, mut others) = (0, 0);
        let look = |(index, name): (usize, &String)| {
            let looks = if index == 0 {
                Look { colour: INK, mark: Mark::None, own: false }
            } else if name.starts_with("neti") {
                own += 1;
                let marks = [Mark::Circle, Mark::Ring, Mark::Square];
                Look { colour: OWN[(own - 1) % 3], mark: marks[(own - 1) % 3], own: true }
            } else {
                others += 1;
                let marks = [Mark::Triangle, Mark::Cross, Mark::Plus, Mark::Bar, Mark::Dash];
                let number = (others - 1) % OTHERS.len();
                Look { colour: OTHERS[number], mark: marks[number], own: false }
            };
            (name.clone(), looks)
        };
        Self(names.into_iter().enumerate().map(look).collect())
    }

    pub fn all(&self) -> impl Iterator<Item = (&str, Look)> {
        self.0.iter().map(|(name, look)| (&name[..], *look))
    }

    /// In the order in which they are drawn: neti's over the others, its first one on top.
    pub fn bottom_up(&self) -> impl Iterator<Item = (&str, Look)> {
        let (own, others): (Vec<_>, Vec<_>) = self.all().partition(|(_, look)| look.own);
        others.into_iter().chain(own.into_iter().rev())
    }
}

/// What gives a plot the colours of a dark background where the reader prefers one.
pub fn stylesheet() -> String {
    let mut rules = String::new();
    for Colour { bright, dark } in [INK, FAINT, GRID].into_iter().chain(OWN).chain(OTHERS) {
        for property in ["fill", "stroke"] {
            let (from, to) = (hex(bright), hex(dark));
            let _ = write!(rules, "svg [{property}=\"{from}\"]{{{property}:{to}}}");
        }
    }
    format!("@media (prefers-color-scheme: dark){{{rules}}}")
}

/// As the plots have it.
fn hex(RGBColor(red, green, blue): RGBColor) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}
