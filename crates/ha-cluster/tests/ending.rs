//! The consensus of one of three nodes ends by itself, over TCP and real files.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ha_cluster::{Applied, Capture, Cluster, Machine, MachineId, Machines, Seams, TransferError};

use support::{config, until};

/// Counts, until it is broken.
#[derive(Default)]
struct Counter {
    count: u64,
    is_broken: Arc<AtomicBool>,
}

impl Machine for Counter {
    const ID: MachineId = MachineId(1);
    const NAME: &'static str = "counter";
    type Command = ();
    type Reply = u64;

    fn apply(&mut self, _at: Applied, (): ()) -> u64 {
        assert!(!self.is_broken.load(Ordering::Relaxed), "the counter is broken");
        self.count += 1;
        self.count
    }

    fn capture(&self) -> Capture {
        Box::new(std::iter::once(self.count.to_le_bytes().to_vec()))
    }

    fn restore(&mut self, image: &[u8]) -> Result<(), String> {
        self.count = u64::from_le_bytes(image.try_into().expect("eight bytes"));
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_consensus_ends_by_itself_gives_its_lease_up_and_says_that_it_is_unfit() {
    let directory = tempfile::tempdir().unwrap();
    let addresses = ha_net::loopback::addresses(3).expect("test ports");
    let breaks: Vec<Arc<AtomicBool>> = (0..3).map(|_| Arc::default()).collect();
    let mut nodes = Vec::new();
    for (index, is_broken) in breaks.iter().enumerate() {
        let machines = Machines::new().with(Counter { count: 0, is_broken: is_broken.clone() });
        let config = config(&addresses, index, directory.path());
        nodes.push(ha_cluster::start(config, Seams::default(), machines).await.unwrap());
    }
    for node in &nodes {
        until(node, "healthy", |v| v.info().is_healthy && v.members.len() == 3).await;
    }
    until(&nodes[0], "a leader", |v| v.leader.is_some()).await;
    let leader = nodes[0].leader().unwrap().node_id;
    let is_leader = |node: &&Cluster| node.watch().borrow().node_id == leader;
    let (leads, follows) = (nodes.iter().find(is_leader).unwrap(), nodes.iter().position(|n| !is_leader(&n)).unwrap());
    let broken = &nodes[follows];
    for _ in 0..500 {
        if broken.lease().is_held() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(broken.lease().is_held());

    breaks[follows].store(true, Ordering::Relaxed);
    let counter = leads.replicated::<Counter>().unwrap();
    counter.write(&()).await.unwrap();
    until(broken, "its end", |v| v.stopped.is_some()).await;
    assert!(!broken.lease().is_held(), "given up before it is over");
    let stopped = broken.watch().borrow().stopped.clone().unwrap();
    assert!(stopped.starts_with("the consensus of this node has ended: "), "{stopped}");
    assert!(stopped.ends_with(". Mend what caused it, then start this node again"), "{stopped}");

    let unfit = broken.watch().borrow().node_id.clone();
    let refused = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            match leads.transfer_leader(Some(unfit.clone())).await {
                Err(TransferError::NotReady { reason, .. }) => break reason,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    });
    let reason = refused.await.expect("it is not ready");
    assert!(reason.contains("it is not healthy"), "{reason}");
    assert!(!broken.lease().is_held(), "and never renewed");
    counter.write(&()).await.unwrap();
    for node in &nodes {
        node.stop().await;
    }
}
