use super::{leases::is_there, *};

#[tokio::test]
async fn compaction_during_an_outage_loses_nothing() {
    let (server, mut client) = fleet(&[]).await;
    for name in ["hudson", "sierra"] {
        put(&mut client, name).await;
    }
    let way = Way::to(&server).await;
    let mut told = etcd(way.url()).watch().await.unwrap();
    // Once it is watched.
    put(&mut client, "tahoe").await;
    until(&mut told, "tahoe", |fleet| names(fleet) == ["hudson", "sierra", "tahoe"]).await;

    way.set(Network::Down);
    until(&mut told, "the outage", |fleet| fleet.stale.is_some()).await;
    assert_eq!(names(&told.borrow()), ["hudson", "sierra", "tahoe"]);
    delete(&mut client, "hudson").await;
    put(&mut client, "ventura").await;
    let last = client.put("elsewhere", "", None).await.unwrap();
    client.compact(last.header().unwrap().revision(), None).await.unwrap();
    way.set(Network::Up);
    until(&mut told, "the end of the outage", |fleet| {
        fleet.stale.is_none() && names(fleet) == ["sierra", "tahoe", "ventura"]
    })
    .await;
    put(&mut client, "hudson").await;
    until(&mut told, "hudson", |fleet| fleet.members.contains_key("hudson")).await;
}

#[tokio::test]
async fn a_store_that_was_replaced_by_an_empty_one_is_believed() {
    let (mut server, mut client) = fleet(&[]).await;
    put(&mut client, "sierra").await;
    let mut told = etcd(server.url()).watch().await.unwrap();
    server.wipe();
    until(&mut told, "the outage", |fleet| fleet.stale.is_some()).await;
    assert_eq!(names(&told.borrow()), ["sierra"]);
    server.run().await;
    until(&mut told, "the end of the outage", |fleet| fleet.stale.is_none()).await;
    {
        let fleet = told.borrow();
        assert!(fleet.members.is_empty());
        assert_eq!(fleet.fleet.overlay.len(), 1, "the settings before are kept");
        assert_eq!(fleet.problems[0].key, "fleet");
    }
    let mut client = server.client().await;
    put(&mut client, "tahoe").await;
    until(&mut told, "tahoe", |fleet| names(fleet) == ["tahoe"]).await;
}

#[tokio::test]
async fn a_server_that_hangs_is_left_for_another() {
    let (server, mut client) = fleet(&[]).await;
    let ways = [Way::to(&server).await, Way::to(&server).await];
    let etcd = Etcd::open(&servers(&[ways[0].url(), ways[1].url()])).unwrap();
    let mut told = etcd.watch().await.unwrap();
    for (number, silent) in ways.iter().enumerate() {
        silent.set(Network::Silent);
        let name = format!("m{number}");
        put(&mut client, &name).await;
        until(&mut told, &name, |fleet| fleet.members.contains_key(&id(&name))).await;
        etcd.fleet().await.unwrap();
        silent.set(Network::Up);
    }
}

#[tokio::test]
async fn a_hung_server_is_an_outage_until_it_goes_on() {
    let (server, _client) = fleet(&[]).await;
    let way = Way::to(&server).await;
    let etcd = etcd(way.url());
    let mut told = etcd.watch().await.unwrap();
    way.set(Network::Silent);
    let asked = etcd.fleet().await;
    assert!(matches!(asked, Err(RegistryError::Unreachable(_))), "{asked:?}");
    until(&mut told, "the outage", |fleet| fleet.stale.is_some()).await;
    way.set(Network::Up);
    until(&mut told, "the end of the outage", |fleet| fleet.stale.is_none()).await;
}

/// It answers nobody who asks a stream for a word.
#[tokio::test]
async fn a_proxy_that_is_silent_is_no_outage_until_its_server_is_gone() {
    let (mut server, mut client) = fleet(&[]).await;
    let proxy = Proxy::to(&server).await;
    let pace = Pace { silence: Duration::from_millis(50), ..Pace::default() };
    let etcd = etcd(proxy.url()).with_pace(pace);
    let mut told = etcd.watch().await.unwrap();
    let first = told.borrow().revision;
    let read = server.ranges_read().await;
    while server.ranges_read().await < read + 10.0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!((told.borrow().revision, told.borrow().outages), (first, 0));
    put(&mut client, "sierra").await;
    until(&mut told, "sierra", is_there).await;
    assert_eq!(told.borrow().outages, 0);
    server.kill();
    until(&mut told, "the outage", |fleet| fleet.stale.is_some()).await;
    assert!(is_there(&told.borrow()));
    server.run().await;
    until(&mut told, "the end of the outage", |fleet| fleet.stale.is_none()).await;
}

#[tokio::test]
async fn another_store_is_an_outage_however_soon_it_answers() {
    let (server, mut client) = fleet(&[]).await;
    for name in ["hudson", "sierra"] {
        put(&mut client, name).await;
    }
    let (other, mut elsewhere) = fleet(&[]).await;
    put(&mut elsewhere, "hudson").await;
    let way = Way::to(&server).await;
    let mut told = etcd(way.url()).watch().await.unwrap();
    put(&mut client, "tahoe").await;
    until(&mut told, "tahoe", |fleet| names(fleet) == ["hudson", "sierra", "tahoe"]).await;
    let before = told.borrow().outages;
    // So long that the next stream is opened at once.
    tokio::time::sleep(Duration::from_secs(6)).await;
    way.lead_to(&other);
    until(&mut told, "the other fleet", |fleet| names(fleet) == ["hudson"]).await;
    assert!(told.borrow().outages > before);
    assert!(told.borrow().stale.is_none(), "what it has is told once it is followed");
}

#[tokio::test]
async fn the_watch_ends_with_its_receiver() {
    let (server, _client) = fleet(&[]).await;
    let etcd = Arc::new(etcd(server.url()));
    let told = etcd.watch().await.unwrap();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    drop(told);
    let fewer = async {
        while tasks() >= before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(60), fewer).await.unwrap();
}
