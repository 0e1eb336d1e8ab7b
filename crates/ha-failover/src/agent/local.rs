//! One role on one node.

use std::time::Duration;

use ha_cluster::Epoch;

use super::{Here, Output, Settings};
use crate::role::RoleId;
use crate::roster::{Cause, Command, End, Phase};
use crate::service::{ServiceError, demotion};

/// Before a stop that failed is tried again.
const RETRY_STOP: Duration = Duration::from_millis(100);

/// What surrounds a role when it is looked at.
pub(super) struct Around<'a> {
    pub(super) now: Duration,
    pub(super) lease_left: Option<Duration>,
    /// The lease leaves no more time than a stop needs.
    pub(super) lease_is_short: bool,
    /// It has ended since the last look, even if it is held again.
    pub(super) lease_was_lost: bool,
    pub(super) may_start: bool,
    pub(super) giving_up: bool,
    pub(super) can_write: bool,
    pub(super) settings: &'a Settings,
}

impl Around<'_> {
    /// Until when a stop must have succeeded because of the lease. Where that has passed already, as after a freeze,
    /// the service gets as long as it would have had.
    fn stop_by(&self) -> Duration {
        self.now + self.lease_left.unwrap_or(self.settings.stop_time)
    }
}

/// What the roster says that this life of this node holds.
pub(super) struct Given<'a> {
    pub(super) epoch: Epoch,
    pub(super) phase: &'a Phase,
    pub(super) cause: Cause,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Idle,
    Promoting {
        epoch: Epoch,
        until: Duration,
    },
    /// The start ended, badly; it is cleaned up with the next look.
    Broken {
        epoch: Epoch,
        reason: String,
    },
    Active {
        epoch: Epoch,
    },
    Demoting {
        epoch: Epoch,
        reason: String,
        end: End,
        until: Duration,
        /// When the stop is tried again; `None` while it is being tried.
        again_at: Option<Duration>,
        /// The process was asked to end.
        overdue: bool,
    },
}

/// One role on this node.
#[derive(Debug, Default)]
pub(super) struct Local {
    stage: Stage,
    /// The last epoch that ran here, or never will, and how it ended.
    done: Option<(Epoch, End)>,
    writing: bool,
    write_at: Duration,
}

impl Local {
    pub(super) fn here(&self) -> Option<Here> {
        match &self.stage {
            Stage::Idle => None,
            Stage::Promoting { epoch, .. } => Some(Here::Starting(*epoch)),
            Stage::Active { epoch } => Some(Here::Active(*epoch)),
            Stage::Broken { epoch, .. } | Stage::Demoting { epoch, .. } => Some(Here::Stopping(*epoch)),
        }
    }

    pub(super) fn is_writing(&self) -> bool {
        self.writing
    }

    /// Whether that epoch must not be started here.
    pub(super) fn is_done_with(&self, epoch: Epoch) -> bool {
        self.done.as_ref().is_some_and(|(done, _)| epoch <= *done)
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        let stage = match &self.stage {
            Stage::Promoting { until, .. } => Some(*until),
            Stage::Demoting { overdue: true, again_at, .. } => *again_at,
            Stage::Demoting { until, again_at, .. } => Some(again_at.map_or(*until, |again| again.min(*until))),
            Stage::Broken { .. } => Some(Duration::ZERO),
            Stage::Idle | Stage::Active { .. } => None,
        };
        // Whether something is to be written is known only at the next look; then it must be possible.
        let write = (!self.writing && self.write_at > Duration::ZERO).then_some(self.write_at);
        stage.into_iter().chain(write).min()
    }

    pub(super) fn written(&mut self, next_at: Duration) {
        (self.writing, self.write_at) = (false, next_at);
    }

    pub(super) fn promoted(&mut self, ended: Epoch, result: Result<(), ServiceError>) {
        let Stage::Promoting { epoch, .. } = self.stage else { return };
        if epoch == ended {
            self.stage = match result {
                Ok(()) => Stage::Active { epoch },
                Err(error) => Stage::Broken { epoch, reason: error.reason },
            };
        }
    }

    pub(super) fn demoted(
        &mut self,
        now: Duration,
        role: &RoleId,
        ended: Epoch,
        result: Result<(), ServiceError>,
        outputs: &mut Vec<Output>,
    ) {
        let Stage::Demoting { epoch, end, again_at, .. } = &mut self.stage else { return };
        if *epoch != ended || again_at.is_some() {
            return;
        }
        match result {
            Ok(()) => {
                self.done = Some((*epoch, end.clone()));
                self.stage = Stage::Idle;
                outputs.push(Output::Say(format!("{role} has stopped here")));
            }
            Err(error) => {
                *again_at = Some(now + RETRY_STOP);
                outputs.push(Output::Say(format!("{role} could not be stopped: {error}; tries again")));
            }
        }
    }

