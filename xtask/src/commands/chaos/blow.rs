//! What happens to nodes: chosen by the seed, told as one sentence.

use std::collections::BTreeSet;

use serde_json::json;
use xtask::local_cluster::agreed_leader;

use crate::commands::random::Random;
use crate::commands::writers::Writers;

type Told = Result<String, Box<dyn std::error::Error>>;

/// Chooses blows, and knows which nodes are hurt.
pub(crate) struct Blows {
    pub(crate) random: Random,
    pub(crate) count: usize,
    size: usize,
    down: BTreeSet<usize>,
    frozen: BTreeSet<usize>,
}

impl Blows {
    pub(crate) fn new(seed: u64, size: usize) -> Self {
        Self { random: Random::new(seed), count: 0, size, down: BTreeSet::new(), frozen: BTreeSet::new() }
    }

    /// Hurts or heals one node. Now and then everybody is killed at once, and a majority may be gone for a while.
    pub(crate) async fn strike(&mut self, writers: &mut Writers) -> Told {
        self.count += 1;
        let hurt = self.down.len() + self.frozen.len();
        let minority = (self.size - 1) / 2;
        if hurt > 0 && (hurt > minority || self.random.once_in(2)) {
            return self.heal_one(writers).await;
        }
        if self.random.once_in(12) {
            return self.kill_all(writers).await;
        }
        let victim = self.victim(writers).await;
        match self.random.index(4) {
            0 => self.hand_over(writers, victim).await,
            1 => {
                writers.cluster.pause(victim).await?;
                self.frozen.insert(victim);
                Ok(format!("node-{victim} is frozen"))
            }
            _ => {
                writers.cluster.kill9(victim).await?;
                self.down.insert(victim);
                Ok(format!("node-{victim} is killed"))
            }
        }
    }

    /// Brings every node back.
    pub(crate) async fn heal_all(&mut self, writers: &mut Writers) -> Result<(), Box<dyn std::error::Error>> {
        while !(self.down.is_empty() && self.frozen.is_empty()) {
            self.heal_one(writers).await?;
        }
        Ok(())
    }

    async fn heal_one(&mut self, writers: &mut Writers) -> Told {
        if let Some(node) = self.frozen.pop_first() {
            writers.cluster.resume(node)?;
            return Ok(format!("node-{node} is woken"));
        }
        let Some(node) = self.down.pop_first() else { return Ok("nobody is hurt".to_owned()) };
        writers.restart(node)?;
        writers.write(&[node]).await?;
        Ok(format!("node-{node} is started again"))
    }

    async fn kill_all(&mut self, writers: &mut Writers) -> Told {
        writers.cluster.kill9_all().await?;
        self.frozen.clear();
        self.down = (1..=self.size).collect();
        Ok("all nodes are killed".to_owned())
    }

    /// A node that is well: the leader one time in two.
    async fn victim(&mut self, writers: &mut Writers) -> usize {
        let well: Vec<usize> =
            (1..=self.size).filter(|node| !self.down.contains(node) && !self.frozen.contains(node)).collect();
        let leader = agreed_leader(&writers.cluster.status().await).and_then(|id| writers.cluster.number_of(id));
        match leader {
            Some(leader) if self.random.once_in(2) => leader,
            _ => well[self.random.index(well.len())],
        }
    }

    async fn hand_over(&mut self, writers: &mut Writers, target: usize) -> Told {
        let to = writers.cluster.node(target).spec.node_id.clone();
        let told = match writers.cluster.http(target).post("/v1/cluster/transfer", &json!({"to": to})).await {
            Ok(answer) if answer.status == 200 => format!("leadership is handed to {to}"),
            Ok(answer) => format!("leadership is not handed to {to}: {}", answer.error_message()),
            Err(error) => format!("leadership is not handed to {to}: {error}"),
        };
        Ok(told)
    }
}
