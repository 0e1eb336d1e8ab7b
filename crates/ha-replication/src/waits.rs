//! Writes that the log has, and that wait for enough disks to hold them.

use std::collections::BTreeSet;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use ha_cluster::NodeId;
use tokio::sync::oneshot;

use crate::message::{Applied, NotHeld};
use crate::ship::Written;
use crate::{Consistency, ReplicateError, Version};

/// Waits of one level at once; whatever comes then waits for its turn, and goes together.
const AT_GATE_MAX: usize = 16;
/// Writes that wait in all.
const WAITING_MAX: usize = 65_536;

/// Where the caller of one write waits.
pub(crate) type Answer = oneshot::Sender<Result<Written, ReplicateError>>;

/// A command that the log has.
pub(crate) struct Logged {
    pub(crate) applied: Applied,
    pub(crate) level: Consistency,
    /// Of its changes, in their order.
    pub(crate) answers: Vec<Answer>,
}

#[derive(Default)]
struct Line {
    at_gate: usize,
    behind: Vec<Logged>,
}

/// Those who wait, each level by itself: what a silent copy holds up keeps no other level from being acknowledged.
pub(crate) struct Waits<H> {
    hold: H,
    lines: [Line; 3],
    /// Each ends with its level, and how many were answered.
    at_gate: FuturesUnordered<BoxFuture<'static, (Consistency, usize)>>,
    waiting: usize,
}

impl<H, F> Waits<H>
where
    H: Fn(Consistency, u64) -> F,
    F: Future<Output = Result<BTreeSet<NodeId>, NotHeld>> + Send + 'static,
{
    /// `hold` waits until the disks that a level asks for hold a log entry.
    pub(crate) fn new(hold: H) -> Self {
        Self { hold, lines: Default::default(), at_gate: FuturesUnordered::new(), waiting: 0 }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.waiting < WAITING_MAX
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at_gate.is_empty()
    }

    /// Takes a command that the log has. What is held by now is answered at once: how many that were.
    pub(crate) fn add(&mut self, logged: Logged) -> usize {
        let level = logged.level;
        self.waiting += logged.answers.len();
        self.lines[level as usize].behind.push(logged);
        self.begin(level);
        let mut sum = 0;
        while let Some(Some(answered)) = self.at_gate.next().now_or_never() {
            sum += self.end(answered);
        }
        sum
    }

    /// Waits until some are answered, and says how many. Cancel-safe.
    pub(crate) async fn next(&mut self) -> usize {
        match self.at_gate.next().await {
            Some(answered) => self.end(answered),
            None => 0,
        }
    }

    fn begin(&mut self, level: Consistency) {
        let line = &mut self.lines[level as usize];
        let Some(last) = line.behind.iter().map(|logged| logged.applied.index).max() else { return };
        if line.at_gate >= AT_GATE_MAX {
            return;
        }
        line.at_gate += 1;
        let together = std::mem::take(&mut line.behind);
        let held = (self.hold)(level, last);
        self.at_gate.push(Box::pin(async move {
            let held = held.await;
            (level, together.into_iter().map(|logged| answer(logged, &held)).sum())
        }));
    }

    fn end(&mut self, (level, answered): (Consistency, usize)) -> usize {
        self.waiting -= answered;
        self.lines[level as usize].at_gate -= 1;
        self.begin(level);
        answered
    }
}

/// Tells the callers of a command, and says how many they are.
fn answer(logged: Logged, held: &Result<BTreeSet<NodeId>, NotHeld>) -> usize {
    let Logged { applied, answers, .. } = logged;
    let count = answers.len();
    for (tie, answer) in (0..).zip(answers) {
        let version = Version { time: applied.epoch, tie };
        // A caller that gave up has dropped its end.
        let _ = answer.send(match held {
            Ok(by) => Ok(Written { version, acknowledged_by: by.clone() }),
            Err(not_held) => Err(ReplicateError::Unconfirmed {
                version,
                acknowledged_by: not_held.by.clone(),
                needed: not_held.needed,
                reason: not_held.reason.clone(),
            }),
        });
    }
    count
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::sync::watch;

    use super::*;

    fn logged(level: Consistency, index: u64) -> (Logged, oneshot::Receiver<Result<Written, ReplicateError>>) {
        let (answer, answered) = oneshot::channel();
        (Logged { applied: Applied { epoch: index, index }, level, answers: vec![answer] }, answered)
    }

    #[tokio::test]
    async fn what_waits_for_a_silent_copy_holds_up_no_other_level_and_goes_together() {
        let (held, upto) = watch::channel(0);
        let asked: Arc<Mutex<Vec<u64>>> = Arc::default();
        let seen = asked.clone();
        let mut waits = Waits::new(move |level, index| {
            let mut upto = upto.clone();
            if level == Consistency::Strong {
                seen.lock().unwrap().push(index);
            }
            async move {
                if level == Consistency::Strong {
                    upto.wait_for(|upto| *upto >= index).await.unwrap();
                }
                Ok(BTreeSet::new())
            }
        });
        let count = AT_GATE_MAX as u64 + 100;
        let mut stuck = Vec::new();
        for index in 1..=count {
            let (strong, answered) = logged(Consistency::Strong, index);
            waits.add(strong);
            stuck.push(answered);
            let (quorum, mut answered) = logged(Consistency::Quorum, index);
            waits.add(quorum);
            assert_eq!(answered.try_recv().unwrap().unwrap().version.time, index, "at once");
        }
        assert_eq!(asked.lock().unwrap().len(), AT_GATE_MAX);
        assert!(stuck.iter_mut().all(|answered| answered.try_recv().is_err()));
        held.send_replace(count);
        while !waits.is_empty() {
            waits.next().await;
        }
        for (index, mut answered) in (1..).zip(stuck) {
            assert_eq!(answered.try_recv().unwrap().unwrap().version.time, index);
        }
        let asked = asked.lock().unwrap();
        assert_eq!((asked.len(), asked.last()), (AT_GATE_MAX + 1, Some(&count)), "the others waited as one");
        assert_eq!(waits.waiting, 0);
    }
}
