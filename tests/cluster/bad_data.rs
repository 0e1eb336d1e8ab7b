//! Data that is not this node's, or not whole: the node says so and ends, and nothing of the data is touched.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::json;
use xtask::local_cluster::{FORM_TIMEOUT, LocalCluster, Settings, wait_for};

use crate::support::{Digest, Outcome, ends_with_error};

#[tokio::test]
async fn the_data_of_another_node_is_refused() -> Outcome {
    let mut cluster = formed_and_killed().await?;
    let before = Digest::of(&cluster.data_directory(1))?;
    cluster.node_mut(1).spec.options.insert("CLUSTER_NODE_ID".to_owned(), "node-9".to_owned());
    ends_with_error(&mut cluster, 1, &["node-1", "node-9"]).await?;
    assert_eq!(Digest::of(&cluster.data_directory(1))?, before);
    Ok(())
}

#[tokio::test]
async fn the_data_of_another_cluster_is_refused() -> Outcome {
    let mut cluster = formed_and_killed().await?;
    let before = Digest::of(&cluster.data_directory(1))?;
    cluster.node_mut(1).spec.options.insert("CLUSTER_NAME".to_owned(), "elsewhere".to_owned());
    ends_with_error(&mut cluster, 1, &["elsewhere", "default"]).await?;
    assert_eq!(Digest::of(&cluster.data_directory(1))?, before);
    Ok(())
}

/// A folder that holds something else altogether, such as a home directory given by mistake.
#[tokio::test]
async fn a_folder_of_something_else_is_refused() -> Outcome {
    let mut cluster = LocalCluster::prepare(Settings::new(1))?;
    let folder = cluster.data_directory(1);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("holiday.txt"), "sun")?;
    let before = Digest::of(&folder)?;
    ends_with_error(&mut cluster, 1, &[&folder.display().to_string(), "holiday.txt"]).await?;
    assert_eq!(Digest::of(&folder)?, before);
    Ok(())
}

#[tokio::test]
async fn a_data_directory_in_use_is_refused() -> Outcome {
    let mut cluster = LocalCluster::start(Settings::new(3)).await?;
    cluster.wait_formed().await?;
    let leader = cluster.wait_leader().await?;
    let follower = leader % 3 + 1;
    let in_use = cluster.data_directory(follower);
    let other = (leader + 1) % 3 + 1;
    cluster.kill9(other).await?;
    let own = cluster.node(follower).spec.node_id.clone();
    let options = &mut cluster.node_mut(other).spec.options;
    options.insert("HA_DATA_DIR".to_owned(), in_use.display().to_string());
    options.insert("CLUSTER_NODE_ID".to_owned(), own);
    ends_with_error(&mut cluster, other, &[&in_use.display().to_string(), "in use by process"]).await?;
    assert!(cluster.node(follower).is_running());
    assert_eq!(cluster.wait_leader().await?, leader, "the two others go on");
    Ok(())
}

/// A bit flips in the log, between records that are whole: the node must not serve from it, nor repair it by cutting
/// off what it once acknowledged.
#[tokio::test]
async fn a_corrupt_log_is_refused() -> Outcome {
    let mut cluster = formed_and_killed().await?;
    let (data, log) = (cluster.data_directory(1), cluster.data_directory(1).join("wal"));
    flip_a_bit(&newest_segment_with_content(&log)?)?;
    // Of the log only: the count of the node's lives goes up with each start, before anything else is looked at.
    let before = Digest::of(&log)?;
    ends_with_error(&mut cluster, 1, &["damaged", "nothing was changed", &data.display().to_string()]).await?;
    assert_eq!(Digest::of(&log)?, before);
    Ok(())
}

/// What the log went on in is gone, or was cut off: it held what others were told is safe.
#[tokio::test]
async fn a_log_that_has_lost_its_end_is_refused() -> Outcome {
    let mut cluster = LocalCluster::start(Settings::new(3)).await?;
    cluster.wait_formed().await?;
    let log = cluster.data_directory(1).join("wal");
    let newest = wait_for("a second segment is in use", FORM_TIMEOUT, async || {
        // Each leader begins with an entry.
        let moved =
            cluster.http(1).post("/v1/cluster/transfer", &json!({})).await.map_err(|error| error.to_string())?;
        let newest = newest_segment_with_content(&log).map_err(|error| format!("{error:?}"))?;
        let is_second = newest.file_name().is_some_and(|name| name == "00000000000000000002.wal");
        if is_second { Ok(newest) } else { Err(format!("{}, {}", newest.display(), moved.status)) }
    })
    .await?;
    cluster.kill9_all().await?;
    // A seal that was not written yet is made up for by the next life.
    cluster.restart(1)?;
    cluster.wait_node(1, "it has started", FORM_TIMEOUT, |status| status.cluster_id.is_some()).await?;
    cluster.kill9(1).await?;
    let whole = fs::read(&newest)?;
    for left in [Some(200), Some(0), None] {
        match left {
            Some(bytes) => fs::write(&newest, &whole[..bytes])?,
            None => fs::remove_file(&newest)?,
        }
        let before = Digest::of(&log)?;
        let name = newest.display().to_string();
        ends_with_error(&mut cluster, 1, &["the log is damaged", "nothing was changed", &name]).await?;
        assert_eq!(Digest::of(&log)?, before, "{left:?} bytes were left");
    }
    Ok(())
}

#[tokio::test]
async fn a_lost_state_file_is_refused() -> Outcome {
    let mut cluster = formed_and_killed().await?;
    let data = cluster.data_directory(1);
    fs::remove_file(data.join("slot-disk"))?;
    let before = Digest::of(&data.join("wal"))?;
    ends_with_error(&mut cluster, 1, &["slot-disk is gone", "under a new id"]).await?;
    assert_eq!(Digest::of(&data.join("wal"))?, before);
    assert!(!data.join("slot-disk").exists());
    Ok(())
}

/// Three nodes formed a cluster, and were killed with their data in place.
async fn formed_and_killed() -> Outcome<LocalCluster> {
    let mut cluster = LocalCluster::start(Settings::new(3)).await?;
    cluster.wait_formed().await?;
    cluster.kill9_all().await?;
    assert!(!Digest::of(&cluster.data_directory(1))?.is_empty(), "the nodes wrote nothing");
    Ok(cluster)
}

/// The last segment of the log that is not all zeroes.
fn newest_segment_with_content(log: &Path) -> Outcome<PathBuf> {
    let entries = fs::read_dir(log)?.map(|entry| entry.map(|entry| entry.path()));
    let mut segments: Vec<PathBuf> = entries.collect::<Result<_, _>>()?;
    segments.sort();
    let written = |path: &PathBuf| fs::read(path).is_ok_and(|bytes| bytes.iter().any(|byte| *byte != 0));
    Ok(segments.into_iter().rfind(written).ok_or("nothing is written in the log")?)
}

/// Flips one bit among the first half of what is written. A byte that is not zero belongs to a record and is no filling
/// between two.
fn flip_a_bit(path: &Path) -> Outcome {
    let bytes = fs::read(path)?;
    let written: Vec<usize> = (0..bytes.len()).filter(|place| bytes[*place] != 0).collect();
    let place = written[written.len() / 2];
    let file = fs::OpenOptions::new().write(true).open(path)?;
    file.write_all_at(&[bytes[place] ^ 0x10], place as u64)?;
    Ok(())
}
