//! Checks for what many services need.

mod command;
mod disk;
mod http;
mod tcp;

pub use command::CommandCheck;
pub use disk::DiskCheck;
pub use http::HttpCheck;
pub use tcp::TcpCheck;
