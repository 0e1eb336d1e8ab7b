//! I2, T02, T27 on real processes: no acknowledged record is lost, copies are equal when all is well again, and a full
//! disk is told as what it is.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use xtask::local_cluster::{Bookkeeper, LocalCluster, Settings, wait_for};

use crate::support::Outcome;

/// How long anything may take that goes on by itself.
const PATIENCE: Duration = Duration::from_secs(20);
/// The disk of the node that it will be full for: room for its log, and what must stay free.
const DISK_BYTES: u64 = 256 * 1024 * 1024;
/// What is left of it: less than a node asks for, and enough for its log to go on.
const LEFT_BYTES: u64 = 48 * 1024 * 1024;

fn keeping(consistency: &str) -> Settings {
    Settings::new(3).with("REPLICATION_ENABLED", "true").with("REPLICATION_CONSISTENCY", consistency)
}

#[tokio::test]
async fn acknowledged_records_survive_kills() -> Outcome {
    for consistency in ["quorum", "strong"] {
        let mut cluster = LocalCluster::start(keeping(consistency)).await?;
        cluster.wait_formed().await?;
        let keeper = Bookkeeper::start(&cluster, 6);
        keeper.wait_for_more(100, PATIENCE).await?;
        let leader = cluster.wait_leader().await?;
        cluster.kill9(leader).await?;
        keeper.wait_for_more(100, PATIENCE).await?;
        cluster.restart(leader)?;
        keeper.wait_for_more(100, PATIENCE).await?;
        cluster.kill9_all().await?;
        for number in 1..=cluster.size() {
            cluster.restart(number)?;
        }
        keeper.wait_for_more(100, PATIENCE).await?;
        let book = keeper.end().await;
        cluster.wait_formed().await?;
        assert!(book.count() >= 400);
        book.expect_everywhere(&cluster).await?;
    }
    Ok(())
}

/// A small disk that is there for a test. Dropping it takes it away.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    /// Says why not, where that is not allowed.
    fn at(folder: &'a Path, bytes: u64) -> Result<Self, String> {
        std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).arg(folder);
        let output = mount.output().map_err(|error| error.to_string())?;
        if output.status.success() { Ok(Self(folder)) } else { Err(String::from_utf8_lossy(&output.stderr).into()) }
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // Lazily: the node may still have its files open.
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_room_on_it_is_enough_to_go_on() -> Outcome {
    let mut cluster = LocalCluster::prepare(keeping("quorum"))?;
    let full = 1;
    let folder = cluster.data_directory(full);
    let _disk = match Mounted::at(&folder, DISK_BYTES) {
        Ok(disk) => disk,
        Err(reason) => {
            eprintln!("NOT TRIED: a full disk of a real process, since no small disk can be mounted here: {reason}");
            return Ok(());
        }
    };
    cluster.start_all()?;
    cluster.wait_formed().await?;
    let keeper = Bookkeeper::start(&cluster, 4);
    keeper.wait_for_more(50, PATIENCE).await?;
    let filler = folder.join("filler");
    let free = rustix::fs::statvfs(&folder)?;
    let free = free.f_bavail.saturating_mul(free.f_frsize);
    fill(&filler, free.saturating_sub(LEFT_BYTES))?;
    let put = async || {
        let answer = cluster.http(full).put("/v1/replication/full/one", &json!(1)).await;
        answer.map_err(|error| error.to_string())
    };
    wait_for("a refusal that says that the disk is full", PATIENCE, async || {
        let answer = put().await?;
        let told = answer.status == 507 && answer.json()["error"]["code"] == "disk_full";
        if told { Ok(()) } else { Err(answer.body) }
    })
    .await?;
    keeper.wait_for_more(50, PATIENCE).await?;
    let status = cluster.http(full % 3 + 1).get("/v1/replication").await?;
    assert_eq!(status.status, 200, "{}", status.body);
    std::fs::remove_file(&filler)?;
    wait_for("writes that are taken again", PATIENCE, async || {
        let answer = put().await?;
        if answer.status == 200 { Ok(()) } else { Err(answer.body) }
    })
    .await?;
    let book = keeper.end().await;
    book.expect_everywhere(&cluster).await?;
    cluster.kill9_all().await?;
    Ok(())
}

/// Takes so many bytes of a disk.
fn fill(path: &Path, bytes: u64) -> std::io::Result<()> {
    let file = File::create(path)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)?;
    Ok(())
}
