//! Transactions.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::keys::cost;
use super::{Content, Tenure};
use crate::changes::Changes;
use crate::command::{Done, Refusal, Reply};
use crate::limits::{KEY_BYTES_MAX, PAGE_ITEMS_MAX, PREFIX_DELETES_MAX, TXN_READ_BYTES_MAX};
use crate::txn::{Answer, Compare, Operation, Txn};
use crate::{Key, KeyValue, Revision};

/// What an item counts for, beside its key and value, among what a transaction brings back.
const ITEM_OVERHEAD_BYTES: usize = 64;

impl Content {
    /// Carries a transaction out; what it reads takes at most `room` bytes.
    pub(super) fn transact(&mut self, at: Revision, txn: Txn, room: usize, changes: &mut Changes) -> Reply {
        txn.validate_size().map_err(|_| Refusal::Invalid)?;
        let succeeded = txn.compare.iter().all(|compare| self.compares(compare));
        let branch = if succeeded { txn.then } else { txn.or_else };
        self.check(&branch)?;
        let (fits, used) = (self.admit_puts(&branch), self.used);
        // If an operation proves too much, nothing of the others has happened: this copy costs next to nothing.
        let may_fail = |operation: &Operation| !matches!(operation, Operation::Put { .. } | Operation::Delete { .. });
        let before = (fits.is_err() || branch.iter().any(may_fail)).then(|| (self.clone(), changes.mark()));
        let answers = self.operate(at, branch, room, changes).and_then(|answers| {
            // What it removes may have made room for what it sets.
            if self.used > self.quota.max(used) { fits.map(|()| answers) } else { Ok(answers) }
        });
        if let (Err(_), Some((before, mark))) = (&answers, before) {
            *self = before;
            changes.back_to(mark);
        }
        Ok(Done::Txn { revision: at, succeeded, answers: answers? })
    }

    /// What a transaction that only reads brings back.
    pub(crate) fn consult(&self, txn: Txn) -> Reply {
        self.clone().transact(self.revision, txn, TXN_READ_BYTES_MAX, &mut Changes::default())
    }

    fn compares(&self, compare: &Compare) -> bool {
        match compare {
            Compare::Held(lock, token) => {
                let tenure = self.locks.get(&**lock).map(|lock| &lock.tenure);
                matches!(tenure, Some(Tenure::Held { token: held, .. }) if held == token)
            }
            other => other.holds(self.keys.get(other.subject()).map(|found| &**found)),
        }
    }

    /// Whether a branch can be done, as far as that is known before, and but for the quota.
    fn check(&self, branch: &[Operation]) -> Result<(), Refusal> {
        let mut further = BTreeMap::<_, usize>::new();
        for operation in branch {
            match operation {
                Operation::Put { key, lease, .. } => {
                    let of_lease = further.entry(lease).or_default();
                    *of_lease += usize::from(self.keys.get(key).and_then(|found| found.lease) != *lease);
                    self.bounds().admit_lease(*lease, *of_lease)?;
                }
                Operation::DeletePrefix { prefix } | Operation::List { prefix, .. } if prefix.len() > KEY_BYTES_MAX => {
                    return Err(Refusal::Invalid);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether there is room for what a branch sets, if nothing else of it makes any.
    fn admit_puts(&self, branch: &[Operation]) -> Result<(), Refusal> {
        let (mut added, mut freed) = (0, 0);
        for operation in branch {
            if let Operation::Put { key, value, .. } = operation {
                added += cost(key, value);
                freed += self.keys.get(key).map_or(0, |found| cost(&found.key, &found.value));
            }
        }
        self.bounds().admit_bytes(added, freed)
    }

    fn operate(
        &mut self,
        at: Revision,
        branch: Vec<Operation>,
        read_bytes: usize,
        changes: &mut Changes,
    ) -> Result<Vec<Answer>, Refusal> {
        let mut left = Left { read_bytes, removals: PREFIX_DELETES_MAX };
        branch.into_iter().map(|operation| self.operate_one(at, operation, &mut left, changes)).collect()
    }

    fn operate_one(
        &mut self,
        at: Revision,
        operation: Operation,
        left: &mut Left,
        changes: &mut Changes,
    ) -> Result<Answer, Refusal> {
        Ok(match operation {
            Operation::Put { key, value, lease } => {
                self.set(at, key, value, lease, changes);
                Answer::Put
            }
            Operation::Delete { key } => Answer::Deleted(u64::from(self.remove(at, &key, changes))),
            Operation::DeletePrefix { prefix } => {
                let listed = self.keys.listed(&prefix, None).take(left.removals + 1);
                let keys: Vec<Key> = listed.map(|found| found.key.clone()).collect();
                left.removals = left.removals.checked_sub(keys.len()).ok_or(Refusal::TooManyKeys)?;
                for key in &keys {
                    self.remove(at, key, changes);
                }
                Answer::Deleted(keys.len() as u64)
            }
            Operation::Get { key } => {
                let found = self.keys.get(&key);
                found.iter().try_for_each(|found| left.read(found))?;
                Answer::Got(found.map(|found| KeyValue::clone(found)))
            }
            Operation::List { prefix, limit } => {
                let limit = (limit as usize).min(PAGE_ITEMS_MAX);
                let mut listed = self.keys.listed(&prefix, None);
                let items: Vec<&Arc<KeyValue>> = listed.by_ref().take(limit).collect();
                let more = listed.next().is_some();
                items.iter().try_for_each(|found| left.read(found))?;
                Answer::Listed { items: items.into_iter().map(|found| KeyValue::clone(found)).collect(), more }
            }
        })
    }
}

/// What a transaction may still do.
struct Left {
    /// Bytes that it brings back.
    read_bytes: usize,
    /// Keys that it removes by their prefix.
    removals: usize,
}

impl Left {
    fn read(&mut self, found: &KeyValue) -> Result<(), Refusal> {
        let bytes = found.key.len() + found.value.len() + ITEM_OVERHEAD_BYTES;
        self.read_bytes = self.read_bytes.checked_sub(bytes).ok_or(Refusal::TooMuchRead)?;
        Ok(())
    }
}
