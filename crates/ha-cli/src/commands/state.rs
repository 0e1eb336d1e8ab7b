//! `ha state`: shared keys.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{Client, ClientArgs, segments};
use crate::failure::Failure;
use crate::output::{print, print_json};
use crate::table::{BAD, Cell, PLAIN, QUIET, shortened, table};

/// Keys that are asked for at once.
const PAGE_ITEMS: usize = 500;

/// What can be done with shared keys.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum StateCommand {
    /// Set a key.
    Put(Put),
    /// Print the value of a key.
    Get(Get),
    /// Remove a key.
    Delete(Delete),
    /// List keys.
    List(List),
    /// Follow changes of keys.
    Watch(Watch),
}

/// `ha state put`.
#[derive(Debug, clap::Args)]
pub(crate) struct Put {
    key: String,

    /// JSON; what is not JSON is taken as text.
    value: String,

    /// Only if the key was last changed at this revision; 0 for a key that must not exist.
    #[arg(long, value_name = "N")]
    if_revision: Option<u64>,

    /// Remove the key again after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<f64>,

    #[command(flatten)]
    client: ClientArgs,
}

/// `ha state get`.
#[derive(Debug, clap::Args)]
pub(crate) struct Get {
    key: String,

    /// Read the copy of the node that is asked, which may be behind.
    #[arg(long)]
    stale: bool,

    #[command(flatten)]
    client: ClientArgs,
}

/// `ha state delete`.
#[derive(Debug, clap::Args)]
pub(crate) struct Delete {
    key: String,

    /// Only if the key was last changed at this revision.
    #[arg(long, value_name = "N")]
    if_revision: Option<u64>,

    #[command(flatten)]
    client: ClientArgs,
}

/// `ha state list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// How the keys begin.
    #[arg(default_value = "")]
    prefix: String,

    /// At most so many keys; all of them when absent.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,

    #[command(flatten)]
    client: ClientArgs,
}

/// `ha state watch`.
#[derive(Debug, clap::Args)]
pub(crate) struct Watch {
    /// How the keys begin.
    #[arg(default_value = "")]
    prefix: String,

    /// Begin with the changes of this revision; with those from now on when absent.
    #[arg(long, value_name = "N")]
    from_revision: Option<u64>,

    #[command(flatten)]
    client: ClientArgs,
}

/// A key as a node shows it.
#[derive(Debug, Deserialize)]
struct Item {
    key: String,
    /// Absent from a change that removed the key.
    value: Option<Value>,
    revision: u64,
}

impl StateCommand {
    /// Does it.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Put(args) => args.run().await,
            Self::Get(args) => args.run().await,
            Self::Delete(args) => args.run().await,
            Self::List(args) => args.run().await,
            Self::Watch(args) => args.run().await,
        }
    }
}

fn path(key: &str) -> Result<String, Failure> {
    if key.is_empty() {
        Err(Failure::usage("a key must not be empty"))
    } else {
        Ok(format!("/v1/state/{}", segments(key)))
    }
}

impl Put {
    async fn run(self) -> Result<(), Failure> {
        let value = serde_json::from_str(&self.value).unwrap_or(Value::String(self.value));
        let mut body = json!({"value": value});
        if let Some(revision) = self.if_revision {
            body["if_revision"] = revision.into();
        }
        if let Some(ttl) = self.ttl {
            body["ttl_seconds"] = ttl.into();
        }
        let answer = Client::new(&self.client).change(Method::PUT, &path(&self.key)?, Some(&body), None).await?;
        let answer: Value = answer.success()?;
        if self.client.json {
            return print_json(&answer);
        }
        print(&format!("revision {}\n", answer["revision"]))
    }
}

