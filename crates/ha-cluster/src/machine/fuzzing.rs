//! Commands and images of machines, to be fed with anything.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::batch::{Batch, Command, Outcome, decode_outcomes, encode_outcomes};
use super::host::Core;
use super::image::{self, Image};
use super::restoring::Restoring;
use super::session::{OpenSession, SessionId, Sessions};
use super::{Capture, MachineId, RestoreAll, RestorePart, SystemCommand};
use crate::codec;
use crate::fuzzing::{Target, node};
use crate::lease::RenewalId;

pub(crate) fn targets() -> Vec<Target> {
    vec![("commands", batches(), batch), ("cluster-command", commands(), command), ("state-image", images(), image)]
}

fn batches() -> Vec<Vec<u8>> {
    let command = |serial, machine| Command { serial, machine: MachineId(machine), body: Bytes::from_static(b"put") };
    let batch = Batch { session: SessionId(7), acknowledged_below: 3, commands: vec![command(3, 1), command(4, 0)] };
    let outcomes = [Outcome::Reply(Bytes::from_static(b"done")), Outcome::SessionExpired, Outcome::Overrun];
    vec![batch.encode().into(), encode_outcomes(&outcomes).into()]
}

fn batch(input: &[u8]) {
    if let Ok(batch) = Batch::decode(Bytes::copy_from_slice(input)) {
        assert_eq!(batch.encode(), input, "a batch reads back as it is");
    }
    if let Ok(outcomes) = decode_outcomes(Bytes::copy_from_slice(input)) {
        assert_eq!(encode_outcomes(&outcomes), input, "outcomes read back as they are");
    }
}

fn commands() -> Vec<Vec<u8>> {
    let part = RestorePart { attempt: 3, offset: 0, bytes: Bytes::from_static(b"part") };
    let all = RestoreAll { attempt: 3, length: 4, crc: 5, epoch: 9 };
    vec![
        codec::record(&SystemCommand::RestorePart(part)).into(),
        codec::record(&SystemCommand::Restore(all.clone())).into(),
        codec::record(&SystemCommand::RestoreEmpty(all)).into(),
        codec::record(&OpenSession { node: node("n1"), incarnation: 2 }).into(),
        codec::record(&RenewalId { incarnation: ha_net::Incarnation(2), number: 4 }).into(),
        codec::record(&Some(node("n1"))).into(),
    ]
}

fn command(input: &[u8]) {
    if let Ok(command) = codec::decode::<SystemCommand>(input) {
        assert_eq!(codec::decode(&codec::record(&command)).as_ref(), Ok(&command));
    }
    let _ = codec::decode::<RenewalId>(input);
    let _ = codec::decode::<Option<ha_net::NodeId>>(input);
}

fn images() -> Vec<Vec<u8>> {
    let lapsed = BTreeMap::from([(node("n1"), 4u64)]);
    let core = Core { epoch: 17, lapsed, ..Core::default() };
    let state: Capture = Box::new(std::iter::once(b"state".to_vec()));
    vec![Image::new(core, vec![(MachineId(2), state)]).pieces().collect::<Vec<_>>().concat()]
}

fn image(input: &[u8]) {
    let _ = image::parts(input);
    let _ = Sessions::decode(&mut &*input);
    let _ = Restoring::decode(&mut &*input);
}
