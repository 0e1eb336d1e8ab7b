//! Commands and images of the store, to be fed with anything: see the package `ha-fuzz`.

use ha_cluster::{Applied, Epoch, Machine, encoding};

use crate::command::{Acquire, Command};
use crate::store::Store;
use crate::{Key, LeaseId};

/// A name, valid inputs to begin with, and what takes an input.
pub type Target = (&'static str, Vec<Vec<u8>>, fn(&[u8]));

/// All of this crate.
pub fn targets() -> Vec<Target> {
    vec![("state-command", commands(), command), ("state-store-image", images(), image)]
}

fn samples() -> Vec<Command> {
    let key = || Key::new("a/b").unwrap_or_else(|_| unreachable!("a key"));
    let place = |lease| Acquire {
        lock: key(),
        lease: LeaseId(lease),
        ttl_ms: 9000,
        delay_ms: 0,
        waits: true,
        owner: "o".into(),
    };
    let acquire = |lease| Command::LockAcquireOnce { request: "r".into(), fingerprint: 3, acquire: place(lease) };
    vec![
        Command::LeaseGrant { lease: LeaseId(7), ttl_ms: 9000 },
        Command::Delete { key: key(), if_revision: None },
        Command::LeaseRenew { leases: vec![LeaseId(7)] },
        Command::LeaseExpire { leases: vec![(LeaseId(7), 1)] },
        Command::LeaseEnd { lease: LeaseId(7) },
        acquire(1),
        acquire(2),
        Command::LockLeave { lease: LeaseId(2) },
        Command::KeysLeaseRenew { lease: LeaseId(7) },
        Command::KeysLeaseEnd { lease: LeaseId(7) },
        Command::PutLeased { key: key(), value: "1".into(), if_revision: None, lease: LeaseId(8), ttl_ms: 9000 },
        Command::LockAcquireBy { request: "r".into(), fingerprint: 3, acquire: place(3), asker: 5 },
        Command::LockGiveUp { lease: LeaseId(3), asker: 5, held: true },
    ]
}

fn commands() -> Vec<Vec<u8>> {
    let sealed = samples().iter().filter_map(|command| encoding::encode(command).ok()).collect::<Vec<_>>();
    // A variant by its number, and fields that may fit: what a sample would be for those that are long to write.
    let others = (0..22u8).map(|variant| [&[variant, 3], &b"a/b"[..], &[5], &b"\"one\""[..], &[0; 24]].concat());
    sealed.into_iter().chain(others).collect()
}

fn image_of(store: &Store) -> Vec<u8> {
    store.capture().flatten().collect()
}

/// Whatever can be read must be applied without harm.
fn command(input: &[u8]) {
    if let Ok(command) = encoding::decode::<Command>(input) {
        let mut store = Store::new();
        for (epoch, command) in (1..).zip(samples().into_iter().take(1).chain([command.clone(), command])) {
            let _ = store.apply(Applied { epoch: Epoch(epoch), index: epoch }, command);
        }
        assert!(Store::new().restore(&image_of(&store)).is_ok(), "a store reads back");
    }
}

fn images() -> Vec<Vec<u8>> {
    let mut store = Store::new();
    let mut images = vec![image_of(&store)];
    for (epoch, command) in (1..).zip(commands()) {
        if let Ok(command) = encoding::decode::<Command>(&command) {
            let _ = store.apply(Applied { epoch: Epoch(epoch), index: epoch }, command);
            images.push(image_of(&store));
        }
    }
    images
}

fn image(input: &[u8]) {
    let mut store = Store::new();
    if store.restore(input).is_ok() {
        let _ = image_of(&store);
    }
}
