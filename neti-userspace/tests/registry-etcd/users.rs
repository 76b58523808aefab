use std::fs;

use etcd_client::{ConnectOptions, Permission};

use super::*;

/// A server that lets in `root`, and `sierra`, who may read everything and write nothing.
async fn guarded() -> (Server, Client) {
    let (server, mut client) = fleet(&["--bcrypt-cost=4", "--auth-token-ttl=1"]).await;
    client.role_add("reader").await.unwrap();
    let read = Permission::read("/neti/").with_prefix();
    client.role_grant_permission("reader", read).await.unwrap();
    for (user, role) in [("root", "root"), ("sierra", "reader")] {
        client.user_add(user, "first", None).await.unwrap();
        client.user_grant_role(user, role).await.unwrap();
    }
    client.auth_enable().await.unwrap();
    fs::write(server.path("password"), "first\n").unwrap();
    (server, client)
}

async fn root(server: &Server) -> Client {
    let options = ConnectOptions::new().with_user("root", "first").with_auto_token_refresh(true);
    Client::connect([server.url()], Some(options)).await.unwrap()
}

fn as_sierra(server: &Server, url: String) -> Etcd {
    let password_file = server.path("password");
    let credentials = Credentials { user: "sierra".to_owned(), password_file };
    Etcd::open(&Servers { credentials: Some(credentials), ..servers(&[url]) }).unwrap()
}

#[tokio::test]
async fn who_may_not_is_refused_by_name_and_key() {
    let (server, _client) = guarded().await;
    let nobody = etcd(server.url()).fleet().await.unwrap_err();
    assert!(matches!(nobody, RegistryError::Refused(_)), "{nobody}");

    let etcd = as_sierra(&server, server.url());
    etcd.fleet().await.unwrap();
    let error = etcd.register(&record("sierra", "10.0.0.11")).await.map(drop).unwrap_err();
    assert!(matches!(error, RegistryError::Refused(_)), "{error}");
    let right = "user \"sierra\": writing /neti/members/sierra: etcdserver: permission denied";
    assert!(error.to_string().contains(right), "{error}");

    fs::write(server.path("password"), "wrong").unwrap();
    let error = as_sierra(&server, server.url()).fleet().await.unwrap_err();
    assert!(matches!(error, RegistryError::Refused(_)), "{error}");
    assert!(error.to_string().contains("authentication failed"), "{error}");
}

#[tokio::test]
async fn a_password_that_was_changed_is_taken_up() {
    let (server, _client) = guarded().await;
    let way = Way::to(&server).await;
    let etcd = as_sierra(&server, way.url());
    let mut told = etcd.watch().await.unwrap();
    let mut root = root(&server).await;
    root.user_change_password("sierra", "second").await.unwrap();
    way.set(Network::Down);
    until(&mut told, "the outage", |fleet| fleet.stale.is_some()).await;
    way.set(Network::Up);
    let refused = etcd.fleet().await.unwrap_err();
    assert!(matches!(refused, RegistryError::Refused(_)), "{refused}");
    assert!(told.borrow().stale.is_some());

    fs::write(server.path("password"), "second\n").unwrap();
    until(&mut told, "the end of the outage", |fleet| fleet.stale.is_none()).await;
    etcd.fleet().await.unwrap();
    put(&mut root, "tahoe").await;
    until(&mut told, "tahoe", |fleet| names(fleet) == ["tahoe"]).await;
}

#[tokio::test]
async fn a_token_that_has_run_out_is_no_outage() {
    let (server, _client) = guarded().await;
    let etcd = as_sierra(&server, server.url());
    etcd.fleet().await.unwrap();
    // Whatever is stored is of an older revision of the users then.
    let mut root = root(&server).await;
    root.user_add("tahoe", "any", None).await.unwrap();
    etcd.fleet().await.unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    etcd.fleet().await.unwrap();
}

#[tokio::test]
async fn who_asks_for_no_user_lets_in_users() {
    let (server, _client) = fleet(&[]).await;
    fs::write(server.path("password"), "any").unwrap();
    as_sierra(&server, server.url()).fleet().await.unwrap();
}
