//! Three whole nodes in one process, over TCP and real files.

mod support;

use std::collections::BTreeSet;

use ha_cluster::{Applied, Capture, Machine, MachineId, Machines, Seams};

use support::{config, until};

#[derive(Default)]
struct Register(BTreeSet<u64>);

impl Machine for Register {
    const ID: MachineId = MachineId(1);
    const NAME: &'static str = "register";
    type Command = u64;
    type Reply = bool;

    fn apply(&mut self, _at: Applied, command: u64) -> bool {
        self.0.insert(command)
    }

    fn capture(&self) -> Capture {
        let values = self.0.clone();
        Box::new(values.into_iter().map(|value| value.to_le_bytes().to_vec()))
    }

    fn restore(&mut self, image: &[u8]) -> Result<(), String> {
        self.0 = image.chunks_exact(8).map(|c| u64::from_le_bytes(c.try_into().expect("eight bytes"))).collect();
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_form_agree_move_leadership_and_survive_a_restart_of_all() {
    if std::env::var_os("HA_LOG").is_some() {
        tracing_subscriber::fmt().with_test_writer().with_max_level(tracing::Level::INFO).init();
    }
    let directory = tempfile::tempdir().unwrap();
    let addresses = ha_net::loopback::addresses(3).expect("test ports");
    let start = async |index| {
        let machines = Machines::new().with(Register::default());
        ha_cluster::start(config(&addresses, index, directory.path()), Seams::default(), machines).await.unwrap()
    };
    let nodes = [start(0).await, start(1).await, start(2).await];
    for node in &nodes {
        until(node, "healthy", |v| v.info().is_healthy && v.members.len() == 3).await;
    }
    let ids: BTreeSet<_> = nodes.iter().map(|n| n.watch().borrow().cluster_id).collect();
    assert_eq!(ids.len(), 1);

    for (index, node) in nodes.iter().enumerate() {
        let register = node.replicated::<Register>().unwrap();
        for n in 0..50 {
            assert!(register.write(&(index as u64 * 1000 + n)).await.unwrap());
        }
        assert!(register.read(|r| r.0.len()).await.unwrap() >= 50 * (index + 1));
    }

    let leader = nodes[0].leader().unwrap().node_id;
    let moved = nodes[0].transfer_leader(None).await.unwrap();
    assert_ne!(moved.node_id, leader);
    until(&nodes[0], "the new leader", |v| v.leader.as_ref() == Some(&moved)).await;
    assert!(nodes[0].replicated::<Register>().unwrap().write(&5000).await.unwrap());

    // Who would rather not lead any more says so while it runs, and hands over.
    let leading = nodes.iter().find(|node| node.watch().borrow().node_id == moved.node_id).unwrap();
    leading.set_priority(0).await.unwrap();
    for node in &nodes {
        let of_it = |view: &ha_cluster::View| {
            view.members.iter().find(|member| member.node_id == moved.node_id).map(|member| member.priority)
        };
        until(node, "the new priority", |v| of_it(v) == Some(0)).await;
        until(node, "another leader", |v| v.leader_is_live && v.leader.as_ref() != Some(&moved)).await;
    }
    assert!(leading.event_stream().last().iter().any(|event| event.kind == "priority"));
    leading.set_priority(100).await.unwrap();
    assert!(leading.disk_times().count > 0);

    for node in &nodes {
        node.stop().await;
    }
    drop(nodes);
    let nodes = [start(0).await, start(1).await, start(2).await];
    for node in &nodes {
        until(node, "healthy again", |v| v.info().is_healthy).await;
        assert_eq!(node.replicated::<Register>().unwrap().read(|r| r.0.len()).await.unwrap(), 151);
    }
}
