//! HTTP speaks for a node.
//!
//! ```no_run
//! # async fn example(ha: ha_runtime::Ha) -> Result<(), Box<dyn std::error::Error>> {
//! let config = ha_http::Config { listen: ([127, 0, 0, 1], 8080).into(), ..ha_http::Config::default() };
//! let door = ha_http::listen(config).await?; // the port is taken before anything else starts
//! let server = door.serve(ha.clone()); // cheap to clone
//! println!("http://{}/health", server.local_addr());
//! ha.stop().await; // probes see the end coming
//! server.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! The handlers translate: a request into a question to the node's handle, its answer into JSON and a status code.
//! No decision is made here. Who may change something is said in `access.rs`, all limits in `limits.rs`.

mod access;
mod asked;
mod body;
mod config;
mod conversation;
mod error;
mod files;
#[cfg(feature = "testing")]
pub mod fuzzing;
pub mod limits;
mod log_control;
mod metrics;
mod places;
mod request_id;
mod router;
mod routes;
mod server;
mod short;
mod visitors;

pub use access::{Token, TokenError};
pub use config::Config;
pub use files::make_room;
pub use log_control::LogControl;
pub use metrics::Metrics;
pub use server::{Door, ListenError, Server, listen};
