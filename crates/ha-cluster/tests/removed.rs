//! A member is removed while it is away, over TCP and real files.

mod support;

use ha_cluster::{Machines, Seams};

use support::{config, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_removed_while_it_was_away_stays_out_although_all_others_have_started_anew() {
    let directory = tempfile::tempdir().unwrap();
    let addresses = ha_net::loopback::addresses(3).expect("test ports");
    let start = async |index| {
        let config = config(&addresses, index, directory.path());
        ha_cluster::start(config, Seams::default(), Machines::new()).await.unwrap()
    };
    let nodes = [start(0).await, start(1).await, start(2).await];
    for node in &nodes {
        until(node, "healthy", |v| v.info().is_healthy && v.members.len() == 3).await;
    }
    nodes[2].stop().await;
    let gone = addresses[2].port();
    let is_led = |v: &ha_cluster::View| v.leader_is_live && v.leader.as_ref().is_some_and(|l| l.port != gone);
    until(&nodes[0], "a live leader", is_led).await;
    nodes[0].remove("node-2".parse().unwrap()).await.unwrap();
    for node in &nodes {
        node.stop().await;
    }
    drop(nodes);

    let nodes = [start(0).await, start(1).await];
    for node in &nodes {
        until(node, "healthy again", |v| v.info().is_healthy && v.members.len() == 2).await;
    }
    let removed = start(2).await;
    until(&removed, "its end", |v| v.stopped.is_some()).await;
    let stopped = removed.watch().borrow().stopped.clone().unwrap();
    let told = "node-2 was removed from this cluster: to join anew, give it an empty data directory and another id";
    assert_eq!(stopped, told);
    removed.stop().await;
    drop(removed);
    assert_eq!(nodes[0].members().len(), 2);

    let mut anew = config(&addresses, 2, directory.path());
    anew.node_id = Some("node-3".parse().unwrap());
    anew.data_dir = directory.path().join("node-3");
    let fresh = ha_cluster::start(anew, Seams::default(), Machines::new()).await.unwrap();
    until(&fresh, "joined anew", |v| v.leader_is_live && v.members.iter().filter(|m| m.voter).count() == 3).await;
    for node in nodes.iter().chain([&fresh]) {
        node.stop().await;
    }
}
