use std::{path::Path, process::Command};

use tempfile::TempDir;

use super::*;

/// Runs openssl in `home`.
fn openssl(home: &Path, arguments: &str) {
    let made = Command::new("openssl").args(arguments.split(' ')).current_dir(home).output();
    let made = made.expect("openssl must be installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";

/// Makes an authority, `<name>.pem`.
fn authority(home: &Path, name: &str) {
    openssl(home, &format!("req -x509 {KEY} -keyout {name}.key -out {name}.pem -subj /CN={name}"));
}

/// Makes a certificate, `<name>.pem` and `<name>.key`, that the authority `ca` has signed.
fn certificate(home: &Path, name: &str) {
    std::fs::write(home.join("extensions"), "subjectAltName=IP:127.0.0.1").unwrap();
    openssl(home, &format!("req {KEY} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
    openssl(
        home,
        &format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial \
             -extfile extensions -out {name}.pem"
        ),
    );
}

fn secure(
    server: &Server,
    ca: &str,
    identity: Option<&str>,
) -> neti_userspace::registry::Result<Etcd> {
    let file = |name: &str, end: &str| server.path(&format!("{name}.{end}"));
    let identity = identity.map(|name| (file(name, "pem"), file(name, "key")));
    let tls = Some(Tls { ca: file(ca, "pem"), identity });
    Etcd::open(&Servers { tls, ..servers(&[server.secure_url()]) })
}

/// A server with a certificate, which may want its clients to have one.
async fn certified(clients: bool) -> (Server, Client) {
    let home: TempDir = tempfile::tempdir().unwrap();
    authority(home.path(), "ca");
    authority(home.path(), "other");
    for name in ["server", "sierra"] {
        certificate(home.path(), name);
    }
    let path = |name: &str| home.path().join(name).display().to_string();
    let own = [
        format!("--cert-file={}", path("server.pem")),
        format!("--key-file={}", path("server.key")),
        format!("--trusted-ca-file={}", path("ca.pem")),
        "--client-cert-auth".to_owned(),
    ];
    let own = if clients { &own[..] } else { &own[..2] };
    let flags: Vec<&str> = own.iter().map(String::as_str).collect();
    let server = Server::start_in(home, &flags).await;
    let mut client = server.client().await;
    client.put("/neti/fleet", SETTINGS, None).await.unwrap();
    (server, client)
}

#[tokio::test]
async fn a_server_is_known_by_its_authority() {
    let (server, _client) = certified(false).await;
    let etcd = secure(&server, "ca", None).unwrap();
    etcd.fleet().await.unwrap();
    assert!(etcd.watch().await.unwrap().borrow().members.is_empty());

    let error = secure(&server, "other", None).unwrap().fleet().await.unwrap_err();
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");
    let error = secure(&server, "nowhere", None).map(drop).unwrap_err();
    assert!(format!("{error:?}").contains("nowhere.pem: cannot be read"), "{error:?}");
}

#[tokio::test]
async fn a_host_is_known_by_its_certificate() {
    let (server, mut client) = certified(true).await;
    // The server takes a certificate's common name for the user's.
    for user in ["root", "sierra"] {
        client.user_add(user, "any", None).await.unwrap();
    }
    client.role_add("fleet").await.unwrap();
    let all = etcd_client::Permission::read_write("/neti/").with_prefix();
    client.role_grant_permission("fleet", all).await.unwrap();
    client.user_grant_role("root", "root").await.unwrap();
    client.user_grant_role("sierra", "fleet").await.unwrap();
    client.auth_enable().await.unwrap();

    let etcd = secure(&server, "ca", Some("sierra")).unwrap();
    let registration = etcd.register(&record("sierra", "10.0.0.11")).await.unwrap();
    let told = etcd.watch().await.unwrap();
    assert_eq!(names(&told.borrow()), ["sierra"]);
    registration.withdraw().await.unwrap();

    let error = secure(&server, "ca", None).unwrap().fleet().await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable(_)), "{error}");
}
