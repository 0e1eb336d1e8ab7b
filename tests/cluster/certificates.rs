//! T55: certificates that must not be believed, and authorities that change while the cluster runs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use xtask::local_cluster::{Certificates, LocalCluster, Settings, wait_for};

use crate::strangers::is_refused;
use crate::support::{Outcome, ends_with_error, told_in_health};

const IDS: [&str; 4] = ["node-1", "node-2", "node-3", "node-4"];
/// Files are looked at every five seconds.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(20);
const RENEWED: &str = "the renewed certificate is in use";

#[tokio::test]
async fn only_certificates_of_the_authority_and_of_that_name_let_a_node_in() -> Outcome {
    let mut cluster = formed(365).await?;
    let here = certificates(&cluster, "certs", 365)?;
    let options = |cluster: &mut LocalCluster, of: [(String, String); 3]| {
        let own = &mut cluster.node_mut(4).spec.options;
        own.retain(|name, _| !name.starts_with("CLUSTER_TLS"));
        own.extend(of);
    };
    // None at all: plaintext is refused.
    is_refused(&mut cluster, &["CLUSTER_TLS_CERT"]).await?;
    ended(&mut cluster).await;
    // Of another authority.
    let elsewhere = certificates(&cluster, "elsewhere", 365)?;
    let mut foreign = elsewhere.options("node-4");
    foreign[2] = here.options("node-4")[2].clone();
    options(&mut cluster, foreign);
    ends_with_error(&mut cluster, 4, &["not signed by one of the authorities"]).await?;
    options(&mut cluster, elsewhere.options("node-4"));
    is_refused(&mut cluster, &["CLUSTER_TLS_C"]).await?;
    ended(&mut cluster).await;
    // Of another node.
    options(&mut cluster, here.options("node-3"));
    is_refused(&mut cluster, &["names neither", "node-4"]).await?;
    ended(&mut cluster).await;
    // Its own, at last: it joins.
    options(&mut cluster, here.options("node-4"));
    cluster.node_mut(4).start()?;
    let leader = cluster.wait_leader().await?;
    wait_for("the right one joining", RELOAD_TIMEOUT, async || {
        let members = cluster.http(leader).members().await.map_err(|error| error.to_string())?;
        members.iter().any(|member| member.node_id == "node-4").then_some(()).ok_or(format!("{members:?}"))
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn the_end_of_a_certificate_is_told_two_weeks_ahead() -> Outcome {
    let mut cluster = LocalCluster::prepare(Settings::new(1))?;
    let certificates = certificates(&cluster, "certs", 10)?;
    cluster.node_mut(1).spec.options.extend(certificates.options("node-1"));
    cluster.node_mut(1).start()?;
    told_in_health(&cluster, 1, &["certificate", "degraded"]).await?;
    let metrics = cluster.http(1).get("/metrics").await?.body;
    let left = metrics.lines().find_map(|line| line.strip_prefix("ha_net_certificate_left_seconds "));
    let days = left.and_then(|left| left.parse::<f64>().ok()).ok_or("no time is told")? / 86_400.0;
    assert!((9.0..=10.0).contains(&days), "{days} days are left");
    assert!(cluster.node(1).log_text().contains("ends soon"), "{}", cluster.node(1).log_tail());
    Ok(())
}

/// With overlap: both authorities, then certificates of the new one, then the new one alone.
#[tokio::test]
async fn an_authority_follows_another_while_the_cluster_runs() -> Outcome {
    let mut cluster = formed(365).await?;
    let leader = cluster.wait_leader().await?;
    let term = term(&cluster, leader).await?;
    let (old, new) = (certificates(&cluster, "certs", 365)?, certificates(&cluster, "next", 365)?);
    let both = [fs::read(old.path("ca.crt"))?, fs::read(new.path("ca.crt"))?].concat();
    let steps: [&dyn Fn() -> std::io::Result<()>; 3] = [
        &|| replace(&old.path("ca.crt"), &both),
        &|| {
            for file in IDS.iter().flat_map(|id| [format!("{id}.crt"), format!("{id}.key")]) {
                replace(&old.path(&file), &fs::read(new.path(&file))?)?;
            }
            Ok(())
        },
        &|| replace(&old.path("ca.crt"), &fs::read(new.path("ca.crt"))?),
    ];
    let follower = leader % 3 + 1;
    for (index, step) in steps.into_iter().enumerate() {
        step()?;
        wait_for("renewed files in use everywhere", RELOAD_TIMEOUT, async || {
            let renewed = |number: usize| cluster.node(number).log_text().matches(RENEWED).count() > index;
            (1..=3).all(renewed).then_some(()).ok_or_else(|| "not yet".to_owned())
        })
        .await?;
    }
    // New connections, both ways, under the new authority alone.
    cluster.kill9(follower).await?;
    cluster.restart(follower)?;
    cluster.wait_leader_among(&[1, 2, 3]).await?;
    assert_eq!(cluster.wait_leader_among(&[1, 2, 3]).await?, leader, "the leader moved");
    assert_eq!(self::term(&cluster, leader).await?, term, "the leader was elected anew");
    Ok(())
}

/// The fourth node, which may have ended by itself.
async fn ended(cluster: &mut LocalCluster) {
    let _ = cluster.kill9(4).await;
}

async fn term(cluster: &LocalCluster, node: usize) -> Outcome<Option<u64>> {
    let health = cluster.http(node).get("/health").await?.json();
    Ok(health.pointer("/ha_details/cluster_info/term").and_then(serde_json::Value::as_u64))
}

/// The certificates of all in a folder of that name; the ones that are there already, when there are.
fn certificates(cluster: &LocalCluster, folder: &str, days: u32) -> Outcome<Certificates> {
    let folder = cluster.directory().join(folder);
    let program = &cluster.node(1).spec.binary;
    if folder.exists() {
        return Ok(Certificates::at(program, &folder));
    }
    Ok(Certificates::create(program, &folder, &IDS, days)?)
}

/// Three of four nodes, with certificates.
async fn formed(days: u32) -> Outcome<LocalCluster> {
    let settings = Settings::new(4).with("HA_MIN_NODES", "3").with("HA_QUORUM_SIZE", "2");
    let mut cluster = LocalCluster::prepare(settings)?;
    let certificates = certificates(&cluster, "certs", days)?;
    for number in 1..=3 {
        cluster.node_mut(number).spec.options.extend(certificates.options(&format!("node-{number}")));
        cluster.node_mut(number).start()?;
    }
    cluster.wait_leader_among(&[1, 2, 3]).await?;
    Ok(cluster)
}

/// As a careful person does: whole, or not yet.
fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let draft = path.with_extension("draft");
    fs::write(&draft, content)?;
    fs::rename(draft, path)
}
