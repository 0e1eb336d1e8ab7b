//! Clients of keys.

use std::time::Duration;

use bytes::Bytes;
use ha_state::{Answer, ChangeError, Compare, Is, Key, KeyValue, Operation, State, Txn};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::records::{Request, Seen, Told};
use super::turn;
use crate::sim::node::Blueprint;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Few keys, so that clients meet.
const KEYS: u8 = 4;

/// Asks, waits for the answer, pauses, and asks again.
pub(super) async fn client(blueprint: Blueprint, state: State, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let shared = blueprint.shared.clone();
    let mut last_seen = [None; KEYS as usize];
    loop {
        if !turn(&shared, &mut rng).await {
            continue;
        }
        let key = rng.random_range(0..KEYS);
        let request = match rng.random_range(0..20) {
            0..5 => Request::Find(key),
            5..7 => Request::Look(key),
            7..11 => Request::Put(key, shared.new_value(), None),
            11..15 => Request::Put(key, shared.new_value(), Some(last_seen[usize::from(key)].unwrap_or(0))),
            15..17 => Request::Delete(key),
            _ => Request::Both(key, (key + 1) % KEYS, shared.new_value()),
        };
        let number = shared.records().ask(request, blueprint.trace.now());
        let told = ask(&state, request, shared.reads_stale()).await;
        shared.records().tell(number, told, blueprint.trace.now());
        blueprint.trace.line(blueprint.name, format_args!("keys {number}: {request:?}: {told:?}"));
        if let Told::Found(seen, _) = told {
            last_seen[usize::from(key)] = seen.map(|(_, revision)| revision);
        }
    }
}

fn name(key: u8) -> String {
    format!("key-{key}")
}

fn seen(found: Option<&KeyValue>) -> Seen {
    let number = |bytes: &Bytes| bytes.first_chunk::<8>().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes));
    found.map(|found| (number(&found.value), found.modified.0))
}

async fn ask(state: &State, request: Request, stale_reads: bool) -> Told {
    let writes = !matches!(request, Request::Find(_) | Request::Look(_));
    match tokio::time::timeout(PATIENCE, answer(state, request, stale_reads)).await {
        Ok(Ok(told)) => told,
        Ok(Err(ChangeError::Condition { current })) => Told::Refused(current.0),
        Ok(Err(ChangeError::Unknown { .. })) => Told::Unknown,
        Ok(Err(_)) => Told::NotDone,
        Err(_) if writes => Told::Unknown,
        // A read changes nothing.
        Err(_) => Told::NotDone,
    }
}

async fn answer(state: &State, request: Request, stale_reads: bool) -> Result<Told, ChangeError> {
    let value = |value: u64| Bytes::copy_from_slice(&value.to_le_bytes());
    Ok(match request {
        Request::Find(key) if stale_reads => {
            let found = state.find_local(&name(key));
            Told::Found(seen(found.item.as_deref()), found.revision.0)
        }
        Request::Find(key) => match state.find(&name(key)).await {
            Ok(found) => Told::Found(seen(found.item.as_deref()), found.revision.0),
            Err(_) => Told::NotDone,
        },
        Request::Look(key) => {
            let done = state.txn(Txn::new().then_get(&name(key))?).await?;
            match done.answers.first() {
                Some(Answer::Got(found)) => Told::Found(seen(found.as_ref()), done.revision.0),
                _ => Told::NotDone,
            }
        }
        Request::Put(key, number, None) => Told::Done(state.put(&name(key), value(number)).await?.0),
        Request::Put(key, number, Some(revision)) => {
            Told::Done(state.put_if(&name(key), value(number), ha_state::Revision(revision)).await?.0)
        }
        Request::Delete(key) => match state.delete(&name(key)).await? {
            Some(revision) => Told::Done(revision.0),
            None => Told::Absent,
        },
        Request::Both(one, other, number) => {
            let key = |key: u8| Key::new(&name(key)).map_err(ChangeError::from);
            let (one, other) = (key(one)?, key(other)?);
            let put = |key: &Key| Operation::Put { key: key.clone(), value: value(number), lease: None };
            let txn = Txn::new()
                .when(Compare::Version(one.clone(), Is::Greater, 0))
                .then(put(&one))
                .then(put(&other))
                .or_else(Operation::Get { key: other });
            let done = state.txn(txn).await?;
            match done.answers.first() {
                Some(Answer::Got(found)) => Told::Else(seen(found.as_ref()), done.revision.0),
                _ => Told::Done(done.revision.0),
            }
        }
    })
}
