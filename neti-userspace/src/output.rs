//! What commands print: the same values as a table for people or as JSON for programs.

pub mod json;
pub mod table;

use std::io::{self, Write};

use serde::Serialize;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Table,
    Json,
    /// Indented.
    PrettyJson,
}

impl Format {
    /// As the flags `-j` and `-p` ask; `-p` alone is JSON as well.
    pub fn of(json: bool, pretty: bool) -> Self {
        match (json, pretty) {
            (_, true) => Self::PrettyJson,
            (true, false) => Self::Json,
            (false, false) => Self::Table,
        }
    }
}

/// A value that is one line of a table.
pub trait Row: Serialize {
    /// The titles of the columns.
    const TITLES: &'static [&'static str];
    /// One text per column.
    fn cells(&self) -> Vec<String>;
}

/// A value that is a list of names and texts.
pub trait Facts: Serialize {
    fn facts(&self) -> Vec<(&'static str, String)>;
}

/// Prints a list.
pub fn rows<R: Row>(out: &mut impl Write, rows: &[R], format: Format) -> io::Result<()> {
    match format {
        Format::Table => table::rows(out, rows),
        Format::Json => json::line(out, &rows),
        Format::PrettyJson => json::pretty(out, &rows),
    }
}

/// Prints one thing.
pub fn facts(out: &mut impl Write, value: &impl Facts, format: Format) -> io::Result<()> {
    match format {
        Format::Table => table::facts(out, &value.facts()),
        Format::Json => json::line(out, value),
        Format::PrettyJson => json::pretty(out, value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Host {
        id: &'static str,
        packets: u64,
    }

    impl Row for Host {
        const TITLES: &'static [&'static str] = &["ID", "PACKETS"];
        fn cells(&self) -> Vec<String> {
            vec![self.id.to_owned(), self.packets.to_string()]
        }
    }

    impl Facts for Host {
        fn facts(&self) -> Vec<(&'static str, String)> {
            vec![("id", self.id.to_owned()), ("packets", self.packets.to_string())]
        }
    }

    const HOSTS: [Host; 2] = [Host { id: "hudson", packets: 7 }, Host { id: "nyc", packets: 12 }];

    #[test]
    fn prints_lists() {
        let check = |hosts: &[Host], format, expected: &str| {
            let mut out = Vec::new();
            rows(&mut out, hosts, format).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{format:?}");
        };
        check(&HOSTS, Format::Table, "ID      PACKETS\nhudson  7\nnyc     12\n");
        let json = "[{\"id\":\"hudson\",\"packets\":7},{\"id\":\"nyc\",\"packets\":12}]\n";
        check(&HOSTS, Format::Json, json);
        check(&[], Format::Table, "ID  PACKETS\n");
        check(&[], Format::Json, "[]\n");
        check(&[], Format::PrettyJson, "[]\n");
    }

    #[test]
    fn prints_facts() {
        let check = |format, expected: &str| {
            let mut out = Vec::new();
            facts(&mut out, &HOSTS[0], format).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{format:?}");
        };
        check(Format::Table, "id       hudson\npackets  7\n");
        check(Format::PrettyJson, "{\n  \"id\": \"hudson\",\n  \"packets\": 7\n}\n");
    }

    #[test]
    fn pretty_is_json() {
        assert_eq!(Format::of(false, false), Format::Table);
        assert_eq!(Format::of(true, false), Format::Json);
        assert_eq!(Format::of(false, true), Format::PrettyJson);
        assert_eq!(Format::of(true, true), Format::PrettyJson);
    }
}
