//! The bytes of all machines in a snapshot.
//!
//! ```text
//! schema u8  epoch u64  sessions  lapsed leases: length u32, bytes  removed members: the same, in schema 3
//! a state on its way back
//! the state of each machine, one behind the other
//! of each: id u8, length u64  how many u16                                            (little-endian)
//! ```
//! The lengths come last, so that a state is encoded and written piece by piece.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut, TryGetError};
use serde::de::DeserializeOwned;

use super::host::Core;
use super::removed::RemovedMembers;
use super::restoring::Restoring;
use super::session::Sessions;
use super::{Capture, MachineId};
use crate::codec;

/// Layout of an image: its first byte.
const SCHEMA: u8 = 3;
/// The same without removed members, which is written while there are none: versions before read it too.
const NONE_REMOVED: u8 = 2;
/// What was written before, and is still read: each length before its state.
const LENGTHS_FIRST: u8 = 1;
/// Of a machine at the end.
const ENTRY_BYTES: usize = 9;
const COUNT_BYTES: usize = 2;

/// The state of all machines at one moment, captured and not yet encoded.
pub(crate) struct Image {
    core: Core,
    machines: Vec<(MachineId, Capture)>,
}

impl Image {
    pub(super) fn new(core: Core, machines: Vec<(MachineId, Capture)>) -> Self {
        Self { core, machines }
    }

    /// The epoch at which it was captured.
    pub(crate) fn epoch(&self) -> u64 {
        self.core.epoch
    }

    /// Its bytes, each piece encoded when it is asked for.
    pub(crate) fn pieces(self) -> impl Iterator<Item = Bytes> + Send {
        let mut head = BytesMut::new();
        let none_removed = self.core.removed.is_empty();
        head.put_u8(if none_removed { NONE_REMOVED } else { SCHEMA });
        head.put_u64_le(self.core.epoch);
        self.core.sessions.encode(&mut head);
        let removed = (!none_removed).then(|| codec::record(&self.core.removed));
        for record in std::iter::once(codec::record(&self.core.lapsed)).chain(removed) {
            head.put_u32_le(record.len() as u32);
            head.put_slice(&record);
        }
        let restoring = self.core.restoring.pieces();
        let states = States { left: self.machines.into(), length: 0, table: Some(BytesMut::new()), count: 0 };
        std::iter::once(head.freeze()).chain(restoring).chain(states)
    }
}

/// The states, and at the end what lengths they had.
struct States {
    left: VecDeque<(MachineId, Capture)>,
    /// Of the first of them, so far.
    length: u64,
    /// Of those before.
    table: Option<BytesMut>,
    count: u16,
}

impl Iterator for States {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        while let Some((id, state)) = self.left.front_mut() {
            if let Some(piece) = state.next() {
                self.length += piece.len() as u64;
                return Some(piece.into());
            }
            if let Some(table) = &mut self.table {
                table.put_u8(id.0);
                table.put_u64_le(std::mem::take(&mut self.length));
                self.count += 1;
            }
            self.left.pop_front();
        }
        let mut table = self.table.take()?;
        table.put_u16_le(self.count);
        Some(table.freeze())
    }
}

/// The encoded state of each machine.
pub(super) type Encoded<'a> = Vec<(MachineId, &'a [u8])>;

/// The parts of an encoded image.
pub(super) fn parts(image: &[u8]) -> Result<(Core, Encoded<'_>), TryGetError> {
    let mut rest = image;
    let schema = rest.try_get_u8()?;
    let epoch = rest.try_get_u64_le()?;
    let sessions = Sessions::decode(&mut rest)?;
    let lapsed = record(&mut rest)?;
    let removed = if schema == SCHEMA { record(&mut rest)? } else { RemovedMembers::default() };
    let (restoring, machines) = match schema {
        SCHEMA | NONE_REMOVED => lengths_last(rest)?,
        LENGTHS_FIRST => lengths_first(rest)?,
        _ => return Err(short(1)),
    };
    Ok((Core { epoch, sessions, lapsed, restoring, removed, ..Core::default() }, machines))
}

fn record<T: DeserializeOwned>(rest: &mut &[u8]) -> Result<T, TryGetError> {
    let length = rest.try_get_u32_le()? as usize;
    codec::decode(take(rest, length)?).map_err(|_| short(length))
}

fn lengths_last(mut rest: &[u8]) -> Result<(Restoring, Encoded<'_>), TryGetError> {
    let restoring = Restoring::decode(&mut rest)?;
    let (rest, mut count) = split_end(rest, COUNT_BYTES)?;
    let (mut rest, mut table) = split_end(rest, usize::from(count.try_get_u16_le()?) * ENTRY_BYTES)?;
    let mut machines = Vec::new();
    while !table.is_empty() {
        let (id, length) = (MachineId(table.try_get_u8()?), table.try_get_u64_le()?);
        machines.push((id, take(&mut rest, length)?));
    }
    if rest.is_empty() { Ok((restoring, machines)) } else { Err(short(0)) }
}

