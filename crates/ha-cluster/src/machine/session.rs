//! Exactly once: who asked, what it asked, and what it was told, so that a retry is answered and not applied again.
//!
//! The scheme is that of section 6.3 of Ongaro's dissertation (sessions with serial numbers, part of the replicated
//! state), with a mark below which the client promises to ask nothing again in place of one outstanding command.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf, BufMut, Bytes, BytesMut, TryGetError};
use ha_net::NodeId;
use serde::{Deserialize, Serialize};

use super::image::take;

/// Most sessions; the oldest goes first. Far above the members of a cluster, each of which has one.
const SESSIONS_MAX: usize = 4096;
/// Most kept replies of one session. Above what a node has outstanding.
pub(crate) const REPLIES_MAX: usize = 16_384;

/// A session: the epoch at which it was opened, so no number is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct SessionId(pub(crate) u64);

impl SessionId {
    /// For commands that are never retried.
    pub(crate) const NONE: Self = Self(0);
}

/// Asks for a session; answered with its number. Repeating it gives the same number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OpenSession {
    pub(crate) node: NodeId,
    pub(crate) incarnation: u64,
}

/// Whether a command is to be applied.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// For the first time.
    Apply,
    /// It was applied; this was the reply.
    Repeat(Bytes),
    /// See [`super::Outcome`].
    Expired,
    Forgotten,
    Overrun,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sessions {
    by_id: BTreeMap<SessionId, Session>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Session {
    node: NodeId,
    incarnation: u64,
    acknowledged_below: u64,
    /// By serial, in order. Nearly always the next one is the highest.
    replies: VecDeque<(u64, Bytes)>,
}

impl Session {
    fn reply(&self, serial: u64) -> Option<&Bytes> {
        let (highest, _) = self.replies.back()?;
        if serial > *highest {
            return None;
        }
        let place = self.replies.binary_search_by_key(&serial, |(serial, _)| *serial).ok()?;
        self.replies.get(place).map(|(_, reply)| reply)
    }

    fn keep(&mut self, serial: u64, reply: Bytes) {
        if self.replies.back().is_none_or(|(highest, _)| *highest < serial) {
            return self.replies.push_back((serial, reply));
        }
        match self.replies.binary_search_by_key(&serial, |(serial, _)| *serial) {
            Ok(place) => self.replies[place].1 = reply,
            Err(place) => self.replies.insert(place, (serial, reply)),
        }
    }
}

impl Sessions {
    /// Opens a session for one life of a node and ends those of its earlier lives. `None` when a later life has one.
    pub(crate) fn open(&mut self, open: OpenSession, epoch: u64) -> Option<SessionId> {
        let mut same = self.by_id.iter().filter(|(_, s)| s.node == open.node);
        if let Some((id, session)) = same.next_back()
            && session.incarnation >= open.incarnation
        {
            return (session.incarnation == open.incarnation).then_some(*id);
        }
        self.by_id.retain(|_, s| s.node != open.node);
        while self.by_id.len() >= SESSIONS_MAX {
            self.by_id.pop_first();
        }
        let id = SessionId(epoch);
        let OpenSession { node, incarnation } = open;
        self.by_id.insert(id, Session { node, incarnation, acknowledged_below: 0, replies: VecDeque::new() });
        Some(id)
    }

    /// Ends the sessions of nodes that are members no more.
    pub(crate) fn retain_nodes(&mut self, is_member: impl Fn(&NodeId) -> bool) {
        self.by_id.retain(|_, s| is_member(&s.node));
    }

    /// Moves a session's mark up and drops the replies below it.
    pub(crate) fn acknowledge(&mut self, id: SessionId, below: u64) {
        if let Some(session) = self.by_id.get_mut(&id)
            && below > session.acknowledged_below
        {
            session.acknowledged_below = below;
            while session.replies.pop_front_if(|(serial, _)| *serial < below).is_some() {}
        }
    }

    /// Decides whether a command is to be applied. Without a session it always is: it is never retried.
    pub(crate) fn admit(&self, id: SessionId, serial: u64) -> Admission {
        if id == SessionId::NONE {
            return Admission::Apply;
        }
        let Some(session) = self.by_id.get(&id) else { return Admission::Expired };
        if serial < session.acknowledged_below {
            return Admission::Forgotten;
        }
        match session.reply(serial) {
            Some(reply) => Admission::Repeat(reply.clone()),
            None if session.replies.len() >= REPLIES_MAX => Admission::Overrun,
            None => Admission::Apply,
        }
    }

    /// Writes all sessions into a snapshot.
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(self.by_id.len() as u32);
        for (id, session) in &self.by_id {
            out.put_u64_le(id.0);
            out.put_u8(session.node.as_str().len() as u8);
            out.put_slice(session.node.as_str().as_bytes());
            out.put_u64_le(session.incarnation);
            out.put_u64_le(session.acknowledged_below);
            out.put_u32_le(session.replies.len() as u32);
            for (serial, reply) in &session.replies {
                out.put_u64_le(*serial);
                out.put_u32_le(reply.len() as u32);
                out.put_slice(reply);
            }
        }
    }

    /// Reads what [`Self::encode`] wrote.
    pub(crate) fn decode(from: &mut &[u8]) -> Result<Self, TryGetError> {
        let mut by_id = BTreeMap::new();
        for _ in 0..from.try_get_u32_le()? {
            let id = SessionId(from.try_get_u64_le()?);
            let length = usize::from(from.try_get_u8()?);
            let node = std::str::from_utf8(take(from, length)?).ok().and_then(|n| n.parse().ok());
            let node = node.ok_or(TryGetError { requested: length, available: 0 })?;
            let incarnation = from.try_get_u64_le()?;
            let acknowledged_below = from.try_get_u64_le()?;
            let mut session = Session { node, incarnation, acknowledged_below, replies: VecDeque::new() };
            for _ in 0..from.try_get_u32_le()? {
                let serial = from.try_get_u64_le()?;
                let length = from.try_get_u32_le()? as usize;
                session.keep(serial, Bytes::copy_from_slice(take(from, length)?));
            }
            by_id.insert(id, session);
        }
        Ok(Self { by_id })
    }

    /// Keeps the reply of an applied command.
    pub(crate) fn keep(&mut self, id: SessionId, serial: u64, reply: Bytes) {
        if let Some(session) = self.by_id.get_mut(&id) {
            session.keep(serial, reply);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(sessions: &mut Sessions, node: &str, incarnation: u64, epoch: u64) -> Option<SessionId> {
        sessions.open(OpenSession { node: node.parse().unwrap(), incarnation }, epoch)
    }

    #[test]
    fn a_repeated_command_gets_its_first_reply() {
        let mut sessions = Sessions::default();
        let id = open(&mut sessions, "a", 1, 10).unwrap();
        assert_eq!(sessions.admit(id, 1), Admission::Apply);
        sessions.keep(id, 1, Bytes::from_static(b"one"));
        assert_eq!(sessions.admit(id, 1), Admission::Repeat(Bytes::from_static(b"one")));
        assert_eq!(sessions.admit(id, 2), Admission::Apply, "a later one is new, in any order");
    }

    #[test]
    fn entries_may_overtake_each_other() {
        let mut sessions = Sessions::default();
        let id = open(&mut sessions, "a", 1, 10).unwrap();
        let reply = |serial: u64| Bytes::from(serial.to_string());
        for serial in [5, 3, 9] {
            sessions.keep(id, serial, reply(serial));
        }
        for mark in [0, 4, 5, 6, 100] {
            sessions.acknowledge(id, mark);
            for serial in 0..12 {
                let expected = match serial {
                    below if below < mark => Admission::Forgotten,
                    kept @ (3 | 5 | 9) => Admission::Repeat(reply(kept)),
                    _ => Admission::Apply,
                };
                assert_eq!(sessions.admit(id, serial), expected, "{serial} after {mark}");
            }
        }
    }

    #[test]
    fn an_acknowledged_reply_is_dropped_and_its_command_never_applied_again() {
        let mut sessions = Sessions::default();
        let id = open(&mut sessions, "a", 1, 10).unwrap();
        sessions.keep(id, 1, Bytes::new());
        sessions.acknowledge(id, 2);
        assert_eq!(sessions.admit(id, 1), Admission::Forgotten);
        sessions.acknowledge(id, 1);
        assert_eq!(sessions.admit(id, 1), Admission::Forgotten, "the mark never falls");
    }

    #[test]
    fn opening_is_idempotent_and_a_later_life_ends_the_earlier() {
        let mut sessions = Sessions::default();
        let first = open(&mut sessions, "a", 1, 10).unwrap();
        assert_eq!(open(&mut sessions, "a", 1, 11), Some(first));
        let second = open(&mut sessions, "a", 2, 12).unwrap();
        assert_eq!(sessions.admit(first, 1), Admission::Expired);
        assert_eq!(sessions.admit(second, 1), Admission::Apply);
        assert_eq!(open(&mut sessions, "a", 1, 13), None, "a late duplicate of an earlier life opens nothing");
    }

    #[test]
    fn sessions_survive_a_snapshot() {
        let mut sessions = Sessions::default();
        let id = open(&mut sessions, "a", 1, 10).unwrap();
        sessions.keep(id, 4, Bytes::from_static(b"four"));
        sessions.acknowledge(id, 3);
        let mut out = BytesMut::new();
        sessions.encode(&mut out);
        assert_eq!(Sessions::decode(&mut &out[..]), Ok(sessions));
        for end in 0..out.len() {
            assert!(Sessions::decode(&mut &out[..end]).is_err());
        }
    }

    #[test]
    fn a_removed_node_loses_its_session() {
        let mut sessions = Sessions::default();
        let id = open(&mut sessions, "a", 1, 10).unwrap();
        sessions.retain_nodes(|node| node.as_str() != "a");
        assert_eq!(sessions.admit(id, 1), Admission::Expired);
    }

    #[test]
    fn replies_and_sessions_are_bounded() {
        let mut sessions = Sessions::default();
        let id = open(&mut sessions, "a", 1, 1).unwrap();
        for serial in 0..REPLIES_MAX as u64 {
            sessions.keep(id, serial, Bytes::new());
        }
        assert_eq!(sessions.admit(id, REPLIES_MAX as u64), Admission::Overrun);
        for n in 0..SESSIONS_MAX as u64 {
            open(&mut sessions, &format!("n{n}"), 1, 2 + n).unwrap();
        }
        assert_eq!(sessions.by_id.len(), SESSIONS_MAX);
        assert_eq!(sessions.admit(id, 0), Admission::Expired, "the oldest went");
    }
}
