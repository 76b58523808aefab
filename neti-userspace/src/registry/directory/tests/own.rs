//! What becomes of our own record when others meddle with it.

use super::*;

/// What stands in the place of hudson's record.
fn standing(registry: &Registry) -> MemberRecord {
    let bytes = std::fs::read(registry.path("members/hudson")).unwrap();
    MemberRecord::parse("hudson", &bytes).unwrap()
}

/// Waits until the registration says that something is wrong, or that nothing is.
async fn told(registration: &Registration, what: Option<&str>) {
    let mut trouble = registration.trouble();
    let right = |told: &Option<String>| match (told, what) {
        (Some(told), Some(what)) => told.contains(what),
        (told, what) => told.is_none() && what.is_none(),
    };
    let seen = timeout(LONG, trouble.wait_for(right)).await.is_ok();
    assert!(seen, "{:?} instead of {what:?}", registration.trouble().borrow());
}

#[tokio::test]
async fn the_record_of_another_host_is_left_alone() {
    let registry = Registry::new();
    let directory = Directory::open(&registry.root, TTL).unwrap();
    let registration = directory.register(&hudson()).await.unwrap();
    let other = record("hudson", "100.64.0.1", "ec2").private("10.0.0.66");
    registry.put(&other);
    let before = modified(&registry.path("members/hudson"));
    told(&registration, Some("in use by a host with 10.0.0.66")).await;
    sleep(TTL).await;
    assert_eq!(modified(&registry.path("members/hudson")), before, "not kept alive");
    registration.withdraw().await.unwrap();
    assert_eq!(standing(&registry), other);
}

#[tokio::test]
async fn a_record_that_does_not_hold_is_written_again() {
    let registry = Registry::new();
    let directory = Directory::open(&registry.root, TTL).unwrap();
    let registration = directory.register(&hudson()).await.unwrap();
    let ours = standing(&registry);
    let older = MemberRecord { version: "0.0.1".to_owned(), ..ours.clone() };
    for text in ["{".to_owned(), serde_json::to_string(&older).unwrap()] {
        registry.write("members/hudson", &text);
        let mut watch = registry.watch(TTL).await;
        let again = |seen: &Arc<Membership>| {
            seen.members.get("hudson").is_some_and(|record| **record == ours)
        };
        watch.until("our own record", again).await;
    }
    registration.withdraw().await.unwrap();
    assert!(!registry.path("members/hudson").exists());
}

#[tokio::test]
async fn an_address_that_was_given_to_another_host_does_not_come_back() {
    let registry = Registry::new();
    let directory = Directory::open(&registry.root, TTL).unwrap();
    let registration = directory.register(&hudson()).await.unwrap();
    registry.write("overlays/100.64.0.1", "sierra");
    std::fs::remove_file(registry.path("members/hudson")).unwrap();
    let what = "100.64.0.1 belongs to \"sierra\" by overlays/100.64.0.1; start neti again";
    told(&registration, Some(what)).await;
    assert!(!registry.path("members/hudson").exists());
    let error = directory.register(&hudson()).await.err().unwrap();
    assert!(format!("{error:#}").contains(what), "{error:#}");

    registry.write("overlays/100.64.0.1", "hudson");
    told(&registration, None).await;
    assert!(registry.path("members/hudson").exists());
}

/// Whatever the operator's clock, and the host's, say.
#[tokio::test]
async fn a_host_that_shows_signs_of_life_is_not_released() {
    let registry = Registry::new();
    registry.put(&hudson());
    registry.write("overlays/100.64.0.1", "hudson");
    let file = registry.path("members/hudson");
    let directory = Directory::open(&registry.root, TTL).unwrap();
    for (clock, alive) in [(LONG, true), (Duration::ZERO, true), (LONG, false)] {
        let heart = async {
            for beat in 0.. {
                set_modified(&file, SystemTime::now() - clock + Duration::from_millis(beat));
                sleep(TTL / 3).await;
                if !alive {
                    std::future::pending::<()>().await;
                }
            }
        };
        let hudson = id("hudson");
        let released = tokio::select! {
            biased;
            () = heart => unreachable!("a heart beats for ever"),
            released = directory.release(&hudson) => released,
        };
        match alive {
            true => assert!(format!("{:#}", released.unwrap_err()).contains("is a member")),
            false => assert_eq!(released.unwrap().to_string(), "100.64.0.1"),
        }
        assert_eq!(file.exists(), alive);
    }
}
