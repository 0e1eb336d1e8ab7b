//! When a command is started, asked to end, and killed.

use std::time::Duration;

/// Killing and burying takes a moment: this part of the time that is left, within these bounds.
const MARGIN_PART: u32 = 10;
const MARGIN_MIN: Duration = Duration::from_millis(5);
const MARGIN_MAX: Duration = Duration::from_millis(250);

/// The command is asked to end at most this part of the lease before its end, however long it may take: a lease that is
/// renewed in time must not end it.
const EARLY_PART: u32 = 4;

/// Why a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It ended by itself.
    Itself,
    /// It was told to.
    Stopped,
    /// Its deadline came.
    Deadline,
    /// The process that held its lease went away.
    Orphaned,
    /// Its guard went away.
    GuardLost,
}

/// What a deadline means, from the moment when it was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    deadline: Duration,
    terminate_at: Duration,
    kill_at: Duration,
    /// When whoever watches over the guard steps in.
    pub(super) force_at: Duration,
}

impl Limits {
    pub(super) fn new(now: Duration, deadline: Duration, grace: Duration) -> Self {
        let left = deadline.saturating_sub(now);
        let margin = (left / MARGIN_PART).clamp(MARGIN_MIN, MARGIN_MAX);
        let kill_at = deadline.saturating_sub(margin);
        let early = grace.min(left / EARLY_PART);
        let force_at = deadline.saturating_sub(margin / 2);
        Self { deadline, terminate_at: kill_at.saturating_sub(early), kill_at, force_at }
    }
}

/// Something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Time has passed.
    Look,
    /// The lease lasts until then.
    Extend(Duration),
    /// The command shall end.
    Stop,
    /// The process that holds the lease is gone.
    Orphaned,
    /// The command itself has ended; descendants of it may live.
    Ended,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// Start the command.
    Start,
    /// Ask to end: the command while it lives, else all its descendants.
    Terminate,
    /// Kill everything, until nothing is left.
    Kill,
}

/// The plan for one command.
#[derive(Debug)]
pub(super) struct Plan {
    /// How long the command may take to end when it is asked to.
    grace: Duration,
    limits: Option<Limits>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Without a lease, nothing is started.
    Waits,
    Runs,
    Ends {
        until: Duration,
        cause: Cause,
    },
    Dies(Cause),
}

impl Plan {
    pub(super) fn new(grace: Duration) -> Self {
        Self { grace, limits: None, phase: Phase::Waits }
    }

    /// Takes something in.
    pub(super) fn step(&mut self, now: Duration, input: Input) -> Option<Output> {
        match (self.phase, input) {
            (_, Input::Extend(deadline)) => {
                // Only what is later counts: a lease is never given back by an older message.
                if self.limits.is_none_or(|limits| limits.deadline < deadline) {
                    self.limits = Some(Limits::new(now, deadline, self.grace));
                }
                if self.phase == Phase::Waits && self.limits.is_some_and(|limits| now < limits.terminate_at) {
                    self.phase = Phase::Runs;
                    return Some(Output::Start);
                }
                self.look(now)
            }
            (Phase::Waits, Input::Stop) => self.die(Cause::Stopped),
            (Phase::Waits, Input::Orphaned) => self.die(Cause::Orphaned),
            (Phase::Runs, Input::Stop) => self.end(now, Cause::Stopped),
            (Phase::Runs, Input::Orphaned) => self.end(now, Cause::Orphaned),
            // Killed at the deadline, it may be heard of before the time is looked at.
            (Phase::Runs, Input::Ended) => self.look(now).or_else(|| self.end(now, Cause::Itself)),
            // Now its descendants are asked.
            (Phase::Ends { .. }, Input::Ended) => self.look(now).or(Some(Output::Terminate)),
            (Phase::Dies(_), Input::Ended) => Some(Output::Kill),
            _ => self.look(now),
        }
    }

    fn look(&mut self, now: Duration) -> Option<Output> {
        match self.phase {
            Phase::Runs if self.limits.is_some_and(|limits| limits.terminate_at <= now) => {
                self.end(now, Cause::Deadline)
            }
            Phase::Ends { cause, .. } if self.deadline().is_some_and(|at| at <= now) => self.die(cause),
            _ => None,
        }
    }

    fn end(&mut self, now: Duration, cause: Cause) -> Option<Output> {
        self.phase = Phase::Ends { until: now + self.grace, cause };
        // Past its deadline, as after a freeze, it must not run for one more moment.
        self.look(now).or(Some(Output::Terminate))
    }

    fn die(&mut self, cause: Cause) -> Option<Output> {
        self.phase = Phase::Dies(cause);
        Some(Output::Kill)
    }

    /// When to look at the latest.
    pub(super) fn deadline(&self) -> Option<Duration> {
        match self.phase {
            Phase::Waits | Phase::Dies(_) => None,
            Phase::Runs => self.limits.map(|limits| limits.terminate_at),
            Phase::Ends { until, .. } => Some(self.limits.map_or(until, |limits| limits.kill_at.min(until))),
        }
    }

    /// Why it ends; `None` while it does not.
    pub(super) fn cause(&self) -> Option<Cause> {
        match self.phase {
            Phase::Waits | Phase::Runs => None,
            Phase::Ends { cause, .. } | Phase::Dies(cause) => Some(cause),
        }
    }

