use super::*;

async fn find(client: &mut Client) -> Option<(MemberRecord, i64)> {
    let mut got = client.get("/neti/members/sierra", None).await.unwrap();
    let kv = got.take_kvs().into_iter().next()?;
    Some((MemberRecord::parse("sierra", kv.value()).unwrap(), kv.lease()))
}

pub fn is_there(fleet: &Arc<Membership>) -> bool {
    fleet.members.contains_key("sierra")
}

#[tokio::test]
async fn a_record_that_is_lost_comes_back_as_it_was() {
    let (server, mut client) = fleet(&[]).await;
    let etcd = etcd(server.url());
    let mut told = etcd.watch().await.unwrap();
    let registration = etcd.register(&record("sierra", "10.0.0.11")).await.unwrap();
    until(&mut told, "sierra", is_there).await;
    let (first, lease) = find(&mut client).await.unwrap();
    assert!(first.since > 5, "the registry sets it");

    client.lease_revoke(lease).await.unwrap();
    until(&mut told, "the loss of the lease", |fleet| !is_there(fleet)).await;
    until(&mut told, "sierra under another", is_there).await;
    delete(&mut client, "sierra").await;
    until(&mut told, "the loss of the record", |fleet| !is_there(fleet)).await;
    until(&mut told, "sierra again", is_there).await;
    assert_eq!(find(&mut client).await.unwrap().0, first);

    let mut trouble = registration.trouble();
    until(&mut trouble, "no trouble", Option::is_none).await;
    registration.withdraw().await.unwrap();
    assert_eq!(find(&mut client).await, None);
}

#[tokio::test]
async fn another_host_with_our_id_is_let_be_until_it_is_gone() {
    let (server, mut client) = fleet(&[]).await;
    let etcd = etcd(server.url());
    let registration = etcd.register(&record("sierra", "10.0.0.11")).await.unwrap();
    let mut trouble = registration.trouble();
    let lease = client.lease_grant(60, None).await.unwrap().id();
    let options = PutOptions::new().with_lease(lease);
    let other = json("sierra", "10.0.0.12");
    client.put("/neti/members/sierra", other, Some(options)).await.unwrap();
    let taken = "host id sierra is in use by a host with 10.0.0.12, and this one has 10.0.0.11";
    until(&mut trouble, "who has it", |told| {
        told.as_ref().is_some_and(|told| told.contains(taken))
    })
    .await;
    let (keeper, _answers) = client.lease_keep_alive(lease).await.unwrap();
    drop(keeper);
    assert_eq!(find(&mut client).await.unwrap().0, record("sierra", "10.0.0.12"));
    client.lease_revoke(lease).await.unwrap();
    until(&mut trouble, "no trouble", Option::is_none).await;
    let (ours, _) = find(&mut client).await.unwrap();
    assert_eq!(ours.private, record("sierra", "10.0.0.11").private);
}

#[tokio::test]
async fn who_leaves_spares_the_record_of_another_host_with_its_id() {
    let (server, mut client) = fleet(&[]).await;
    let etcd = etcd(server.url());
    let mut told = etcd.watch().await.unwrap();
    let registration = etcd.register(&record("sierra", "10.0.0.11")).await.unwrap();
    let (_, ours) = find(&mut client).await.unwrap();
    let lease = client.lease_grant(60, None).await.unwrap().id();
    let options = PutOptions::new().with_lease(lease);
    client.put("/neti/members/sierra", json("sierra", "10.0.0.12"), Some(options)).await.unwrap();
    registration.withdraw().await.unwrap();
    assert_eq!(find(&mut client).await, Some((record("sierra", "10.0.0.12"), lease)));
    assert_eq!(client.lease_time_to_live(ours, None).await.unwrap().ttl(), -1);
    put(&mut client, "tahoe").await;
    until(&mut told, "tahoe", |fleet| fleet.members.contains_key("tahoe")).await;
    assert!(is_there(&told.borrow()));
}

#[tokio::test]
async fn whose_address_was_released_to_another_does_not_come_back_with_it() {
    let (server, mut client) = fleet(&[]).await;
    let etcd = etcd(server.url());
    let registration = etcd.register(&record("sierra", "10.0.0.11")).await.unwrap();
    let (_, lease) = find(&mut client).await.unwrap();
    client.put("/neti/overlays/100.64.0.2", "tahoe", None).await.unwrap();
    client.lease_revoke(lease).await.unwrap();
    let mut trouble = registration.trouble();
    let right = "cannot be kept alive: /neti/members/sierra: overlay address 100.64.0.2 is no \
                 longer locked to host sierra (it belongs to tahoe); start neti again";
    until(&mut trouble, "whose it is", |told| told.as_deref() == Some(right)).await;
    assert_eq!(find(&mut client).await, None);
    let error = etcd.register(&record("sierra", "10.0.0.11")).await.map(drop).unwrap_err();
    assert!(error.to_string().contains("it belongs to tahoe"), "{error}");

    client.put("/neti/overlays/100.64.0.2", "sierra", None).await.unwrap();
    until(&mut trouble, "no trouble", Option::is_none).await;
    assert!(find(&mut client).await.is_some());
    registration.withdraw().await.unwrap();
}

