//! One of three nodes goes on by force without the others, over TCP and real files.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

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

/// Above all that a lost node could have seen.
const FIRST_EPOCH: u64 = 1 << 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_goes_on_alone_and_those_left_behind_refuse_to_serve() {
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
    for n in 0..50 {
        assert!(nodes[0].replicated::<Register>().unwrap().write(&n).await.unwrap());
    }
    nodes[0].barrier().await.unwrap();
    let refused = nodes[0].go_on_alone().await.unwrap_err();
    assert!(refused.to_string().contains("a leader is live"), "{refused}");

    nodes[1].stop().await;
    nodes[2].stop().await;
    until(&nodes[0], "no leader", |v| !v.leader_is_live).await;
    let ordered = tokio::time::timeout(Duration::from_secs(10), async {
        while nodes[0].go_on_alone().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    ordered.await.expect("silence makes it possible");
    nodes[0].stop().await;
    drop(nodes);

    let alone = start(0).await;
    until(&alone, "leads alone", |v| v.leader_is_live && v.members.len() == 1).await;
    let register = alone.replicated::<Register>().unwrap();
    assert_eq!(register.read(|r| r.0.len()).await.unwrap(), 50, "nothing that it had is lost");
    assert!(register.write(&1000).await.unwrap());
    assert!(alone.epoch().borrow().0 > FIRST_EPOCH);

    // The others would be a majority of what they know.
    let old = start(1).await;
    until(&old, "left behind", |v| v.stopped.as_ref().is_some_and(|why| why.contains("went on by force"))).await;
    old.stop().await;
    drop(old);

    // With its data set aside it joins anew, and counts again.
    std::fs::rename(directory.path().join("node-1"), directory.path().join("aside")).unwrap();
    let fresh = start(1).await;
    until(&fresh, "joined anew", |v| v.leader_is_live && v.members.iter().filter(|m| m.voter).count() == 2).await;
    assert_eq!(fresh.replicated::<Register>().unwrap().read(|r| r.0.len()).await.unwrap(), 51);
    for node in [alone, fresh] {
        node.stop().await;
    }
    // A second start does not go on alone again.
    let (one, other) = (start(0).await, start(1).await);
    until(&one, "both again", |v| v.leader_is_live && v.members.len() == 2).await;
    assert!(one.replicated::<Register>().unwrap().write(&1001).await.unwrap());
    drop(other);
}
