//! `ha leader`: who leads.

use super::ask_and_show;
use super::members::address;
use crate::answers::Node;
use crate::client::ClientArgs;
use crate::failure::Failure;

/// Asks and shows; fails while there is none.
pub(crate) async fn run(args: ClientArgs) -> Result<(), Failure> {
    ask_and_show(args, "/v1/cluster/leader", show).await
}

/// One line, of which the first word is the id.
pub(super) fn show(leader: &Node) -> String {
    format!("{} at {}\n", leader.node_id, address(&leader.address, leader.port))
}