#[tokio::test]
async fn a_start_waits_for_a_dead_host_and_not_for_a_live_one() {
    let (server, mut client) = fleet(&[]).await;
    let etcd = etcd(server.url());
    let lease = client.lease_grant(2, None).await.unwrap().id();
    let options = PutOptions::new().with_lease(lease);
    let other = json("sierra", "10.0.0.12");
    client.put("/neti/members/sierra", other, Some(options)).await.unwrap();
    let registration = etcd.register(&record("sierra", "10.0.0.11")).await.unwrap();

    let second = etcd.register(&record("sierra", "10.0.0.12")).await;
    let error = second.map(drop).unwrap_err().to_string();
    assert!(error.contains("/neti/members/sierra: host id sierra is in use by a host"), "{error}");
    registration.withdraw().await.unwrap();
}

#[tokio::test]
async fn a_restarted_host_takes_its_record_over_and_keeps_its_age() {
    let (server, mut client) = fleet(&[]).await;
    let etcd = etcd(server.url());
    let before = etcd.register(&record("sierra", "10.0.0.11")).await.unwrap();
    let (first, lease) = find(&mut client).await.unwrap();
    let after = etcd.register(&record("sierra", "10.0.0.11")).await.unwrap();
    let (second, other) = find(&mut client).await.unwrap();
    assert_eq!(second, first);
    assert_ne!(other, lease);
    let mut trouble = before.trouble();
    until(&mut trouble, "the other one", |told| {
        told.as_ref().is_some_and(|told| told.contains("another neti of this host"))
    })
    .await;
    before.withdraw().await.unwrap();
    assert_eq!(find(&mut client).await.unwrap(), (second, other));
    after.withdraw().await.unwrap();
}

#[tokio::test]
async fn a_dropped_registration_ends_with_its_lease() {
    let (server, _client) = fleet(&[]).await;
    let etcd = brief(server.url());
    let registration = etcd.register(&record("sierra", "10.0.0.11")).await.unwrap();
    let mut told = etcd.watch().await.unwrap();
    assert!(is_there(&told.borrow()));
    drop(registration);
    until(&mut told, "its end", |fleet| !is_there(fleet)).await;
}

#[tokio::test]
async fn a_longer_time_than_was_asked_for_is_told() {
    // The least that a server grants is one and a half election timeouts.
    let (server, _client) = fleet(&["--heartbeat-interval=300", "--election-timeout=3000"]).await;
    let registration = brief(server.url()).register(&record("sierra", "10.0.0.11")).await.unwrap();
    let mut trouble = registration.trouble();
    let right = "the server grants 5 s where ttl asks for 2 s: a host that dies is gone after 5 s";
    until(&mut trouble, "the time", |told| told.as_deref() == Some(right)).await;
    registration.withdraw().await.unwrap();
}

#[tokio::test]
async fn to_leave_a_server_that_is_gone_fails() {
    let (mut server, _client) = fleet(&[]).await;
    let registration = brief(server.url()).register(&record("sierra", "10.0.0.11")).await.unwrap();
    server.kill();
    let error = registration.withdraw().await.unwrap_err().to_string();
    assert!(error.contains("removing /neti/members/sierra: "), "{error}");
    assert!(error.ends_with("; the record ends by itself within 2 s"), "{error}");
}

#[tokio::test]
async fn after_an_outage_a_host_registers_again() {
    let (mut server, mut client) = fleet(&[]).await;
    let etcd = etcd(server.url());
    let registration = etcd.register(&record("sierra", "10.0.0.11")).await.unwrap();
    let mut trouble = registration.trouble();
    let (first, _) = find(&mut client).await.unwrap();
    server.wipe();
    until(&mut trouble, "the outage", Option::is_some).await;
    server.run().await;
    until(&mut trouble, "its end", Option::is_none).await;
    let mut client = server.client().await;
    assert_eq!(find(&mut client).await.unwrap().0, first);
    registration.withdraw().await.unwrap();
}

#[tokio::test]
async fn a_full_database_is_an_outage_for_who_writes() {
    let (server, mut client) = fleet(&["--quota-backend-bytes=1000000"]).await;
    let registration = etcd(server.url()).register(&record("sierra", "10.0.0.11")).await.unwrap();
    while client.put("filler", vec![0; 200_000], None).await.is_ok() {}
    let etcd = etcd(server.url());
    let told = etcd.watch().await.unwrap();
    assert!(is_there(&told.borrow()), "reading goes on");
    let version = etcd.settings().await.unwrap().map(|settings| settings.version);
    let full = etcd.set_settings(SETTINGS, version).await;
    assert!(matches!(full, Err(RegistryError::Unreachable(_))), "{full:?}");
    registration.withdraw().await.unwrap();
}
