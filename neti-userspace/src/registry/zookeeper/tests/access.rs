//! Who may change what, with credentials.

use zookeeper_client::Error;

use super::*;

#[tokio::test]
async fn a_host_writes_its_own_record_alone() {
    let server = Server::start().await;
    let operator = server.registry_of("operator");
    fleet(&operator).await;
    let [hudson_host, sierra_host] = ["hudson", "sierra"].map(|user| server.registry_of(user));
    let settings = hudson_host.fleet().await.unwrap();
    let claim = async |registry: &ZooKeeper, name: &str| {
        registry.claim(&id(name), &settings, &[IpFamily::V4]).await.unwrap()
    };
    let claimed = claim(&hudson_host, "hudson").await;
    let registration = hudson_host.register(&hudson()).await.unwrap();
    let mut watch = Watch::of(&sierra_host).await;
    watch.until_names(&["hudson"]).await;

    let (client, tree) = (client(&sierra_host).await, &sierra_host.place.tree);
    let overlay = format!("overlays/{claimed}");
    for key in ["members/hudson", "hosts/hudson", overlay.as_str(), "fleet"] {
        let path = tree.path(key);
        assert_eq!(client.set_data(&path, b"{}", None).await.err(), Some(Error::NoAuth), "{key}");
        assert_eq!(client.delete(&path, None).await.err(), Some(Error::NoAuth), "{key}");
    }
    let made = client.create(&tree.path("confirmed"), b"{}", &tree.shared()).await;
    assert_eq!(made.err(), Some(Error::NoAuth));
    let error = sierra_host.set_settings(SETTINGS, None).await.unwrap_err();
    assert!(matches!(error, RegistryError::Changed(_)), "{error}");
    let version = sierra_host.settings().await.unwrap().map(|settings| settings.version);
    let error = sierra_host.set_settings(SETTINGS, version).await.unwrap_err();
    assert!(matches!(error, RegistryError::Refused(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains("/neti/fleet: user \"sierra\" is not permitted this"), "{text}");
    let error = sierra_host.release(&id("hudson")).await.unwrap_err();
    assert!(error.to_string().contains("is a member of the fleet"), "{error}");

    // It may not delete its own either, and is gone at once all the same.
    registration.withdraw().await.unwrap();
    watch.until_names(&[]).await;
    let error = hudson_host.release(&id("hudson")).await.unwrap_err();
    assert!(matches!(error, RegistryError::Refused(_)), "{error}");
    assert_eq!(operator.release(&id("hudson")).await.unwrap(), claimed);
}

#[tokio::test]
async fn a_record_that_may_not_be_deleted_is_made_anew_when_it_ends() {
    let server = Server::start().await;
    fleet(&server.registry_of("operator")).await;
    let registry = server.registry_of("hudson");
    let mut watch = Watch::of(&registry).await;
    let killed = begin(&registry, hudson()).await;
    let old = killed.session.clone();
    drop(killed);
    watch.until_names(&["hudson"]).await;

    let changed = MemberRecord { role: "db".to_owned(), ..hudson() };
    let registration = registry.register(&changed).await.unwrap();
    let role = |membership: &Arc<Membership>| {
        membership.members.get("hudson").is_some_and(|record| record.role == "db")
    };
    watch.until("what is said anew", role).await;
    let path = registry.place.tree.path("members/hudson");
    let owner = async |client: &Client| match client.check_stat(&path).await.unwrap() {
        Some(stat) => stat.ephemeral_owner,
        None => 0,
    };
    let client = client(&registry).await;
    assert_eq!(owner(&client).await, old.id().0);
    registry.place.link.close(old.clone()).await.unwrap();
    for _ in 0..100 {
        if ![0, old.id().0].contains(&owner(&client).await) {
            break;
        }
        sleep(Duration::from_millis(20)).await;
    }
    assert!(![0, old.id().0].contains(&owner(&client).await));
    watch.until("there again", role).await;
    registration.withdraw().await.unwrap();
    watch.until_names(&[]).await;
}

#[tokio::test]
async fn a_password_that_was_changed_is_taken_up() {
    let server = Server::start().await;
    let operator = server.registry_of("operator");
    fleet(&operator).await;
    let version = operator.settings().await.unwrap().map(|settings| settings.version);
    let file = server.password_file("operator");
    std::fs::write(&file, "another\n").unwrap();
    let error = operator.set_settings(SETTINGS, version).await.unwrap_err();
    assert!(matches!(error, RegistryError::Refused(_)), "{error}");
    std::fs::write(&file, "").unwrap();
    let error = operator.fleet().await.unwrap_err().to_string();
    assert!(error.contains("operator: its first line must be the password"), "{error}");
    std::fs::write(&file, "operator\n").unwrap();
    operator.set_settings(SETTINGS, version).await.unwrap();
}

#[tokio::test]
async fn a_host_makes_no_nodes_that_would_be_its_own() {
    let server = Server::start().await;
    let operator = server.registry_of("operator");
    fleet(&operator).await;
    let path = operator.place.tree.path("hosts6");
    client(&operator).await.delete(&path, None).await.unwrap();
    let host = server.registry_of("hudson");
    let error = host.register(&hudson()).await.err().unwrap().to_string();
    assert!(error.contains("/hosts6 missing") && error.contains("`neti fleet set`"), "{error}");
    assert_eq!(client(&host).await.check_stat(&path).await.unwrap(), None);
    let settings = operator.settings().await.unwrap().unwrap();
    operator.set_settings(SETTINGS, Some(settings.version)).await.unwrap();
    host.register(&hudson()).await.unwrap().withdraw().await.unwrap();
}
