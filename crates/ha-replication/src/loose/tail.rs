//! Changes that a master had alone when another node took over: kept in files until a person has looked at them.
//!
//! One file per loss of the role, a line of JSON per record. Nothing is ever written over: a file that was dealt with
//! gets another name.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ha_cluster::disk::{Disk, perform};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::{Mutex, Semaphore};

use crate::{Change, Key, Version};

/// Where they are, below the directory of replication.
const DIRECTORY: &str = "tails";
const SUFFIX: &str = ".jsonl";
/// How the name of a file ends that was dealt with.
const DONE: &str = ".done";
/// Bytes that are read at once.
const CHUNK: usize = 1024 * 1024;

/// Changes that a master had alone when another node took over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tail {
    /// What to call it: the cluster's epoch at which the other node took over.
    pub name: String,
    /// The file that holds them.
    pub file: PathBuf,
    /// Records that were written, each with its last state.
    pub records: u64,
    /// Records that were deleted.
    pub deletions: u64,
    /// Bytes of their data.
    pub bytes: u64,
    /// Lines that cannot be read.
    pub damaged: u64,
    /// Whether the node still sets changes aside into it: until then it is neither applied nor dropped.
    #[serde(default)]
    pub is_growing: bool,
}

/// What became of a tail that was applied again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Changes that were made again.
    pub applied: u64,
    /// Changes that were left out, since the record was written by somebody else since.
    pub skipped: u64,
}

/// One line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    data_type: String,
    data_id: String,
    time: u64,
    tie: u64,
    is_deleted: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    data: Option<Box<RawValue>>,
    /// The data, where it is no JSON.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    bytes: Option<Vec<u8>>,
    /// Of the key, the version and the data.
    crc32c: u32,
}

impl Line {
    fn of(key: &Key, version: Version, data: Option<&Bytes>) -> Self {
        let json = data.and_then(|data| serde_json::from_slice::<Box<RawValue>>(data).ok());
        // Whitespace around a value is no part of it, and null would be read as no data; then the bytes themselves are
        // kept.
        let is_kept = |json: &str, data: &Bytes| json.len() == data.len() && is_one_line(data) && json != "null";
        let json = json.filter(|json| data.is_some_and(|data| is_kept(json.get(), data)));
        Self {
            data_type: key.data_type().to_owned(),
            data_id: key.data_id().to_owned(),
            time: version.time,
            tie: version.tie,
            is_deleted: data.is_none(),
            bytes: data.filter(|_| json.is_none()).map(|data| data.to_vec()),
            crc32c: checksum(key, version, data),
            data: json,
        }
    }

    fn value(&self) -> Option<Bytes> {
        let json = self.data.as_ref().map(|json| Bytes::copy_from_slice(json.get().as_bytes()));
        json.or_else(|| self.bytes.clone().map(Bytes::from))
    }

    fn change(self) -> Option<(Version, Change)> {
        let key = Key::new(&self.data_type, &self.data_id).ok()?;
        let data = self.value();
        let version = Version { time: self.time, tie: self.tie };
        let fits = data.is_none() == self.is_deleted && checksum(&key, version, data.as_ref()) == self.crc32c;
        fits.then_some((version, Change { key, data }))
    }
}

fn checksum(key: &Key, version: Version, data: Option<&Bytes>) -> u32 {
    let Version { time, tie } = version;
    let data = data.map_or(&[][..], |data| data);
    let parts: [&[u8]; 4] = [key.bytes(), &time.to_le_bytes(), &tie.to_le_bytes(), data];
    parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part))
}

fn is_one_line(data: &[u8]) -> bool {
    !data.contains(&b'\n')
}

/// Lines of tails, to begin with.
#[cfg(feature = "testing")]
pub(crate) fn fuzzing_lines() -> Vec<Vec<u8>> {
    let key = Key::new("task", "1").unwrap_or_else(|_| unreachable!("a key"));
    let version = Version { time: 7, tie: Version::STAMPED | 1 };
    let data = [None, Some(Bytes::from_static(b"{\"x\": 1}")), Some(Bytes::from_static(b"no json"))];
    data.iter().filter_map(|data| serde_json::to_vec(&Line::of(&key, version, data.as_ref())).ok()).collect()
}

/// Any bytes for one.
#[cfg(feature = "testing")]
pub(crate) fn fuzz_line(input: &[u8]) {
    let Ok(mut line) = serde_json::from_slice::<Line>(input) else { return };
    // Else hardly any input would come further than its checksum.
    if let Ok(key) = Key::new(&line.data_type, &line.data_id) {
        line.crc32c = checksum(&key, Version { time: line.time, tie: line.tie }, line.value().as_ref());
    }
    if let Some((version, change)) = line.change() {
        let again = serde_json::to_vec(&Line::of(&change.key, version, change.data.as_ref()));
        let again = again.ok().and_then(|again| serde_json::from_slice::<Line>(&again).ok()).and_then(Line::change);
        assert!(again == Some((version, change)), "a line is not read as it was written");
    }
}

