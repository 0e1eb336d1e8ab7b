//! The bytes of the store in a snapshot.
//!
//! ```text
//! schema u8  revision u64  quota u64  compacted u64
//! leases:  count u32, each: id u128, ttl u32, renewals u64, kind u8; 1 a place: lock, place u64, delay u32, owner;
//!          2 a place that was asked for under a request key: as 1, then the key; 3 keys, and it ends with the last;
//!          4 a place of a known asker: as 2, then the asker u64
//! keys:    count u64, each: key, value, created u64, modified u64, version u64, lease flag u8 and id u128
//! locks:   count u32, each: name, kind u8, token u64, then lease u128 or delay u32
//! history: count u64, each: kind u8; 0 removed: key, revision u64; 1 set: as a key; 2 set to what it still is: key
//! kept:    count u32, each: request, fingerprint u64, reply as JSON
//! ```
//! Little-endian; a text or a value is its length as u32, then its bytes. Waiters and the keys of a lease follow from
//! the rest.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, TryGetError};
use imbl::{OrdMap, OrdSet, Vector};

use super::keys::cost;
use super::{Content, History, Lease, Lock, Purpose, Tenure};
use crate::limits::KEY_OVERHEAD_BYTES;
use crate::value::EVENT_OVERHEAD_BYTES;
use crate::{Event, FencingToken, Key, KeyValue, LeaseId, Revision};

/// Layout of an image: its first byte.
const SCHEMA: u8 = 1;
/// What a key or a change has beside its texts, about.
const NUMBERS_BYTES: u64 = 32;
/// About how long a piece of an image is.
pub(super) const PIECE_BYTES: usize = 256 * 1024;

