//! How a node says no.

use std::time::Duration;

use xtask::local_cluster::{Ended, LocalCluster, wait_for};

use super::Outcome;

/// How long a node may take to find that it cannot run.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(15);

/// Starts node `number`, which must end by itself with a failure and print all of these words; returns what it printed
/// in this life.
pub(crate) async fn ends_with_error(cluster: &mut LocalCluster, number: usize, words: &[&str]) -> Outcome<String> {
    let before = cluster.node(number).log_text().len();
    cluster.node_mut(number).start()?;
    let ended = cluster.node_mut(number).wait_exit(REFUSAL_TIMEOUT).await;
    let printed = cluster.node(number).log_text().split_off(before);
    match ended.map_err(|error| format!("{error}; it printed:\n{printed}"))? {
        Ended::Status(status) if status.success() => Err(format!("it ended as if all were well:\n{printed}").into()),
        Ended::Status(status) if status.code().is_none() => Err(format!("it was killed ({status}):\n{printed}").into()),
        _ => {
            let lower = printed.to_lowercase();
            assert!(!lower.contains("panicked"), "it panicked:\n{printed}");
            for word in words {
                assert!(lower.contains(&word.to_lowercase()), "it does not say {word:?}:\n{printed}");
            }
            Ok(printed)
        }
    }
}

/// Waits until node `number` runs and says all of these words in its health document.
pub(crate) async fn told_in_health(cluster: &LocalCluster, number: usize, words: &[&str]) -> Outcome {
    let what = format!("{} telling {words:?} in /health", cluster.node(number).spec.node_id);
    wait_for(&what, REFUSAL_TIMEOUT, async || {
        let answer = cluster.http(number).get("/health").await.map_err(|error| error.to_string())?;
        let lower = answer.body.to_lowercase();
        if words.iter().all(|word| lower.contains(&word.to_lowercase())) { Ok(()) } else { Err(answer.body) }
    })
    .await?;
    Ok(())
}
