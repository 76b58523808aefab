//! `etcdctl`: etcd as an operator sees it.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{ClientTls, OPERATOR_PATIENCE};
use crate::netns::Netns;

/// Who calls which etcd from where. The fields are the caller's to change.
#[derive(Clone, Debug)]
pub struct EtcdCtl {
    pub netns: Netns,
    /// URLs, with commas between them.
    pub endpoints: String,
    pub tls: Option<ClientTls>,
    /// `NAME:PASSWORD`.
    pub user: Option<String>,
    /// How long it tries.
    pub patience: Duration,
}

/// A key and what etcd knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub key: String,
    pub value: String,
    /// 0 if it has none.
    pub lease: i64,
    /// The revision of its last change.
    pub revision: i64,
}

impl EtcdCtl {
    /// Without TLS, and nobody in particular.
    pub fn new(netns: &Netns, endpoints: &str) -> Self {
        Self {
            netns: netns.clone(),
            endpoints: endpoints.to_owned(),
            tls: None,
            user: None,
            patience: OPERATOR_PATIENCE,
        }
    }

    /// Sets a key, without a lease.
    pub fn put(&self, key: &str, value: &str) -> Result<()> {
        self.feed(&["put", key], value).map(drop)
    }

    /// Sets many keys, a hundred in each transaction.
    pub fn put_all<'a>(&self, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<()> {
        // etcdctl reads a quoted word as Go does, which reads all that JSON writes.
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let lines: Vec<_> = pairs
            .into_iter()
            .map(|(key, value)| format!("put {} {}\n", quoted(key), quoted(value)))
            .collect();
        for lines in lines.chunks(100) {
            // No condition, what to do if it holds, and nothing otherwise.
            self.feed(&["txn"], &format!("\n{}\n\n", lines.concat()))?;
        }
        Ok(())
    }

    /// The value of a key, if it is there.
    pub fn get(&self, key: &str) -> Result<Option<String>> {
        Ok(self.pairs(&["get", key])?.pop().map(|pair| pair.value))
    }

    /// Everything that begins with `prefix`, by key.
    pub fn list(&self, prefix: &str) -> Result<Vec<Pair>> {
        self.pairs(&["get", prefix, "--prefix"])
    }

    /// Deletes a key; one that is not there is left alone.
    pub fn delete(&self, key: &str) -> Result<()> {
        self.run(&["del", key]).map(drop)
    }

    /// Deletes many keys in one transaction.
    pub fn delete_all(&self, keys: &[&str]) -> Result<()> {
        let deletions: String = keys.iter().map(|key| format!("del {key}\n")).collect();
        // Without a condition, and without anything for the case that it does not hold.
        self.feed(&["txn"], &format!("\n{deletions}\n\n")).map(drop)
    }

    /// Deletes everything that begins with `prefix`.
    pub fn delete_prefix(&self, prefix: &str) -> Result<()> {
        self.run(&["del", prefix, "--prefix"]).map(drop)
    }

    /// Takes a lease back, as its end would: its keys go.
    pub fn revoke(&self, lease: i64) -> Result<()> {
        self.run(&["lease", "revoke", &format!("{lease:x}")]).map(drop)
    }

    /// The store's revision.
    pub fn revision(&self) -> Result<i64> {
        let fields = self.run(&["get", "-", "--write-out=fields"])?;
        let revision = fields.lines().find_map(|line| line.strip_prefix("\"Revision\" : "));
        let revision = revision.with_context(|| format!("no revision in {fields}"))?;
        revision.parse().with_context(|| format!("read the revision {revision}"))
    }

    /// Forgets all revisions before the one there is.
    pub fn compact(&self) -> Result<()> {
        let revision = self.revision()?.to_string();
        self.run(&["compact", "--physical", &revision]).map(drop)
    }

    /// The alarms raised, a line each.
    pub fn alarms(&self) -> Result<String> {
        self.run(&["alarm", "list"])
    }

    /// Takes all alarms back. A full store needs a compaction and `defrag` first.
    pub fn disarm(&self) -> Result<()> {
        self.run(&["alarm", "disarm"]).map(drop)
    }

    /// Gives the space of what was compacted back.
    pub fn defrag(&self) -> Result<()> {
        self.run(&["defrag"]).map(drop)
    }

    /// Turns authentication on, and is root from then on.
    pub fn enable_auth(&mut self, root_password: &str) -> Result<()> {
        let root = format!("root:{root_password}");
        self.run(&["user", "add", &root])?;
        self.run(&["user", "grant-role", "root", "root"])?;
        self.run(&["auth", "enable"])?;
        self.user = Some(root);
        Ok(())
    }

    /// Adds a user who may do this (`read`, `write` or `readwrite`) to what begins with these prefixes. Who has no
    /// password is known by the common name of a certificate.
    pub fn add_user(
        &self,
        name: &str,
        password: Option<&str>,
        grants: &[(&str, &str)],
    ) -> Result<()> {
        match password {
            Some(password) => self.run(&["user", "add", &format!("{name}:{password}")])?,
            None => self.run(&["user", "add", name, "--no-password"])?,
        };
        self.run(&["role", "add", name])?;
        for (permission, prefix) in grants {
            self.run(&["role", "grant-permission", name, "--prefix=true", permission, prefix])?;
        }
        self.run(&["user", "grant-role", name, name]).map(drop)
    }

    /// `etcdctl ARGUMENTS`, and what it prints.
    ///
    /// # Errors
    /// If it does not exit with 0; the message has its standard error.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        self.feed(arguments, "")
    }

    /// Like [`EtcdCtl::run`], with this input.
    pub fn feed(&self, arguments: &[&str], input: &str) -> Result<String> {
        let patience = self.patience.as_millis();
        let mut command = self.netns.command("etcdctl");
        command.env("ETCDCTL_API", "3").args(arguments);
        command.arg(format!("--endpoints={}", self.endpoints));
        command.args([
            format!("--dial-timeout={patience}ms"),
            format!("--command-timeout={patience}ms"),
        ]);
        if let Some(tls) = &self.tls {
            command.arg("--cacert").arg(&tls.ca);
            if let Some(identity) = &tls.identity {
                command.arg("--cert").arg(&identity.certificate).arg("--key").arg(&identity.key);
            }
        }
        if let Some(user) = &self.user {
            command.arg(format!("--user={user}"));
        }
        let output = self.netns.finish(command, input)?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            let what = arguments.join(" ");
            bail!("etcdctl {what}: at {}: {}: {}", self.endpoints, output.status, error.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn pairs(&self, arguments: &[&str]) -> Result<Vec<Pair>> {
        let text = self.run(&[arguments, &["--write-out=fields"]].concat())?;
        parse(&text).with_context(|| format!("read what etcdctl printed:\n{text}"))
    }
}

/// Reads the format `fields`: a line for each field, in a fixed order, strings quoted as Go does.
fn parse(text: &str) -> Result<Vec<Pair>> {
    let fields = text.lines().filter_map(|line| {
        let (name, content) = line.strip_prefix('"')?.split_once("\" : ")?;
        Some((name, content))
    });
    let mut pairs: Vec<Pair> = Vec::new();
    for (name, content) in fields {
        if name == "Key" {
            let key = serde_json::from_str(content)?;
            pairs.push(Pair { key, value: String::new(), lease: 0, revision: 0 });
        } else if let Some(pair) = pairs.last_mut() {
            match name {
                "Value" => pair.value = serde_json::from_str(content)?,
                "Lease" => pair.lease = content.parse()?,
                "ModRevision" => pair.revision = content.parse()?,
                _ => {}
            }
        }
    }
    Ok(pairs)
}
