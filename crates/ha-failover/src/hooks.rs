//! Commands that are run when a role comes and goes, beside a service or instead of one.

use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    lines: Lines,
    groups: Groups,
    past: watch::Receiver<Past>,
}

/// The commands around a service.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    pub(crate) promote: Option<String>,
    pub(crate) demote: Option<String>,
    /// What takes longer at the start is killed, and tried again.
    pub(crate) limit: Duration,
}

/// What is known of what a former life left.
#[derive(Debug)]
enum Past {
    /// It is being stopped for the first time.
    Stopping,
    /// It could not be stopped yet.
    Stuck(String),
    /// Nothing of it is left.
    Over,
}

impl Hooked {
    /// Must be called on a tokio runtime.
    pub(crate) fn new(me: NodeId, service: Arc<dyn AnyService>, lines: Lines, groups: Groups) -> Self {
        let (tell, past) = watch::channel(if lines.demote.is_none() { Past::Over } else { Past::Stopping });
        if let Some(line) = lines.demote.clone() {
            tokio::spawn(end_past(me.to_string(), line, lines.limit, groups.clone(), tell));
        }
        Self { me, service, lines, groups, past }
    }

    /// Waits until nothing of a former life is left; not as long as a promotion may take, so that its error says why.
    async fn await_past(&self) -> Result<(), ServiceError> {
        let mut past = self.past.clone();
        let over = tokio::time::timeout(self.lines.limit / 2, past.wait_for(|past| matches!(past, Past::Over))).await;
        match over {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(_)) => {
                return Err(ServiceError::new("nobody knows whether a former life has left something running"));
            }
            Err(_) => {}
        }
        Err(ServiceError::new(match &*self.past.borrow() {
            Past::Stuck(why) => why.clone(),
            _ => "the command of the demotion, which stops what a former life left, has not ended yet".to_owned(),
        }))
    }
}

/// Runs the command of the demotion until it succeeds, for what a former life left.
async fn end_past(me: String, line: String, limit: Duration, groups: Groups, tell: watch::Sender<Past>) {
    while !tell.is_closed() {
        let variables =
            [("HA_ROLE", "replica"), ("HA_NODE_ID", &me), ("HA_EPOCH", "0"), ("HA_REASON", "this node starts")];
        let variables = variables.map(|(name, value)| (name, value.to_owned()));
        let late = || Err(format!("it did not end within {} s, and was killed", limit.as_secs_f64()));
        let ended = tokio::time::timeout(limit, run(&groups, &line, &[], &variables)).await;
        let Err(error) = ended.unwrap_or_else(|_| late()) else {
            tell.send_replace(Past::Over);
            return;
        };
        let why = format!("the command of the demotion cannot stop what a former life left: {error}");
        tracing::warn!("{why}; tries again");
        tell.send_replace(Past::Stuck(why));
        tokio::time::sleep(RETRY).await;
    }
}

impl Service for Hooked {
    async fn promote(&self, promotion: Promotion) -> Result<(), ServiceError> {
        self.await_past().await?;
        if let Some(line) = &self.lines.promote {
            let epoch = promotion.epoch.to_string();
            let variables = [
                ("HA_ROLE", "primary".to_owned()),
                ("HA_NODE_ID", self.me.to_string()),
                ("HA_GROUP", promotion.group.to_string()),
                ("HA_SHARD", promotion.shard.map(|shard| shard.to_string()).unwrap_or_default()),
                ("HA_EPOCH", epoch.clone()),
                ("HA_FENCING_TOKEN", epoch),
            ];
            let told = run(&self.groups, line, &[], &variables).await;
            told.map_err(|error| ServiceError::new(format!("the command of the promotion failed: {error}")))?;
        }
        self.service.clone().promote(promotion).await
    }

    async fn demote(&self, demotion: Demotion) -> Result<(), ServiceError> {
        self.service.clone().demote(demotion.clone()).await?;
        let Some(line) = &self.lines.demote else { return Ok(()) };
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
        let told = run(&self.groups, line, &[], &variables).await;
        told.map_err(|error| ServiceError::new(format!("the command of the demotion failed: {error}")))
    }
}

/// Gives a line to `sh`, with these arguments after its name, and waits for its end. Dropped before that, it is killed
/// with everything in its process group.
pub(crate) async fn run(
    groups: &Groups,
    line: &str,
    arguments: &[&str],
    variables: &[(&str, String)],
) -> Result<(), String> {
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
    let group = groups.add(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
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
        group.release();
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

/// The commands that run now, each the leader of a process group. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups(Arc<Mutex<Vec<Pid>>>);

impl Groups {
    fn lock(&self) -> MutexGuard<'_, Vec<Pid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, leader: Option<Pid>) -> Group {
        self.lock().extend(leader);
        Group { leader, groups: self.clone() }
    }

    /// Kills all of them with everything in their groups: for a process that ends at once, and drops nothing.
    pub(crate) fn kill(&self) {
        self.lock().drain(..).for_each(kill);
    }
}

fn kill(leader: Pid) {
    // An error says that nobody is left.
    let _ = kill_process_group(leader, Signal::KILL);
}

/// A command that still runs, with everything in its process group; killed when dropped.
struct Group {
    leader: Option<Pid>,
    groups: Groups,
}

impl Group {
    /// It has ended by itself.
    fn release(&self) {
        self.groups.lock().retain(|leader| Some(*leader) != self.leader);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Who is not on the list has ended, or was killed.
        let mut leaders = self.groups.lock();
        if let Some(at) = leaders.iter().position(|leader| Some(*leader) == self.leader) {
            kill(leaders.swap_remove(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::NoService;

    async fn run(line: &str, arguments: &[&str], variables: &[(&str, String)]) -> Result<(), String> {
        super::run(&Groups::default(), line, arguments, variables).await
    }

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

    /// A process that ends itself drops nothing.
    #[tokio::test]
    async fn all_that_run_are_killed_at_once_when_the_process_ends() {
        let folder = tempfile::tempdir().unwrap();
        let late = folder.path().join("late");
        let line = format!("(sleep 0.3; touch {0}) & wait; touch {0}", late.display());
        let groups = Groups::default();
        let hung = tokio::spawn({
            let groups = groups.clone();
            async move { super::run(&groups, &line, &[], &[]).await }
        });
        while groups.lock().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        groups.kill();
        assert!(hung.await.unwrap().is_err(), "it was killed");
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert!(!late.exists() && groups.lock().is_empty());
    }

    #[tokio::test]
    async fn what_hangs_at_the_start_is_killed_and_named_by_whoever_waits_for_it() {
        let (demote, limit) = (Some("sleep 30".to_owned()), Duration::from_millis(50));
        let lines = Lines { promote: None, demote, limit };
        let hooked = Hooked::new("node-1".parse().unwrap(), Arc::new(NoService), lines, Groups::default());
        let waited = hooked.await_past().await.unwrap_err().reason;
        assert!(waited.contains("has not ended yet"), "{waited}");
        let _ = hooked.past.clone().wait_for(|past| matches!(past, Past::Stuck(_))).await.unwrap();
        let why = hooked.await_past().await.unwrap_err().reason;
        assert!(why.contains("did not end within 0.05 s") && why.contains("former life"), "{why}");
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
