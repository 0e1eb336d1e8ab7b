//! Answers to callers that name their requests, so that a repetition is answered and not done again.

use std::sync::Arc;

use imbl::{OrdMap, Vector};

use super::Content;
use crate::changes::Changes;
use crate::command::{Acquire, Command, Done, Place, Refusal, Reply};
use crate::limits::{KEPT_ANSWERS_MAX, KEPT_READ_BYTES_MAX, REQUEST_KEY_BYTES_MAX};
use crate::{FencingToken, Revision};

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

    /// Keeps an answer, in place of the one before if there is one.
    pub(super) fn keep(&mut self, request: Arc<str>, fingerprint: u64, reply: Reply) {
        if let Some(known) = self.answers.get_mut(&request) {
            *known = (fingerprint, reply);
            return;
        }
        while self.order.len() >= KEPT_ANSWERS_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            self.answers.remove(&oldest);
        }
        self.order.push_back(request.clone());
        self.answers.insert(request, (fingerprint, reply));
    }

    /// Notes that whoever waited under this name has the lock now.
    pub(super) fn granted(&mut self, request: &str, token: FencingToken) {
        // The name may be another request's by now, if the one that waits was forgotten.
        if let Some((_, reply)) = self.answers.get_mut(request)
            && *reply == Ok(Done::Lock(Place::Waiter))
        {
            *reply = Ok(Done::Lock(Place::Holder { token }));
        }
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
        // An answer that is kept must be small; that of a lock changes as its queue moves, see `acquire_once`.
        let small = matches!(
            command,
            Command::Put(_)
                | Command::Delete { .. }
                | Command::Txn(_)
                | Command::LeaseGrant { .. }
                | Command::LeaseEnd { .. }
                | Command::KeysLeaseEnd { .. }
                | Command::PutLeased { .. }
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

    /// Takes a lock or queues for it. A repetition finds its place; once it was given the lock, it is given no other.
    pub(super) fn acquire_once(
        &mut self,
        at: Revision,
        request: Arc<str>,
        fingerprint: u64,
        acquire: Acquire,
        asker: Option<u64>,
        changes: &mut Changes,
    ) -> Reply {
        if request.len() > REQUEST_KEY_BYTES_MAX {
            return Err(Refusal::Invalid);
        }
        match self.kept.answers.get(&request) {
            Some((first, _)) if *first != fingerprint => return Err(Refusal::RequestKeyReused),
            Some((_, Ok(Done::Lock(Place::Holder { .. })))) if !self.leases.contains_key(&acquire.lease) => {
                return Err(Refusal::LockOver);
            }
            _ => {}
        }
        let reply = self.acquire(at, acquire, Some(request.clone()), asker, changes);
        // What was refused takes nothing back of what was given before.
        if reply.is_ok() || !self.kept.answers.contains_key(&request) {
            self.kept.keep(request, fingerprint, reply.clone());
        }
        reply
    }
}
