//! `ha failover`: who runs what, and moving it.

use serde::Deserialize;
use serde_json::{Value, json};

use super::ask_and_show;
use crate::client::{Client, ClientArgs};
use crate::failure::Failure;
use crate::output::{print, print_json};
use crate::table::{BAD, Cell, DOUBTFUL, GOOD, PLAIN, QUIET, STRONG, list, table};

/// Decisions that are shown.
const HISTORY_SHOWN: usize = 10;

/// What can be asked.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum FailoverCommand {
    /// Show who runs what, and the last decisions.
    Status(ClientArgs),
    /// Move a role to another node.
    Switchover(Switchover),
    /// Move a role back to the node of the highest priority.
    Failback(Failback),
    /// Add a group, which some node then runs.
    AddGroup(AddGroup),
    /// Let the node that is asked go on without the nodes that are lost, and be primary.
    Promote(Promote),
    /// From now on let no role move by itself.
    Pause(ClientArgs),
    /// End a pause.
    Resume(ClientArgs),
}

/// What a switchover takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Switchover {
    /// Where the role shall run; on the best other node when absent.
    #[arg(long, value_name = "NODE")]
    to: Option<String>,

    /// Which role, as `group` or `group/shard`; the first group when absent.
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,

    #[command(flatten)]
    client: ClientArgs,
}

/// What a failback takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Failback {
    /// Which role, as `group` or `group/shard`; the first group when absent.
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,

    #[command(flatten)]
    client: ClientArgs,
}

/// What a new group takes.
#[derive(Debug, clap::Args)]
pub(crate) struct AddGroup {
    /// Its name.
    #[arg(value_name = "GROUP")]
    group: String,

    #[command(flatten)]
    client: ClientArgs,
}

/// What a forced promotion takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Promote {
    /// The lost nodes are certainly stopped, and what only they have may be lost.
    #[arg(long, required = true)]
    force: bool,

    #[command(flatten)]
    client: ClientArgs,
}

impl FailoverCommand {
    /// Does it.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Status(args) => ask_and_show(args, "/v1/failover", show).await,
            Self::Switchover(args) => {
                let given = [("to", args.to), ("role", args.role)];
                let body = given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), Value::from(value?))));
                change(&args.client, "switchover", Value::Object(body.collect()), moved).await
            }
            Self::Promote(args) => {
                let answer =
                    Client::new(&args.client).post("/v1/failover/promote", &json!({"force": args.force})).await?;
                let body = answer.success::<Value>()?;
                let told = "it starts anew, alone; the lost nodes set their data aside when they come back, and join\n";
                if args.client.json { print_json(&body) } else { print(told) }
            }
            Self::Failback(args) => {
                let body = args.role.map_or_else(|| json!({}), |role| json!({"role": role}));
                change(&args.client, "failback", body, moved).await
            }
            Self::AddGroup(args) => {
                let body = json!({"group": args.group});
                let body = Client::new(&args.client).post("/v1/failover/groups", &body).await?.success::<Value>()?;
                let told = format!("the group {} is there: `ha failover status` tells where it runs\n", args.group);
                if args.client.json { print_json(&body) } else { print(&told) }
            }
            Self::Pause(args) => {
                change(&args, "pause", json!({}), |_| "paused: no role moves by itself\n".to_owned()).await
            }
            Self::Resume(args) => change(&args, "resume", json!({}), |_| "roles move by themselves\n".to_owned()).await,
        }
    }
}

async fn change(args: &ClientArgs, what: &str, body: Value, show: fn(&Moved) -> String) -> Result<(), Failure> {
    let answer = Client::new(args).post(&format!("/v1/failover/{what}"), &body).await?;
    if args.json {
        return print_json(&answer.success::<Value>()?);
    }
    print(&show(&answer.success()?))
}

fn moved(moved: &Moved) -> String {
    let node = moved.primary_node.as_deref().unwrap_or("no node");
    format!("{node} is primary in epoch {}\n", moved.epoch)
}

/// The answer to a change.
#[derive(Debug, Deserialize)]
struct Moved {
    primary_node: Option<String>,
    epoch: u64,
}

