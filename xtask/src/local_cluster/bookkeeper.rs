//! Clients that write records over HTTP, each to one node after the other, and remember what was acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Client, LocalCluster, WaitError, wait_for};

/// The type of all records.
const TYPE: &str = "book";
/// Records of a page.
const PAGE: usize = 500;
/// Pause before a client tries another node.
const PAUSE: Duration = Duration::from_millis(20);
/// How long copies may take to be equal once nothing is wrong any more.
const EQUAL_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a check of all records of a node may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// Clients that write until they are told to end.
#[derive(Debug)]
pub struct Bookkeeper {
    ending: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    running: JoinSet<BTreeMap<String, u64>>,
}

/// What was acknowledged: each record, and what it holds.
#[derive(Debug, Default)]
pub struct Book(BTreeMap<String, u64>);

impl Bookkeeper {
    /// Starts this many.
    pub fn start(cluster: &LocalCluster, clients: usize) -> Self {
        let nodes: Vec<Client> = (1..=cluster.size()).map(|number| cluster.http(number)).collect();
        let mut keeper = Self { ending: Arc::default(), count: Arc::default(), running: JoinSet::new() };
        for client in 0..clients {
            let (nodes, ending, count) = (nodes.clone(), keeper.ending.clone(), keeper.count.clone());
            keeper.running.spawn(async move {
                let (mut node, mut acknowledged) = (client, BTreeMap::new());
                for number in 0_u64.. {
                    if ending.load(Ordering::Relaxed) {
                        break;
                    }
                    let path = format!("/v1/replication/{TYPE}/{client}-{number}");
                    match nodes[node % nodes.len()].put(&path, &json!({"number": number})).await {
                        Ok(answer) if answer.status == 200 => {
                            acknowledged.insert(format!("{client}-{number}"), number);
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                        _ => {
                            node += 1;
                            tokio::time::sleep(PAUSE).await;
                        }
                    }
                }
                acknowledged
            });
        }
        keeper
    }

    /// Waits until so many more records were acknowledged.
    pub async fn wait_for_more(&self, records: usize, bound: Duration) -> Result<(), WaitError> {
        let from = self.count.load(Ordering::Relaxed);
        wait_for(&format!("{records} more acknowledged records"), bound, async || {
            let more = self.count.load(Ordering::Relaxed) - from;
            if more >= records { Ok(()) } else { Err(format!("{more} so far")) }
        })
        .await
    }

    /// Lets each client finish.
    pub async fn end(mut self) -> Book {
        self.ending.store(true, Ordering::Relaxed);
        let mut book = Book::default();
        while let Some(Ok(acknowledged)) = self.running.join_next().await {
            book.0.extend(acknowledged);
        }
        book
    }
}

impl Book {
    /// How many records were acknowledged.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Waits until all copies are sound and equal, and each holds everything that was acknowledged.
    pub async fn expect_everywhere(&self, cluster: &LocalCluster) -> Result<(), WaitError> {
        wait_for("equal copies with all that was acknowledged", EQUAL_TIMEOUT, async || {
            let mut reports = Vec::new();
            for number in 1..=cluster.size() {
                let client = cluster.http(number).with_timeout(CHECK_TIMEOUT);
                let report: Value = client.get_json("/v1/replication-check").await.map_err(|e| e.to_string())?;
                reports.push(report);
            }
            let same = reports.iter().all(|report| {
                ["records", "digest"].iter().all(|name| report[name] == reports[0][name]) && report["wrong"] == 0
            });
            if !same {
                return Err(format!("{reports:?}"));
            }
            for number in 1..=cluster.size() {
                let held = held_by(&cluster.http(number)).await.map_err(|error| error.to_string())?;
                let lost: Vec<_> = self.0.iter().filter(|(id, value)| held.get(*id) != Some(*value)).take(5).collect();
                if !lost.is_empty() {
                    return Err(format!("acknowledged, and not on node {number}: {lost:?}"));
                }
            }
            Ok(())
        })
        .await
    }
}

/// Everything on one copy.
async fn held_by(client: &Client) -> Result<BTreeMap<String, u64>, Box<dyn std::error::Error>> {
    let (mut held, mut after) = (BTreeMap::new(), String::new());
    loop {
        let path = format!("/v1/replication/{TYPE}?consistency=stale&limit={PAGE}{after}");
        let page: Value = client.get_json(&path).await?;
        let items = page["items"].as_array().cloned().unwrap_or_default();
        let Some(last) = items.last() else { return Ok(held) };
        after = format!("&after={}", last["data_id"].as_str().unwrap_or_default());
        for item in &items {
            let number = item["data"]["number"].as_u64().ok_or_else(|| format!("what is this: {item}"))?;
            held.insert(item["data_id"].as_str().unwrap_or_default().to_owned(), number);
        }
    }
}
