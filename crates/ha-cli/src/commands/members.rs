//! `ha members`: who belongs to the cluster.

use super::ask_and_show;
use crate::answers::Member;
use crate::client::ClientArgs;
use crate::failure::Failure;
use crate::table::{BAD, Cell, DOUBTFUL, GOOD, PLAIN, QUIET, STRONG, table};

/// Asks and shows.
pub(crate) async fn run(args: ClientArgs) -> Result<(), Failure> {
    ask_and_show(args, "/v1/cluster/members", |members: &Vec<Member>| match members.as_slice() {
        [] => "no members yet: the cluster has not formed\n".to_owned(),
        members => show(members),
    })
    .await
}

/// The table of members.
pub(super) fn show(members: &[Member]) -> String {
    let rows: Vec<_> = members.iter().map(row).collect();
    table(["NODE", "STATE", "ROLE", "VOTES", "PRIORITY", "ADDRESS"], &rows)
}

fn row(member: &Member) -> [Cell; 6] {
    let state = if member.state == "alive" && !member.fit { "unfit" } else { &member.state };
    let style = match state {
        "alive" => GOOD,
        "unfit" => BAD,
        "suspect" => DOUBTFUL,
        "failed" => BAD,
        "left" => QUIET,
        _ => PLAIN,
    };
    let role = if member.role == "leader" { STRONG } else { PLAIN };
    [
        Cell::new(&member.node_id, role),
        Cell::new(state, style),
        Cell::new(&member.role, role),
        Cell::from(if member.voter { "yes" } else { "no" }),
        Cell::from(member.priority.to_string()),
        Cell::from(address(&member.address, member.port)),
    ]
}

/// `host:port`, with brackets around an IPv6 address.
pub(super) fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
