//! What each received frame does.

use bytes::BytesMut;

use super::driver::Driver;
use super::served::{Unserved, fault_frame};
use super::{Ended, Side};
use crate::codec::frame::{Header, Kind, Outgoing, open};
use crate::{AskError, Fault, Service};

/// Whether it is served; an error when that breaks the protocol.
fn served(served: Result<(), Unserved>) -> Result<bool, Ended> {
    match served {
        Ok(()) => Ok(true),
        Err(Unserved::TooMany) => Ok(false),
        Err(Unserved::InUse) => Err(Ended::violated("one number was given to two requests or streams")),
    }
}

impl Driver {
    /// Handles one frame. Never waits. An error ends the connection.
    pub(super) fn dispatch(&mut self, frame: BytesMut) -> Result<(), Ended> {
        let (header, body) = open(frame).map_err(Ended::violated)?;
        let connection = &self.connection;
        let id = header.id;
        self.stirred += usize::from(matches!(header.kind, Kind::Ask | Kind::Answer));
        match (header.kind, connection.side) {
            (Kind::Ask, Side::Accepted) => {
                if !served(connection.serve(&self.shared.handler, header, body))? {
                    let message = "too many requests are being served on this connection".to_owned();
                    // Without room the asker waits for its deadline.
                    let _ = connection.outbox.offer(fault_frame(id, Fault { message }));
                }
            }
            (Kind::Tell, Side::Accepted) => {
                self.shared.handler.told(&connection.peer, Service(header.service), body);
            }
            (Kind::Open, Side::Accepted) => {
                if !served(connection.serve_stream(&self.shared.handler, header))? {
                    for kind in [Kind::End, Kind::Cancel] {
                        let _ = connection.outbox.offer(Outgoing::bare(Header::about(kind, id)));
                    }
                }
            }
            (Kind::Answer, Side::Dialled) => connection.requests.answer(id, Ok(body)),
            (Kind::Fault, Side::Dialled) => {
                let message = String::from_utf8_lossy(&body).into_owned();
                connection.requests.answer(id, Err(AskError::Fault(Fault { message })));
            }
            (Kind::Frame, _) => {
                if !connection.streams.received(id, body) {
                    return Err(Ended::violated("a stream sent more than its window"));
                }
            }
            (Kind::Credit, _) => connection.streams.credited(id, header.amount),
            (Kind::End, _) => connection.streams.peer_ended(id),
            (Kind::Cancel, _) => {
                connection.streams.stop_sending(id);
                connection.served.cancel(id);
            }
            (Kind::Ping, _) => {
                // Without room the peer hears from us anyway.
                let _ = connection.outbox.offer(Outgoing::bare(Header::plain(Kind::Pong)));
            }
            (Kind::Pong, _) => {}
            (Kind::Goodbye, _) => return Err(Ended::Goodbye),
            (kind @ (Kind::Ask | Kind::Tell | Kind::Open), Side::Dialled)
            | (kind @ (Kind::Answer | Kind::Fault), Side::Accepted) => {
                return Err(Ended::violated(format!("the wrong side sent a frame of kind {kind:?}")));
            }
        }
        Ok(())
    }
}
