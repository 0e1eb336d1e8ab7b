//! What clients of keys asked and were told.

use std::time::Duration;

/// A revision.
pub type Revision = u64;

/// What was asked. Every value is set by one request only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// To look for a key.
    Find(u8),
    /// To look for a key, in a transaction.
    Look(u8),
    /// To set a key, perhaps only if it was last changed at a revision.
    Put(u8, u64, Option<Revision>),
    /// To remove a key.
    Delete(u8),
    /// If the first key exists, to set both, else to read the second.
    Both(u8, u8, u64),
}

/// A key as it was seen: its value and the revision of its last change, if it exists.
pub type Seen = Option<(u64, Revision)>;

/// What was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The key at this revision of the store.
    Found(Seen, Revision),
    /// It was done at this revision.
    Done(Revision),
    /// The key was last changed at another revision, 0 if it does not exist.
    Refused(Revision),
    /// There was no such key.
    Absent,
    /// The transaction read the second key.
    Else(Seen, Revision),
    /// It certainly did not happen.
    NotDone,
    /// It may have happened, or may still.
    Unknown,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// What was asked.
    pub request: Request,
    /// When.
    pub asked: Duration,
    /// What was told, and when; without an answer, its outcome is unknown.
    pub told: Option<(Duration, Told)>,
}

/// All requests of a run.
#[derive(Clone, Debug, Default)]
pub struct Records(Vec<Record>);

impl Records {
    /// A client asks; returns the number of the record.
    pub fn ask(&mut self, request: Request, now: Duration) -> usize {
        self.0.push(Record { request, asked: now, told: None });
        self.0.len() - 1
    }

    /// A client is told.
    pub fn tell(&mut self, number: usize, told: Told, now: Duration) {
        self.0[number].told = Some((now, told));
    }

    /// Every record, in the order of the requests.
    pub fn all(&self) -> &[Record] {
        &self.0
    }
}
