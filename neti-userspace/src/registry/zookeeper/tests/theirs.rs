//! What is another host's by now is let be.

use super::*;

#[tokio::test]
async fn an_address_that_is_anothers_does_not_come_back() {
    let server = Server::start().await;
    let registry = server.registry();
    fleet(&registry).await;
    let settings = registry.fleet().await.unwrap();
    let claimed = registry.claim(&id("hudson"), &settings, &[IpFamily::V4]).await.unwrap();
    let record = record("hudson", &claimed.to_string(), "ec2").private("10.0.0.10");
    let registration = registry.register(&record).await.unwrap();
    let mut trouble = registration.trouble();

    // Released and given away while its record is gone.
    let operator = client(&registry).await;
    let lock = registry.place.tree.path(&format!("overlays/{claimed}"));
    operator.set_data(&lock, b"sierra", None).await.unwrap();
    let member = registry.place.tree.path("members/hudson");
    operator.delete(&member, None).await.unwrap();
    let right = format!("{claimed} belongs to sierra by overlays/{claimed}; start neti again");
    let told = trouble.wait_for(|told| told.as_ref().is_some_and(|told| told.contains(&right)));
    assert!(timeout(Duration::from_secs(15), told).await.is_ok_and(|told| told.is_ok()));
    assert_eq!(operator.check_stat(&member).await.unwrap(), None);

    // It goes on trying.
    operator.set_data(&lock, b"hudson", None).await.unwrap();
    let well = timeout(Duration::from_secs(15), trouble.wait_for(Option::is_none)).await;
    assert!(well.is_ok_and(|well| well.is_ok()));
    assert!(operator.check_stat(&member).await.unwrap().is_some());
    registration.withdraw().await.unwrap();
}

#[tokio::test]
async fn who_leaves_lets_another_hosts_record_be() {
    let server = Server::start().await;
    let registry = server.registry();
    fleet(&registry).await;
    let kept = begin(&registry, hudson()).await;
    let operator = client(&registry).await;
    let path = registry.place.tree.path("members/hudson");
    let another = registry.place.tree.own(CreateMode::Ephemeral);
    operator.delete(&path, None).await.unwrap();
    operator.create(&path, b"{}", &another).await.unwrap();
    let (withdraw, withdrawn) = tokio::sync::oneshot::channel();
    let (tell, _trouble) = watch::channel(None);
    withdraw.send(()).unwrap();
    session::keep(kept, withdrawn, tell).await.unwrap();
    let (data, stat) = operator.get_data(&path).await.unwrap();
    assert_eq!((data.as_slice(), stat.version), (&b"{}"[..], 0));
}