impl Get {
    async fn run(self) -> Result<(), Failure> {
        let query = if self.stale { "?consistency=stale" } else { "" };
        let answer = Client::new(&self.client).get(&format!("{}{query}", path(&self.key)?)).await?;
        let answer: Value = answer.success()?;
        if self.client.json {
            return print_json(&answer);
        }
        print(&format!("{}\n", plain(&answer["value"])))
    }
}

/// A text without its quotes; everything else as JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl Delete {
    async fn run(self) -> Result<(), Failure> {
        let query = self.if_revision.map(|revision| format!("?if_revision={revision}")).unwrap_or_default();
        let path = format!("{}{query}", path(&self.key)?);
        let answer: Value = Client::new(&self.client).change(Method::DELETE, &path, None, None).await?.success()?;
        if self.client.json {
            return print_json(&answer);
        }
        match answer["deleted"].as_bool() {
            Some(true) => print(&format!("deleted at revision {}\n", answer["revision"])),
            _ => print("there was no such key\n"),
        }
    }
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let client = Client::new(&self.client);
        let prefix = crate::client::segment(&self.prefix);
        let (mut items, mut after): (Vec<Value>, _) = (Vec::new(), String::new());
        let most = self.limit.unwrap_or(usize::MAX);
        while items.len() < most {
            let limit = PAGE_ITEMS.min(most - items.len());
            let page = format!("/v1/state?prefix={prefix}&limit={limit}{after}");
            let mut page: Value = client.get(&page).await?.success()?;
            items.extend(page["items"].as_array_mut().map(std::mem::take).into_iter().flatten());
            if page["more"] != true {
                break;
            }
            let last = items.last().and_then(|item| item["key"].as_str()).unwrap_or_default();
            after = format!("&after={}", crate::client::segment(last));
        }
        if self.client.json {
            return print_json(&items);
        }
        let items = items.into_iter().filter_map(|item| serde_json::from_value::<Item>(item).ok());
        let rows: Vec<_> = items.map(|item| row(&item)).collect();
        if rows.is_empty() {
            return print("no keys\n");
        }
        print(&table(["KEY", "REVISION", "VALUE"], &rows))
    }
}

fn row(item: &Item) -> [Cell; 3] {
    let value = match &item.value {
        Some(value) => Cell::new(shortened(&plain(value)), PLAIN),
        None => Cell::new("removed", BAD),
    };
    [item.key.clone().into(), Cell::new(item.revision, QUIET), value]
}

impl Watch {
    async fn run(self) -> Result<(), Failure> {
        let from = self.from_revision.map(|revision| format!("&from_revision={revision}")).unwrap_or_default();
        let path = format!("/v1/state-watch?prefix={}{from}", crate::client::segment(&self.prefix));
        let mut stream = Client::new(&self.client).follow(&path).await?;
        while let Some(data) = stream.next().await? {
            let told: Value = serde_json::from_str(&data).unwrap_or_default();
            if let Some(message) = told["message"].as_str() {
                return Err(Failure::failed(message));
            }
            match serde_json::from_value::<Item>(told) {
                Ok(item) if !self.client.json => print(&line(&item))?,
                _ => print(&format!("{data}\n"))?,
            }
        }
        Err(Failure::failed(format_args!("{} has ended the stream: the node is stopping", self.client.url)))
    }
}

fn line(item: &Item) -> String {
    let text = table(["", "", ""], &[row(item)]);
    // A stream has no head.
    text.split_once('\n').map_or(text.clone(), |(_, row)| row.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_one_line() {
        let shown =
            |item: Value| anstream::adapter::strip_str(&line(&serde_json::from_value(item).unwrap())).to_string();
        assert_eq!(shown(json!({"key": "k", "revision": 7, "value": {"a": 1}})), "k  7  {\"a\":1}\n");
        assert_eq!(shown(json!({"key": "k", "revision": 8})), "k  8  removed\n");
        let long = shown(json!({"key": "k", "revision": 7, "value": "x".repeat(100)}));
        assert!(long.ends_with("x…\n") && long.chars().count() < 80);
    }
}
