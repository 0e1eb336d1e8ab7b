//! A real balancer follows the primary, with the configuration of the guide.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;
use xtask::local_cluster::{Client, LEADER_TIMEOUT, LocalCluster, Settings, wait_for};

use crate::support::Outcome;

const GUIDE: &str = include_str!("../../docs/guide/haproxy.cfg");

/// What every node runs while it is primary: a second balancer, which only says which node it is on. Each has an address
/// of its own on loopback.
const SERVICE: &str = r#"
echo "
global
defaults
    mode http
    timeout client 5s
    timeout server 5s
    timeout connect 5s
listen who
    bind 127.0.1.${HA_NODE_ID#node-}:$0
    http-request return status 200 content-type text/plain string \"$HA_NODE_ID $HA_FENCING_TOKEN\"
" > service.cfg
exec haproxy -db -f service.cfg
"#;

struct Balancer(Child);

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The guide's file, with the addresses of this cluster.
fn configuration(cluster: &LocalCluster, front: u16, service: u16, replicas: u16) -> String {
    let line = |line: &str| -> String {
        let (port, bind) = if line.contains(":5001") { (replicas, replicas) } else { (service, front) };
        let number = line.trim().strip_prefix("server node-").and_then(|rest| rest.split(' ').next()?.parse().ok());
        match number {
            Some(number) => {
                let http = cluster.node(number).spec.http_port;
                format!("    server node-{number} 127.0.1.{number}:{port} addr 127.0.0.1 port {http}")
            }
            None if line.trim().starts_with("bind") => format!("    bind 127.0.0.1:{bind}"),
            None => line.to_owned(),
        }
    };
    GUIDE.lines().map(|text| line(text) + "\n").collect()
}

fn start(directory: &Path, configuration: &str) -> std::io::Result<Balancer> {
    let file: PathBuf = directory.join("haproxy.cfg");
    std::fs::write(&file, configuration)?;
    let log = std::fs::File::create(directory.join("haproxy.log"))?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(&file).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(Balancer(command.spawn()?))
}

#[tokio::test]
async fn haproxy_follows_the_primary() -> Outcome {
    if Command::new("haproxy").arg("-v").stdout(Stdio::null()).status().is_err() {
        eprintln!("SKIPPED: haproxy is not installed, so nobody has tried the configuration of the guide");
        return Ok(());
    }
    let (front, service, replicas) = (free_port()?, free_port()?, free_port()?);
    let mut settings = Settings::new(3).with("FAILOVER_ENABLED", "true");
    settings.service = vec!["sh".to_owned(), "-c".to_owned(), SERVICE.to_owned(), service.to_string()];
    let mut cluster = LocalCluster::start(settings).await?;
    cluster.wait_formed().await?;
    let _balancer = start(cluster.directory(), &configuration(&cluster, front, service, replicas))?;
    let client = Client::new(([127, 0, 0, 1], front).into()).with_timeout(Duration::from_secs(2));

    let mut served = served_above(&client, 0).await?;
    for _ in 0..2 {
        let primary = cluster.number_of(&served.0).ok_or("an unknown node serves")?;
        cluster.kill9(primary).await?;
        let next = served_above(&client, served.1).await?;
        assert_ne!(next.0, served.0);
        cluster.restart(primary)?;
        cluster.wait_formed().await?;
        served = next;
    }

    let primary = cluster.number_of(&served.0).ok_or("an unknown node serves")?;
    let to = cluster.node(primary % 3 + 1).spec.node_id.clone();
    let asked = cluster.http(primary);
    let moved = wait_for("a planned move", LEADER_TIMEOUT, async || {
        let answer = asked.post("/v1/failover/switchover", &json!({"to": to})).await.map_err(|e| e.to_string())?;
        if answer.status == 200 { Ok(()) } else { Err(answer.error_message()) }
    });
    moved.await?;
    assert_eq!(served_above(&client, served.1).await?.0, to);
    // One primary, and both others stand by.
    let mut roles: Vec<(u16, u16)> = Vec::new();
    for number in 1..=3 {
        let node = cluster.http(number);
        roles.push((node.get("/health/primary").await?.status, node.get("/health/replica").await?.status));
    }
    roles.sort_unstable();
    assert_eq!(roles, [(200, 503), (503, 200), (503, 200)]);
    Ok(())
}

/// Asks through the balancer until a primary with a token above this one answers; none below is ever served again.
async fn served_above(client: &Client, token: u64) -> Outcome<(String, u64)> {
    let served = wait_for("the balancer serving from the primary", LEADER_TIMEOUT, async || {
        sleep(Duration::from_millis(20)).await;
        let answer = client.get("/").await.map_err(|error| error.to_string())?;
        let words: Vec<&str> = answer.body.split_whitespace().collect();
        match words[..] {
            [node, found] if answer.status == 200 => {
                let found: u64 = found.parse().map_err(|_| answer.body.clone())?;
                if found > token { Ok((node.to_owned(), found)) } else { Err(answer.body.clone()) }
            }
            _ => Err(format!("{}: {}", answer.status, answer.body)),
        }
    });
    Ok(served.await?)
}

/// A node that is not asked for a group it does not know says so to a balancer as well.
#[tokio::test]
async fn a_group_that_does_not_exist_is_nobodys() -> Outcome {
    let cluster = LocalCluster::start(Settings::new(1).with("FAILOVER_ENABLED", "true")).await?;
    cluster.wait_formed().await?;
    let status = cluster.http(1).get("/health/primary?group=nobody").await?;
    assert_eq!(status.status, 503, "{}", status.body);
    let none_is_secondary = async || {
        let roles: Value = cluster.http(1).get_json("/v1/failover").await.map_err(|error| error.to_string())?;
        let is_alone = roles["primary_node"] == "node-1" && roles["secondary_nodes"] == json!([]);
        if is_alone { Ok(()) } else { Err(roles.to_string()) }
    };
    wait_for("the only node as primary", LEADER_TIMEOUT, none_is_secondary).await?;
    Ok(())
}
