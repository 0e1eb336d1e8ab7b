//! What this node asks of other copies on behalf of its callers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ha_cluster::{AskError, Cluster, MemberRole, MemberState, NodeId, encoding};
use tokio::time::Instant;

use crate::error::refused;
use crate::gate::{LANE, ROOM};
use crate::held::majority;
use crate::message::{Ask, Found, Told};
use crate::replication::{Inner, Replication};
use crate::status::{Heard, NodeStatus};
use crate::{Change, Consistency, Key, ReadError, Record, ReplicateError, Status, Version};

/// How long another copy may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks other copies. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Remote {
    cluster: Cluster,
}

impl Remote {
    pub(crate) fn new(cluster: Cluster) -> Self {
        Self { cluster }
    }

    pub(crate) async fn get(&self, key: Key, level: Consistency) -> Result<Option<Record>, ReadError> {
        let found = self.read(&Ask::Get { key, level }).await?;
        Ok(found.into_iter().next())
    }

    pub(crate) async fn list(
        &self,
        data_type: &str,
        after: Option<Key>,
        limit: usize,
        level: Consistency,
    ) -> Result<Vec<Record>, ReadError> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        self.read(&Ask::List { data_type: data_type.to_owned(), after, limit, level }).await
    }

    /// Asks one copy after the other, the leader first, until one answers.
    async fn read(&self, ask: &Ask) -> Result<Vec<Record>, ReadError> {
        let mut reason = "there is no other copy that is alive".to_owned();
        for node in self.others() {
            match self.ask(&node, ask).await {
                Ok(Told::Records(Ok(found))) => {
                    let record = |Found { key, version, data, siblings }| Record { key, version, data, siblings };
                    return Ok(found.into_iter().map(record).collect());
                }
                Ok(Told::Records(Err(refused))) => reason = format!("{node}: {refused}"),
                Ok(_) => reason = format!("{node}: its answer cannot be read"),
                Err(error) => reason = format!("{node}: {error}"),
            }
        }
        Err(ReadError::Incomplete { reason })
    }

    pub(crate) async fn ask(&self, node: &NodeId, ask: &Ask) -> Result<Told, String> {
        let ask = encoding::encode(ask).map_err(|error| error.to_string())?;
        let answer = self.cluster.ask_room(node, LANE, ROOM, ask.into(), PATIENCE).await;
        encoding::decode(&answer.map_err(|error| error.to_string())?).map_err(|error| error.to_string())
    }

    /// Passes a write on to the node that takes writes.
    pub(crate) async fn pass_on(
        &self,
        master: &NodeId,
        change: Change,
    ) -> Result<(Version, BTreeSet<NodeId>), ReplicateError> {
        let unknown = |reason: String| ReplicateError::Unknown { reason };
        let ask = encoding::encode(&Ask::Take { change }).map_err(|error| refused(&error.to_string()))?;
        let answer = match self.cluster.ask_room(master, LANE, ROOM, ask.into(), PATIENCE).await {
            Ok(answer) => answer,
            Err(AskError::NotSent { reason }) => {
                return Err(refused(&format!("{master} takes writes, and was not reached: {reason}")));
            }
            Err(error) => return Err(unknown(format!("{master} takes writes: {error}"))),
        };
        match encoding::decode(&answer) {
            Ok(Told::Taken(taken)) => taken.map_err(Into::into),
            _ => Err(unknown(format!("{master} takes writes, and its answer cannot be read"))),
        }
    }

    fn others(&self) -> Vec<NodeId> {
        let view = self.cluster.watch().borrow().clone();
        let leader = view.leader.as_ref().map(|leader| &leader.node_id);
        let alive = view.members.iter().filter(|member| {
            member.node_id != view.node_id && member.role != MemberRole::Witness && member.state == MemberState::Alive
        });
        let mut others: Vec<NodeId> = alive.map(|member| member.node_id.clone()).collect();
        others.sort_by_key(|node| Some(node) != leader);
        others
    }

    /// As the leader sees it; while there is none, as this node does.
    pub(crate) async fn status(&self, inner: &Inner) -> Status {
        let view = self.cluster.watch().borrow().clone();
        if let Some(leader) = view.leader.as_ref().filter(|leader| leader.node_id != view.node_id)
            && let Ok(Told::Status(json)) = self.ask(&leader.node_id, &Ask::Status).await
            && let Ok(status) = serde_json::from_slice(&json)
        {
            return status;
        }
        Self::status_here(inner).await
    }

    /// As this node sees it.
    pub(crate) async fn status_here(inner: &Inner) -> Status {
        let view = inner.cluster.watch().borrow().clone();
        // A witness that leads shows as the leader; that it keeps no data is known where the log is.
        let held = inner.cluster.copies().now();
        let is_copy =
            |node: &NodeId| held.as_ref().and_then(|held| held.members.get(node)).is_none_or(|held| held.is_copy);
        let members = view.members.iter().filter(|member| member.role != MemberRole::Witness);
        let nodes: BTreeSet<NodeId> = members.map(|member| member.node_id.clone()).filter(is_copy).collect();
        inner.known.ask(&inner.cluster, &view.node_id, nodes.clone()).await;
        let (mut mine, now) = (inner.copy.report(), Instant::now());
        if let Some(loose) = &inner.loose {
            loose.tell_report(&mut mine, nodes.iter().filter(|node| **node != view.node_id).cloned().collect());
        }
        let sync = inner.copy.memory().agreed().sync.members.clone();
        let mut known = inner.known.lock();
        known.history.remember(now, mine.position.items);
        let (records, own) = (mine.records, mine.position);
        known.copies.insert(view.node_id.clone(), Heard { report: mine, at: now, answers: true, last: None });
        let changes = known.copies.values().map(|heard| heard.report.changes).max().unwrap_or(0);
        let newest = |of: fn(&Heard) -> u64| known.copies.values().map(of).max().unwrap_or(0);
        let newest = (newest(|heard| heard.report.position.items), newest(|heard| heard.report.position.bytes));
        let answering = nodes.iter().filter_map(|node| known.copies.get(node)).filter(|heard| heard.answers);
        let agreed = of_most(answering.map(|heard| heard.report.digest), nodes.len());
        let status = |node: NodeId| {
            let in_step = sync.contains(&node);
            let status = NodeStatus::new(node.clone(), known.copies.get(&node), newest, &known.history, now, in_step);
            if inner.quorum.is_some() {
                status.compared(agreed)
            } else if inner.loose.is_some() {
                status.with_pending(known.copies.values(), now)
            } else {
                status
            }
        };
        Status {
            mode: inner.config.mode.name().to_owned(),
            consistency: inner.config.consistency,
            master_node: Replication::master_of(inner),
            nodes: nodes.into_iter().map(status).collect(),
            replicated_items: newest.0.max(own.items).max(changes),
            records,
        }
    }
}

/// The digest that a majority of so many copies has.
fn of_most(digests: impl Iterator<Item = u64>, copies: usize) -> Option<u64> {
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    digests.for_each(|digest| *counts.entry(digest).or_default() += 1);
    counts.into_iter().find(|(_, count)| *count >= majority(copies)).map(|(digest, _)| digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_most_copies_hold_says_that_nothing_is_missing() {
        let of = |digests: &[u64]| of_most(digests.iter().copied(), 3);
        assert_eq!((of(&[5, 5, 7]), of(&[7, 5, 5])), (Some(5), Some(5)));
        assert_eq!((of(&[0]), of(&[0, 5]), of(&[1, 2, 3])), (None, None, None));
    }
}
