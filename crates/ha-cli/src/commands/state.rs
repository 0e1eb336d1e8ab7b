//! `ha state`: shared keys.

use std::borrow::Cow;
use std::num::NonZeroUsize;

use http::Method;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::seconds;
use crate::client::{Client, ClientArgs, segment, segments};
use crate::failure::Failure;
use crate::output::{print, print_as_is, print_json};
use crate::table::{BAD, Cell, PLAIN, QUIET, one_line, shortened, table};

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
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    if_revision: Option<u64>,

    /// Remove the key again after so many seconds.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
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
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
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
    limit: Option<NonZeroUsize>,

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
    /// Absent from a change that removed the key. Unread: one value that is hard to read must not hide the others.
    #[serde(default, deserialize_with = "present")]
    value: Option<Box<RawValue>>,
    revision: u64,
}

/// A value that is there, `null` included.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
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
        if let Some(ttl) = self.ttl {
            seconds("ttl", ttl)?;
        }
        let body = json_text(&self.body()?)?;
        let answer = Client::new(&self.client).put(&path(&self.key)?, body.get().to_owned()).await?;
        let answer: Value = answer.success()?;
        if self.client.json {
            return print_json(&answer);
        }
        print(&format!("revision {}\n", answer["revision"]))
    }
}

/// What is sent to set a key.
#[derive(Serialize)]
struct Body<'a> {
    /// As it was written: whoever reads it may not keep all of a number.
    value: Cow<'a, RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    if_revision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_seconds: Option<f64>,
}

impl Put {
    fn body(&self) -> Result<Body<'_>, Failure> {
        let value = match serde_json::from_str(&self.value) {
            Ok(json) => Cow::Borrowed(json),
            Err(_) => Cow::Owned(json_text(&self.value)?),
        };
        Ok(Body { value, if_revision: self.if_revision, ttl_seconds: self.ttl })
    }
}

fn json_text(value: &impl Serialize) -> Result<Box<RawValue>, Failure> {
    to_raw_value(value).map_err(Failure::failed)
}

impl Get {
    async fn run(self) -> Result<(), Failure> {
        let query = if self.stale { "?consistency=stale" } else { "" };
        let answer = Client::new(&self.client).get(&format!("{}{query}", path(&self.key)?)).await?;
        if self.client.json {
            return print_as_is(answer.json()?);
        }
        print_as_is(&answer.success::<Kept>()?.bytes()?)
    }
}

/// A value, and how it stands in an answer when it is not JSON.
#[derive(Deserialize)]
struct Kept {
    value: Box<RawValue>,
    encoding: Option<String>,
}

impl Kept {
    /// The value as the node keeps it; a text without its quotes.
    fn bytes(&self) -> Result<Vec<u8>, Failure> {
        let text = || serde_json::from_str::<String>(self.value.get()).map_err(not_a_node);
        match self.encoding.as_deref() {
            // What is no text that can be shown stays as it was put.
            None => Ok(text().unwrap_or_else(|_| self.value.get().to_owned()).into()),
            Some("text") => Ok(text()?.into()),
            Some("base64") => unbase64(&text()?),
            Some(other) => Err(not_a_node(format_args!("a value in {other}"))),
        }
    }
}

fn not_a_node(error: impl std::fmt::Display) -> Failure {
    Failure::failed(format_args!("the answer is not that of a node of ha: {error}"))
}

/// RFC 4648, with padding.
fn unbase64(text: &str) -> Result<Vec<u8>, Failure> {
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for digit in text.trim_end_matches('=').bytes() {
        let six = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err(not_a_node("a value that is not in base64")),
        };
        (bits, count) = (bits << 6 | u32::from(six), count + 6);
        if count >= 8 {
            count -= 8;
            bytes.extend((bits >> count).to_be_bytes().last());
        }
    }
    Ok(bytes)
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