    /// Compares what runs here with what should, and begins what closes the gap.
    pub(super) fn look(&mut self, id: &RoleId, around: &Around, given: Option<Given>, outputs: &mut Vec<Output>) {
        // What is due was due in the past as well: a write that was waited for has its turn now.
        if self.write_at <= around.now {
            self.write_at = Duration::ZERO;
        }
        match &mut self.stage {
            Stage::Idle => self.idle(id, around, given.as_ref(), outputs),
            Stage::Promoting { epoch, until } => {
                let (epoch, is_late) = (*epoch, *until <= around.now);
                let is_wanted = given
                    .as_ref()
                    .is_some_and(|given| given.epoch == epoch && !matches!(given.phase, Phase::Stopping(_)));
                let (reason, end) = if is_late {
                    let within = around.settings.timeout;
                    let reason = format!("it did not start within {} s", within.as_secs_f64());
                    (reason.clone(), End::Failed { reason })
                } else if let Some(why) = must_stop(is_wanted, around) {
                    (why.to_owned(), End::Stopped)
                } else {
                    return;
                };
                outputs.push(Output::Abandon(id.clone()));
                self.stop(id, around, epoch, reason, end, outputs);
            }
            Stage::Broken { epoch, reason } => {
                let (epoch, reason) = (*epoch, std::mem::take(reason));
                self.stop(id, around, epoch, format!("it did not start: {reason}"), End::Failed { reason }, outputs);
            }
            Stage::Active { epoch } => {
                let epoch = *epoch;
                let given = given.filter(|given| given.epoch == epoch);
                let is_wanted = given.as_ref().is_some_and(|given| !matches!(given.phase, Phase::Stopping(_)));
                if let Some(why) = must_stop(is_wanted, around) {
                    self.stop(id, around, epoch, why.to_owned(), End::Stopped, outputs);
                } else if given.is_some_and(|given| matches!(given.phase, Phase::Starting(_))) {
                    let node = around.settings.me.clone();
                    self.write(id, around, Command::Started { role: id.clone(), epoch, node }, outputs);
                }
            }
            Stage::Demoting { .. } => self.stopping(id, around, outputs),
        }
    }

    fn idle(&mut self, id: &RoleId, around: &Around, given: Option<&Given>, outputs: &mut Vec<Output>) {
        let Some(given) = given else { return };
        let epoch = given.epoch;
        if !self.is_done_with(epoch) {
            match given.phase {
                Phase::Starting(_) if !around.may_start || around.giving_up => {
                    self.done = Some((epoch, End::Stopped));
                }
                // If the lease does not come back, the leader takes the role away.
                Phase::Starting(_) if around.lease_is_short => return,
                Phase::Starting(_) => {
                    self.stage = Stage::Promoting { epoch, until: around.now + around.settings.timeout };
                    outputs.push(Output::Promote { role: id.clone(), epoch, cause: given.cause });
                    return;
                }
                _ => self.done = Some((epoch, End::Stopped)),
            }
        }
        let end = self.done.as_ref().map_or(End::Stopped, |(_, end)| end.clone());
        let node = around.settings.me.clone();
        self.write(id, around, Command::Released { role: id.clone(), epoch, node, end }, outputs);
    }

    fn stop(
        &mut self,
        id: &RoleId,
        around: &Around,
        epoch: Epoch,
        reason: String,
        end: End,
        outputs: &mut Vec<Output>,
    ) {
        let by_plan = around.now + around.settings.timeout;
        let until = if around.lease_is_short { by_plan.min(around.stop_by()) } else { by_plan };
        let within = until - around.now;
        outputs.push(Output::Demote(demotion(id, epoch, reason.clone(), within)));
        self.stage = Stage::Demoting { epoch, reason, end, until, again_at: None, overdue: false };
    }

    /// A stop is on its way, or failed and waits for its next try.
    fn stopping(&mut self, id: &RoleId, around: &Around, outputs: &mut Vec<Output>) {
        let Stage::Demoting { epoch, reason, until, again_at, overdue, .. } = &mut self.stage else { return };
        if around.lease_is_short {
            *until = (*until).min(around.stop_by());
        }
        if *until <= around.now && !*overdue {
            *overdue = true;
            let sentence = format!("{id} did not stop in time, and another node may be about to start it");
            outputs.push(Output::EndProcess(sentence));
        }
        if again_at.is_some_and(|at| at <= around.now) {
            *again_at = None;
            let within = until.saturating_sub(around.now);
            outputs.push(Output::Demote(demotion(id, *epoch, reason.clone(), within)));
        }
    }

    fn write(&mut self, id: &RoleId, around: &Around, command: Command, outputs: &mut Vec<Output>) {
        if !self.writing && around.can_write && self.write_at <= around.now {
            self.writing = true;
            outputs.push(Output::Write { role: Some(id.clone()), command });
        }
    }
}

fn must_stop(is_wanted: bool, around: &Around) -> Option<&'static str> {
    if !is_wanted {
        Some("the role is wanted elsewhere")
    } else if around.lease_was_lost {
        Some("this node's lease had ended")
    } else if around.lease_is_short {
        Some("this node's lease is about to end")
    } else if around.giving_up {
        Some("this node stops")
    } else {
        None
    }
}
