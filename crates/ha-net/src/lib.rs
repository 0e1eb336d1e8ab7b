//! Bytes reach a named node.

mod accepting;
mod address;
mod backoff;
pub mod codec;
mod connection;
mod dialling;
mod error;
mod event;
mod gate;
mod greeting;
mod handler;
mod limits;
mod link;
mod net;
mod node_id;
mod peers;
mod registry;
mod shared;
mod stream;
mod sync;
mod traffic;
mod warnings;
pub mod wire;

pub use address::{Address, AddressError};
pub use error::{AskError, GreetError, StartError};
pub use event::PeerEvent;
pub use gate::{ClusterId, Gate, Incarnation, Introduction, Refusal, RefusalCode};
pub use handler::{Fault, Handler, Lane, Peer, Service};
pub use limits::{BULK_FRAME_BYTES_MAX, CONTROL_FRAME_BYTES_MAX, HELLO_FRAME_BYTES_MAX};
pub use net::{Config, Net, start};
pub use node_id::{NODE_ID_BYTES_MAX, NodeId, NodeIdError};
pub use stream::{FrameReceiver, FrameSender, FrameStream, StreamEnded};
pub use traffic::Traffic;
