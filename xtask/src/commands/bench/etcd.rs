//! Three nodes of etcd on loopback, as it is installed.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use xtask::local_cluster::ports::PortBlock;
use xtask::local_cluster::wait_for;

use super::outside::Outside;

/// The program.
const ETCD: &str = "etcd";
const NODES: usize = 3;
/// How long they may take to serve.
const START_MAX: Duration = Duration::from_secs(20);

/// What is installed, if anything is.
pub(super) fn version() -> Option<String> {
    let output = Command::new(ETCD).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().map(|line| line.replace("etcd Version:", "etcd"))
}

/// Nodes that run; they are killed when this is dropped.
pub(super) struct Cluster {
    nodes: Vec<Child>,
    clients: Vec<SocketAddr>,
    _folder: TempDir,
    _ports: PortBlock,
}

impl Cluster {
    /// Starts them below a folder; `load` is the program that clients run in.
    pub(super) async fn start(load: &Path, folder: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        let temporary = tempfile::Builder::new().prefix("etcd-").tempdir_in(folder)?;
        let mut ports = PortBlock::take()?;
        let mut address = || ports.port().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let places = (0..NODES).map(|_| Ok((address()?, address()?))).collect::<std::io::Result<Vec<_>>>()?;
        let peers: Vec<String> =
            places.iter().enumerate().map(|(number, (peer, _))| format!("n{number}=http://{peer}")).collect();
        let mut cluster = Self { nodes: Vec::new(), clients: Vec::new(), _folder: temporary, _ports: ports };
        for (number, (peer, client)) in places.iter().enumerate() {
            let directory = cluster._folder.path().join(format!("n{number}"));
            let log = File::create(cluster._folder.path().join(format!("n{number}.log")))?;
            let node = Command::new(ETCD)
                .arg("--data-dir")
                .arg(directory)
                .args(["--name", &format!("n{number}"), "--log-level", "error"])
                .args(["--listen-peer-urls", &format!("http://{peer}")])
                .args(["--initial-advertise-peer-urls", &format!("http://{peer}")])
                .args(["--listen-client-urls", &format!("http://{client}")])
                .args(["--advertise-client-urls", &format!("http://{client}")])
                .args(["--initial-cluster", &peers.join(","), "--initial-cluster-state", "new"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()?;
            cluster.nodes.push(node);
            cluster.clients.push(*client);
        }
        // The first operation that is answered shows that it serves.
        let probe =
            Outside { kind: "etcd", addresses: &cluster.clients, what: "put", clients: 1, bytes: 1, queued_ms: 0 };
        wait_for("etcd serves", START_MAX, async || {
            probe.run(load, Duration::from_millis(50)).await.map(drop).map_err(|error| error.to_string())
        })
        .await?;
        Ok(cluster)
    }

    /// Where clients are served.
    pub(super) fn clients(&self) -> &[SocketAddr] {
        &self.clients
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // What has ended already cannot be killed.
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}
