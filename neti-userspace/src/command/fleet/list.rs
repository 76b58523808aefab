//! `neti fleet list`.

use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use crate::{
    addresses::{Addresses, list},
    cli::Printing,
    membership::{MemberRecord, Membership},
    output::{self, Row},
    registry::Registry,
};

/// A member as the registry has it. As JSON it is the whole record.
#[derive(Serialize)]
#[serde(transparent)]
struct Listed<'a>(&'a MemberRecord);

impl Row for Listed<'_> {
    const TITLES: &'static [&'static str] =
        &["MEMBER", "NETWORK", "OVERLAY", "PRIVATE", "PUBLIC", "ROLE", "STATE", "VERSION", "GEN"];

    fn cells(&self) -> Vec<String> {
        let Self(record) = self;
        let or_none = |text: &str| if text.is_empty() { "-" } else { text }.to_owned();
        let addresses = |addresses: Addresses| or_none(&words(addresses.iter()));
        vec![
            record.id.to_string(),
            record.network.clone(),
            words(&record.overlays),
            addresses(record.private),
            addresses(record.public),
            or_none(&record.role),
            record.state.as_str().to_owned(),
            or_none(&record.version),
            record.generation.to_string(),
        ]
    }
}

/// One word, so that `awk` finds the columns.
fn words(addresses: impl IntoIterator<Item = impl ToString>) -> String {
    list(addresses).replace(", ", ",")
}

pub async fn run(
    out: &mut impl Write,
    registry: &impl Registry,
    printing: &Printing,
) -> Result<()> {
    let fleet = registry.watch().await?.borrow().clone();
    tell_problems(&fleet);
    let members: Vec<_> = fleet.members.values().map(|record| Listed(record)).collect();
    Ok(output::rows(out, &members, printing.format())?)
}

/// What the fleet's registry has that is no part of it, a line each, beside the output.
pub fn tell_problems(fleet: &Membership) {
    for problem in &fleet.problems {
        eprintln!("neti: {}: {}", problem.key, problem.what);
    }
}

#[cfg(test)]
mod tests {
    use super::run;
    use crate::command::fleet::sample::{TABLE, printed, registry};
    use crate::membership::sample::record;

    #[tokio::test]
    async fn lists_the_members_of_the_registry() {
        let registry = registry("{\"overlay\": [\"100.64.0.0/16\"]}");
        registry.member(&record("walden", "100.64.0.3,100.64.0.4", "vpc").public("203.0.113.11"));
        let hudson = record("hudson", "100.64.0.1", "ec2");
        registry.member(&hudson.private("10.0.0.10").private("2001:db8::10"));
        registry.write("members/broken", "{");
        let shown = printed(async |out| run(out, &registry.open(), &TABLE).await).await;
        assert_eq!(
            shown.unwrap(),
            "MEMBER  NETWORK  OVERLAY                PRIVATE                 PUBLIC        ROLE  STATE  VERSION  GEN\n\
             hudson  ec2      100.64.0.1             10.0.0.10,2001:db8::10  -             -     up     -        1\n\
             walden  vpc      100.64.0.3,100.64.0.4  -                       203.0.113.11  -     up     -        1\n"
        );
    }
}
