//! T56: who does not know the secret, who says again what he has heard, and a secret that follows another. And what is
//! secret is shown nowhere.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use xtask::local_cluster::{Certificates, LocalCluster, Member, Settings, wait_for};

use crate::strangers::{formed_without_the_last, is_refused};
use crate::support::Outcome;

const OLD: &str = "the-old-secret-of-this-cluster";
const NEW: &str = "the-new-secret-of-this-cluster";
const TOKEN: &str = "the-token-of-this-api";
/// The file is looked at every five seconds.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_node_without_the_secret_does_not_get_in() -> Outcome {
    let mut cluster = formed_without_the_last(&Settings::new(4).with("CLUSTER_SECRET", OLD)).await?;
    cluster.node_mut(4).spec.options.insert("CLUSTER_SECRET".to_owned(), NEW.to_owned());
    is_refused(&mut cluster, &["CLUSTER_SECRET"]).await?;
    // It may have ended by itself.
    let _ = cluster.kill9(4).await;
    cluster.node_mut(4).spec.options.remove("CLUSTER_SECRET");
    is_refused(&mut cluster, &["CLUSTER_SECRET"]).await
}

/// A node joins through somebody who listens and passes everything on; later he says it again, word for word.
#[tokio::test]
async fn a_greeting_that_was_recorded_is_worth_nothing() -> Outcome {
    let mut cluster = formed_without_the_last(&Settings::new(4).with("CLUSTER_SECRET", OLD)).await?;
    let leader = cluster.wait_leader().await?;
    let target = cluster.node(leader).spec.cluster_address();
    let (place, heard) = listen_in(target).await?;
    cluster.node_mut(4).spec.options.insert("CLUSTER_SEED_NODES".to_owned(), place.to_string());
    cluster.node_mut(4).start()?;
    wait_for("the fourth node joining", RELOAD_TIMEOUT, async || {
        let members = cluster.http(leader).members().await.map_err(|error| error.to_string())?;
        members.iter().any(|member| member.node_id == "node-4").then_some(()).ok_or(format!("{members:?}"))
    })
    .await?;
    cluster.kill9(4).await?;
    let recorded: Vec<Vec<u8>> = heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert!(recorded.iter().any(|bytes| bytes.len() > 150), "nothing was recorded");
    let refused = refused(&cluster, leader).await?;
    for bytes in &recorded {
        let mut stream = TcpStream::connect(target).await?;
        stream.write_all(bytes).await?;
        let mut answer = Vec::new();
        // It hears a challenge, a refusal, and the end.
        timeout(RELOAD_TIMEOUT, stream.read_to_end(&mut answer)).await?.ok();
        assert!(answer.len() < 1000, "a recorded greeting was answered with {} bytes", answer.len());
    }
    assert!(self::refused(&cluster, leader).await? > refused, "nobody was refused");
    // It is never taken for the node that it recorded, which is found to be gone.
    wait_for("the fourth node being failed", RELOAD_TIMEOUT, async || {
        let members = cluster.http(leader).members().await.map_err(|error| error.to_string())?;
        let failed = |member: &Member| member.node_id == "node-4" && member.state == "failed";
        members.iter().any(failed).then_some(()).ok_or(format!("{members:?}"))
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_secret_follows_another_while_the_cluster_runs() -> Outcome {
    let mut cluster = LocalCluster::prepare(Settings::new(4).with("HA_MIN_NODES", "3").with("HA_QUORUM_SIZE", "2"))?;
    let file = |cluster: &LocalCluster, number: usize| cluster.directory().join(format!("secret-{number}"));
    for number in 1..=4 {
        let path = file(&cluster, number);
        fs::write(&path, format!("{OLD}\n"))?;
        let option = ("CLUSTER_SECRET_FILE".to_owned(), path.display().to_string());
        cluster.node_mut(number).spec.options.extend([option]);
    }
    for number in 1..=3 {
        cluster.node_mut(number).start()?;
    }
    let leader = cluster.wait_leader_among(&[1, 2, 3]).await?;
    let (one, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    // The new one first on one node alone: it still knows the old one, and both ways of meeting work.
    replace(&file(&cluster, one), &format!("{NEW}\n{OLD}\n"))?;
    in_use(&cluster, one, 1).await?;
    for number in [other, one] {
        cluster.kill9(number).await?;
        cluster.restart(number)?;
        assert_eq!(cluster.wait_leader_among(&[1, 2, 3]).await?, leader, "nodes with one and with both do not meet");
    }
    for number in [leader, other] {
        replace(&file(&cluster, number), &format!("{NEW}\n{OLD}\n"))?;
        in_use(&cluster, number, 1).await?;
    }
    for number in 1..=3 {
        replace(&file(&cluster, number), &format!("{NEW}\n"))?;
    }
    in_use(&cluster, leader, 2).await?;
    cluster.kill9(other).await?;
    cluster.restart(other)?;
    assert_eq!(cluster.wait_leader_among(&[1, 2, 3]).await?, leader, "the leader moved");
    // The old one is worth nothing any more.
    cluster.node_mut(4).start()?;
    wait_for("the old secret being refused", RELOAD_TIMEOUT, async || {
        let health = cluster.http(4).get("/health").await.map(|answer| answer.body).unwrap_or_default();
        let said = format!("{health}\n{}", cluster.node(4).log_text());
        if said.contains("CLUSTER_SECRET") && said.contains("do not share") { Ok(()) } else { Err(said) }
    })
    .await?;
    let members = cluster.http(leader).members().await?;
    assert!(members.iter().all(|member| member.node_id != "node-4"), "{members:?}");
    Ok(())
}

/// Everything that a node shows or writes down, with its log as talkative as it gets.
#[tokio::test]
async fn what_is_secret_is_shown_nowhere() -> Outcome {
    let settings = Settings::new(3).with("STATE_ENABLED", "true").with("HA_LOG", "trace");
    let settings = settings.with("CLUSTER_SECRET", OLD).with("HTTP_TOKEN", TOKEN);
    let mut cluster = LocalCluster::prepare(settings)?;
    let folder = cluster.directory().join("certs");
    let ids = ["node-1", "node-2", "node-3"];
    let certificates = Certificates::create(&cluster.node(1).spec.binary, &folder, &ids, 10)?;
    for (number, id) in (1..).zip(ids) {
        cluster.node_mut(number).spec.options.extend(certificates.options(id));
    }
    cluster.start_all()?;
    cluster.wait_formed().await?;
    let mut shown = Vec::new();
    let http = cluster.http(1).with_token(None);
    for path in [
        "/health",
        "/metrics",
        "/v1/doctor",
        "/v1/health",
        "/v1/cluster",
        "/v1/cluster/members",
        "/v1/failover",
        "/v1/replication",
        "/v1/state",
        "/v1/state/a",
        "/v1/locks",
        "/no/such/place",
    ] {
        let answer = http.get(path).await?;
        let data = ["/v1/state", "/v1/locks"].iter().any(|data| path.starts_with(data));
        assert_eq!(answer.status == 401, data, "{path} without the token: {}", answer.body);
        shown.push(answer.body);
    }
    for (path, body) in [("/v1/config/log-level", json!({"level": TOKEN})), ("/v1/cluster/transfer", json!({"to": 1}))]
    {
        let answer = http.post(path, &body).await?;
        assert_eq!(answer.status, 401, "{path}: {}", answer.body);
        shown.push(answer.body);
    }
    let spec = &cluster.node(1).spec;
    let commands: [&[&str]; 4] =
        [&["config", "show"], &["config", "show", "--json"], &["config", "show", "--toml"], &["doctor", "--json"]];
    for words in commands {
        let url = format!("http://{}", spec.http_address());
        let mut command = Command::new(&spec.binary);
        command.args(words).envs(spec.settings()).env("HA_URL", url).env("HA_HTTP_TOKEN", TOKEN);
        let output = command.output()?;
        shown.push(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned());
    }
    for (option, value) in [("CLUSTER_SECRET", "bad\u{1}secret-value"), ("HTTP_TOKEN", "bad token-value")] {
        let output = Command::new(&spec.binary).args(["config", "show"]).env(option, value).output()?;
        let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(told.contains(option) && !told.contains("secret-value") && !told.contains("token-value"), "{told}");
    }
    shown.extend((1..=3).map(|number| cluster.node(number).log_text()));
    let empty = shown.iter().position(String::is_empty);
    assert_eq!(empty, None, "something was not shown at all");
    assert!(shown.last().is_some_and(|log| log.contains("DEBUG")), "the log is not as talkative as it gets");
    let key = fs::read_to_string(certificates.path("node-1.key"))?;
    let line = key.lines().find(|line| line.len() > 40 && !line.contains("-----")).ok_or("no key")?;
    for (name, secret) in [("the secret", OLD), ("the token", TOKEN), ("the key", line)] {
        let text = shown.iter().find(|text| text.contains(secret));
        assert!(text.is_none(), "{name} is shown in:\n{}", text.map_or("", String::as_str));
    }
    tight(&cluster.data_directory(1))
}

/// Files for their owner only, and folders too.
fn tight(folder: &Path) -> Outcome {
    use std::os::unix::fs::PermissionsExt;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let mode = fs::metadata(&path)?.permissions().mode() & 0o777;
        assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{} is {mode:o}", path.display());
        if path.is_dir() {
            tight(&path)?;
        }
    }
    Ok(())
}

async fn in_use(cluster: &LocalCluster, number: usize, times: usize) -> Outcome {
    wait_for("the file of the secret in use", RELOAD_TIMEOUT, async || {
        let log = cluster.node(number).log_text();
        let found = log.matches("the secrets in CLUSTER_SECRET_FILE are in use").count();
        // A restart reads the file too.
        if found >= times { Ok(()) } else { Err(format!("{found} times")) }
    })
    .await?;
    Ok(())
}

fn replace(path: &Path, content: &str) -> std::io::Result<()> {
    let draft = path.with_extension("draft");
    fs::write(&draft, content)?;
    fs::rename(draft, path)
}

async fn refused(cluster: &LocalCluster, number: usize) -> Outcome<f64> {
    let metrics = cluster.http(number).get("/metrics").await?.body;
    let line = metrics.lines().find_map(|line| line.strip_prefix("ha_net_refused_total "));
    Ok(line.ok_or("refusals are not counted")?.parse()?)
}

type Heard = Arc<Mutex<Vec<Vec<u8>>>>;

/// A place that passes everything on to a node, and what each caller said there.
async fn listen_in(target: SocketAddr) -> Outcome<(SocketAddr, Heard)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (place, heard) = (listener.local_addr()?, Heard::default());
    let all = heard.clone();
    tokio::spawn(async move {
        while let Ok((caller, _)) = listener.accept().await {
            let all = all.clone();
            tokio::spawn(async move {
                let Ok(node) = TcpStream::connect(target).await else { return };
                let number = {
                    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                    all.push(Vec::new());
                    all.len() - 1
                };
                let ((mut from_caller, mut to_caller), (mut from_node, mut to_node)) =
                    (caller.into_split(), node.into_split());
                let answers = tokio::spawn(async move { tokio::io::copy(&mut from_node, &mut to_caller).await });
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = from_caller.read(&mut buffer).await {
                    all.lock().unwrap_or_else(PoisonError::into_inner)[number].extend_from_slice(&buffer[..count]);
                    if to_node.write_all(&buffer[..count]).await.is_err() {
                        break;
                    }
                }
                answers.abort();
            });
        }
    });
    Ok((place, heard))
}
