//! The commands and tables in docs/.

use std::fs;

use clap::Parser as _;
use neti_userspace::{
    cli::Cli,
    config::{Layout, RegistryConfig},
};

use crate::{parse, top};

/// The indented blocks of docs/registry.md, line by line.
fn shown() -> Vec<String> {
    let text = fs::read_to_string(top().join("docs/registry.md")).unwrap();
    text.lines().filter_map(|line| line.strip_prefix("    ")).map(str::to_owned).collect()
}

/// The words of a command as a shell has them, which is told no more than quotes and comments.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate();
    let mut words = Vec::new();
    for (index, part) in parts {
        if index % 2 == 1 {
            words.push(part.to_owned());
            continue;
        }
        let (part, comment) = part.split_once('#').map_or((part, false), |(part, _)| (part, true));
        let part = part.split(" > ").next().unwrap_or_default();
        words.extend(part.split_whitespace().map(str::to_owned));
        if comment {
            break;
        }
    }
    words
}

#[test]
fn every_command_shown_is_one() {
    let mut commands = 0;
    for line in shown() {
        for command in line.split("&& ").filter(|command| command.starts_with("neti ")) {
            let words = words(command);
            Cli::try_parse_from(&words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
            commands += 1;
        }
    }
    assert!(commands > 10, "{commands}");
}

#[test]
fn the_classic_table_parses() {
    let lines = shown();
    let table = lines.iter().skip_while(|line| *line != "[registry]").take(5);
    let table: String = table.map(|line| format!("{line}\n")).collect();
    let config = parse(&format!("network = \"vpc\"\nuplink = \"eth0\"\n{table}"));
    let RegistryConfig::ZooKeeper { servers, layout } = config.registry else { panic!("{table}") };
    assert_eq!((layout, servers.prefix.as_str()), (Layout::Classic, ""));
}