/// Bytes that are not an image.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImageError {
    #[error("it ends early")]
    Short(#[from] TryGetError),
    #[error("it is of another version")]
    Schema,
    #[error("{0} in it is not valid")]
    Content(&'static str),
}

/// About how many bytes the keys, values and past changes of an image have.
pub(super) fn bytes(content: &Content) -> u64 {
    let (keys, events) = (content.keys.len() as u64, content.history.events().len() as u64);
    let texts =
        content.used - keys * KEY_OVERHEAD_BYTES + content.history.bytes() - events * EVENT_OVERHEAD_BYTES as u64;
    texts + (keys + events) * NUMBERS_BYTES
}

/// The image of a content, in pieces of about so many bytes, each encoded when it is asked for. Leases, locks and kept
/// answers come in one each.
pub(super) fn pieces(content: Content, piece_bytes: usize) -> impl Iterator<Item = Vec<u8>> + Send {
    let mut next = Some(Part::Head);
    std::iter::from_fn(move || {
        let mut out = Vec::with_capacity(piece_bytes + piece_bytes / 4);
        next = next.take()?.put(&content, &mut out, piece_bytes);
        Some(out)
    })
}

/// What comes next in an image.
enum Part {
    Head,
    /// The keys after this one.
    Keys(Option<Key>),
    Locks,
    /// The past changes from this one on.
    History(usize),
    Kept,
}

impl Part {
    /// Puts it out, or a piece of it; what comes then.
    fn put(self, content: &Content, out: &mut Vec<u8>, piece_bytes: usize) -> Option<Self> {
        match self {
            Self::Head => {
                put_head(content, out);
                Some(Self::Keys(None))
            }
            Self::Keys(after) => {
                for found in content.keys.listed("", after.as_deref()) {
                    put_key_value(out, found);
                    if out.len() >= piece_bytes {
                        return Some(Self::Keys(Some(found.key.clone())));
                    }
                }
                Some(Self::Locks)
            }
            Self::Locks => {
                put_locks(content, out);
                out.put_u64_le(content.history.events().len() as u64);
                Some(Self::History(0))
            }
            Self::History(from) => {
                for (position, event) in content.history.events().focus().narrow(from..).into_iter().enumerate() {
                    put_event(out, content, event);
                    if out.len() >= piece_bytes {
                        return Some(Self::History(from + position + 1));
                    }
                }
                Some(Self::Kept)
            }
            Self::Kept => {
                put_kept(content, out);
                None
            }
        }
    }
}

fn put_head(content: &Content, out: &mut Vec<u8>) {
    out.put_u8(SCHEMA);
    out.put_u64_le(content.revision.0);
    out.put_u64_le(content.quota);
    out.put_u64_le(content.history.compacted().0);
    out.put_u32_le(content.leases.len() as u32);
    for (id, lease) in &content.leases {
        put_lease(out, *id, lease);
    }
    out.put_u64_le(content.keys.len() as u64);
}

fn put_locks(content: &Content, out: &mut Vec<u8>) {
    out.put_u32_le(content.locks.len() as u32);
    for (name, lock) in &content.locks {
        put_text(out, name);
        match lock.tenure {
            Tenure::Held { lease, token } => {
                out.put_u8(0);
                out.put_u64_le(token.0);
                out.put_u128_le(lease.0);
            }
            Tenure::Delayed { token, delay_ms } => {
                out.put_u8(1);
                out.put_u64_le(token.0);
                out.put_u32_le(delay_ms);
            }
        }
    }
}

fn put_kept(content: &Content, out: &mut Vec<u8>) {
    out.put_u32_le(content.kept.len() as u32);
    for (request, fingerprint, reply) in content.kept.iter() {
        put_text(out, request);
        out.put_u64_le(fingerprint);
        put_bytes(out, &serde_json::to_vec(reply).unwrap_or_default());
    }
}

pub(super) fn decode(mut from: &[u8]) -> Result<Content, ImageError> {
    if from.try_get_u8()? != SCHEMA {
        return Err(ImageError::Schema);
    }
    let from = &mut from;
    let mut content = Content { revision: Revision(from.try_get_u64_le()?), ..Content::default() };
    content.quota = from.try_get_u64_le()?;
    let compacted = Revision(from.try_get_u64_le()?);
    for _ in 0..from.try_get_u32_le()? {
        let (id, lease) = get_lease(from)?;
        content.leases.insert(id, lease);
    }
    for _ in 0..from.try_get_u64_le()? {
        let found = Arc::new(get_key_value(from)?);
        content.used += cost(&found.key, &found.value);
        if let Some(Purpose::Keys { keys, .. }) =
            found.lease.and_then(|id| content.leases.get_mut(&id)).map(|l| &mut l.purpose)
        {
            keys.insert(found.key.clone());
        }
        content.keys.insert(found);
    }
    for _ in 0..from.try_get_u32_le()? {
        let (name, lock) = get_lock(from)?;
        content.locks.insert(name, lock);
    }
    queue_waiters(&mut content)?;
    let mut events = Vector::new();
    for _ in 0..from.try_get_u64_le()? {
        events.push_back(get_event(from, &content)?);
    }
    content.history = History::of(events, compacted);
    for _ in 0..from.try_get_u32_le()? {
        let request: Arc<str> = get_text(from)?.into();
        let fingerprint = from.try_get_u64_le()?;
        let reply = serde_json::from_slice(get_bytes(from)?).map_err(|_| ImageError::Content("a kept answer"))?;
        content.kept.keep(request, fingerprint, reply);
    }
    if from.is_empty() { Ok(content) } else { Err(ImageError::Content("the end")) }
}

/// Everybody with a place who does not hold the lock waits for it.
fn queue_waiters(content: &mut Content) -> Result<(), ImageError> {
    for (id, lease) in &content.leases {
        let Purpose::Place { lock, place, .. } = &lease.purpose else { continue };
        let lock = content.locks.get_mut(&**lock).ok_or(ImageError::Content("a place"))?;
        if !matches!(lock.tenure, Tenure::Held { lease, .. } if lease == *id) {
            lock.waiters.insert(*place, *id);
        }
    }
    Ok(())
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_u32_le(bytes.len() as u32);
    out.put_slice(bytes);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

fn put_lease(out: &mut Vec<u8>, id: LeaseId, lease: &Lease) {
    out.put_u128_le(id.0);
    out.put_u32_le(lease.ttl_ms);
    out.put_u64_le(lease.renewals);
    match &lease.purpose {
        Purpose::Keys { ends_with_last, .. } => out.put_u8(if *ends_with_last { 3 } else { 0 }),
        Purpose::Place { lock, place, delay_ms, owner, request, asker } => {
            out.put_u8(match (request, asker) {
                (None, _) => 1,
                (Some(_), None) => 2,
                (Some(_), Some(_)) => 4,
            });
            put_text(out, lock);
            out.put_u64_le(place.0);
            out.put_u32_le(*delay_ms);
            put_text(out, owner);
            if let Some(request) = request {
                put_text(out, request);
                asker.iter().for_each(|asker| out.put_u64_le(*asker));
            }
        }
    }
}

fn put_key_value(out: &mut Vec<u8>, found: &KeyValue) {
    put_text(out, &found.key);
    put_bytes(out, &found.value);
    out.put_u64_le(found.created.0);
    out.put_u64_le(found.modified.0);
    out.put_u64_le(found.version);
    out.put_u8(u8::from(found.lease.is_some()));
    if let Some(lease) = found.lease {
        out.put_u128_le(lease.0);
    }
}

fn put_event(out: &mut Vec<u8>, content: &Content, event: &Event) {
    match event {
        Event::Delete { key, revision } => {
            out.put_u8(0);
            put_text(out, key);
            out.put_u64_le(revision.0);
        }
        Event::Put(set) if content.keys.get(&set.key).is_some_and(|now| Arc::ptr_eq(now, set)) => {
            out.put_u8(2);
            put_text(out, &set.key);
        }
        Event::Put(set) => {
            out.put_u8(1);
            put_key_value(out, set);
        }
    }
}

fn get_bytes<'a>(from: &mut &'a [u8]) -> Result<&'a [u8], ImageError> {
    let length = from.try_get_u32_le()? as usize;
    let short = TryGetError { requested: length, available: from.len() };
    let (bytes, rest) = from.split_at_checked(length).ok_or(short)?;
    *from = rest;
    Ok(bytes)
}