/// The tails of one copy. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Tails {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    /// To read all of them.
    turn: Arc<Semaphore>,
    /// To write one, or to give it another name.
    pen: Arc<Mutex<()>>,
}

/// What a tail holds.
pub(crate) struct Read {
    pub(crate) changes: Changes,
    /// Lines that cannot be read.
    damaged: u64,
    /// Bytes of the file.
    pub(crate) length: u64,
}

impl Tails {
    pub(crate) fn new(disk: Arc<dyn Disk>, directory: &Path) -> Self {
        Self { disk, directory: directory.join(DIRECTORY), turn: Arc::new(Semaphore::new(1)), pen: Arc::default() }
    }

    /// Adds changes to the tail of an epoch. The disk has them when this returns.
    pub(crate) async fn add(&self, epoch: u64, changes: &[(Key, Version, Option<Bytes>)]) -> io::Result<()> {
        let mut text = Vec::new();
        for (key, version, data) in changes {
            serde_json::to_writer(&mut text, &Line::of(key, *version, data.as_ref()))?;
            text.push(b'\n');
        }
        let _pen = self.pen.lock().await;
        self.disk.create_dir_all(&self.directory).await?;
        let file = self.disk.open(&self.directory.join(format!("{epoch}{SUFFIX}")), true).await?;
        let end = file.len()?;
        if end > 0 {
            // A line that a crash cut short must not swallow the next one.
            text.insert(0, b'\n');
        }
        file.write_at(&text, end).await?;
        file.sync_data().await?;
        self.disk.sync_dir(&self.directory).await
    }

    /// Those that nobody has dealt with. Whole files are read, one after the other and where that keeps nobody else
    /// waiting.
    pub(crate) async fn list(&self) -> io::Result<Vec<Tail>> {
        let turn = self.turn.clone().acquire_owned().await.map_err(io::Error::other)?;
        let tails = self.clone();
        let listed = perform(&self.disk, "tails", async move {
            let listed = tails.read_all().await;
            drop(turn);
            listed
        });
        listed.await?
    }

    async fn read_all(&self) -> io::Result<Vec<Tail>> {
        let names = match self.disk.list(&self.directory).await {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut tails = Vec::new();
        for name in names {
            let Some(name) = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)) else { continue };
            let file = self.directory.join(format!("{name}{SUFFIX}"));
            let Read { changes, damaged, .. } = self.read(name).await?;
            let (name, is_growing) = (name.to_owned(), false);
            let mut tail = Tail { name, file, records: 0, deletions: 0, bytes: 0, damaged, is_growing };
            for (_, data) in changes.into_values() {
                match data {
                    Some(data) => (tail.records, tail.bytes) = (tail.records + 1, tail.bytes + data.len() as u64),
                    None => tail.deletions += 1,
                }
            }
            tails.push(tail);
        }
        tails.sort_by_key(|tail| tail.name.parse::<u64>().unwrap_or(u64::MAX));
        Ok(tails)
    }

    /// The last state of each record of a tail.
    pub(crate) async fn read(&self, name: &str) -> io::Result<Read> {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = self.disk.open(&self.directory.join(format!("{name}{SUFFIX}")), false).await?;
        let (length, mut at) = (file.len()?, 0);
        let (mut changes, mut damaged, mut rest) = (Changes::new(), 0, Vec::new());
        while at < length {
            let mut chunk = vec![0; CHUNK.min(usize::try_from(length - at).unwrap_or(CHUNK))];
            file.read_at(&mut chunk, at).await?;
            at += chunk.len() as u64;
            rest.extend_from_slice(&chunk);
            let whole =
                if at == length { rest.len() } else { rest.iter().rposition(|byte| *byte == b'\n').unwrap_or(0) };
            let lines: Vec<u8> = rest.drain(..whole).collect();
            for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                match serde_json::from_slice::<Line>(line).ok().and_then(Line::change) {
                    Some((version, change)) => {
                        let known = changes.entry(change.key).or_insert_with(|| (version, change.data.clone()));
                        if known.0 < version {
                            *known = (version, change.data);
                        }
                    }
                    None => damaged += 1,
                }
            }
        }
        Ok(Read { changes, damaged, length })
    }

    /// A person has dealt with so many bytes of it: it is listed no more, and the file stays. False when it has grown
    /// since, and stays as it is.
    pub(crate) async fn done(&self, name: &str, length: u64) -> io::Result<bool> {
        let _pen = self.pen.lock().await;
        let path = self.directory.join(format!("{name}{SUFFIX}"));
        let file = self.disk.open(&path, false).await?;
        if file.len()? != length {
            return Ok(false);
        }
        drop(file);
        let taken = self.disk.list(&self.directory).await?;
        let mut names = (1..).map(|number| match number {
            1 => format!("{name}{SUFFIX}{DONE}"),
            _ => format!("{name}{SUFFIX}{DONE}{number}"),
        });
        let free = names.find(|name| !taken.iter().any(|taken| taken.as_os_str() == name.as_str()));
        let free = free.ok_or(io::ErrorKind::AlreadyExists)?;
        self.disk.rename(&path, &self.directory.join(free)).await?;
        self.disk.sync_dir(&self.directory).await?;
        Ok(true)
    }
}

