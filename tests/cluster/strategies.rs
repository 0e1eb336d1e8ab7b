//! Many roles: shards and groups are spread over the nodes, only those of a node that dies move, and none is ever owned
//! twice.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use xtask::local_cluster::{LEADER_TIMEOUT, LocalCluster, Settings, wait_for};

use crate::support::Outcome;

/// Where each role runs, and in which epoch.
type Places = BTreeMap<String, (usize, u64)>;

struct Play {
    cluster: LocalCluster,
    /// Who was seen to own a role in an epoch.
    owners: BTreeMap<(String, u64), usize>,
}

impl Play {
    async fn begin(strategy: &str) -> Outcome<Self> {
        let settings = Settings::new(3).with("FAILOVER_ENABLED", "true").with("HA_STRATEGY", strategy);
        let cluster = LocalCluster::start(settings).await?;
        cluster.wait_formed().await?;
        Ok(Self { cluster, owners: BTreeMap::new() })
    }

    /// What these nodes own, each by its own word.
    async fn look(&mut self, nodes: &[usize]) -> Result<Places, String> {
        let mut places = Places::new();
        for number in nodes {
            let status = self.cluster.http(*number).get_json::<Value>("/v1/failover").await;
            let status = status.map_err(|error| error.to_string())?;
            let texts = |key: &str| status[key].as_array().cloned().unwrap_or_default();
            for role in texts("here") {
                let known = texts("roles").into_iter().find(|known| known["role"] == role);
                let epoch = known.and_then(|known| known["epoch"].as_u64()).unwrap_or_default();
                let role = role.as_str().unwrap_or_default().to_owned();
                let owner = *self.owners.entry((role.clone(), epoch)).or_insert(*number);
                assert_eq!(owner, *number, "{role} of epoch {epoch} is owned twice");
                // Of one that moved between two questions, the later epoch.
                let place = places.entry(role).or_insert((*number, epoch));
                *place = if place.1 > epoch { *place } else { (*number, epoch) };
            }
        }
        Ok(places)
    }

    /// Waits until these nodes own so many roles: where nobody came or went, as evenly as can be. (Whoever is doubted in
    /// the moment in which roles are given away gets none, and what runs is not moved for balance at once.)
    async fn owned(&mut self, nodes: &[usize], roles: usize, is_even: bool) -> Outcome<Places> {
        let deadline = tokio::time::Instant::now() + LEADER_TIMEOUT;
        loop {
            let places = self.look(nodes).await?;
            let loads: Vec<usize> =
                nodes.iter().map(|node| places.values().filter(|(owner, _)| owner == node).count()).collect();
            let evenly = loads.iter().all(|load| (roles / nodes.len()..=roles.div_ceil(nodes.len())).contains(load));
            if places.len() == roles && (evenly || !is_even) {
                return Ok(places);
            }
            assert!(tokio::time::Instant::now() < deadline, "{roles} roles are not owned: {places:?}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Kills the first node: what it had moves to the others, and nothing else does.
    async fn lose_one(&mut self, before: &Places) -> Outcome {
        self.cluster.kill9(1).await?;
        let after = self.owned(&[2, 3], before.len(), false).await?;
        for (role, place) in before.iter().filter(|(_, (owner, _))| *owner != 1) {
            assert_eq!(after.get(role), Some(place), "{role} moved without need");
        }
        for (role, (_, epoch)) in before.iter().filter(|(_, (owner, _))| *owner == 1) {
            assert!(after[role].1 > *epoch, "{role} moved without a new token");
        }
        Ok(())
    }

    async fn post(&self, path: &str, body: &Value) -> Outcome<Value> {
        let answer = self.cluster.http(2).post(path, body).await?;
        assert_eq!(answer.status, 200, "{path}: {}", answer.error_message());
        Ok(answer.json())
    }
}

#[tokio::test]
async fn every_node_is_active_and_only_the_shards_of_a_dead_one_move() -> Outcome {
    let mut play = Play::begin("active_active").await?;
    let before = play.owned(&[1, 2, 3], 16, true).await?;
    for number in 1..=3 {
        let status = play.cluster.http(number).get("/health/primary").await?.status;
        assert_eq!(status, 200, "node {number} runs shards");
        let shard = play.cluster.http(number).get("/health/primary?group=default/3").await?.status;
        assert_eq!(shard == 200, before["default/3"].0 == number, "node {number} and shard 3");
    }
    let refused = play.cluster.http(2).post("/v1/failover/failback", &json!({})).await?;
    assert!(refused.status == 409 && refused.error_message().contains("default/0"), "{}", refused.error_message());
    play.post("/v1/failover/failback", &json!({"role": "default/3"})).await?;
    play.lose_one(&before).await
}

#[tokio::test]
async fn groups_are_spread_and_only_those_of_a_dead_node_move() -> Outcome {
    let mut play = Play::begin("distributed").await?;
    for number in 1..=8 {
        play.post("/v1/failover/groups", &json!({"group": format!("service-{number}")})).await?;
    }
    // To add one again does no harm.
    play.post("/v1/failover/groups", &json!({"group": "service-1"})).await?;
    let before = play.owned(&[1, 2, 3], 9, true).await?;
    play.lose_one(&before).await?;
    // A person moves one of many.
    let place = play.look(&[2, 3]).await?["service-1"];
    let to = play.cluster.node(5 - place.0).spec.node_id.clone();
    let moved = play.post("/v1/failover/switchover", &json!({"to": to, "role": "service-1"})).await?;
    assert_eq!(moved["primary_node"], json!(to));
    wait_for("the other node owning it", LEADER_TIMEOUT, async || {
        let answer = play.cluster.http(5 - place.0).get("/health/primary?group=service-1").await;
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.status == 200 { Ok(()) } else { Err(answer.error_message()) }
    })
    .await?;
    Ok(())
}
