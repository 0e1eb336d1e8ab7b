//! What happens to connections, told to one reader who may be slow.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::sync::{Notify, mpsc};

use crate::limits::{EVENTS_MAX, REFUSALS_KEPT_MAX};
use crate::sync::lock;
use crate::{Address, NodeId, Peer, Refusal};

/// What happens to connections. Delivered through a bounded queue; a slow reader loses none of the last state per peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerEvent {
    /// A control connection that this node dialled is up.
    Up(Peer),
    /// The control connection that this node dialled has ended.
    Down(Peer),
    /// The control connection to this node ended by reset or close, and dialling again was refused at once: nobody
    /// listens there any more. The process has very likely died. Only a hint. It comes instead of `Down`, or after it
    /// when the refusal took long to arrive.
    Crashed(Peer),
    /// That side, or ours, turned the connection away.
    Refused {
        /// Where it was dialled, or where it came from.
        address: Address,
        /// Who it is, if it said so.
        node_id: Option<NodeId>,
        /// Why.
        refusal: Refusal,
        /// True when the peer turned us away, false when our own gate did.
        by_peer: bool,
    },
}

/// Events of one key replace one another while they wait.
#[derive(PartialEq, Eq)]
enum Key<'a> {
    Connection(&'a NodeId),
    RefusedNode(&'a NodeId),
    RefusedPlace(&'a Address, bool),
}

impl PeerEvent {
    fn key(&self) -> Key<'_> {
        match self {
            Self::Up(peer) | Self::Down(peer) | Self::Crashed(peer) => Key::Connection(&peer.node_id),
            // By name where there is one, since each dial of a refused peer comes from another port.
            Self::Refused { node_id: Some(node_id), by_peer: false, .. } => Key::RefusedNode(node_id),
            Self::Refused { address, by_peer, .. } => Key::RefusedPlace(address, *by_peer),
        }
    }
}

/// The sending side. An event goes straight into the queue while there is room, and waits, merged per peer, otherwise.
#[derive(Debug)]
pub(crate) struct Events {
    queue: mpsc::Sender<PeerEvent>,
    waiting: Mutex<VecDeque<PeerEvent>>,
    grew: Notify,
}

impl Events {
    pub(crate) fn new() -> (Self, mpsc::Receiver<PeerEvent>) {
        let (queue, reader) = mpsc::channel(EVENTS_MAX);
        (Self { queue, waiting: Mutex::default(), grew: Notify::new() }, reader)
    }

    /// Reports an event. Never waits. Without a reader it is dropped.
    pub(crate) fn emit(&self, event: PeerEvent) {
        let mut waiting = lock(&self.waiting);
        let event = if waiting.is_empty() {
            match self.queue.try_send(event) {
                Err(mpsc::error::TrySendError::Full(event)) => event,
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => return,
            }
        } else {
            event
        };
        merge(&mut waiting, event);
        self.grew.notify_one();
    }

    /// Moves what waits into the queue as its reader makes room; runs as long as the node does.
    pub(crate) async fn pump(&self) {
        loop {
            self.grew.notified().await;
            loop {
                let Ok(room) = self.queue.reserve().await else { return };
                match lock(&self.waiting).pop_front() {
                    Some(event) => room.send(event),
                    None => break,
                }
            }
        }
    }
}

/// Adds an event in place of an older one of the same key. At most two events per known peer wait, since the table of
/// peers is bounded, and a bounded number of refusals.
fn merge(waiting: &mut VecDeque<PeerEvent>, event: PeerEvent) {
    waiting.retain(|older| older.key() != event.key());
    let is_refusal = |event: &PeerEvent| matches!(event, PeerEvent::Refused { .. });
    if is_refusal(&event)
        && waiting.iter().filter(|older| is_refusal(older)).count() >= REFUSALS_KEPT_MAX
        && let Some(oldest) = waiting.iter().position(is_refusal)
    {
        waiting.remove(oldest);
    }
    waiting.push_back(event);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Incarnation, RefusalCode};

    fn peer(name: &str) -> Peer {
        let address = Address::new("h", 1).unwrap();
        Peer { node_id: name.parse().unwrap(), incarnation: Incarnation(1), address }
    }

    #[tokio::test]
    async fn a_slow_reader_gets_the_last_state_of_each_peer_in_order() {
        let (events, mut reader) = Events::new();
        for _ in 0..EVENTS_MAX {
            events.emit(PeerEvent::Up(peer("filler")));
        }
        for _ in 0..1000 {
            events.emit(PeerEvent::Up(peer("a")));
            events.emit(PeerEvent::Up(peer("b")));
            events.emit(PeerEvent::Down(peer("a")));
        }
        assert_eq!(lock(&events.waiting).len(), 2);
        let read = async {
            for _ in 0..EVENTS_MAX {
                assert_eq!(reader.recv().await, Some(PeerEvent::Up(peer("filler"))));
            }
            assert_eq!(reader.recv().await, Some(PeerEvent::Up(peer("b"))));
            assert_eq!(reader.recv().await, Some(PeerEvent::Down(peer("a"))));
        };
        tokio::select! {
            () = events.pump() => panic!("the pump ends only with the reader"),
            () = read => {}
        }
    }

    #[test]
    fn refusals_of_many_places_stay_bounded() {
        let mut waiting = VecDeque::new();
        for port in 1..=1000 {
            let refusal = Refusal { code: RefusalCode::Secret, message: String::new() };
            let address = Address::new("h", port).unwrap();
            merge(&mut waiting, PeerEvent::Refused { address, node_id: None, refusal, by_peer: true });
        }
        assert_eq!(waiting.len(), REFUSALS_KEPT_MAX);
    }
}
