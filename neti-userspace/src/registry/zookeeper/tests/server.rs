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
        let mut log = String::new();
        // Somebody else may be quicker with a port that was free.
        for _ in 0..3 {
            match Self::try_start().await {
                Ok(server) => return server,
                Err(why) => log = why,
            }
        }
        panic!("ZooKeeper does not start: {log}");
    }

    async fn try_start() -> std::result::Result<Self, String> {
        let home = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "dataDir={}\ntickTime=500\nclientPort={port}\nclientPortAddress=127.0.0.1\n\
             admin.enableServer=false\npreAllocSize=1024\nforceSync=no\n",
            home.path().display()
        );
        std::fs::write(home.path().join("zoo.cfg"), config).unwrap();
        let child = spawn(home.path());
        let mut server = Self { home, port, child };
        if server.answers().await {
            return Ok(server);
        }
        Err(std::fs::read_to_string(server.home.path().join("log")).unwrap_or_default())
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

    /// Waits until it serves; not if it ends, when whoever answers at its port is another.
    async fn answers(&mut self) -> bool {
        let link = Link::new(self.servers());
        for _ in 0..200 {
            let answers = link.connect().await.is_ok();
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if answers {
                return true;
            }
            sleep(Duration::from_millis(100)).await;
        }
        false
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
        assert!(jar.exists(), "{}: missing; install Debian's libzookeeper-java", jar.display());
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
