//! A ZooKeeper server of its own for each test, on a port that nobody else has.

use std::{
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;
use tokio::time::sleep;

use super::*;
use crate::config::Credentials;

/// ZooKeeper, which names what it needs, and a logger that writes to standard error.
const JARS: [&str; 2] = ["zookeeper", "slf4j-simple"];

pub struct Server {
    home: TempDir,
    port: u16,
    child: Child,
}

impl Server {
    /// Starts one and waits until it answers. Its `tickTime` is half a second.
    pub async fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "dataDir={}\ntickTime=500\nclientPort={port}\nclientPortAddress=127.0.0.1\n\
             admin.enableServer=false\npreAllocSize=1024\nforceSync=no\n",
            home.path().display()
        );
        std::fs::write(home.path().join("zoo.cfg"), config).unwrap();
        let child = spawn(home.path());
        let server = Self { home, port, child };
        server.answers().await;
        server
    }

    /// Kills it, and starts it again with what it has written.
    pub async fn crash(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(self.home.path());
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    async fn answers(&self) {
        let link = Link::new(self.servers());
        for _ in 0..200 {
            if link.connect().await.is_ok() {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
        let log = std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default();
        panic!("ZooKeeper does not start: {log}");
    }

    pub fn servers(&self) -> Servers {
        Servers {
            endpoints: vec![self.endpoint()],
            prefix: "/fleets/neti".to_owned(),
            ttl: Duration::from_secs(4),
            tls: None,
            credentials: None,
        }
    }

    pub fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn registry(&self) -> ZooKeeper {
        ZooKeeper::open(&self.servers(), Layout::Neti, "ec2").unwrap()
    }

    /// As a user whose password is the name.
    pub fn registry_of(&self, user: &str) -> ZooKeeper {
        let password_file = self.password_file(user);
        std::fs::write(&password_file, format!("{user}\n")).unwrap();
        let credentials = Some(Credentials { user: user.to_owned(), password_file });
        ZooKeeper::open(&Servers { credentials, ..self.servers() }, Layout::Neti, "ec2").unwrap()
    }

    pub fn password_file(&self, user: &str) -> PathBuf {
        self.home.path().join(user)
    }

    pub fn classic(&self) -> ZooKeeper {
        ZooKeeper::open(&self.servers(), Layout::Classic, "vpc").unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It is gone already where a test has failed in between.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(home: &Path) -> Child {
    let jars = JARS.map(|name| PathBuf::from(format!("/usr/share/java/{name}.jar")));
    for jar in &jars {
        assert!(jar.exists(), "{}: missing; install Debian's zookeeper", jar.display());
    }
    let jars = jars.map(|jar| jar.display().to_string()).join(":");
    let log = File::options().create(true).append(true).open(home.join("log")).unwrap();
    Command::new("java")
        .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"])
        .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
        .arg("-Dzookeeper.jmx.log4j.disable=true")
        .args(["-cp", &jars, "org.apache.zookeeper.server.quorum.QuorumPeerMain"])
        .arg(home.join("zoo.cfg"))
        .stderr(log)
        .spawn()
        .unwrap()
}
