//! Commands that are run when a role comes and goes, beside a service or instead of one.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use ha_cluster::NodeId;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::sync::watch;

use crate::service::{AnyService, Demotion, Promotion, Service, ServiceError};

/// Bytes of its last words that are told.
const WORDS_MAX: usize = 300;
/// Bytes of what it says that are read at all.
const WORDS_READ_MAX: u64 = 64 * 1024;
/// How long the words of a command that has failed are still read.
const WORDS_WAIT_MAX: Duration = Duration::from_millis(100);
/// Before what a former life left is stopped again.
const RETRY: Duration = Duration::from_secs(1);

/// A service with commands around it, each given to `sh`; exit code 0 is a success.
///
/// The command of a promotion runs before the service starts, that of a demotion after it has stopped. Each runs in a
/// process group of its own, which is killed when nobody waits for it any more: what says that it is done after its
/// deadline says so to nobody.
///
/// What a former life of this process left behind is ended first: the command of the demotion is run once at the start,
/// with epoch 0, and no promotion begins before it has succeeded.
pub(crate) struct Hooked {
    me: NodeId,
    service: Arc<dyn AnyService>,
    promote: Option<String>,
    demote: Option<String>,
    /// Whether nothing of a former life is left.
    clean: watch::Receiver<bool>,
}

impl Hooked {
    /// Must be called on a tokio runtime.
    pub(crate) fn new(
        me: NodeId,
        service: Arc<dyn AnyService>,
        promote: Option<String>,
        demote: Option<String>,
    ) -> Self {
        let (cleaned, clean) = watch::channel(demote.is_none());
        if let Some(line) = demote.clone() {
            let me = me.to_string();
            tokio::spawn(async move {
                while !cleaned.is_closed() {
                    let reason = "this node starts";
                    let variables =
                        [("HA_ROLE", "replica"), ("HA_NODE_ID", &me), ("HA_EPOCH", "0"), ("HA_REASON", reason)];
                    match run(&line, &[], &variables.map(|(name, value)| (name, value.to_owned()))).await {
                        Ok(()) => {
                            cleaned.send_replace(true);
                            return;
                        }
                        Err(error) => tracing::warn!("what a former life left cannot be stopped yet: {error}"),
                    }
                    tokio::time::sleep(RETRY).await;
                }
            });
        }
        Self { me, service, promote, demote, clean }
    }
}

impl Service for Hooked {
    async fn promote(&self, promotion: Promotion) -> Result<(), ServiceError> {
        let mut clean = self.clean.clone();
        if clean.wait_for(|clean| *clean).await.is_err() {
            return Err(ServiceError::new("nobody knows whether a former life has left something running"));
        }
        if let Some(line) = &self.promote {
            let epoch = promotion.epoch.to_string();
            let variables = [
                ("HA_ROLE", "primary".to_owned()),
                ("HA_NODE_ID", self.me.to_string()),
                ("HA_GROUP", promotion.group.to_string()),
                ("HA_SHARD", promotion.shard.map(|shard| shard.to_string()).unwrap_or_default()),
                ("HA_EPOCH", epoch.clone()),
                ("HA_FENCING_TOKEN", epoch),
            ];
            let told = run(line, &[], &variables).await;
            told.map_err(|error| ServiceError::new(format!("the command of the promotion failed: {error}")))?;
        }
        self.service.clone().promote(promotion).await
    }

    async fn demote(&self, demotion: Demotion) -> Result<(), ServiceError> {
        self.service.clone().demote(demotion.clone()).await?;
        let Some(line) = &self.demote else { return Ok(()) };
        let epoch = demotion.epoch.to_string();
        let variables = [
            ("HA_ROLE", "replica".to_owned()),
            ("HA_NODE_ID", self.me.to_string()),
            ("HA_GROUP", demotion.group.to_string()),
            ("HA_SHARD", demotion.shard.map(|shard| shard.to_string()).unwrap_or_default()),
            ("HA_EPOCH", epoch.clone()),
            ("HA_FENCING_TOKEN", epoch),
            ("HA_REASON", demotion.reason),
        ];
        let told = run(line, &[], &variables).await;
        told.map_err(|error| ServiceError::new(format!("the command of the demotion failed: {error}")))
    }
}

/// Gives a line to `sh`, with these arguments after its name, and waits for its end. Dropped before that, it is killed
/// with everything in its process group.
pub(crate) async fn run(line: &str, arguments: &[&str], variables: &[(&str, String)]) -> Result<(), String> {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", line])
        .args(arguments)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("it could not be run: {error}"))?;
    let mut group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let mut stderr = child.stderr.take();
    let mut words = Vec::new();
    let status = {
        let mut reading = std::pin::pin!(async {
            if let Some(stderr) = &mut stderr {
                let _ = stderr.take(WORDS_READ_MAX).read_to_end(&mut words).await;
            }
        });
        let mut has_read = false;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status.map_err(|error| error.to_string())?,
                () = &mut reading, if !has_read => has_read = true,
            }
        };
        // What it started may live on: that is what it was for.
        group.0 = None;
        if status.success() {
            return Ok(());
        }
        if !has_read {
            // They are already in the pipe; what it left behind may hold it open.
            let _ = tokio::time::timeout(WORDS_WAIT_MAX, reading).await;
        }
        status
    };
    let words = String::from_utf8_lossy(&words);
    let words = words.trim();
    let words = &words[words.floor_char_boundary(words.len().saturating_sub(WORDS_MAX))..];
    Err(format!("{status}: {words}"))
}

/// A command that still runs, with everything in its process group; killed when dropped.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // An error says that nobody is left.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_exit_code_0_is_a_success_and_last_words_are_told() {
        let epoch = [("HA_EPOCH", "7".to_owned())];
        assert_eq!(run("test \"$HA_EPOCH\" = 7", &[], &epoch).await, Ok(()));
        let failed = run("echo no such disk >&2; exit 3", &[], &epoch).await.unwrap_err();
        assert!(failed.contains('3') && failed.contains("no such disk"), "{failed}");
    }

    /// What hangs is stopped with everything that it started, so that it cannot finish, and lie, late.
    #[tokio::test]
    async fn a_command_that_nobody_waits_for_ends_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let late = folder.path().join("late");
        let line = format!("(sleep 0.4; touch {0}) & wait; touch {0}", late.display());
        assert!(tokio::time::timeout(Duration::from_millis(100), run(&line, &[], &[])).await.is_err());
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert!(!late.exists());
    }

    /// The descriptor of its last words stays open in what it leaves behind, which must not be waited for.
    #[tokio::test]
    async fn what_a_command_leaves_behind_lives_on_and_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let lives = folder.path().join("lives");
        let line = format!("(sleep 0.3; touch {}) & exit 0", lives.display());
        let told = tokio::time::timeout(Duration::from_millis(250), run(&line, &[], &[])).await;
        assert_eq!(told, Ok(Ok(())));
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(lives.exists());
    }
}