/// `GET /v1/failover`.
#[derive(Debug, Deserialize)]
struct Status {
    state: String,
    primary_node: Option<String>,
    secondary_nodes: Vec<String>,
    epoch: u64,
    mode: String,
    paused: bool,
    waiting_for: Option<String>,
    #[serde(default)]
    roles: Vec<Role>,
    #[serde(default)]
    history: Vec<Decision>,
}

#[derive(Debug, Deserialize)]
struct Role {
    role: String,
    state: String,
    node: Option<String>,
    epoch: u64,
}

#[derive(Debug, Deserialize)]
struct Decision {
    epoch: u64,
    sentence: String,
}

fn show(status: &Status) -> String {
    let style = match status.state.as_str() {
        "normal" => GOOD,
        "no_primary" => BAD,
        "detecting" | "failing_over" | "failing_back" | "paused" => DOUBTFUL,
        _ => PLAIN,
    };
    let primary = status.primary_node.as_ref().map_or(Cell::new("none", BAD), |node| Cell::new(node, STRONG));
    let others = if status.secondary_nodes.is_empty() {
        Cell::new("none", DOUBTFUL)
    } else {
        status.secondary_nodes.join(", ").into()
    };
    let mode = if status.paused { format!("{}, paused", status.mode) } else { status.mode.clone() };
    let mut entries = vec![
        ("state", Cell::new(&status.state, style)),
        ("primary", primary),
        ("epoch", status.epoch.to_string().into()),
        ("others", others),
        ("mode", mode.into()),
    ];
    entries.extend(status.waiting_for.as_ref().map(|why| ("waits for", Cell::new(why, DOUBTFUL))));
    let mut text = list(&entries);
    if status.roles.len() > 1 {
        text.push('\n');
        let rows: Vec<_> = status.roles.iter().map(row).collect();
        text.push_str(&table(["ROLE", "STATE", "NODE", "EPOCH"], &rows));
    }
    if !status.history.is_empty() {
        text.push('\n');
        let last = status.history.iter().rev().take(HISTORY_SHOWN).rev();
        let rows: Vec<_> =
            last.map(|decision| [Cell::new(decision.epoch, QUIET), Cell::from(decision.sentence.clone())]).collect();
        text.push_str(&table(["EPOCH", "DECISION"], &rows));
    }
    text
}

fn row(role: &Role) -> [Cell; 4] {
    let style = match role.state.as_str() {
        "active" => GOOD,
        "vacant" => BAD,
        _ => DOUBTFUL,
    };
    [
        Cell::from(role.role.clone()),
        Cell::new(&role.state, style),
        role.node.clone().map_or(Cell::new("none", QUIET), Cell::from),
        Cell::from(role.epoch.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(status: Value) -> String {
        anstream::adapter::strip_str(&show(&serde_json::from_value(status).unwrap())).to_string()
    }

    #[test]
    fn one_role_and_its_history() {
        let text = shown(json!({
            "state": "normal", "primary_node": "node-1", "secondary_nodes": ["node-2", "node-3"], "epoch": 17,
            "mode": "automatic", "paused": false, "waiting_for": null, "a_later_field": 1,
            "roles": [{"role": "default", "state": "active", "node": "node-1", "epoch": 17, "waiting_for": null}],
            "history": [{"epoch": 17, "role": "default", "sentence": "gives default to node-1: it is the best of all"}],
        }));
        let expected = "\
state    normal
primary  node-1
epoch    17
others   node-2, node-3
mode     automatic

EPOCH  DECISION
17     gives default to node-1: it is the best of all
";
        assert_eq!(text, expected);
    }

    #[test]
    fn no_primary_and_why() {
        let text = shown(json!({
            "state": "no_primary", "primary_node": null, "secondary_nodes": [], "epoch": 17, "mode": "manual",
            "paused": true, "waiting_for": "a person", "roles": [
                {"role": "a", "state": "vacant", "node": null, "epoch": 3},
                {"role": "b", "state": "active", "node": "node-1", "epoch": 9},
            ],
        }));
        assert!(text.contains("primary    none\n") && text.contains("waits for  a person\n"), "{text}");
        assert!(text.contains("mode       manual, paused\n") && text.contains("a     vacant  none    3\n"), "{text}");
    }
}
