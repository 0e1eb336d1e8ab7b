//! Packets of gossip, to be fed with anything.

use std::cell::RefCell;
use std::time::Duration;

use bytes::Bytes;
use ha_net::{Address, Incarnation, Peer};

use super::{Config, Gossip, Input, Output, Profile, ProgramVersion, Suffrage, Traits};
use crate::Role;
use crate::fuzzing::{Target, node};

/// How many packets one node takes before another one takes its place.
const PACKETS_PER_NODE: u64 = 64;

pub(crate) fn targets() -> Vec<Target> {
    vec![("gossip", packets(), packet)]
}

fn profile(name: &str) -> Profile {
    let version = ProgramVersion::new("0.1.0");
    let traits = Traits { priority: 100, role: Role::Member, version, suffrage: Suffrage::Voter, health: 100 };
    let address = Address::new(name, 7946).unwrap_or_else(|_| unreachable!("an address"));
    Profile { node_id: node(name), incarnation: Incarnation(2), address, traits }
}

fn gossip(name: &str) -> Gossip {
    Gossip::new(Config::new(Duration::from_millis(500)), profile(name), Duration::ZERO, 7)
}

/// What two nodes say to one another in their first seconds.
fn packets() -> Vec<Vec<u8>> {
    let mut nodes = [("n1", gossip("n1")), ("n2", gossip("n2"))];
    let Profile { node_id, incarnation, address, .. } = profile("n1");
    let mut inputs = vec![(1, Input::Learn(Peer { node_id, incarnation, address }))];
    let mut packets = Vec::new();
    for step in 0..400u64 {
        let now = Duration::from_millis(step * 10);
        if inputs.is_empty() {
            inputs = vec![(0, Input::Timer), (1, Input::Timer)];
        }
        let mut out = Vec::new();
        for (to, input) in std::mem::take(&mut inputs) {
            let _ = nodes[to].1.step(now, input, &mut out);
            for output in out.drain(..) {
                if let Output::Send { bytes, .. } = output {
                    packets.push(bytes.to_vec());
                    inputs.push((1 - to, Input::Received { from: node(nodes[to].0), bytes }));
                }
            }
        }
    }
    packets.sort();
    packets.dedup();
    packets
}

thread_local! {
    /// A node that takes packets, and how many it has taken.
    static NODE: RefCell<(Gossip, u64)> = RefCell::new((gossip("n2"), 0));
}

/// A packet of a peer, at a node that has taken others before.
fn packet(input: &[u8]) {
    NODE.with_borrow_mut(|(node, taken)| {
        if *taken == PACKETS_PER_NODE {
            (*node, *taken) = (gossip("n2"), 0);
        }
        *taken += 1;
        let mut out = Vec::new();
        let input = Input::Received { from: crate::fuzzing::node("n1"), bytes: Bytes::copy_from_slice(input) };
        let _ = node.step(Duration::from_millis(*taken * 20), input, &mut out);
        assert!(out.len() < 10_000, "one packet brings forth {} others", out.len());
    });
}
