use super::*;
use crate::membership::sample::{id, ip, membership, record};

fn owner() -> Owner {
    Owner { instance: "default".to_owned(), host: id("hudson"), fleet: "etcd /neti".to_owned() }
}

fn known() -> Membership {
    let settings = r#"{"overlay": ["100.64.0.0/16"], "mode": "enforce"}"#;
    Membership {
        revision: 0,
        fleet: Arc::new(FleetSettings::parse("fleet", settings.as_bytes()).unwrap()),
        fleet_text: settings.into(),
        confirmed: Some(Confirmation { id: "one".to_owned(), removals: 7 }),
        ..membership([
            record("hudson", "100.64.0.1", "ec2").private("10.0.0.10"),
            record("sierra", "100.64.0.2,fd64::2", "vpc").public("203.0.113.11").since(5),
        ])
    }
}

#[test]
fn what_was_written_is_read() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("state").join("default.jsonl");
    assert!(read_file(&path, &owner()).unwrap().is_none());
    let overlays = Addresses::collect([ip("100.64.0.1")]).unwrap();
    write_file(&path, &owner(), overlays, &known()).unwrap();
    // Once more, over what is there.
    write_file(&path, &owner(), overlays, &known()).unwrap();
    let saved = read_file(&path, &owner()).unwrap().unwrap();
    assert_eq!((saved.overlays, saved.membership), (overlays, known()));
    assert!(saved.at.elapsed().unwrap() < Duration::from_secs(60));
    assert_eq!(fs::read_dir(home.path().join("state")).unwrap().count(), 1, "no drafts are left");
}

#[test]
fn the_state_of_another_host_or_fleet_is_none() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("default.jsonl");
    write_file(&path, &owner(), Addresses::default(), &known()).unwrap();
    for other in [
        Owner { host: id("sierra"), ..owner() },
        Owner { fleet: "etcd /blue".to_owned(), ..owner() },
    ] {
        assert!(read_file(&path, &other).unwrap().is_none());
    }
}

#[test]
fn a_state_that_is_not_whole_is_none_of_ours() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("default.jsonl");
    write_file(&path, &owner(), Addresses::default(), &known()).unwrap();
    let whole = fs::read_to_string(&path).unwrap();
    let last = whole.trim_end().rfind('\n').unwrap();
    for (text, why) in [
        ("", "it is empty"),
        ("{}\n", "line 1"),
        (&whole[..last], "it has 1 members, not 2"),
        (&whole[..last + 20], "line 3"),
        (&whole.replacen("{\"format\":1", "{\"format\":9", 1), "of a later neti"),
    ] {
        fs::write(&path, text).unwrap();
        let error = format!("{:#}", read_file(&path, &owner()).unwrap_err());
        assert!(error.contains("default.jsonl: cannot be used") && error.contains(why), "{error}");
    }
}
