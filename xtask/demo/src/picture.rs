//! Who is where, before anything runs.

use harness::{
    family::{Family, Network},
    topology::{INTERNET, LAN, PUBLISHED},
};

/// The hosts and their networks, and the networks' ranges in these families.
pub fn picture(families: &[Family]) -> String {
    let (count, legacy, modern, legend) = match families {
        [_] => ("three", "", "", ""),
        _ => ("five", "legacy .12 --+", "modern .13 --+", LEGEND),
    };
    let mut text = format!(
        "neti: {count} hosts, two networks, one private range\n\
         \n   hudson .10 --+\
         \n   sierra .11 --+-- ec2 router --- + --- vpc router --- walden .10\
         \n   {legacy:<14}      (NAT)       |       (NAT)\
         \n   {modern:<14}             stranger .99\n\
         \n{:9}{:<18}{:<20}the internet",
        "", "private", "published"
    );
    for family in families {
        let prefix = |network: Network| network.prefix(*family).to_string();
        let [lan, published, internet] = [LAN, PUBLISHED, INTERNET].map(prefix);
        text += &format!("\n   {family:<6}{lan:<18}{published:<20}{internet}");
    }
    text + legend
}

const LEGEND: &str = "\n\nlegacy has IPv4 alone, modern has IPv6 alone.";