fn get_text<'a>(from: &mut &'a [u8]) -> Result<&'a str, ImageError> {
    std::str::from_utf8(get_bytes(from)?).map_err(|_| ImageError::Content("a text"))
}

fn get_key(from: &mut &[u8]) -> Result<Key, ImageError> {
    Key::new(get_text(from)?).map_err(|_| ImageError::Content("a key"))
}

fn get_lease(from: &mut &[u8]) -> Result<(LeaseId, Lease), ImageError> {
    let id = LeaseId(from.try_get_u128_le()?);
    let (ttl_ms, renewals) = (from.try_get_u32_le()?, from.try_get_u64_le()?);
    let purpose = match from.try_get_u8()? {
        kind @ (0 | 3) => Purpose::Keys { keys: OrdSet::new(), ends_with_last: kind == 3 },
        kind @ (1 | 2 | 4) => Purpose::Place {
            lock: get_key(from)?,
            place: Revision(from.try_get_u64_le()?),
            delay_ms: from.try_get_u32_le()?,
            owner: get_text(from)?.into(),
            request: if kind == 1 { None } else { Some(get_text(from)?.into()) },
            asker: if kind == 4 { Some(from.try_get_u64_le()?) } else { None },
        },
        _ => return Err(ImageError::Content("a lease")),
    };
    Ok((id, Lease { ttl_ms, renewals, purpose }))
}

fn get_key_value(from: &mut &[u8]) -> Result<KeyValue, ImageError> {
    let (key, value) = (get_key(from)?, Bytes::copy_from_slice(get_bytes(from)?));
    let (created, modified) = (Revision(from.try_get_u64_le()?), Revision(from.try_get_u64_le()?));
    let version = from.try_get_u64_le()?;
    let lease = match from.try_get_u8()? {
        0 => None,
        _ => Some(LeaseId(from.try_get_u128_le()?)),
    };
    Ok(KeyValue { key, value, created, modified, version, lease })
}

fn get_lock(from: &mut &[u8]) -> Result<(Key, Lock), ImageError> {
    let name = get_key(from)?;
    let kind = from.try_get_u8()?;
    let token = FencingToken(from.try_get_u64_le()?);
    let tenure = match kind {
        0 => Tenure::Held { lease: LeaseId(from.try_get_u128_le()?), token },
        1 => Tenure::Delayed { token, delay_ms: from.try_get_u32_le()? },
        _ => return Err(ImageError::Content("a lock")),
    };
    Ok((name, Lock { tenure, waiters: OrdMap::new() }))
}

fn get_event(from: &mut &[u8], content: &Content) -> Result<Event, ImageError> {
    Ok(match from.try_get_u8()? {
        0 => Event::Delete { key: get_key(from)?, revision: Revision(from.try_get_u64_le()?) },
        1 => Event::Put(Arc::new(get_key_value(from)?)),
        2 => Event::Put(content.keys.get(get_text(from)?).ok_or(ImageError::Content("a change"))?.clone()),
        _ => return Err(ImageError::Content("a change")),
    })
}
