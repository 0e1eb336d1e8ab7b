//! The plays, by the scenario that each one plays.

mod chaos;
mod clocks;
mod crash;
mod disks;
mod formation;
mod identity;
mod members;
mod partition;
mod records;
mod roles;
mod sharing;
mod strangers;
mod transfer;
mod weather;

use super::{Scene, World};

const fn scene(name: &'static str, summary: &'static str, play: fn(&mut World)) -> Scene {
    Scene { name, summary, play }
}

/// All of them.
pub const ALL: &[Scene] = &[
    scene("T01", "the leader is killed under load, at any point of its lease", crash::leader_killed),
    scene("T02", "every node is killed at once and restarts in any order", crash::all_killed),
    scene("T08", "symmetric splits, the leader on either side, with and without a witness", partition::splits),
    scene("T09", "the leader is isolated from all", partition::leader_isolated),
    scene("T10", "the leader can send and not receive", partition::leader_deaf),
    scene("T11", "the leader can receive and not send", partition::leader_mute),
    scene("T12", "one node is the only bridge between the old leader and the others", partition::bridge),
    scene("T12-pair", "the leader and one follower do not hear each other", partition::pair_cut),
    scene("T13", "five nodes in a ring: each hears another majority", partition::ring),
    scene("T14", "a split in three, healed one link after another", partition::three_way_split),
    scene("T20", "1 %, 10 % and 30 % of packets are lost", weather::packets_lost),
    scene("T21", "everything that was sent is sent again, a minute later, by somebody else", strangers::replay),
    scene("T25", "the clocks of leases drift, and a machine sleeps", clocks::drift),
    scene("T27", "the disk fills up on a follower, on the leader, on all", disks::full),
    scene("T28", "a sync fails once", disks::sync_fails),
    scene("T29", "the disk of the leader stalls for 30 seconds", disks::leader_stalls),
    scene("T30", "power is lost, and with it what was not synced", disks::power_lost),
    scene("T30-votes", "everybody loses power just after votes were cast", disks::power_lost_after_votes),
    scene("T31", "power is lost in the middle of a write", disks::torn_writes),
    scene("T32", "bits flip in the files of a node", disks::bits_flip),
    scene("T33-log", "a node comes back without its log", disks::log_lost),
    scene("T33-copy", "a node comes back with an older copy of its disk", disks::older_copy),
    scene("T33-rewound", "a node comes back with a copy of its disk from earlier in the same life", disks::rewound),
    scene("T35", "a node comes back with its id and an empty disk", identity::empty_disk),
    scene("T36", "a removed node comes back and campaigns", identity::removed_node),
    scene("T36-leader", "the leader is removed", identity::removed_leader),
    scene("T39", "leadership is handed to a node that lags, dies or falls silent", transfer::to_the_unfit),
    scene("T40", "leadership is handed to a node that may not lead", transfer::to_the_ineligible),
    scene("T43", "members are added and removed amid crashes and cuts", members::replaced_under_fire),
    scene("T44", "two nodes join at once, and one never catches up", members::learner_left_behind),
    scene("T49", "seeds are down, wrong, or the node itself", formation::bad_seeds),
    scene("T50", "all nodes start at the same instant, in bad weather", formation::all_at_once),
    scene("T53", "random, oversized and truncated frames", strangers::garbage),
    scene("T05", "the machine of a lock's holder sleeps past the end of its lease", sharing::holder_sleeps),
    scene("T58", "a crowd waits for a lock, and its holder dies", sharing::storm),
    scene(
        "T60",
        "leadership changes just when a lock expires, to a leader whose clock is fast",
        sharing::leader_at_expiry,
    ),
    scene("shared", "keys and locks amid deaths and splits", sharing::deaths_and_splits),
    scene("shared-3", "keys and locks, and every kind of fault at random", sharing::chaos),
    scene("chaos-3", "every kind of fault at random, three nodes", chaos::three),
    scene("chaos-5", "every kind of fault at random, five nodes", chaos::five),
    scene("chaos-w", "every kind of fault at random, two nodes and a witness", chaos::witnessed),
    scene(
        "records-strong",
        "records on every copy, every kind of fault, clocks an hour off, three nodes",
        records::strong,
    ),
    scene(
        "records-quorum",
        "records on a majority, every kind of fault, clocks an hour off, five nodes",
        records::quorum,
    ),
    scene("records-w", "records on two nodes and a witness, every kind of fault", records::witnessed),
    scene("records-power", "power is lost under records", records::power_lost),
    scene("records-shared", "power is lost under many that write records", records::power_lost_amid_an_entry),
    scene("records-silent", "a copy in step falls silent, for a moment or for good", records::silent),
    scene("records-full", "disks fill up under records", records::full),
    scene("records-lost", "a copy loses its records, or finds them damaged", records::lost),
    scene("loose-5", "records without a leader, every kind of fault, five nodes", records::loose),
    scene("loose-clocks", "records without a leader, and times of day that are an hour off", records::clocks_off),
    scene("roles-3", "a service on one of three nodes, and every kind of fault at random", roles::three),
    scene("roles-w", "a service on one of two nodes with a witness, every kind of fault", roles::witnessed),
    scene("T03", "nodes are killed while a role is given or taken", roles::killed_in_callbacks),
    scene("T09-roles", "the primary is cut off, from all or in one direction", roles::primary_cut_off),
    scene(
        "T15",
        "two nodes and a witness: every link cut, then the witness and the primary lost",
        roles::around_a_witness,
    ),
    scene("T20-roles", "a tenth of all packets is lost, and the primary stays", roles::packets_lost),
    scene("T37", "all nodes are restarted in order, under load", roles::rolling_restart),
    scene("T39-roles", "leadership of the log moves, and the primary does not", roles::leader_moves),
    scene("T41", "a node of higher priority comes and goes, and roles return by themselves", roles::flapping),
    scene(
        "T61",
        "a master of records that no leader orders is cut off or dies, and another takes over",
        records::loose_master,
    ),
    scene("joint-torn", "writers of records that a majority holds are cut short", records::joint_torn),
    scene("T62", "a node is away for longer than deletions are remembered", records::away_for_long),
    scene(
        "joint-5",
        "records that a majority holds and no leader orders, every kind of fault, clocks an hour off",
        records::joint,
    ),
    scene("joint-lost", "a copy of records that a majority holds loses them", records::joint_lost),
    scene(
        "T63",
        "a majority of three is lost for a while, then for good, and one goes on by force",
        roles::quorum_lost_of_three,
    ),
    scene("T63-5", "the same with five nodes", roles::quorum_lost_of_five),
    scene("deaths", "processes die and machines lose power, one after another", chaos::deaths),
];
