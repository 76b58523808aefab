use super::*;
use crate::membership::sample::record;

const SETTINGS: &[u8] = br#"{"overlay": ["100.64.0.0/16"]}"#;

fn followed() -> Followed {
    Followed::new(Roll::new("fleet", SETTINGS).unwrap(), "fleet".to_owned())
}

fn value(name: &str, private: &str) -> Vec<u8> {
    serde_json::to_vec(&record(name, "100.64.0.2", "ec2").private(private)).unwrap()
}

/// The names of the members with their private addresses.
fn members(followed: &mut Followed) -> Vec<String> {
    let member =
        |record: &MemberRecord| format!("{} {}", record.id, record.private.iter().next().unwrap());
    followed.roll.snapshot().members.values().map(|record| member(record)).collect()
}

/// Takes up a list, before which `meanwhile` happens.
fn list(
    followed: &mut Followed,
    revision: i64,
    page: &[(&str, i64, Vec<u8>)],
    meanwhile: impl FnOnce(&mut Followed),
) -> bool {
    let mut listing = followed.list();
    listing.at(revision);
    for listed in page {
        let (name, revision, value) = listed;
        followed.page(&mut listing, [((*name).into(), *revision, value.as_slice())].into_iter());
    }
    meanwhile(followed);
    followed.listed(listing)
}

#[test]
fn what_is_told_twice_or_late_changes_nothing() {
    let mut followed = followed();
    assert!(followed.written("sierra", 5, &value("sierra", "10.0.0.5")));
    assert!(!followed.written("sierra", 5, &value("sierra", "10.0.0.5")));
    assert!(!followed.written("sierra", 4, &value("sierra", "10.0.0.4")));
    assert!(!followed.deleted("sierra", 3));
    assert_eq!(members(&mut followed), ["sierra 10.0.0.5"]);
    assert!(followed.deleted("sierra", 6));
    assert!(!followed.deleted("sierra", 6));
    assert!(members(&mut followed).is_empty());
    assert!(followed.written("sierra", 7, &value("sierra", "10.0.0.7")));
}

#[test]
fn a_list_says_who_is_there() {
    let mut followed = followed();
    followed.written("hudson", 2, &value("hudson", "10.0.0.2"));
    followed.written("broken", 3, b"{");
    followed.written("sierra", 4, &value("sierra", "10.0.0.4"));
    let page =
        [("sierra", 6, value("sierra", "10.0.0.6")), ("tahoe", 7, value("tahoe", "10.0.0.7"))];
    assert!(list(&mut followed, 8, &page, |_| ()));
    assert_eq!(members(&mut followed), ["sierra 10.0.0.6", "tahoe 10.0.0.7"]);
    assert!(followed.roll.snapshot().problems.is_empty());
    assert!(!list(&mut followed, 8, &page, |_| ()), "the same list changes nothing");
    assert!(followed.written("hudson", 9, &value("hudson", "10.0.0.9")), "it may come back");
}

#[test]
fn a_list_is_older_than_what_happened_while_it_was_read() {
    let mut followed = followed();
    followed.written("sierra", 2, &value("sierra", "10.0.0.2"));
    followed.written("tahoe", 3, &value("tahoe", "10.0.0.3"));
    let page =
        [("sierra", 4, value("sierra", "10.0.0.4")), ("tahoe", 3, value("tahoe", "10.0.0.3"))];
    let changed = list(&mut followed, 5, &page, |followed| {
        followed.written("sierra", 6, &value("sierra", "10.0.0.6"));
        followed.deleted("tahoe", 7);
        followed.written("hudson", 8, &value("hudson", "10.0.0.8"));
    });
    assert!(!changed);
    assert_eq!(members(&mut followed), ["hudson 10.0.0.8", "sierra 10.0.0.6"]);
}

#[test]
fn events_that_a_list_is_ahead_of_bring_nobody_back() {
    let mut followed = followed();
    followed.written("sierra", 2, &value("sierra", "10.0.0.2"));
    assert!(list(&mut followed, 8, &[], |_| ()));
    assert!(!followed.written("sierra", 4, &value("sierra", "10.0.0.4")));
    assert!(!followed.written("hudson", 6, &value("hudson", "10.0.0.6")));
    assert!(members(&mut followed).is_empty());
    assert!(!list(&mut followed, 7, &[("hudson", 6, value("hudson", "10.0.0.6"))], |_| ()));
    assert!(members(&mut followed).is_empty(), "nor does an older list");
    assert!(followed.written("sierra", 9, &value("sierra", "10.0.0.9")));
}

#[test]
fn a_list_that_is_not_finished_changes_nothing() {
    let mut followed = followed();
    followed.written("sierra", 2, &value("sierra", "10.0.0.2"));
    let mut listing = followed.list();
    listing.at(5);
    let hudson = value("hudson", "10.0.0.3");
    followed.page(&mut listing, [("hudson".into(), 3, hudson.as_slice())].into_iter());
    drop(listing);
    assert_eq!(members(&mut followed), ["sierra 10.0.0.2"]);
}

#[test]
fn a_store_that_was_put_back_is_believed() {
    let mut followed = followed();
    followed.written("hudson", 80, &value("hudson", "10.0.0.8"));
    followed.written("sierra", 90, &value("sierra", "10.0.0.9"));
    followed.another_store();
    assert_eq!(members(&mut followed), ["hudson 10.0.0.8", "sierra 10.0.0.9"]);
    let page = [("sierra", 3, value("sierra", "10.0.0.3"))];
    assert!(list(&mut followed, 5, &page, |_| ()));
    assert_eq!(members(&mut followed), ["sierra 10.0.0.3"]);
    followed.another_store();
    assert!(list(&mut followed, 1, &[], |_| ()));
    assert!(members(&mut followed).is_empty());
}

#[test]
fn settings_are_as_they_were_written_last() {
    let mut followed = followed();
    let enforce = br#"{"overlay": ["100.64.0.0/16"], "mode": "enforce"}"#;
    assert!(followed.single(Single::Fleet, 5, Some(enforce)));
    assert!(!followed.single(Single::Fleet, 4, Some(SETTINGS)));
    assert!(followed.single(Single::Fleet, 6, None));
    let snapshot = followed.roll.snapshot();
    let problem = &snapshot.problems[0];
    assert_eq!(problem.key, "fleet");
    assert_eq!(
        problem.what,
        "fleet: there are no fleet settings; `neti fleet set --file` writes them; the settings \
         before are kept"
    );
    assert_eq!(&*snapshot.fleet_text, std::str::from_utf8(enforce).unwrap());
    assert!(followed.single(Single::Confirmed, 7, Some(br#"{"id": "a", "removals": 3}"#)));
}
