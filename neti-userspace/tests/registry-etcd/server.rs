//! An etcd server of its own for each test, and a network to it that can be cut.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use etcd_client::Client;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener as Listener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::sleep,
};

pub struct Server {
    home: TempDir,
    ports: [u16; 3],
    flags: Vec<String>,
    child: Option<Child>,
}

impl Server {
    pub async fn start(flags: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), flags).await
    }

    /// With files of its own. Given a certificate it speaks TLS as well.
    pub async fn start_in(home: TempDir, flags: &[&str]) -> Self {
        let flags = flags.iter().map(ToString::to_string).collect();
        let mut server = Self { home, ports: free_ports(), flags, child: None };
        server.run().await;
        server
    }

    /// Starts it with what it has stored.
    pub async fn run(&mut self) {
        let [client, peer, _] = self.ports.map(|port| format!("http://127.0.0.1:{port}"));
        let clients = match self.flags.iter().any(|flag| flag.starts_with("--cert-file")) {
            true => format!("{client},{}", self.secure_url()),
            false => client.clone(),
        };
        let child = Command::new("etcd")
            .args(["--name", "n1", "--unsafe-no-fsync", "--data-dir"])
            .arg(self.data())
            .args(["--listen-client-urls", &clients, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("n1={peer}")])
            .args(["--heartbeat-interval=20", "--election-timeout=100"])
            .args(&self.flags)
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        self.child = Some(child.expect("etcd: Debian's etcd-server must be installed"));
        answers(&mut self.client().await).await;
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Forgets all that it has stored.
    pub fn wipe(&mut self) {
        self.kill();
        std::fs::remove_dir_all(self.data()).unwrap();
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[0])
    }

    pub fn secure_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports[2])
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// What an operator writes and reads by.
    pub async fn client(&self) -> Client {
        Client::connect([self.url()], None).await.unwrap()
    }

    /// How many ranges it has read so far, as it counts itself.
    pub async fn ranges_read(&self) -> f64 {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports[0])).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.unwrap();
        let mut metrics = String::new();
        stream.read_to_string(&mut metrics).await.unwrap();
        let count = metrics.lines().find_map(|line| line.strip_prefix(RANGES)).unwrap();
        count.trim().parse().unwrap()
    }

    fn data(&self) -> PathBuf {
        self.path("data")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A proxy of etcd's own before a server.
pub struct Proxy {
    url: String,
    child: Child,
}

impl Proxy {
    pub async fn to(server: &Server) -> Self {
        let address = format!("127.0.0.1:{}", free_ports()[0]);
        let child = Command::new("etcd")
            .args(["grpc-proxy", "start", "--endpoints", &server.url()])
            .args(["--listen-addr", &address])
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        let proxy = Self { url: format!("http://{address}"), child: child.unwrap() };
        answers(&mut Client::connect([proxy.url()], None).await.unwrap()).await;
        proxy
    }

    pub fn url(&self) -> String {
        self.url.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Waits until who was started answers.
async fn answers(client: &mut Client) {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        if client.status().await.is_ok() {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("etcd does not answer");
}

const RANGES: &str = "etcd_debugging_mvcc_range_total ";

fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// What happens to what is sent to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    Up,
    /// Connections end, and none is made.
    Down,
    /// Connections stay, and are made, and nothing comes through.
    Silent,
}

/// A way to a server.
pub struct Way {
    url: String,
    /// What happens on it, and to which port it leads.
    state: watch::Sender<(Network, u16)>,
    task: JoinHandle<()>,
}

impl Way {
    pub async fn to(server: &Server) -> Self {
        let listener = Listener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (state, seen) = watch::channel((Network::Up, server.ports[0]));
        let task = tokio::spawn(async move {
            loop {
                let (inside, _) = listener.accept().await.unwrap();
                tokio::spawn(pass(inside, seen.clone()));
            }
        });
        Self { url, state, task }
    }

    pub fn url(&self) -> String {
        self.url.clone()
    }

    pub fn set(&self, network: Network) {
        self.state.send_modify(|state| state.0 = network);
    }

    /// From now on it leads to another server: connections to this one end.
    pub fn lead_to(&self, server: &Server) {
        self.state.send_modify(|state| state.1 = server.ports[0]);
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Passes on what a connection says, as long as it may.
async fn pass(mut inside: TcpStream, mut state: watch::Receiver<(Network, u16)>) {
    let port = state.borrow().1;
    let Ok(mut outside) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    loop {
        let (network, _) = *state.borrow_and_update();
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            _ = tokio::io::copy_bidirectional(&mut inside, &mut outside),
                if network == Network::Up => return,
        }
        let (network, leads) = *state.borrow();
        if network == Network::Down || leads != port {
            return;
        }
    }
}
