//! `ha replication`: records, and how their copies are.

use http::Method;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::ask_and_show;
use crate::client::{Client, ClientArgs};
use crate::failure::Failure;
use crate::output::{print, print_as_is, print_json};
use crate::table::{BAD, Cell, DOUBTFUL, GOOD, PLAIN, QUIET, STRONG, list, one_line, shortened, table};

/// What can be done with records.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ReplicationCommand {
    /// Show how the copies are.
    Status(ClientArgs),
    /// Write a record.
    Put {
        /// Its type.
        #[arg(value_name = "TYPE")]
        data_type: String,
        /// Its id.
        #[arg(value_name = "ID")]
        data_id: String,
        /// Its data.
        #[arg(value_name = "JSON")]
        data: String,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Read a record.
    Get {
        /// Its type.
        #[arg(value_name = "TYPE")]
        data_type: String,
        /// Its id.
        #[arg(value_name = "ID")]
        data_id: String,
        /// All values, where several nodes wrote it without seeing one another, and not the latest alone.
        #[arg(long)]
        siblings: bool,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Delete a record.
    Delete {
        /// Its type.
        #[arg(value_name = "TYPE")]
        data_type: String,
        /// Its id.
        #[arg(value_name = "ID")]
        data_id: String,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// List the records of a type.
    List {
        /// The type.
        #[arg(value_name = "TYPE")]
        data_type: String,
        /// Only those after this id.
        #[arg(long, value_name = "ID")]
        after: Option<String>,
        /// At most so many.
        #[arg(long, value_name = "COUNT", default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Read every record of one node, and say whether all fits together.
    Check(ClientArgs),
    /// Show what a node had alone when another one took over.
    Tails(ClientArgs),
    /// Make the changes of a tail again.
    ApplyTail {
        /// Which.
        name: String,
        /// Also those of records that were written since.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// List a tail no more; its file stays.
    DropTail {
        /// Which.
        name: String,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Let a node take writes that may lack more than is allowed.
    Promote {
        /// What it lacks is set aside when the node that has it comes back.
        #[arg(long, required = true)]
        force: bool,
        #[command(flatten)]
        client: ClientArgs,
    },
}

impl ReplicationCommand {
    /// Does it.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Status(client) => ask_and_show(client, "/v1/replication", status).await,
            Self::Put { data_type, data_id, data, client } => {
                serde_json::from_str::<&RawValue>(&data)
                    .map_err(|error| Failure::usage(format_args!("the data is not JSON: {error}")))?;
                written(&client, &Client::new(&client).put(&path(&data_type, &data_id), data).await?)
            }
            Self::Get { data_type, data_id, siblings, client } => {
                let all = if siblings { "?siblings=true" } else { "" };
                let answer = Client::new(&client).get(&(path(&data_type, &data_id) + all)).await?;
                print_as_is(answer.json()?)
            }
            Self::Delete { data_type, data_id, client } => {
                let answer =
                    Client::new(&client).change(Method::DELETE, &path(&data_type, &data_id), None, None).await?;
                written(&client, &answer)
            }
            Self::List { data_type, after, limit, client } => {
                records(&client, &data_type, after.as_deref(), limit).await
            }
            Self::Check(client) => check(client).await,
            Self::Tails(client) => {
                ask_and_show(client, "/v1/replication-tails", |tails: &Vec<Tail>| tails_shown(tails)).await
            }
            Self::ApplyTail { name, all, client } => {
                let path = format!("/v1/replication-tails/{}/apply", escaped(&name));
                let body = serde_json::json!({"all": all});
                let answer = Client::new(&client).change_slowly(Method::POST, &path, Some(&body)).await?;
                if client.json {
                    return print_json(&answer.success::<Value>()?);
                }
                let Applied { applied, skipped } = answer.success()?;
                print(&format!(
                    "{applied} changes made again, {skipped} left out: somebody wrote those records since\n"
                ))
            }
            Self::DropTail { name, client } => {
                let path = format!("/v1/replication-tails/{}", escaped(&name));
                let answer = Client::new(&client).change(Method::DELETE, &path, None, None).await?;
                done(&client, &answer, "listed no more; its file stays, with .done after its name\n")
            }
            Self::Promote { force, client } => {
                let body = serde_json::json!({"force": force});
                let answer =
                    Client::new(&client).change(Method::POST, "/v1/replication-promote", Some(&body), None).await?;
                done(&client, &answer, "the node that waited takes writes now\n")
            }
        }
    }
}

fn done(client: &ClientArgs, answer: &crate::client::Answer, said: &str) -> Result<(), Failure> {
    let value = answer.success::<Value>()?;
    if client.json { print_json(&value) } else { print(said) }
}

fn path(data_type: &str, data_id: &str) -> String {
    format!("/v1/replication/{}/{}", escaped(data_type), escaped(data_id))
}

/// A text as one segment of a path or one value of a query.
fn escaped(text: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let escape = |byte: u8| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escape).collect()
}

#[derive(Deserialize)]
struct Written {
    version: Value,
    acknowledged_by: Vec<String>,
}

fn written(client: &ClientArgs, answer: &crate::client::Answer) -> Result<(), Failure> {
    if client.json {
        return print_json(&answer.success::<Value>()?);
    }
    print(&where_it_is(&answer.success()?))
}

fn where_it_is(Written { version, acknowledged_by }: &Written) -> String {
    let version = version.as_str().map_or_else(|| version.to_string(), ToOwned::to_owned);
    if acknowledged_by.is_empty() {
        return format!("version {version}, in the memory of one node so far, on no disk yet\n");
    }
    format!("version {version}, on the disks of {}\n", acknowledged_by.join(", "))
}

#[derive(Deserialize)]
struct Status {
    mode: String,
    consistency: String,
    master_node: Option<String>,
    nodes: Vec<Node>,
    replicated_items: u64,
    records: u64,
}

#[derive(Deserialize)]
struct Node {
    node_id: String,
    lag_items: Option<u64>,
    lag_bytes: Option<u64>,
    lag_seconds: Option<f64>,
    state: String,
    trouble: Option<String>,
}

fn status(status: &Status) -> String {
    let mut text = list(&[
        ("mode", status.mode.clone().into()),
        ("consistency", status.consistency.clone().into()),
        ("master", status.master_node.as_ref().map_or(Cell::new("none", BAD), |node| Cell::new(node, STRONG))),
        ("replicated", format!("{} changes", status.replicated_items).into()),
        ("records", status.records.to_string().into()),
    ]);
    text.push('\n');
    let rows: Vec<_> = status.nodes.iter().map(row).collect();
    text.push_str(&table(["NODE", "STATE", "ITEMS BEHIND", "BYTES BEHIND", "SECONDS BEHIND"], &rows));
    let troubles = status.nodes.iter().filter_map(|node| Some((node, node.trouble.as_ref()?)));
    for (node, trouble) in troubles {
        text.push_str(&list(&[("note", format!("{}: {trouble}", node.node_id).into())]));
    }
    text
}

fn row(node: &Node) -> [Cell; 5] {
    let style = match node.state.as_str() {
        "in_step" => GOOD,
        "fetching" => DOUBTFUL,
        "silent" => BAD,
        _ => PLAIN,
    };
    let number = |number: Option<u64>| number.map_or(Cell::new("unknown", QUIET), |number| number.to_string().into());
    [
        Cell::from(node.node_id.clone()),
        Cell::new(&node.state, style),
        number(node.lag_items),
        number(node.lag_bytes),
        node.lag_seconds.map_or(Cell::new("unknown", QUIET), |seconds| format!("{seconds:.1}").into()),
    ]
}

#[derive(Deserialize)]
struct Tail {
    name: String,
    file: String,
    records: u64,
    deletions: u64,
    bytes: u64,
    /// Lines of its file that cannot be read.
    damaged: u64,
    is_growing: bool,
}

#[derive(Deserialize)]
struct Applied {
    applied: u64,
    skipped: u64,
}

/// What lies there, and what to do with it.
fn tails_shown(tails: &[Tail]) -> String {
    let mut text = tails_table(tails);
    for tail in tails.iter().filter(|tail| tail.damaged > 0) {
        let Tail { name, damaged, file, .. } = tail;
        let note = format!(
            "lines of {name} that cannot be read, and are left out when it is applied: {damaged}; look at {file}"
        );
        text.push_str(&list(&[("note", Cell::new(note, BAD))]));
    }
    if !tails.is_empty() {
        let note = "ha replication apply-tail TAIL makes its changes again, drop-tail TAIL lists it no more";
        text.push_str(&list(&[("note", note.into())]));
    }
    text
}

fn tails_table(tails: &[Tail]) -> String {
    let row = |tail: &Tail| {
        let number = |number: u64| Cell::from(number.to_string());
        [
            Cell::from(tail.name.clone()),
            if tail.is_growing { Cell::new("growing", DOUBTFUL) } else { Cell::new("whole", GOOD) },
            number(tail.records),
            number(tail.deletions),
            number(tail.bytes),
            Cell::new(&tail.file, QUIET),
        ]
    };
    table(["TAIL", "STATE", "RECORDS", "DELETIONS", "BYTES", "FILE"], &tails.iter().map(row).collect::<Vec<_>>())
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Item>,
    /// Also there when nothing follows.
    next_after: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    data_id: String,
    version: Value,
    /// Unread: one record that is hard to read must not hide the others.
    data: Box<RawValue>,
}

/// Lists a page, and says whether more follow.
async fn records(args: &ClientArgs, data_type: &str, after: Option<&str>, limit: usize) -> Result<(), Failure> {
    let client = Client::new(args);
    let answer = client.get(&page_path(data_type, after, limit)).await?;
    if args.json {
        return print_as_is(answer.json()?);
    }
    let shown: Page = answer.success()?;
    print(&page(&shown))?;
    let Some(last) = &shown.next_after else { return Ok(()) };
    let next: Page = client.get(&page_path(data_type, Some(last), 1)).await?.success()?;
    if next.items.is_empty() { Ok(()) } else { print(&more(last)) }
}

fn page_path(data_type: &str, after: Option<&str>, limit: usize) -> String {
    let after = after.map(|after| format!("&after={}", escaped(after))).unwrap_or_default();
    format!("/v1/replication/{}?limit={limit}{after}", escaped(data_type))
}

fn page(page: &Page) -> String {
    let row = |item: &Item| {
        let version = item.version.as_str().map_or_else(|| item.version.to_string(), ToOwned::to_owned);
        [Cell::from(item.data_id.clone()), Cell::new(version, QUIET), Cell::from(shortened(&one_line(item.data.get())))]
    };
    table(["ID", "VERSION", "DATA"], &page.items.iter().map(row).collect::<Vec<_>>())
}

fn more(last: &str) -> String {
    list(&[("note", format!("more follow: list them with --after={}", word(last)).into())])
}

/// A text as one word of a shell.
fn word(text: &str) -> String {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./:@%+,".contains(&byte));
    if plain { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[derive(Deserialize)]
struct Report {
    records: u64,
    graves: u64,
    bytes: u64,
    digest: u64,
    findings: Vec<String>,
    wrong: u64,
}

/// Exits with 1 when something is wrong.
async fn check(client: ClientArgs) -> Result<(), Failure> {
    let answer = Client::new(&client).get_slowly("/v1/replication-check").await?;
    let report: Report = answer.success()?;
    if client.json {
        print_json(&answer.success::<Value>()?)?;
    } else {
        let mut text = list(&[
            ("records", report.records.to_string().into()),
            ("graves", report.graves.to_string().into()),
            ("bytes", report.bytes.to_string().into()),
            ("digest", format!("{:016x}", report.digest).into()),
            ("wrong", Cell::new(report.wrong, if report.wrong > 0 { BAD } else { GOOD })),
        ]);
        text.extend(report.findings.iter().map(|finding| list(&[("note", finding.clone().into())])));
        print(&text)?;
    }
    match report.wrong {
        0 => Ok(()),
        wrong => Err(Failure::failed(format_args!("{wrong} records of this node are wrong"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_holds_whatever_a_key_holds() {
        assert_eq!(path("a/b", "ü 1"), "/v1/replication/a%2Fb/%C3%BC%201");
    }

    #[test]
    fn what_no_disk_has_is_said_to_be_in_memory() {
        let told = |version: Value, acknowledged_by: &[&str]| {
            let written = json!({"version": version, "acknowledged_by": acknowledged_by});
            where_it_is(&serde_json::from_value(written).unwrap())
        };
        assert_eq!(told(json!(7), &["node-1", "node-2"]), "version 7, on the disks of node-1, node-2\n");
        assert_eq!(told(json!("a-7"), &[]), "version a-7, in the memory of one node so far, on no disk yet\n");
    }

    #[test]
    fn the_next_page_can_be_asked_for_as_it_is_said() {
        let told = |last| anstream::adapter::strip_str(&more(last)).to_string();
        assert_eq!(told("task-1"), "note  more follow: list them with --after=task-1\n");
        assert_eq!(told("it's; 1"), "note  more follow: list them with --after='it'\\''s; 1'\n");
    }

    #[test]
    fn tails_in_a_table_and_what_to_do_with_them() {
        let tail = |name, damaged, is_growing| {
            json!({"name": name, "file": "/f", "records": 12, "deletions": 1, "bytes": 4096, "damaged": damaged,
                "is_growing": is_growing})
        };
        let shown: Vec<Tail> = serde_json::from_value(json!([tail("4711", 2, false), tail("4712", 0, true)])).unwrap();
        let text = anstream::adapter::strip_str(&tails_shown(&shown)).to_string();
        let expected = "\
TAIL  STATE    RECORDS  DELETIONS  BYTES  FILE
4711  whole    12       1          4096   /f
4712  growing  12       1          4096   /f
note  lines of 4711 that cannot be read, and are left out when it is applied: 2; look at /f
note  ha replication apply-tail TAIL makes its changes again, drop-tail TAIL lists it no more
";
        assert_eq!(text, expected);
        assert_eq!(anstream::adapter::strip_str(&tails_shown(&[])).to_string().lines().count(), 1);
    }

    #[test]
    fn the_copies_in_a_table() {
        let node = |node, state, lag: Option<u64>, trouble: Option<&str>| {
            json!({"node_id": node, "lag_items": lag, "lag_bytes": lag, "lag_seconds": lag, "state": state,
                "trouble": trouble, "digest": 1, "a_later_field": 1})
        };
        let shown = json!({
            "mode": "master_slave", "consistency": "quorum", "master_node": "node-1", "replicated_items": 12, "records": 9,
            "nodes": [node("node-1", "in_step", Some(0), None), node("node-2", "silent", None, Some("its disk is full"))],
        });
        let text = anstream::adapter::strip_str(&status(&serde_json::from_value(shown).unwrap())).to_string();
        let expected = "\
mode         master_slave
consistency  quorum
master       node-1
replicated   12 changes
records      9

NODE    STATE    ITEMS BEHIND  BYTES BEHIND  SECONDS BEHIND
node-1  in_step  0             0             0.0
node-2  silent   unknown       unknown       unknown
note  node-2: its disk is full
";
        assert_eq!(text, expected);
    }
}
