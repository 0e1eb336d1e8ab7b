//! The pure content: each rule by an example, and all of it against a simple model.

mod askers;
mod keys;
mod leases;
mod locks;
mod model;
mod replaced;

use super::*;
use crate::changes::LeaseChange;
use crate::command::{Acquire, Place};
use crate::{FencingToken, LeaseId};

/// The image of a content, however it is taken apart.
pub(super) fn encoded(content: &Content) -> Vec<u8> {
    let in_pieces_of = |bytes| image::pieces(content.clone(), bytes).flatten().collect::<Vec<_>>();
    let whole = in_pieces_of(image::PIECE_BYTES);
    assert_eq!(in_pieces_of(1), whole);
    whole
}

/// A store with its own count of revisions.
#[derive(Clone, Debug, Default)]
pub(super) struct Bench {
    pub(super) content: Content,
    last: u64,
}

impl Bench {
    pub(super) fn apply(&mut self, command: Command) -> Reply {
        self.apply_noting(command).0
    }

    /// Also returns what was told of leases.
    pub(super) fn apply_noting(&mut self, command: Command) -> (Reply, Vec<LeaseChange>) {
        self.last += 1;
        let mut changes = Changes::default();
        let reply = self.content.apply(Revision(self.last), command, &mut changes);
        (reply, changes.leases().to_vec())
    }

    pub(super) fn revision(&self) -> Revision {
        Revision(self.last)
    }

    pub(super) fn put(&mut self, key: &str, value: &str) -> Reply {
        self.apply(put(key, value))
    }

    pub(super) fn acquire(&mut self, lock: &str, lease: u128) -> Reply {
        self.apply(acquire(lock, lease))
    }

    /// The holder's lease and token, and the waiters.
    pub(super) fn lock(&self, lock: &str) -> Option<(Option<u128>, u64, Vec<u128>)> {
        let lock = self.content.locks.get(lock)?;
        let waiters = lock.waiters.values().map(|lease| lease.0).collect();
        Some(match lock.tenure {
            Tenure::Held { lease, token } => (Some(lease.0), token.0, waiters),
            Tenure::Delayed { token, .. } => (None, token.0, waiters),
        })
    }

    pub(super) fn value(&self, key: &str) -> Option<String> {
        self.content.keys.get(key).map(|found| String::from_utf8_lossy(&found.value).into_owned())
    }
}

pub(super) fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

pub(super) fn put(name: &str, value: &str) -> Command {
    put_with(name, value, None, None)
}

pub(super) fn put_with(name: &str, value: &str, lease: Option<u128>, if_revision: Option<Revision>) -> Command {
    let value = value.as_bytes().to_vec().into();
    Command::Put(Put { key: key(name), value, lease: lease.map(LeaseId), if_revision })
}

pub(super) fn put_leased(name: &str, value: &str, lease: u128, if_revision: Option<Revision>) -> Command {
    let value = value.as_bytes().to_vec().into();
    Command::PutLeased { key: key(name), value, if_revision, lease: LeaseId(lease), ttl_ms: 1000 }
}

fn place(lock: &str, lease: u128) -> Acquire {
    let (lock, lease, owner) = (key(lock), LeaseId(lease), "somebody".into());
    Acquire { lock, lease, ttl_ms: 1000, delay_ms: 0, waits: true, owner }
}

pub(super) fn acquire(lock: &str, lease: u128) -> Command {
    Command::LockAcquire(place(lock, lease))
}

pub(super) fn acquire_by(lock: &str, lease: u128, asker: u64) -> Command {
    let (request, acquire) = (format!("{lock}{lease}").into(), place(lock, lease));
    Command::LockAcquireBy { request, fingerprint: 7, acquire, asker }
}

pub(super) fn release(lock: &str, lease: u128, token: u64) -> Command {
    Command::LockRelease { lock: key(lock), lease: LeaseId(lease), token: FencingToken(token) }
}

pub(super) fn expire(leases: &[(u128, u64)]) -> Command {
    Command::LeaseExpire { leases: leases.iter().map(|(lease, renewals)| (LeaseId(*lease), *renewals)).collect() }
}

pub(super) fn held(token: u64) -> Reply {
    Ok(Done::Lock(Place::Holder { token: FencingToken(token) }))
}

pub(super) const WAITS: Reply = Ok(Done::Lock(Place::Waiter));

#[test]
fn what_an_image_takes_is_known_beforehand() {
    for (round, bytes) in [0, 8, 500].into_iter().flat_map(|bytes| (0..3).map(move |round| (round, bytes))) {
        let mut bench = Bench::default();
        for key in 0..100 * (round + 1) {
            bench.put(&format!("key/{}", key % 100), &"x".repeat(bytes)).unwrap();
        }
        let (told, real) = (image::bytes(&bench.content), encoded(&bench.content).len() as u64);
        assert!(told >= real / 2 && told <= 2 * real, "{told} of {real} bytes");
    }
}
