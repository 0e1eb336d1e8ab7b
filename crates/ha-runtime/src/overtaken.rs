//! What happens on a node whose cluster went on without it by force: what it alone holds is written into a file and
//! counted, everything is set aside, and the node asks to be started anew.

use std::path::Path;
use std::sync::Arc;

use futures::FutureExt as _;
use ha_cluster::disk::{Disk, File, perform};
use ha_cluster::{Cluster, Epoch, Overtaken};
use ha_replication::{Event as Change, Replication, Version};
use ha_state::State;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::ReplicationHandle;

/// The file, in the directory in which everything is set aside. One JSON document a line.
pub const DIVERGENT_FILE: &str = "divergent.jsonl";
/// Before the order to set everything aside is tried again.
const RETRY: std::time::Duration = std::time::Duration::from_secs(1);
/// Keys that are looked at at once.
const PAGE: usize = 500;
/// Bytes that are written at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// Waits for it, beside everything else. `restart` is set once this node shall be started anew.
pub(crate) fn watch(
    cluster: Cluster,
    disk: Arc<dyn Disk>,
    state: State,
    replication: ReplicationHandle,
    restart: watch::Sender<bool>,
) {
    let mut overtaken = cluster.overtaken();
    tokio::spawn(async move {
        let Ok(told) = overtaken.wait_for(Option::is_some).await.map(|told| told.clone()) else { return };
        let Some(told) = told else { return };
        let events = cluster.event_stream();
        let records = replication.running().ok().cloned();
        let sentence = match keep(&disk, &told, state, records).await {
            Ok(sentence) => sentence,
            Err(error) => format!("what this node alone holds could not be written into a file of its own: {error}"),
        };
        events.happened("divergent", sentence);
        while let Err(error) = cluster.set_aside().await {
            tracing::error!("{error}");
            tokio::time::sleep(RETRY).await;
        }
        let directory = told.directory.display();
        events.happened("set_aside", format!("the data of this node goes to {directory}; it starts anew, and joins"));
        restart.send_replace(true);
    });
}

/// Writes down what no node of the cluster has that went on, and says how much it is.
async fn keep(
    disk: &Arc<dyn Disk>,
    told: &Overtaken,
    state: State,
    records: Option<Replication>,
) -> std::io::Result<String> {
    let Some(since) = told.forked_at else {
        return Ok(
            "nobody knows since when this node has gone its own way: what it alone holds is not told apart from \
                   the rest of what is set aside"
                .to_owned(),
        );
    };
    let directory = told.directory.clone();
    let seam = disk.clone();
    let has_order = records.as_ref().is_none_or(Replication::has_order);
    let work = async move {
        let mut lines = Lines { disk: &*seam, directory: &directory, file: None, waiting: Vec::new(), written: 0 };
        let keys = write_keys(&mut lines, &state, since).await?;
        let (count, whole) = match records {
            Some(records) => write_records(&mut lines, &records, since).await?,
            None => (0, true),
        };
        lines.finish().await?;
        std::io::Result::Ok((keys, count, whole))
    };
    let (keys, count, whole) = perform(disk, "divergent", work).await??;
    // Where records have no order, the others may have many of them too.
    let which = if has_order { "" } else { "all " };
    let found = format!("{which}{count} records and {keys} keys that changed here after epoch {since}");
    let missed = if whole { "" } else { "; this copy of the records was not complete, so there may be more" };
    if keys + count == 0 {
        return Ok(format!("nothing changed here alone: no record and no key after epoch {since}{missed}"));
    }
    let file = told.directory.join(DIVERGENT_FILE);
    Ok(format!("{found} are in {}, and are not merged{missed}", file.display()))
}

async fn write_keys(lines: &mut Lines<'_>, state: &State, since: Epoch) -> std::io::Result<usize> {
    let (mut after, mut count) = (None::<String>, 0);
    loop {
        let page = state.list_local("", after.as_deref(), PAGE);
        for found in page.items.iter().filter(|found| found.modified.0 > since.0) {
            count += 1;
            let key = found.key.as_str();
            lines.add(&json!({"key": key, "revision": found.modified.0, "value": shown(&found.value)})).await?;
        }
        match page.items.last() {
            Some(last) if page.more => after = Some(last.key.as_str().to_owned()),
            _ => return Ok(count),
        }
    }
}

