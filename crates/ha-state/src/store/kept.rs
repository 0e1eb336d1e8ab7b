//! Answers to callers that name their requests, so that a repetition is answered and not done again.

use std::sync::Arc;

use imbl::{OrdMap, Vector};

use super::Content;
use crate::Revision;
use crate::changes::Changes;
use crate::command::{Command, Refusal, Reply};
use crate::limits::{KEPT_ANSWERS_MAX, KEPT_READ_BYTES_MAX, REQUEST_KEY_BYTES_MAX};

/// Kept answers, the oldest of which goes first.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    answers: OrdMap<Arc<str>, (u64, Reply)>,
    order: Vector<Arc<str>>,
}

impl Kept {
    /// All of them, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, u64, &Reply)> {
        let entry = |request| self.answers.get(request).map(|(fingerprint, reply)| (request, *fingerprint, reply));
        self.order.iter().filter_map(entry)
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Keeps an answer.
    pub(super) fn keep(&mut self, request: Arc<str>, fingerprint: u64, reply: Reply) {
        while self.order.len() >= KEPT_ANSWERS_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            self.answers.remove(&oldest);
        }
        self.order.push_back(request.clone());
        self.answers.insert(request, (fingerprint, reply));
    }
}

impl Content {
    pub(super) fn once(
        &mut self,
        at: Revision,
        request: Arc<str>,
        fingerprint: u64,
        command: Command,
        changes: &mut Changes,
    ) -> Reply {
        // An answer that is kept must be small; a lock has its place, which answers repetitions by itself.
        let small = matches!(
            command,
            Command::Put(_)
                | Command::Delete { .. }
                | Command::Txn(_)
                | Command::LeaseGrant { .. }
                | Command::LeaseEnd { .. }
                | Command::LockRelease { .. }
        );
        if !small || request.len() > REQUEST_KEY_BYTES_MAX {
            return Err(Refusal::Invalid);
        }
        match self.kept.answers.get(&request) {
            Some((first, reply)) if *first == fingerprint => reply.clone(),
            Some(_) => Err(Refusal::RequestKeyReused),
            None => {
                let reply = match command {
                    Command::Txn(txn) => self.transact(at, txn, KEPT_READ_BYTES_MAX, changes),
                    command => self.carry_out(at, command, changes),
                };
                self.kept.keep(request, fingerprint, reply.clone());
                reply
            }
        }
    }
}
