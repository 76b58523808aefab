//! etcd.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use harness::{
    eventually,
    family::Family,
    in_each_family,
    servers::{ClientTls, Etcd, EtcdCluster, EtcdCtl, EtcdOptions, Pki},
};

use crate::{
    Result,
    stage::{IMPATIENT, Stage, outlive, places, stage, three},
};

in_each_family!(it_lets_in_who_has_a_certificate, it_outlives_a_crash);

fn start(stage: &Stage, options: &EtcdOptions) -> anyhow::Result<Etcd> {
    Etcd::start(&stage.server.netns, stage.address, options)
}

fn it_outlives_a_crash(family: Family) -> Result {
    let stage = stage(family)?;
    let mut etcd = start(&stage, &EtcdOptions::default())?;
    let value = "{ \"a\": \"it's\\n\", \"b\": [] }";
    etcd.operator().put("/neti/fleet", value)?;
    let beside = EtcdCtl::new(&stage.client.netns, &etcd.endpoint());
    ensure!(beside.get("/neti/fleet")?.as_deref() == Some(value));
    outlive(&mut etcd, SocketAddr::new(stage.address, 2379), |etcd| {
        etcd.operator().get("/neti/fleet")
    })
}

fn it_lets_in_who_has_a_certificate(family: Family) -> Result {
    let stage = stage(family)?;
    let (pki, other) = (Pki::new()?, Pki::new()?);
    let names = [&*stage.address.to_string()];
    for client_auth in [false, true] {
        let tls = Some(pki.server(&names, client_auth)?);
        let etcd = start(&stage, &EtcdOptions { tls, ..EtcdOptions::default() })?;
        etcd.operator().put("x", "y")?;
        let ctl = EtcdCtl::new(&stage.client.netns, &etcd.endpoint());
        let get = |tls: ClientTls| EtcdCtl { tls: Some(tls), ..ctl.clone() }.get("x");
        let refused = |tls: ClientTls| {
            EtcdCtl { tls: Some(tls), patience: IMPATIENT, ..ctl.clone() }.get("x").is_err()
        };
        ensure!(get(pki.client("neti")?)?.as_deref() == Some("y"));
        if client_auth {
            ensure!(refused(pki.stranger()), "without a certificate");
            let forged = ClientTls { ca: pki.ca(), ..other.client("neti")? };
            ensure!(refused(forged), "a certificate of another authority");
        } else {
            ensure!(get(pki.stranger())?.as_deref() == Some("y"));
            ensure!(refused(other.stranger()), "a server of another authority");
        }
    }
    let tls = Some(pki.server(&["elsewhere.example"], false)?);
    let etcd = start(&stage, &EtcdOptions { tls, ..EtcdOptions::default() })?;
    let ctl = EtcdCtl::new(&stage.client.netns, &etcd.endpoint());
    let ctl = EtcdCtl { tls: Some(pki.stranger()), patience: IMPATIENT, ..ctl };
    ensure!(ctl.get("x").is_err(), "a certificate for another name");
    Ok(())
}

#[test]
fn an_operator_reads_and_changes_it() -> Result {
    let stage = stage(Family::V4)?;
    let etcd = start(&stage, &EtcdOptions::default())?;
    let operator = etcd.operator();
    let keys: Vec<_> = (0..250).map(|number| format!("/many/{number:03}")).collect();
    operator.put_all(keys.iter().map(|key| (key.as_str(), "it's \"one\"\n")))?;
    let many = operator.list("/many/")?;
    ensure!(many.iter().map(|pair| &pair.key).eq(&keys));
    ensure!(many.iter().all(|pair| pair.value == "it's \"one\"\n" && pair.lease == 0));
    operator.delete("/many/000")?;
    ensure!(operator.list("/many/")?.len() == 249);

    let granted = operator.run(&["lease", "grant", "600"])?;
    let lease = granted.split_whitespace().nth(1).context("etcdctl names the lease")?;
    operator.run(&["put", "/leased", "x", &format!("--lease={lease}")])?;
    let leased = operator.list("/leased")?;
    ensure!(leased.len() == 1 && format!("{:x}", leased[0].lease) == lease, "{leased:?}");
    operator.revoke(leased[0].lease)?;
    ensure!(operator.get("/leased")?.is_none());

    let revision = operator.revision()?;
    operator.compact()?;
    let before = format!("--rev={}", revision - 1);
    ensure!(operator.run(&["get", "/many/", "--prefix", &before]).is_err());
    operator.delete_prefix("/many/")?;
    ensure!(operator.list("/many/")?.is_empty());
    Ok(())
}

