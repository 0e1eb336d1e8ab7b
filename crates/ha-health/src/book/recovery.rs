//! When an attempt to recover a component is made.

use std::time::Duration;

use crate::limits::{
    RECOVERY_ATTEMPTS, RECOVERY_FORGOTTEN_AFTER, RECOVERY_PAUSE, RECOVERY_PAUSE_MAX, RECOVERY_TIME_MAX,
};
use crate::status::cut;

/// How a component is recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecoveryRules {
    pub(crate) attempts_max: u32,
    pub(crate) pause: Duration,
}

impl Default for RecoveryRules {
    fn default() -> Self {
        Self { attempts_max: RECOVERY_ATTEMPTS, pause: RECOVERY_PAUSE }
    }
}

/// The attempts to recover one component.
#[derive(Debug)]
pub(super) struct Recovery {
    rules: RecoveryRules,
    attempts: u32,
    phase: Phase,
    /// How the last attempt ended.
    last: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// The component needs none, or has had all.
    Rests,
    Due(Duration),
    Runs {
        number: u64,
        until: Duration,
    },
}

/// What follows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    /// Make attempt so and so.
    Begin(u32),
    /// Stop the attempt of this number: it takes too long.
    Stop(u64),
}

impl Recovery {
    pub(super) fn new(rules: RecoveryRules) -> Self {
        Self { rules, attempts: 0, phase: Phase::Rests, last: None }
    }

    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The component turns unhealthy, after it was mended so long ago.
    pub(super) fn turned_unhealthy(&mut self, mended_ago: Duration) {
        if mended_ago >= RECOVERY_FORGOTTEN_AFTER {
            self.attempts = 0;
        }
    }

    /// A check failed, and the component is unhealthy.
    pub(super) fn needed(&mut self, now: Duration) {
        if self.phase == Phase::Rests && self.attempts < self.rules.attempts_max {
            self.phase = Phase::Due(now + self.pause());
        }
    }

    /// A check passed.
    pub(super) fn helped(&mut self) {
        if matches!(self.phase, Phase::Due(_)) {
            self.phase = Phase::Rests;
        }
    }

    /// No pause before the first attempt, and a doubled one before each further one.
    fn pause(&self) -> Duration {
        match self.attempts.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => {
                let factor = 1u32.checked_shl(doublings).unwrap_or(u32::MAX);
                self.rules.pause.saturating_mul(factor).min(RECOVERY_PAUSE_MAX)
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        match self.phase {
            Phase::Rests => None,
            Phase::Due(at) | Phase::Runs { until: at, .. } => Some(at),
        }
    }

    /// Acts when it is time; a new attempt gets this number.
    pub(super) fn step(&mut self, now: Duration, number: u64) -> Step {
        match self.phase {
            Phase::Due(at) if at <= now => {
                self.attempts += 1;
                self.phase = Phase::Runs { number, until: now + RECOVERY_TIME_MAX };
                Step::Begin(self.attempts)
            }
            Phase::Runs { number, until } if until <= now => Step::Stop(number),
            _ => Step::Nothing,
        }
    }

    /// The attempt of this number has ended; returns the sentence, unless it is none of ours.
    pub(super) fn ended(
        &mut self,
        now: Duration,
        number: u64,
        result: Result<(), String>,
        unhealthy: bool,
    ) -> Option<String> {
        if !matches!(self.phase, Phase::Runs { number: running, .. } if running == number) {
            return None;
        }
        let (attempt, most) = (self.attempts, self.rules.attempts_max);
        let how = match &result {
            Ok(()) => "ended well".to_owned(),
            Err(reason) => format!("failed: {}", cut(reason)),
        };
        let rest = if attempt < most { "" } else { "; no further one is made" };
        let sentence = format!("attempt {attempt} of {most} to recover it {how}{rest}");
        self.phase = if unhealthy && attempt < most { Phase::Due(now + self.pause()) } else { Phase::Rests };
        self.last = Some(sentence.clone());
        Some(sentence)
    }

    /// How it stands, as one sentence.
    pub(super) fn sentence(&self) -> Option<String> {
        match self.phase {
            Phase::Runs { .. } => Some(format!("attempt {} of {} is made", self.attempts, self.rules.attempts_max)),
            _ => self.last.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn pauses_double_and_attempts_end() {
        let mut recovery = Recovery::new(RecoveryRules { attempts_max: 4, pause: secs(100) });
        recovery.needed(secs(0));
        let mut now = secs(0);
        for (attempt, pause) in [(1, 0), (2, 100), (3, 200), (4, RECOVERY_PAUSE_MAX.as_secs())] {
            assert_eq!(recovery.deadline(), Some(now + secs(pause)));
            now += secs(pause);
            assert_eq!(
                recovery.step(now - secs(1).min(now), 9),
                if pause > 0 { Step::Nothing } else { Step::Begin(1) }
            );
            if pause > 0 {
                assert_eq!(recovery.step(now, 9), Step::Begin(attempt));
            }
            let sentence = recovery.ended(now, 9, Err("no".to_owned()), true).unwrap();
            assert_eq!(sentence.ends_with("no further one is made"), attempt == 4, "{sentence}");
        }
        assert_eq!(recovery.deadline(), None);
        recovery.turned_unhealthy(secs(1));
        recovery.needed(now);
        assert_eq!(recovery.deadline(), None, "all attempts are used up");
        recovery.turned_unhealthy(RECOVERY_FORGOTTEN_AFTER);
        recovery.needed(now);
        assert_eq!(recovery.deadline(), Some(now), "after a long health they are forgotten");
    }

    #[test]
    fn what_takes_too_long_is_stopped_and_a_late_answer_is_passed_over() {
        let mut recovery = Recovery::new(RecoveryRules::default());
        recovery.needed(secs(5));
        assert_eq!(recovery.step(secs(5), 3), Step::Begin(1));
        assert_eq!(recovery.ended(secs(6), 2, Ok(()), true), None);
        assert_eq!(recovery.step(secs(5) + RECOVERY_TIME_MAX, 4), Step::Stop(3));
        assert!(recovery.ended(secs(66), 3, Err("it hung".to_owned()), true).unwrap().contains("failed: it hung"));
        assert_eq!(recovery.ended(secs(67), 3, Ok(()), true), None);
    }

    #[test]
    fn health_calls_the_next_attempt_off() {
        let mut recovery = Recovery::new(RecoveryRules::default());
        recovery.needed(secs(0));
        recovery.helped();
        assert_eq!((recovery.deadline(), recovery.sentence()), (None, None));
    }
}