/// How many machines, id and length before the state of each, and then a state on its way back, if there is one.
fn lengths_first(mut rest: &[u8]) -> Result<(Restoring, Encoded<'_>), TryGetError> {
    let mut machines = Vec::new();
    for _ in 0..rest.try_get_u16_le()? {
        let (id, length) = (MachineId(rest.try_get_u8()?), rest.try_get_u64_le()?);
        machines.push((id, take(&mut rest, length)?));
    }
    let restoring = if rest.is_empty() { Restoring::default() } else { Restoring::decode(&mut rest)? };
    if rest.is_empty() { Ok((restoring, machines)) } else { Err(short(0)) }
}

/// Takes so many bytes off the front.
pub(super) fn take<'a>(bytes: &mut &'a [u8], length: impl TryInto<usize>) -> Result<&'a [u8], TryGetError> {
    let length = length.try_into().unwrap_or(usize::MAX);
    let (front, rest) = bytes.split_at_checked(length).ok_or(short(length))?;
    *bytes = rest;
    Ok(front)
}

fn short(requested: usize) -> TryGetError {
    TryGetError { requested, available: 0 }
}

fn split_end(bytes: &[u8], length: usize) -> Result<(&[u8], &[u8]), TryGetError> {
    let at = bytes.len().checked_sub(length).ok_or(short(length))?;
    Ok(bytes.split_at(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::session::OpenSession;
    use crate::machine::{Disks, RestoreAll};

    fn image(machines: Vec<(MachineId, Capture)>) -> Vec<u8> {
        let mut sessions = Sessions::default();
        sessions.open(OpenSession { node: "a".parse().unwrap(), incarnation: 1 }, 4);
        let core = Core { epoch: 9, sessions, lapsed: [("b".parse().unwrap(), 3)].into(), ..Core::default() };
        Image::new(core, machines).pieces().collect::<Vec<_>>().concat()
    }

    #[test]
    fn states_of_any_number_of_pieces_are_read_back_and_every_cut_is_seen() {
        let pieces = |pieces: &[&str]| {
            let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.as_bytes().to_vec()).collect();
            Box::new(pieces.into_iter()) as Capture
        };
        let machines =
            vec![(MachineId(1), pieces(&["ab", "", "c"])), (MachineId(4), pieces(&[])), (MachineId(7), pieces(&["d"]))];
        let bytes = image(machines);
        let (core, states) = parts(&bytes).unwrap();
        assert_eq!((core.epoch, core.lapsed.len()), (9, 1));
        assert_eq!(states, [(MachineId(1), &b"abc"[..]), (MachineId(4), b""), (MachineId(7), b"d")]);
        for end in 0..bytes.len() {
            assert!(parts(&bytes[..end]).is_err(), "cut at {end}");
        }
        assert!(parts(&[&bytes[..], &[0]].concat()).is_err(), "longer");
        assert!(parts(&image(Vec::new())).unwrap().1.is_empty());
    }

    #[test]
    fn all_layouts_stay() {
        // Epoch 9; no session; the lapsed lease of "b" at 3.
        let head = [9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1, 1, b'b', 3];
        let (first, states) = ([1, 0, 7, 2, 0, 0, 0, 0, 0, 0, 0, b'x', b'y'], [(MachineId(7), &b"xy"[..])]);
        // The third attempt to bring a state back has brought two bytes.
        let back = [3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, b'r', b's'];
        // The member "c" was removed, with the disk 5.
        let removed = [4, 0, 0, 0, 1, 1, b'c', 5];
        let (none, last) = ([0; 16], [b'x', b'y', 7, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        let before = [&[LENGTHS_FIRST], &head[..], &first].concat();
        let now = [&[NONE_REMOVED], &head[..], &none, &last].concat();
        for (image, on_its_way) in [
            (&before, false),
            (&[&before[..], &back].concat(), true),
            (&now, false),
            (&[&[NONE_REMOVED], &head[..], &back, &last].concat(), true),
            (&[&[SCHEMA], &head[..], &removed, &none, &last].concat(), false),
        ] {
            let all = RestoreAll { attempt: 3, length: 2, crc: crc32c::crc32c(b"rs"), epoch: 0 };
            let (mut core, found) = parts(image).unwrap();
            assert_eq!((core.epoch, core.lapsed.len(), &found[..]), (9, 1, &states[..]));
            assert_eq!(core.removed.disks_of(&"c".parse().unwrap()).eq([5]), image[0] == SCHEMA);
            assert_eq!(core.restoring.take(&all).is_ok(), on_its_way);
        }
        let mut core = Core { epoch: 9, lapsed: [("b".parse().unwrap(), 3)].into(), ..Core::default() };
        let written = |core: &Core| {
            let machines = vec![(MachineId(7), Box::new(std::iter::once(b"xy".to_vec())) as Capture)];
            Image::new(core.clone(), machines).pieces().collect::<Vec<_>>().concat()
        };
        assert_eq!(written(&core), now);
        core.removed.follow(&[("c".parse().unwrap(), 5)].into(), &Disks::new());
        assert_eq!(written(&core), [&[SCHEMA], &head[..], &removed, &none, &last].concat());
        assert!(parts(&[&[4], &now[1..]].concat()).is_err(), "a layout that is not known");
    }
}
