//! What one log entry carries: many commands of one session, laid out so that decoding copies nothing.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{MachineId, SessionId};

/// Layout of a batch; the first byte of each.
const BATCH_SCHEMA: u8 = 1;
/// Layout of outcomes.
const OUTCOMES_SCHEMA: u8 = 1;
/// Most commands in one entry.
pub(crate) const BATCH_COMMANDS_MAX: usize = 128;

/// One command in its envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// Its number within the session; 0 for a command that is never retried.
    pub(crate) serial: u64,
    /// Who applies it.
    pub(crate) machine: MachineId,
    /// The encoded typed command.
    pub(crate) body: Bytes,
}

/// The commands of one log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Whose commands; `SessionId::NONE` for commands that are never retried.
    pub(crate) session: SessionId,
    /// The session asks nothing below this serial again: kept replies below it may go.
    pub(crate) acknowledged_below: u64,
    /// At most [`BATCH_COMMANDS_MAX`].
    pub(crate) commands: Vec<Command>,
}

/// Bytes that are not a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a batch of commands that this version understands")]
pub(crate) struct NotABatch;

impl From<bytes::TryGetError> for NotABatch {
    fn from(_: bytes::TryGetError) -> Self {
        Self
    }
}

impl Batch {
    pub(crate) fn encode(&self) -> Bytes {
        let bodies: usize = self.commands.iter().map(|c| c.body.len() + 13).sum();
        let mut out = BytesMut::with_capacity(19 + bodies);
        out.put_u8(BATCH_SCHEMA);
        out.put_u64_le(self.session.0);
        out.put_u64_le(self.acknowledged_below);
        out.put_u16_le(self.commands.len() as u16);
        for command in &self.commands {
            out.put_u64_le(command.serial);
            out.put_u8(command.machine.0);
            out.put_u32_le(command.body.len() as u32);
            out.put_slice(&command.body);
        }
        out.freeze()
    }

    pub(crate) fn decode(mut bytes: Bytes) -> Result<Self, NotABatch> {
        if bytes.try_get_u8()? != BATCH_SCHEMA {
            return Err(NotABatch);
        }
        let session = SessionId(bytes.try_get_u64_le()?);
        let acknowledged_below = bytes.try_get_u64_le()?;
        let count = usize::from(bytes.try_get_u16_le()?);
        if count > BATCH_COMMANDS_MAX {
            return Err(NotABatch);
        }
        let mut commands = Vec::with_capacity(count);
        for _ in 0..count {
            let serial = bytes.try_get_u64_le()?;
            let machine = MachineId(bytes.try_get_u8()?);
            let length = bytes.try_get_u32_le()? as usize;
            if bytes.remaining() < length {
                return Err(NotABatch);
            }
            commands.push(Command { serial, machine, body: bytes.split_to(length) });
        }
        if bytes.has_remaining() {
            return Err(NotABatch);
        }
        Ok(Self { session, acknowledged_below, commands })
    }
}

/// What became of one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Applied, now or at the first time it was asked; the encoded typed reply.
    Reply(Bytes),
    /// The session is not known any more: whether an earlier try was applied is unknown, this one was not.
    SessionExpired,
    /// The serial lies below the mark that the session itself acknowledged: its reply is gone.
    Forgotten,
    /// The session keeps too many replies; nothing was applied.
    Overrun,
}

pub(crate) fn encode_outcomes(outcomes: &[Outcome]) -> Bytes {
    let mut out = BytesMut::with_capacity(3 + outcomes.len() * 16);
    out.put_u8(OUTCOMES_SCHEMA);
    out.put_u16_le(outcomes.len() as u16);
    for outcome in outcomes {
        match outcome {
            Outcome::Reply(reply) => {
                out.put_u8(0);
                out.put_u32_le(reply.len() as u32);
                out.put_slice(reply);
            }
            Outcome::SessionExpired => out.put_u8(1),
            Outcome::Forgotten => out.put_u8(2),
            Outcome::Overrun => out.put_u8(3),
        }
    }
    out.freeze()
}

pub(crate) fn decode_outcomes(mut bytes: Bytes) -> Result<Vec<Outcome>, NotABatch> {
    if bytes.try_get_u8()? != OUTCOMES_SCHEMA {
        return Err(NotABatch);
    }
    let count = usize::from(bytes.try_get_u16_le()?);
    if count > BATCH_COMMANDS_MAX {
        return Err(NotABatch);
    }
    let mut outcomes = Vec::with_capacity(count);
    for _ in 0..count {
        outcomes.push(match bytes.try_get_u8()? {
            0 => {
                let length = bytes.try_get_u32_le()? as usize;
                if bytes.remaining() < length {
                    return Err(NotABatch);
                }
                Outcome::Reply(bytes.split_to(length))
            }
            1 => Outcome::SessionExpired,
            2 => Outcome::Forgotten,
            3 => Outcome::Overrun,
            _ => return Err(NotABatch),
        });
    }
    if bytes.has_remaining() { Err(NotABatch) } else { Ok(outcomes) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batch() -> impl Strategy<Value = Batch> {
        let command = (any::<u64>(), any::<u8>(), prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(serial, machine, body)| Command { serial, machine: MachineId(machine), body: body.into() });
        (any::<u64>(), any::<u64>(), prop::collection::vec(command, 0..8)).prop_map(
            |(session, acknowledged_below, commands)| Batch {
                session: SessionId(session),
                acknowledged_below,
                commands,
            },
        )
    }

    proptest! {
        #[test]
        fn a_batch_survives_encoding_and_no_prefix_of_it_is_one(batch in batch()) {
            let bytes = batch.encode();
            for end in 0..bytes.len() {
                prop_assert_eq!(Batch::decode(bytes.slice(..end)), Err(NotABatch));
            }
            prop_assert_eq!(Batch::decode(bytes), Ok(batch));
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Batch::decode(bytes.clone().into());
            let _ = decode_outcomes(bytes.into());
        }
    }

    /// Old logs must stay readable: this layout may gain a sibling, and never changes.
    #[test]
    fn golden_bytes() {
        let command = Command { serial: 7, machine: MachineId(3), body: Bytes::from_static(b"ab") };
        let batch = Batch { session: SessionId(5), acknowledged_below: 6, commands: vec![command] };
        let golden =
            [1, 5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0, 3, 2, 0, 0, 0, 97, 98];
        assert_eq!(batch.encode(), golden.as_slice());
    }

    #[test]
    fn outcomes_survive_encoding() {
        let all = vec![
            Outcome::Reply(Bytes::from_static(b"yes")),
            Outcome::SessionExpired,
            Outcome::Forgotten,
            Outcome::Overrun,
        ];
        assert_eq!(decode_outcomes(encode_outcomes(&all)), Ok(all));
    }
}
