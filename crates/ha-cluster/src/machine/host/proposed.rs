//! What other nodes propose, before it is in the log: an entry that cannot be applied would stop every node, for good.

use bytes::Bytes;
use ha_net::NodeId;

use super::{Host, SystemCommand};
use crate::codec;
use crate::machine::{BATCH_BYTES_MAX, Batch, COMMAND_BYTES_MAX, EPOCH_MAX, MachineId};

/// Why a batch of another node is not taken into the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("the leader does not understand the batch: upgrade the leader")]
    Batch,
    #[error("a batch or a command is longer than the {max} bytes that are accepted")]
    TooLarge { max: usize },
    #[error("the leader does not have machine {machine}: every node must run the same program")]
    Machine { machine: u8 },
    #[error("the leader cannot read a command for {machine}: upgrade the leader")]
    Command { machine: &'static str },
    #[error("a command of the cluster itself asks for what only the leader may, or for a number beyond belief")]
    System,
}

impl Host {
    /// Whether every node can apply what this one proposes. What this node itself proposes needs no check: its types do.
    pub(crate) fn check_proposed(&self, from: &NodeId, batch: &Bytes) -> Result<(), Unfit> {
        if batch.len() > BATCH_BYTES_MAX {
            return Err(Unfit::TooLarge { max: BATCH_BYTES_MAX });
        }
        let batch = Batch::decode(batch.clone()).map_err(|_| Unfit::Batch)?;
        for command in &batch.commands {
            if command.body.len() > COMMAND_BYTES_MAX {
                return Err(Unfit::TooLarge { max: COMMAND_BYTES_MAX });
            }
            if command.machine == MachineId::SYSTEM {
                check_system(from, &command.body)?;
                continue;
            }
            let machine = self.machines.get(&command.machine);
            let machine = machine.ok_or(Unfit::Machine { machine: command.machine.0 })?;
            machine.can_read(&command.body).map_err(|_| Unfit::Command { machine: machine.name() })?;
        }
        Ok(())
    }
}

fn check_system(from: &NodeId, body: &Bytes) -> Result<(), Unfit> {
    let command = codec::decode(body).map_err(|_| Unfit::Command { machine: "the cluster" })?;
    let fits = match command {
        SystemCommand::OpenSession(open) => open.node == *from,
        SystemCommand::RestorePart(_) => true,
        SystemCommand::Restore(all) | SystemCommand::RestoreEmpty(all) => all.epoch <= EPOCH_MAX,
        // The leader proposes the first by itself, and a forced recovery writes the other one.
        SystemCommand::ExpireLease { .. } | SystemCommand::Recovered { .. } => false,
    };
    if fits { Ok(()) } else { Err(Unfit::System) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{
        Applied, Capture, Command, Machine, Machines, OpenSession, RestoreAll, RestorePart, SessionId,
    };

    struct Counter;

    impl Machine for Counter {
        const ID: MachineId = MachineId(7);
        const NAME: &'static str = "counter";
        type Command = String;
        type Reply = ();

        fn apply(&mut self, _: Applied, _: String) {}

        fn capture(&self) -> Capture {
            Box::new(std::iter::empty())
        }

        fn restore(&mut self, _: &[u8]) -> Result<(), String> {
            Ok(())
        }
    }

    fn batch(machine: u8, body: Bytes) -> Bytes {
        let commands = vec![Command { serial: 1, machine: MachineId(machine), body }];
        Batch { session: SessionId(1), acknowledged_below: 0, commands }.encode()
    }

    #[test]
    fn only_what_every_node_can_apply_is_taken_from_another() {
        let host = Host::new(Machines::new().with(Counter), false);
        let from: NodeId = "b".parse().unwrap();
        let check = |batch: Bytes| host.check_proposed(&from, &batch);
        let system = |command: SystemCommand| check(batch(0, codec::record(&command)));
        let long = "x".repeat(COMMAND_BYTES_MAX - 16);
        let word = codec::record(&"one".to_owned());
        assert_eq!(check(batch(7, word.clone())), Ok(()));
        assert_eq!(check(batch(7, codec::encode(&long).unwrap())), Ok(()), "the longest command there is");
        assert_eq!(check(Bytes::from_static(b"no batch")), Err(Unfit::Batch));
        assert_eq!(check(batch(7, word.slice(1..))), Err(Unfit::Command { machine: "counter" }));
        assert_eq!(check(batch(8, word)), Err(Unfit::Machine { machine: 8 }));
        let too_long = Bytes::from(vec![0; COMMAND_BYTES_MAX + 1]);
        assert_eq!(check(batch(7, too_long.clone())), Err(Unfit::TooLarge { max: COMMAND_BYTES_MAX }));
        assert_eq!(
            check([too_long.clone(), too_long].concat().into()),
            Err(Unfit::TooLarge { max: BATCH_BYTES_MAX }),
            "no append message could carry it"
        );
        assert_eq!(check(batch(0, Bytes::from_static(b"\xff"))), Err(Unfit::Command { machine: "the cluster" }));
        let open = |node: &str| SystemCommand::OpenSession(OpenSession { node: node.parse().unwrap(), incarnation: 3 });
        assert_eq!((system(open("b")), system(open("c"))), (Ok(()), Err(Unfit::System)));
        let all = |epoch| RestoreAll { attempt: 1, length: 0, crc: 0, epoch };
        for restore in [SystemCommand::Restore, SystemCommand::RestoreEmpty] {
            assert_eq!(system(restore(all(EPOCH_MAX))), Ok(()));
            assert_eq!(system(restore(all(u64::MAX))), Err(Unfit::System), "the next epoch would be the first again");
        }
        let part = RestorePart { attempt: 1, offset: 0, bytes: Bytes::from_static(b"part") };
        assert_eq!(system(SystemCommand::RestorePart(part)), Ok(()));
        assert_eq!(system(SystemCommand::Recovered { generation: u64::MAX }), Err(Unfit::System));
        assert_eq!(system(SystemCommand::ExpireLease { node: from.clone(), renewals: 0 }), Err(Unfit::System));
    }
}
