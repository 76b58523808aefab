use super::*;
use crate::membership::sample::record;

fn roll() -> Roll {
    Roll::new("fleet", br#"{"overlay": ["100.64.0.0/16"]}"#).unwrap()
}

fn sierra() -> Vec<u8> {
    serde_json::to_vec(&record("sierra", "100.64.0.2", "ec2").private("10.0.0.11")).unwrap()
}

fn names(roll: &mut Roll) -> Vec<String> {
    roll.snapshot().members.keys().map(ToString::to_string).collect()
}

#[test]
fn what_changes_nothing_is_told_apart() {
    let mut roll = roll();
    assert!(roll.seen("sierra", &sierra()));
    let before = roll.snapshot();
    assert!(!roll.seen("sierra", &sierra()));
    let after = roll.snapshot();
    assert!(Arc::ptr_eq(&before.members["sierra"], &after.members["sierra"]));
    assert!(roll.gone("sierra"));
    assert!(!roll.gone("sierra"));
    assert!(names(&mut roll).is_empty());
    assert_eq!(before.members.len(), 1, "a snapshot does not change");
}

#[test]
fn a_broken_record_is_told_by_its_key_and_mends() {
    let mut roll = roll();
    roll.seen("sierra", &sierra());
    assert!(roll.seen("sierra", b"{"));
    let snapshot = roll.snapshot();
    assert!(snapshot.members.is_empty());
    assert_eq!(snapshot.problems[0].key, "members/sierra");
    assert!(snapshot.problems[0].what.starts_with("skipped: not a member record: EOF"));
    assert!(!roll.seen("sierra", b"{"), "told once");
    assert!(roll.seen("sierra", &sierra()));
    assert!(roll.snapshot().problems.is_empty());
}

#[test]
fn what_is_not_listed_is_gone() {
    let mut roll = roll();
    roll.seen("sierra", &sierra());
    roll.seen("broken", b"{");
    roll.seen("a name that is no id", b"{");
    assert!(!roll.keep(&["sierra", "broken", "a name that is no id"].into()));
    assert!(roll.keep(&["sierra"].into()));
    assert_eq!(names(&mut roll), ["sierra"]);
    assert!(roll.snapshot().problems.is_empty());
}

#[test]
fn broken_settings_keep_the_last_good_ones() {
    let mut roll = roll();
    assert!(roll.settings("fleet", Ok(b"{")));
    assert!(!roll.settings("fleet", Ok(b"{")), "told once");
    let snapshot = roll.snapshot();
    assert_eq!(snapshot.fleet.overlay.len(), 1);
    assert!(snapshot.problems[0].what.ends_with("; the settings before are kept"));
    assert!(roll.settings("fleet", Err("nobody has written any".to_owned())));
    let text = br#"{"overlay": ["100.64.0.0/16"], "mode": "enforce"}"#;
    assert!(roll.settings("fleet", Ok(text)));
    let snapshot = roll.snapshot();
    assert!(snapshot.problems.is_empty());
    assert_eq!(&*snapshot.fleet_text, std::str::from_utf8(text).unwrap());
    assert!(!roll.settings("fleet", Ok(text)));
}

#[test]
fn a_confirmation_is_told_and_stays() {
    let mut roll = roll();
    assert!(!roll.confirmation(None));
    let text = br#"{"id": "a", "removals": 30}"#;
    assert!(roll.confirmation(Some(text)));
    assert!(!roll.confirmation(Some(text)));
    assert!(roll.confirmation(Some(b"thirty")));
    assert_eq!(roll.snapshot().problems[0].key, "confirmed");
    assert!(roll.confirmation(None), "the problem is gone");
    let confirmed = roll.snapshot().confirmed.clone();
    assert_eq!(confirmed, Some(Confirmation { id: "a".to_owned(), removals: 30 }));
}

#[test]
fn an_outage_is_told_once_and_keeps_what_is_known() {
    let mut roll = roll();
    roll.seen("sierra", &sierra());
    assert!(!roll.reached("registry"));
    assert!(roll.outage("registry", "nobody answers".to_owned()));
    let since = roll.snapshot().stale.clone().unwrap().since;
    assert!(!roll.outage("registry", "nobody answers".to_owned()));
    assert!(roll.outage("registry", "the password is wrong".to_owned()));
    let snapshot = roll.snapshot();
    let stale = snapshot.stale.clone().unwrap();
    assert_eq!((stale.since, stale.why.as_str()), (since, "the password is wrong"));
    assert_eq!(snapshot.outages, 1);
    assert_eq!(names(&mut roll), ["sierra"]);
    assert!(roll.reached("registry"));
    assert_eq!(roll.snapshot().stale, None);
}
