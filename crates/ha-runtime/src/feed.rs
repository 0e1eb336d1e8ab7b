//! What one room tells another: how fit this node is, from its components and its copy, to the roles; what becomes of
//! roles, to the stream of events.

use std::sync::Arc;
use std::time::Duration;

use ha_cluster::{Event, Events, NodeId};
use ha_failover::{FailoverStatus, Fitness, GroupId, RoleId};
use ha_health::{Health, OverallHealth, Status};
use ha_replication::{CopyState, NodeStatus, Replication};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

use crate::{ClusterHandle, FailoverHandle, ReplicationHandle};

/// Starts to tell. Each task ends with the room that it listens to.
pub(crate) fn start(
    interval: Duration,
    cluster: &ClusterHandle,
    failover: &FailoverHandle,
    health: &Health,
    replication: &ReplicationHandle,
) {
    if !failover.enabled() {
        return;
    }
    if let Ok(replication) = replication.running() {
        tokio::spawn(name_master(failover.watch(), replication.clone()));
    }
    tokio::spawn(pass_on(failover.events(), cluster.event_stream()));
    let me = cluster.view().node_id.clone();
    let (failover, components, replication) = (failover.clone(), health.watch(), replication.clone());
    tokio::spawn(async move {
        let mut components = components;
        let mut copy = Copy { in_sync: true, lag_items: 0 };
        loop {
            let fitness = fitness(&components.borrow_and_update(), &copy);
            failover.tell_fitness(fitness);
            tokio::select! {
                changed = components.changed() => if changed.is_err() { return },
                // Asked of the leader; while there is none, what was known last still holds.
                known = look(&replication, &me, interval) => copy = known.unwrap_or(copy),
            }
        }
    });
}

/// Tells the records who their master is: the primary of the one service there is. Where that is cut into shards, each
/// with a primary of its own, the leader stays the master.
async fn name_master(mut roles: watch::Receiver<Arc<FailoverStatus>>, replication: Replication) {
    loop {
        let status = roles.borrow_and_update().clone();
        if let Some(master) = master(&status) {
            replication.name_master(master);
        }
        if roles.changed().await.is_err() {
            return;
        }
    }
}

/// Who is the master, if the roles say it: nobody, too, is an answer.
fn master(status: &FailoverStatus) -> Option<Option<NodeId>> {
    let service = RoleId::from(GroupId::default());
    status.roles.iter().any(|role| role.role == service).then(|| status.primary_node.clone())
}

/// How this node's copy of the records is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Copy {
    in_sync: bool,
    lag_items: u64,
}

/// How often a node looks at its copy at most: the leader is asked each time.
const LOOK_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Looks at this node's copy after a while; `None` when it cannot be known now.
async fn look(replication: &ReplicationHandle, me: &NodeId, interval: Duration) -> Option<Copy> {
    let interval = interval.max(LOOK_INTERVAL_MIN);
    tokio::time::sleep(interval).await;
    let status = tokio::time::timeout(interval, replication.status()).await.ok()??;
    status.nodes.iter().find(|node| node.node_id == *me).map(copy)
}

fn copy(node: &NodeStatus) -> Copy {
    let in_sync = matches!(node.state, CopyState::InStep | CopyState::Complete);
    Copy { in_sync, lag_items: node.lag_items.unwrap_or(0) }
}

fn fitness(components: &OverallHealth, copy: &Copy) -> Fitness {
    let broken = components.components.iter().find(|one| one.critical && one.status == Status::Unhealthy);
    let reason = broken.map(|component| {
        let why = component.message.as_deref().map_or(String::new(), |message| format!(": {message}"));
        format!("{} is unhealthy{why}", component.name)
    });
    // The failures of a component were counted where it is checked.
    Fitness { healthy: broken.is_none(), reason, in_sync: copy.in_sync, lag_items: copy.lag_items, is_counted: true }
}

/// Tells what happens in one room in the stream of all.
async fn pass_on(mut from: broadcast::Receiver<Event>, to: Events) {
    loop {
        match from.recv().await {
            Ok(Event { kind, message, .. }) => to.pass_on(kind, message),
            Err(RecvError::Lagged(missed)) => to.pass_on("failover", format!("{missed} events were missed")),
            Err(RecvError::Closed) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use ha_cluster::Epoch;
    use ha_failover::{RoleState, RoleStatus};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_an_unhealthy_critical_component_makes_a_node_unfit() {
        let copy = Copy { in_sync: false, lag_items: 7 };
        let health = ha_health::start(ha_health::Config::default()).unwrap();
        for (name, critical, failures, fit) in
            [("other", false, 1, true), ("shaky", true, 1000, true), ("needed", true, 1, false)]
        {
            let component = health.component(name).failures(failures);
            let component = if critical { component.critical() } else { component };
            component.check(|| async { Err::<(), _>("it is gone") }).unwrap();
            // The first check comes at once, the next one after half a minute.
            tokio::time::sleep(Duration::from_secs(1)).await;
            let fitness = fitness(&health.overall(), &copy);
            assert_eq!((fitness.healthy, fitness.in_sync, fitness.lag_items), (fit, false, 7), "{name}");
            assert_eq!(fitness.reason.is_none(), fit);
        }
        let reason = fitness(&health.overall(), &copy).reason.unwrap();
        assert_eq!(reason, "needed is unhealthy: it is gone");
    }

    #[test]
    fn the_primary_of_the_one_service_is_the_master_and_that_of_a_shard_is_not() {
        let status = |roles: &[&str]| {
            let role = |role: &&str| RoleStatus {
                role: role.parse().unwrap(),
                state: RoleState::Active,
                node: Some("node-2".parse().unwrap()),
                epoch: Epoch(7),
                waiting_for: None,
            };
            let off = FailoverHandle::off().status();
            FailoverStatus { roles: roles.iter().map(role).collect(), primary_node: None, ..off }
        };
        assert_eq!(master(&status(&[])), None);
        assert_eq!(master(&status(&["default", "orders"])), Some(None), "nobody is, for now");
        assert_eq!(master(&status(&["default/0", "default/1"])), None, "the leader stays the master");
        let primary_node = Some("node-2".parse().unwrap());
        let named = FailoverStatus { primary_node: primary_node.clone(), ..status(&["default"]) };
        assert_eq!(master(&named), Some(primary_node));
    }

    #[test]
    fn a_copy_that_fetches_is_not_in_sync() {
        let node = |state| NodeStatus {
            node_id: "node-1".parse().unwrap(),
            lag_items: Some(3),
            lag_bytes: None,
            lag_seconds: None,
            state,
            trouble: None,
            digest: None,
        };
        assert_eq!(copy(&node(CopyState::Complete)), Copy { in_sync: true, lag_items: 3 });
        assert!(!copy(&node(CopyState::Fetching)).in_sync);
    }
}