    /// Whether the time to kill has come.
    pub(super) fn kills(&self) -> bool {
        matches!(self.phase, Phase::Dies(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// A plan that runs under a lease of ten seconds, from 1000 s on.
    fn running(grace: Duration) -> (Plan, Duration) {
        let now = ms(1_000_000);
        let mut plan = Plan::new(grace);
        assert_eq!(plan.step(now, Input::Extend(now + ms(10_000))), Some(Output::Start));
        (plan, now)
    }

    #[test]
    fn nothing_starts_without_a_lease_that_leaves_time_to_end_it() {
        let mut plan = Plan::new(ms(2000));
        let now = ms(1_000_000);
        assert_eq!((plan.step(now, Input::Look), plan.deadline()), (None, None));
        assert_eq!(plan.step(now, Input::Extend(now - ms(1))), None);
        assert_eq!(plan.step(now, Input::Extend(now + ms(5))), None);
        assert_eq!(plan.step(now, Input::Extend(now + ms(500))), Some(Output::Start));
    }

    #[test]
    fn asking_comes_early_enough_that_killing_falls_before_the_deadline() {
        let (mut plan, now) = running(ms(1000));
        let kill_at = now + ms(9750);
        assert_eq!(plan.deadline(), Some(kill_at - ms(1000)));
        assert_eq!(plan.step(kill_at - ms(1001), Input::Look), None);
        assert_eq!(plan.step(kill_at - ms(1000), Input::Look), Some(Output::Terminate));
        assert_eq!(plan.deadline(), Some(kill_at));
        assert_eq!(plan.step(kill_at, Input::Look), Some(Output::Kill));
        assert_eq!(plan.cause(), Some(Cause::Deadline));
    }

    #[test]
    fn a_long_grace_does_not_eat_the_lease() {
        let (plan, now) = running(ms(60_000));
        assert_eq!(plan.deadline(), Some(now + ms(9750 - 2500)));
    }

    #[test]
    fn a_lease_that_is_renewed_ends_nothing_and_an_older_one_does_not_count() {
        let (mut plan, start) = running(ms(1000));
        for turn in 1..100 {
            let now = start + ms(turn * 2000);
            assert_eq!(plan.step(now, Input::Extend(now + ms(10_000))), None);
            assert_eq!(plan.step(now, Input::Extend(now)), None);
        }
    }

    #[test]
    fn stopping_takes_the_grace_and_no_more_than_the_lease() {
        for (grace, kill_after) in [(ms(2000), ms(2000)), (ms(30_000), ms(9750))] {
            let (mut plan, now) = running(grace);
            assert_eq!(plan.step(now, Input::Stop), Some(Output::Terminate));
            assert_eq!(plan.deadline(), Some(now + kill_after));
            assert_eq!(plan.step(now, Input::Stop), None, "told once is enough");
            assert_eq!(plan.step(now + ms(1), Input::Ended), Some(Output::Terminate), "now the descendants");
            assert_eq!(plan.step(now + kill_after, Input::Look), Some(Output::Kill));
            assert_eq!(plan.cause(), Some(Cause::Stopped));
        }
    }

    #[test]
    fn a_lease_that_goes_on_lets_a_command_that_is_stopped_take_its_grace() {
        let (mut plan, now) = running(ms(30_000));
        plan.step(now, Input::Stop);
        plan.step(now, Input::Extend(now + ms(60_000)));
        assert_eq!(plan.deadline(), Some(now + ms(30_000)));
    }

    #[test]
    fn an_orphan_ends_and_so_does_what_a_command_leaves_behind() {
        let (mut plan, now) = running(ms(1000));
        assert_eq!(plan.step(now, Input::Orphaned), Some(Output::Terminate));
        assert_eq!(plan.cause(), Some(Cause::Orphaned));
        let (mut plan, now) = running(ms(1000));
        assert_eq!(plan.step(now, Input::Ended), Some(Output::Terminate));
        assert_eq!((plan.cause(), plan.deadline()), (Some(Cause::Itself), Some(now + ms(1000))));
        let mut plan = Plan::new(ms(1000));
        assert_eq!(plan.step(now, Input::Orphaned), Some(Output::Kill));
    }

    #[test]
    fn after_a_freeze_past_the_deadline_nothing_is_asked() {
        for input in [Input::Look, Input::Stop, Input::Orphaned] {
            let (mut plan, now) = running(ms(1000));
            let output = plan.step(now + ms(20_000), input);
            assert_eq!(output, Some(Output::Kill), "{input:?}");
        }
    }

    #[test]
    fn a_command_that_ends_when_its_time_is_over_has_not_ended_by_itself() {
        for (after, cause) in
            [(8749, Cause::Itself), (8750, Cause::Deadline), (9750, Cause::Deadline), (20_000, Cause::Deadline)]
        {
            let (mut plan, now) = running(ms(1000));
            assert!(plan.step(now + ms(after), Input::Ended).is_some());
            assert_eq!(plan.cause(), Some(cause), "after {after} ms");
        }
    }

    #[test]
    fn a_frozen_guard_that_finds_a_renewal_goes_on() {
        let (mut plan, now) = running(ms(1000));
        let woken = now + ms(20_000);
        assert_eq!(plan.step(woken, Input::Extend(woken + ms(5000))), None);
        assert_eq!(plan.cause(), None);
    }

    #[test]
    fn short_leases_keep_an_order() {
        for lease in [1, 5, 20, 100, 500] {
            let limits = Limits::new(ms(1000), ms(1000 + lease), ms(10_000));
            assert!(limits.terminate_at <= limits.kill_at && limits.kill_at < limits.force_at, "{limits:?}");
            assert!(limits.force_at < limits.deadline, "{limits:?}");
        }
    }
}