/// A page of a list, and several of them as one.
#[derive(Deserialize, Serialize)]
struct Page {
    items: Vec<Box<RawValue>>,
    more: bool,
    revision: u64,
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let client = Client::new(&self.client);
        let most = self.limit.map_or(usize::MAX, NonZeroUsize::get);
        let answer = client.get(&self.page(most, None)).await?;
        // Each page is of its own revision. That of the first stays: a watch from there brings every change that the
        // later pages may have missed or mixed in, and brings some again; from any later one, changes of the keys that
        // were listed before it would be missing.
        let mut all: Page = answer.success()?;
        let whole = !all.more || all.items.len() >= most;
        while all.more && all.items.len() < most {
            let Some(last) = all.items.last() else { break };
            let next = self.page(most - all.items.len(), Some(&item(last)?.key));
            let page: Page = client.get(&next).await?.success()?;
            all.more = page.more && !page.items.is_empty();
            all.items.extend(page.items);
        }
        if self.client.json {
            return if whole { print_as_is(answer.json()?) } else { print_as_is(json_text(&all)?.get().as_bytes()) };
        }
        let rows = all.items.iter().map(|json| Ok(row(&item(json)?))).collect::<Result<Vec<_>, Failure>>()?;
        if rows.is_empty() {
            return print("no keys\n");
        }
        print(&table(["KEY", "REVISION", "VALUE"], &rows))
    }

    /// The path of a page of at most so many keys.
    fn page(&self, most: usize, after: Option<&str>) -> String {
        let after = after.map(|after| format!("&after={}", segment(after))).unwrap_or_default();
        format!("/v1/state?prefix={}&limit={}{after}", segment(&self.prefix), PAGE_ITEMS.min(most))
    }
}

fn item(json: &RawValue) -> Result<Item, Failure> {
    serde_json::from_str(json.get()).map_err(not_a_node)
}

fn row(item: &Item) -> [Cell; 3] {
    let value = match &item.value {
        Some(value) => Cell::new(shortened(&shown(value)), PLAIN),
        None => Cell::new("removed", BAD),
    };
    [item.key.clone().into(), Cell::new(item.revision, QUIET), value]
}

/// A text without its quotes, where it is one; everything else as JSON.
fn shown(value: &RawValue) -> String {
    serde_json::from_str(value.get()).unwrap_or_else(|_| one_line(value.get()))
}

/// The last words of a stream.
#[derive(Deserialize)]
struct Last {
    message: String,
}

impl Watch {
    async fn run(self) -> Result<(), Failure> {
        let from = self.from_revision.map(|revision| format!("&from_revision={revision}")).unwrap_or_default();
        let path = format!("/v1/state-watch?prefix={}{from}", segment(&self.prefix));
        let mut stream = Client::new(&self.client).follow(&path).await?;
        while let Some(data) = stream.next().await? {
            if let Ok(Last { message }) = serde_json::from_str(&data) {
                return Err(Failure::failed(message));
            }
            match serde_json::from_str::<Item>(&data) {
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
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_printed_as_it_is_kept() {
        let kept = |answer: Value| serde_json::from_str::<Kept>(&answer.to_string()).unwrap().bytes().unwrap();
        assert_eq!(kept(json!({"value": "a"})), b"a");
        let odd: Kept = serde_json::from_str(r#"{"value": "\ud800"}"#).unwrap();
        assert_eq!(odd.bytes().unwrap(), br#""\ud800""#);
        assert_eq!(kept(json!({"value": null})), b"null");
        assert_eq!(kept(json!({"value": "a\n", "encoding": "text"})), b"a\n");
        for (text, bytes) in [("", &b""[..]), ("/w==", b"\xff"), ("//4=", b"\xff\xfe"), ("//79", b"\xff\xfe\xfd")] {
            assert_eq!(kept(json!({"value": text, "encoding": "base64"})), bytes);
        }
    }

    #[test]
    fn a_change_is_one_line() {
        let shown = |item: Value| {
            anstream::adapter::strip_str(&line(&serde_json::from_str(&item.to_string()).unwrap())).to_string()
        };
        assert_eq!(shown(json!({"key": "k", "revision": 7, "value": {"a": 1}})), "k  7  {\"a\":1}\n");
        assert_eq!(shown(json!({"key": "k", "revision": 8})), "k  8  removed\n");
        assert_eq!(shown(json!({"key": "k", "revision": 9, "value": null})), "k  9  null\n");
        let long = shown(json!({"key": "k", "revision": 7, "value": "x".repeat(100)}));
        assert!(long.ends_with("x…\n") && long.chars().count() < 80);
    }
}
