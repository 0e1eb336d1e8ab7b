//! Bytes reach a named node.

mod address;
mod gate;
mod handler;
mod net;
mod node_id;
mod stream;
pub mod wire;

pub use address::{Address, AddressError};
pub use gate::{ClusterId, Gate, Incarnation, Introduction, Refusal, RefusalCode};
pub use handler::{Fault, Handler, Lane, Peer, Service};
pub use net::{AskError, Config, GreetError, Net, PeerEvent, StartError, start};
pub use node_id::{NODE_ID_BYTES_MAX, NodeId, NodeIdError};
pub use stream::{FrameReceiver, FrameSender, FrameStream, StreamEnded};
