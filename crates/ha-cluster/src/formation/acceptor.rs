//! What a node is bound to, across crashes.

use serde::{Deserialize, Serialize};

use super::charter::{Ballot, Charter};
use crate::codec;

/// The version of the ledger on disk.
const SCHEMA: u16 = 1;
/// Schema and checksum.
const HEADER_BYTES: usize = 6;
/// Longest ledger that is read: twice what 64 founders with the longest ids and addresses need.
const LEDGER_BYTES_MAX: usize = 128 * 1024;

/// The acceptor of Paxos. It must be on disk before any answer that follows from it leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    /// Nothing older than this may be accepted.
    pub(super) promised: Option<Ballot>,
    /// What was accepted last.
    pub(super) accepted: Option<(Ballot, Charter)>,
    /// What is known to be chosen; final.
    pub(super) chosen: Option<Charter>,
}

impl Ledger {
    /// Promises to accept nothing older than the ballot; refuses when bound to a newer one.
    pub(super) fn promise(&mut self, ballot: &Ballot) -> Result<(), Ballot> {
        match &self.promised {
            Some(promised) if promised > ballot => Err(promised.clone()),
            _ => {
                self.promised = Some(ballot.clone());
                Ok(())
            }
        }
    }

    /// Accepts a charter, unless bound to a newer ballot. Accepting binds as a promise does.
    pub(super) fn accept(&mut self, ballot: &Ballot, charter: &Charter) -> Result<(), Ballot> {
        self.promise(ballot)?;
        self.accepted = Some((ballot.clone(), charter.clone()));
        Ok(())
    }

    /// The bytes to keep on disk: schema, checksum, content.
    pub(super) fn encode(&self) -> Vec<u8> {
        let body = codec::record(self);
        let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
        bytes.extend_from_slice(&SCHEMA.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    /// What [`Self::encode`] wrote.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, LedgerError> {
        let (header, body) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(LedgerError::Damaged)?;
        let schema = u16::from_le_bytes([header[0], header[1]]);
        if schema != SCHEMA {
            return Err(LedgerError::Schema { schema });
        }
        if body.len() > LEDGER_BYTES_MAX
            || crc32c::crc32c(body) != u32::from_le_bytes([header[2], header[3], header[4], header[5]])
        {
            return Err(LedgerError::Damaged);
        }
        codec::decode(body).map_err(|_| LedgerError::Damaged)
    }
}

/// Why a node cannot take part in forming a cluster: it does not know any more what it promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum LedgerError {
    /// The bytes are not what was written.
    #[error("the record of what this node promised while its cluster formed is damaged")]
    Damaged,
    /// Another version wrote it.
    #[error("the record of what this node promised while its cluster formed has the unknown schema {schema}")]
    Schema {
        /// The version found.
        schema: u16,
    },
}