/// Of records that no leader orders all are written: nobody can say which of them the others lack.
async fn write_records(lines: &mut Lines<'_>, records: &Replication, since: Epoch) -> std::io::Result<(usize, bool)> {
    let after = if records.has_order() { Version { time: since.0, tie: u64::MAX } } else { Version::default() };
    let mut changes = records.subscribe(after);
    let mut count = 0;
    loop {
        // What is there is told at once; what is waited for is still to come, and never will.
        match changes.next().now_or_never() {
            Some(Ok(change)) => {
                count += 1;
                let (key, version) = (change.key().clone(), change.version());
                let mut line = json!({"data_type": key.data_type(), "data_id": key.data_id(), "version": version});
                match change {
                    Change::Changed(record) => line["data"] = shown(&record.data),
                    Change::Deleted { .. } => line["deleted"] = Value::Bool(true),
                }
                lines.add(&line).await?;
            }
            Some(Err(_)) => return Ok((count, false)),
            None => return Ok((count, true)),
        }
    }
}

/// JSON as it is, anything else as hexadecimal digits.
fn shown(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        json!({"bytes": digits})
    })
}

/// A file of lines that comes into being with the first one.
struct Lines<'a> {
    disk: &'a dyn Disk,
    directory: &'a Path,
    file: Option<Box<dyn File>>,
    waiting: Vec<u8>,
    written: u64,
}

impl Lines<'_> {
    async fn add(&mut self, line: &Value) -> std::io::Result<()> {
        self.waiting.extend_from_slice(line.to_string().as_bytes());
        self.waiting.push(b'\n');
        if self.waiting.len() >= CHUNK_BYTES { self.write().await } else { Ok(()) }
    }

    async fn write(&mut self) -> std::io::Result<()> {
        if self.file.is_none() {
            self.disk.create_dir_all(self.directory).await?;
            let file = self.disk.open(&self.directory.join(DIVERGENT_FILE), true).await?;
            file.set_len(0).await?;
            self.file = Some(file);
        }
        let Some(file) = &self.file else { return Ok(()) };
        file.write_at(&self.waiting, self.written).await?;
        self.written += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }

    async fn finish(mut self) -> std::io::Result<()> {
        if !self.waiting.is_empty() {
            self.write().await?;
        }
        match &self.file {
            Some(file) => {
                file.sync_data().await?;
                self.disk.sync_dir(self.directory).await
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use ha_cluster::disk::RealDisk;

    use super::*;

    #[test]
    fn json_stays_json_and_other_bytes_are_kept_whole() {
        assert_eq!(shown(br#"{"a": 1}"#), json!({"a": 1}));
        assert_eq!(shown(&[0, 255]), json!({"bytes": "00ff"}));
    }

    #[tokio::test]
    async fn what_a_node_alone_holds_is_counted_even_when_that_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("aside-3");
        let by: ha_cluster::NodeId = "node-2".parse().unwrap();
        let told = |forked_at| Overtaken { by: by.clone(), generation: 1, forked_at, directory: directory.clone() };
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let none = keep(&disk, &told(Some(Epoch(7))), State::off("here"), None).await.unwrap();
        assert!(none.contains("nothing changed here alone"), "{none}");
        assert!(!directory.exists());
        let unknown = keep(&disk, &told(None), State::off("here"), None).await.unwrap();
        assert!(unknown.contains("nobody knows"), "{unknown}");
    }

    #[tokio::test]
    async fn lines_are_written_and_an_older_file_of_that_name_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(DIVERGENT_FILE), "something old and longer than what comes").unwrap();
        let disk = RealDisk;
        let mut lines = Lines { disk: &disk, directory: folder.path(), file: None, waiting: Vec::new(), written: 0 };
        lines.add(&json!({"key": "a"})).await.unwrap();
        lines.add(&json!({"key": "b"})).await.unwrap();
        lines.finish().await.unwrap();
        let text = std::fs::read_to_string(folder.path().join(DIVERGENT_FILE)).unwrap();
        assert_eq!(text, "{\"key\":\"a\"}\n{\"key\":\"b\"}\n");
    }
}
