//! ZooKeeper as an operator sees it, through kazoo, the Python client.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{ClientTls, OPERATOR_PATIENCE};
use crate::netns::Netns;

/// Who calls which ZooKeeper from where. The fields are the caller's to change.
#[derive(Clone, Debug)]
pub struct Kazoo {
    pub netns: Netns,
    /// `ADDRESS:PORT`, with commas between them.
    pub hosts: String,
    pub tls: Option<ClientTls>,
    /// `NAME:PASSWORD`, for the scheme `digest`.
    pub user: Option<String>,
    /// How long it tries to connect.
    pub patience: Duration,
}

/// Who may do what with a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    /// A sum of ZooKeeper's bits: read 1, write 2, create 4, delete 8, admin 16.
    pub permissions: u32,
    pub scheme: String,
    pub id: String,
}

impl Kazoo {
    /// Without TLS, and nobody in particular.
    pub fn new(netns: &Netns, hosts: &str) -> Self {
        Self {
            netns: netns.clone(),
            hosts: hosts.to_owned(),
            tls: None,
            user: None,
            patience: OPERATOR_PATIENCE,
        }
    }

    /// Sets a persistent node, which is made if need be, its parents too.
    pub fn put(&self, path: &str, value: &str) -> Result<()> {
        self.put_all([(path, value)])
    }

    /// Sets many persistent nodes, in no order.
    pub fn put_all<'a>(&self, nodes: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<()> {
        let nodes: BTreeMap<_, _> = nodes.into_iter().collect();
        self.operate("put", json!([nodes])).map(drop)
    }

    /// The value of a node, if it is there.
    pub fn get(&self, path: &str) -> Result<Option<String>> {
        Ok(self.operate("get", json!([path]))?.as_str().map(str::to_owned))
    }

    /// The names of a node's children; none if it is not there.
    pub fn ls(&self, path: &str) -> Result<Vec<String>> {
        let names = self.operate("ls", json!([path]))?;
        serde_json::from_value(names).context("read the names of a node's children")
    }

    /// Deletes a node and what is below it; one that is not there is left alone.
    pub fn delete(&self, path: &str) -> Result<()> {
        self.delete_all(&[path])
    }

    /// The same with many nodes, at once.
    pub fn delete_all(&self, paths: &[&str]) -> Result<()> {
        self.operate("delete", json!([paths])).map(drop)
    }

    /// Replaces a node's ACL.
    pub fn set_acl(&self, path: &str, entries: &[Acl]) -> Result<()> {
        let entries: Vec<_> =
            entries.iter().map(|acl| json!([acl.permissions, acl.scheme, acl.id])).collect();
        self.operate("set_acl", json!([path, entries])).map(drop)
    }

    /// A node's ACL.
    pub fn acl(&self, path: &str) -> Result<Vec<Acl>> {
        let entries: Vec<(u32, String, String)> =
            serde_json::from_value(self.operate("acl", json!([path]))?).context("read an ACL")?;
        let acl = |(permissions, scheme, id)| Acl { permissions, scheme, id };
        Ok(entries.into_iter().map(acl).collect())
    }

    /// The session that an ephemeral node belongs to; none if the node is persistent or not there.
    pub fn owner(&self, path: &str) -> Result<Option<u64>> {
        let owner = self.operate("owner", json!([path]))?;
        Ok(owner.as_u64().filter(|session| *session != 0))
    }

    /// Ends a session as its timeout would: its nodes go, and its client is told when it is back. At one server, without
    /// TLS.
    pub fn expire(&self, session: u64) -> Result<()> {
        let ended = self.call(json!({ "expire": session }))?;
        ensure!(ended == json!(true), "{}: there is no session {session:#x}", self.hosts);
        Ok(())
    }

    fn operate(&self, operation: &str, arguments: Value) -> Result<Value> {
        let request = json!({ "operation": operation, "arguments": arguments });
        self.call(request).with_context(|| format!("{operation} {arguments}"))
    }

    fn call(&self, mut request: Value) -> Result<Value> {
        let mut client = json!({ "hosts": self.hosts });
        if let Some(tls) = &self.tls {
            client["use_ssl"] = json!(true);
            client["ca"] = json!(tls.ca);
            if let Some(identity) = &tls.identity {
                client["certfile"] = json!(identity.certificate);
                client["keyfile"] = json!(identity.key);
            }
        }
        request["client"] = client;
        request["user"] = json!(self.user);
        request["patience"] = json!(self.patience.as_secs_f64());
        // Debian's, which has Debian's kazoo, whatever else is called python3.
        let mut command = self.netns.command("/usr/bin/python3");
        command.args(["-c", include_str!("zk.py")]);
        let output = self.netns.finish(command, &request.to_string())?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            bail!("kazoo: at {}: {}: {}", self.hosts, output.status, error.trim());
        }
        serde_json::from_slice(&output.stdout).context("read what zk.py printed")
    }
}