#[test]
fn a_full_one_refuses_writes_until_it_has_room() -> Result {
    let stage = stage(Family::V4)?;
    let options = EtcdOptions { quota_bytes: Some(500_000), ..EtcdOptions::default() };
    let mut etcd = start(&stage, &options)?;
    let big = "x".repeat(200_000);
    let full = (0..10).find_map(|_| etcd.operator().put("/big", &big).err());
    ensure!(full.is_some_and(|error| error.to_string().contains("space exceeded")));
    ensure!(etcd.operator().alarms()?.contains("NOSPACE"));
    etcd.restart().context("a full store serves")?;
    let operator = etcd.operator();
    operator.delete("/big")?;
    operator.compact()?;
    operator.defrag()?;
    operator.disarm()?;
    operator.put("/small", "x")
}

#[test]
fn it_knows_users_by_password_and_by_certificate() -> Result {
    let stage = stage(Family::V4)?;
    let pki = Pki::new()?;
    let options = EtcdOptions {
        tls: Some(pki.server(&[&stage.address.to_string()], true)?),
        root_password: Some("root's".to_owned()),
        token_seconds: Some(60),
        ..EtcdOptions::default()
    };
    let mut etcd = start(&stage, &options)?;
    let operator = etcd.operator();
    operator.add_user("reader", Some("secret"), &[("read", "/neti/")])?;
    operator.add_user("neti", None, &[("readwrite", "/neti/")])?;
    let ctl = EtcdCtl::new(&stage.client.netns, &etcd.endpoint());
    let neti = EtcdCtl { tls: Some(pki.client("neti")?), ..ctl.clone() };
    neti.put("/neti/x", "y")?;
    ensure!(neti.put("/other", "y").is_err(), "outside what was granted");
    let anyone = pki.client("anyone")?;
    let user = |password: &str| EtcdCtl {
        tls: Some(anyone.clone()),
        user: Some(format!("reader:{password}")),
        ..ctl.clone()
    };
    ensure!(user("secret").get("/neti/x")?.as_deref() == Some("y"));
    ensure!(user("secret").put("/neti/x", "z").is_err(), "a reader writes");
    let wrong = user("wrong").get("/neti/x").err().context("a wrong password")?;
    ensure!(wrong.to_string().contains("authentication failed"), "{wrong}");
    let nobody = EtcdCtl { tls: Some(anyone.clone()), ..ctl.clone() };
    ensure!(nobody.get("/neti/x").is_err(), "a certificate of nobody");
    etcd.restart()?;
    ensure!(user("wrong").get("/neti/x").is_err(), "authentication is kept");
    etcd.operator().put("/root", "x")
}

#[test]
fn a_cluster_elects_another_leader() -> Result {
    let (_lan, sites) = three()?;
    let options =
        EtcdOptions { root_password: Some("root's".to_owned()), ..EtcdOptions::default() };
    let mut cluster = EtcdCluster::start(&places(&sites), &options)?;
    let first = cluster.leader()?;
    cluster.nodes[first].operator().put("x", "y")?;
    cluster.nodes[first].kill();
    let second = cluster.leader()?;
    ensure!(second != first);
    ensure!(cluster.nodes[second].operator().get("x")?.as_deref() == Some("y"));
    cluster.nodes[first].restart()?;
    cluster.nodes[second].hang();
    eventually("another leader while one hangs", || {
        cluster.leader().is_ok_and(|leader| leader != second)
    });
    cluster.nodes[second].go_on();
    let anyone = EtcdCtl::new(&sites[0].netns, &cluster.endpoints().join(","));
    ensure!(anyone.get("x").is_err(), "authentication is on");
    let root = EtcdCtl { user: cluster.nodes[0].operator().user.clone(), ..anyone };
    ensure!(root.get("x")?.as_deref() == Some("y"));
    Ok(())
}