/// The last state of each record.
pub(crate) type Changes = BTreeMap<Key, (Version, Option<Bytes>)>;

#[cfg(test)]
mod tests {
    use ha_cluster::disk::faulty::FaultyDisk;

    use super::*;

    fn change(id: &str, time: u64, data: Option<&str>) -> (Key, Version, Option<Bytes>) {
        let data = data.map(|data| Bytes::copy_from_slice(data.as_bytes()));
        (Key::new("t", id).unwrap(), Version { time, tie: Version::STAMPED | 1 }, data)
    }

    #[tokio::test]
    async fn what_is_set_aside_is_counted_read_back_and_kept_after_it_was_dealt_with() {
        let tails = Tails::new(Arc::new(FaultyDisk::default()), Path::new("/data/replication"));
        assert_eq!(tails.list().await.unwrap(), []);
        let first = [
            change("a", 1, Some("{\"x\": 1}")),
            change("b", 2, Some("no json")),
            change("c", 3, None),
            change("d", 3, Some("null")),
        ];
        tails.add(7, &first).await.unwrap();
        tails.add(7, &[change("a", 4, Some("\"spans\nlines\"")), change("a", 1, Some("{\"x\": 1}"))]).await.unwrap();
        let listed = tails.list().await.unwrap();
        let counts = |tail: &Tail| (tail.name.clone(), tail.records, tail.deletions, tail.bytes, tail.damaged);
        assert_eq!(listed.iter().map(counts).collect::<Vec<_>>(), [("7".to_owned(), 3, 1, 24, 0)]);
        let Read { changes, length, .. } = tails.read("7").await.unwrap();
        let of = |id: &str| changes[&Key::new("t", id).unwrap()].clone();
        assert_eq!(of("a"), (Version { time: 4, tie: Version::STAMPED | 1 }, Some("\"spans\nlines\"".into())));
        assert_eq!((of("b").1, of("c").1, of("d").1), (Some("no json".into()), None, Some("null".into())));
        assert!(tails.read("../7").await.is_err());
        tails.done("7", length).await.unwrap();
        assert_eq!(tails.list().await.unwrap(), []);
    }

    #[tokio::test]
    async fn what_comes_after_it_was_read_is_neither_hidden_nor_written_over() {
        let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::default());
        let tails = Tails::new(disk.clone(), Path::new("/data/replication"));
        let add = async |id: &str| tails.add(7, &[change(id, 1, Some("1"))]).await.unwrap();
        add("a").await;
        let length = tails.read("7").await.unwrap().length;
        add("b").await;
        assert!(!tails.done("7", length).await.unwrap());
        assert_eq!(tails.list().await.unwrap()[0].records, 2);
        let length = tails.read("7").await.unwrap().length;
        assert!(tails.done("7", length).await.unwrap());
        add("c").await;
        let length = tails.read("7").await.unwrap().length;
        assert!(tails.done("7", length).await.unwrap());
        let mut files = disk.list(Path::new("/data/replication/tails")).await.unwrap();
        files.sort();
        assert_eq!(files, [Path::new("7.jsonl.done"), Path::new("7.jsonl.done2")]);
    }

    #[tokio::test]
    async fn a_line_that_a_crash_cut_short_costs_that_line_alone() {
        let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::default());
        let tails = Tails::new(disk.clone(), Path::new("/data/replication"));
        tails.add(7, &[change("a", 1, Some("1")), change("b", 2, Some("2"))]).await.unwrap();
        let file = disk.open(Path::new("/data/replication/tails/7.jsonl"), false).await.unwrap();
        file.set_len(file.len().unwrap() - 5).await.unwrap();
        tails.add(7, &[change("c", 3, Some("3"))]).await.unwrap();
        let listed = tails.list().await.unwrap();
        assert_eq!((listed[0].records, listed[0].damaged), (2, 1));
    }

    #[tokio::test]
    async fn a_line_that_is_not_what_was_written_is_damaged() {
        let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::default());
        let tails = Tails::new(disk.clone(), Path::new("/data/replication"));
        tails.add(7, &[change("a", 1, Some("100")), change("b", 2, Some("200"))]).await.unwrap();
        let file = disk.open(Path::new("/data/replication/tails/7.jsonl"), false).await.unwrap();
        let mut text = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_at(&mut text, 0).await.unwrap();
        let at = text.windows(3).position(|three| three == b"100").unwrap();
        file.write_at(b"900", at as u64).await.unwrap();
        let listed = tails.list().await.unwrap();
        assert_eq!((listed[0].records, listed[0].damaged), (1, 1), "other JSON, and as well formed");
    }
}
