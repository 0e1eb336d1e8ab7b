//! Going on alone: the log of a cluster whose other voters are lost becomes that of one node.
//!
//! Two entries are written behind everything that this node holds: a membership of itself alone, and the new generation.
//! The consensus then elects its only voter, which commits all of it: also what was never acknowledged to anybody, and
//! not what was acknowledged elsewhere and never came here. To be done before the consensus starts, and by a person's
//! order only. The same is done by etcd's `--force-new-cluster`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use ha_net::NodeId;
use openraft::EntryPayload;
use tokio::sync::oneshot;

use super::codec::{VoteRecord, get, put, put_entry};
use super::types::{Entry, LogId, Membership, Payload, PeerRecord, Vote};
use crate::codec;
use crate::lineage::Fork;
use crate::machine::{Batch, Command, MachineId, SessionId, SystemCommand};
use crate::wal::{Record, Wal};

/// Writes both entries; they are durable when it returns, with what is known of the recovery. Harmless to repeat.
pub(crate) async fn go_on_alone(wal: &Wal, me: &NodeId, record: PeerRecord, generation: u64) -> io::Result<Fork> {
    let state = wal.state();
    let (index, last_term) = state.last.or(state.purged).unwrap_or_default();
    let vote = wal.hard_state().map(|bytes| get::<VoteRecord>(&bytes)).transpose();
    let vote = vote.map_err(io::Error::other)?.map(Vote::from);
    // Above every term that this node knows, so that nothing of the lost voters fits behind it.
    let term = vote.map_or(0, |vote| vote.leader_id.term).max(last_term) + 1;
    wal.save_hard_state(put(&VoteRecord::from(&Vote::new(term, me.clone())))).await?;

    let alone = Membership::new(vec![BTreeSet::from([me.clone()])], BTreeMap::from([(me.clone(), record)]));
    let alone = alone.map_err(|error| io::Error::other(error.to_string()))?;
    let body = codec::record(&SystemCommand::Recovered { generation });
    let command = Command { serial: 0, machine: MachineId::SYSTEM, body };
    let batch = Batch { session: SessionId::NONE, acknowledged_below: 0, commands: vec![command] };
    let entries = [EntryPayload::Membership(alone), EntryPayload::Normal(Payload(batch.encode()))];
    let records = (index + 1..).zip(entries).map(|(index, payload)| {
        let entry = Entry { log_id: LogId::new_term_index(term, index), payload };
        Record { index, term, payload: put_entry(&entry) }
    });
    let (done, durable) = oneshot::channel();
    wal.append(records.collect(), Box::new(move |result| drop(done.send(result))));
    durable.await.map_err(io::Error::other)??;
    Ok(Fork { generation, term: last_term, index, by: me.clone(), applied_at: None, forked_at: None })
}
