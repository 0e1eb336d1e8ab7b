//! Transactions.

use std::sync::Arc;

use super::keys::cost;
use super::{Content, Tenure};
use crate::changes::Changes;
use crate::command::{Done, Refusal, Reply};
use crate::limits::{KEY_BYTES_MAX, PAGE_ITEMS_MAX, PREFIX_DELETES_MAX};
use crate::txn::{Answer, Compare, Operation, Txn};
use crate::{Key, KeyValue, Revision};

/// What an item counts for, beside its key and value, among what a transaction brings back.
const ITEM_OVERHEAD_BYTES: usize = 64;

impl Content {
    /// Carries a transaction out; what it reads takes at most `room` bytes.
    pub(super) fn transact(&mut self, at: Revision, txn: Txn, mut room: usize, changes: &mut Changes) -> Reply {
        txn.validate_size().map_err(|_| Refusal::Invalid)?;
        let succeeded = txn.compare.iter().all(|compare| self.compares(compare));
        let branch = if succeeded { txn.then } else { txn.or_else };
        self.admit(&branch)?;
        // If an operation proves too much, nothing of the others has happened: this copy costs next to nothing.
        let may_fail = |operation: &Operation| !matches!(operation, Operation::Put { .. } | Operation::Delete { .. });
        let before = branch.iter().any(may_fail).then(|| (self.clone(), changes.mark()));
        let mut answers = Vec::with_capacity(branch.len());
        for operation in branch {
            match self.operate(at, operation, &mut room, changes) {
                Ok(answer) => answers.push(answer),
                Err(refusal) => {
                    if let Some((before, mark)) = before {
                        *self = before;
                        changes.back_to(mark);
                    }
                    return Err(refusal);
                }
            }
        }
        Ok(Done::Txn { revision: at, succeeded, answers })
    }

    fn compares(&self, compare: &Compare) -> bool {
        match compare {
            Compare::Held(lock, token) => {
                let tenure = self.locks.get(&**lock).map(|lock| &lock.tenure);
                matches!(tenure, Some(Tenure::Held { token: held, .. }) if held == token)
            }
            other => other.holds(self.keys.get(&**other.subject()).map(|found| &**found)),
        }
    }

    /// Whether all of a branch can be done, as far as that is known before.
    fn admit(&self, branch: &[Operation]) -> Result<(), Refusal> {
        let (mut added, mut freed) = (0, 0);
        let found_cost = |key: &Key| self.keys.get(&**key).map_or(0, |found| cost(&found.key, &found.value));
        for operation in branch {
            match operation {
                Operation::Put { key, value, lease } => {
                    added += cost(key, value);
                    freed += found_cost(key);
                    self.bounds().admit_lease(*lease, branch.len())?;
                }
                Operation::DeletePrefix { prefix } | Operation::List { prefix, .. } if prefix.len() > KEY_BYTES_MAX => {
                    return Err(Refusal::Invalid);
                }
                _ => {}
            }
        }
        if added > 0 { self.bounds().admit_bytes(added, freed) } else { Ok(()) }
    }

    fn operate(
        &mut self,
        at: Revision,
        operation: Operation,
        room: &mut usize,
        changes: &mut Changes,
    ) -> Result<Answer, Refusal> {
        Ok(match operation {
            Operation::Put { key, value, lease } => {
                self.set(at, key, value, lease, changes);
                Answer::Put
            }
            Operation::Delete { key } => Answer::Deleted(u64::from(self.remove(at, &key, changes))),
            Operation::DeletePrefix { prefix } => {
                let listed = self.listed(&prefix, None).take(PREFIX_DELETES_MAX + 1);
                let keys: Vec<Key> = listed.map(|found| found.key.clone()).collect();
                if keys.len() > PREFIX_DELETES_MAX {
                    return Err(Refusal::TooManyKeys);
                }
                for key in &keys {
                    self.remove(at, key, changes);
                }
                Answer::Deleted(keys.len() as u64)
            }
            Operation::Get { key } => {
                let found = self.keys.get(&*key);
                found.iter().try_for_each(|found| take_room(room, found))?;
                Answer::Got(found.map(|found| KeyValue::clone(found)))
            }
            Operation::List { prefix, limit } => {
                let limit = (limit as usize).min(PAGE_ITEMS_MAX);
                let mut listed = self.listed(&prefix, None);
                let items: Vec<&Arc<KeyValue>> = listed.by_ref().take(limit).collect();
                let more = listed.next().is_some();
                items.iter().try_for_each(|found| take_room(room, found))?;
                Answer::Listed { items: items.into_iter().map(|found| KeyValue::clone(found)).collect(), more }
            }
        })
    }
}

fn take_room(room: &mut usize, found: &KeyValue) -> Result<(), Refusal> {
    let bytes = found.key.len() + found.value.len() + ITEM_OVERHEAD_BYTES;
    *room = room.checked_sub(bytes).ok_or(Refusal::TooMuchRead)?;
    Ok(())
}
