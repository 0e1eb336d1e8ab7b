//! Bytes reach a named node.
//!
//! A node listens on one port and dials others by their stable id. Each side introduces itself, and each side's
//! [`Gate`] decides. Then there are three things to do with a peer: ask and wait for an answer, tell without one, and
//! open an ordered exchange of frames. Small urgent messages have a connection of their own, the control [`Lane`].
//!
//! ```
//! # use std::{collections::BTreeMap, sync::Arc, time::Duration};
//! # use bytes::Bytes;
//! # use futures::future::BoxFuture;
//! # use ha_net::wire::memory::MemoryNetwork;
//! # use ha_net::{Config, Fault, FrameStream, Gate, Handler, Incarnation, Introduction, Lane, Peer, PeerEvent};
//! # use ha_net::{Refusal, Service, start};
//! # struct Open(&'static str);
//! # impl Gate for Open {
//! #     fn introduce(&self) -> Introduction {
//! #         Introduction {
//! #             cluster_name: "doc".into(), cluster_id: None, generation: 0, node_id: self.0.parse().unwrap(),
//! #             incarnation: Incarnation(1), address: format!("{}:7946", self.0).parse().unwrap(),
//! #             claims: BTreeMap::new(),
//! #         }
//! #     }
//! #     fn admit(&self, _: &Introduction) -> Result<(), Refusal> { Ok(()) }
//! # }
//! # struct Echo;
//! # impl Handler for Echo {
//! #     fn told(&self, _: &Peer, _: Service, _: Bytes) {}
//! #     fn asked(&self, _: &Peer, _: Service, body: Bytes) -> BoxFuture<'static, Result<Bytes, Fault>> {
//! #         Box::pin(async { Ok(body) })
//! #     }
//! #     fn opened(&self, _: &Peer, _: Service, mut frames: FrameStream) -> BoxFuture<'static, ()> {
//! #         Box::pin(async move {
//! #             while let Some(frame) = frames.receiver.recv().await {
//! #                 if frames.sender.send(frame).await.is_err() { break }
//! #             }
//! #         })
//! #     }
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let wires = MemoryNetwork::new();
//! let (a, mut events) = start(Config::default(), Arc::new(wires.host("a")), Arc::new(Open("a")), Arc::new(Echo)).await?;
//! let (b, _) = start(Config::default(), Arc::new(wires.host("b")), Arc::new(Open("b")), Arc::new(Echo)).await?;
//!
//! let found = a.greet(&"b:7946".parse()?).await?; // a seed: only the place is known
//! assert!(matches!(events.recv().await, Some(PeerEvent::Up(peer)) if peer.node_id == found.node_id));
//!
//! let answer = a.ask(&found.node_id, Lane::Bulk(0), Service(1), "hello".into(), Duration::from_secs(1)).await?;
//! assert_eq!(answer, "hello");
//! assert!(a.tell(&found.node_id, Lane::Control, Service(2), "alive".into()));
//! let mut echo = a.open(&found.node_id, Lane::Bulk(1), Service(3)).await?;
//! echo.sender.send("part one".into()).await?;
//! assert_eq!(echo.receiver.recv().await.as_deref(), Some(&b"part one"[..]));
//!
//! b.stop().await; // a goodbye, not a crash
//! assert!(matches!(events.recv().await, Some(PeerEvent::Down(_))));
//! # Ok(())
//! # }
//! ```
//!
//! It never looks into a body, keeps no message for a peer that is away, and knows nothing of leaders, votes or
//! members. Everything that waits here has a bound, and everything of a peer that was not admitted is forgotten.

mod accepting;
mod address;
mod backoff;
pub mod codec;
mod connection;
mod dialling;
mod error;
mod event;
#[cfg(feature = "testing")]
pub mod fuzzing;
mod gate;
mod greeting;
mod handler;
mod limits;
mod link;
#[cfg(any(test, feature = "testing"))]
pub mod loopback;
mod net;
mod node_id;
mod peers;
mod registry;
mod secret;
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
pub use secret::Secret;
pub use stream::{FrameReceiver, FrameSender, FrameStream, StreamEnded};
pub use traffic::Traffic;
