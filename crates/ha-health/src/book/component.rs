//! One component: when it is checked, and what follows from the answers.

use std::time::Duration;

use super::recovery::{Recovery, RecoveryRules, Step};
use crate::status::cut;
use crate::{ComponentHealth, Config, Status, Verdict};

/// The rules of one component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) critical: bool,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) failure_threshold: u32,
    pub(crate) success_threshold: u32,
    /// Whether it is checked, or reports by itself at least this often.
    pub(crate) kind: Kind,
    pub(crate) recovery: Option<RecoveryRules>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Checked,
    Reports { within: Duration },
}

impl Rules {
    pub(crate) fn new(config: &Config, critical: bool) -> Self {
        let (mut interval, mut failure_threshold) = (config.interval, config.failure_threshold);
        if critical {
            interval = config.critical_interval.unwrap_or(interval);
            failure_threshold = config.critical_failure_threshold.unwrap_or(failure_threshold);
        }
        Self {
            critical,
            interval,
            timeout: config.timeout,
            failure_threshold,
            success_threshold: config.success_threshold,
            kind: Kind::Checked,
            recovery: None,
        }
    }
}

/// Something happened to a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Time has passed.
    Look,
    /// The check of this number has an answer.
    Checked { number: u64, verdict: Verdict },
    /// It has reported by itself.
    Reported(Verdict),
    /// The attempt to recover of this number has ended.
    Recovered { number: u64, result: Result<(), String> },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Begin the check, under this number.
    Check { number: u64 },
    /// Begin the action, under this number.
    Recover { number: u64 },
    /// Stop the check or action of this number.
    Stop { number: u64 },
    /// Tell that the status changed, or what an attempt to recover came to.
    Tell { from: Status, to: Status, message: String },
}

/// One component.
#[derive(Debug)]
pub(crate) struct Component {
    rules: Rules,
    status: Status,
    since: Duration,
    /// When it was last unhealthy no more.
    mended: Duration,
    message: Option<String>,
    failures: u32,
    successes: u32,
    /// When it was last checked or heard.
    heard: Option<Duration>,
    phase: Phase,
    recovery: Option<Recovery>,
}

#[derive(Debug)]
enum Phase {
    /// Checked again, or missed, at this time.
    Waits(Duration),
    Checks {
        number: u64,
        began: Duration,
        until: Duration,
    },
}

impl Component {
    /// A component that is checked at once. Until then nobody knows: it is degraded.
    pub(crate) fn new(now: Duration, rules: Rules) -> Self {
        let (first, message) = match rules.kind {
            Kind::Checked => (now, "not checked yet"),
            Kind::Reports { within } => (now + within, "not heard yet"),
        };
        Self {
            status: Status::Degraded,
            since: now,
            mended: now,
            message: Some(message.to_owned()),
            failures: 0,
            successes: 0,
            heard: None,
            phase: Phase::Waits(first),
            recovery: rules.recovery.map(Recovery::new),
            rules,
        }
    }

    pub(crate) fn takes_reports(&self) -> bool {
        matches!(self.rules.kind, Kind::Reports { .. })
    }

    /// When to step at the latest.
    pub(crate) fn deadline(&self) -> Duration {
        let own = match self.phase {
            Phase::Waits(at) | Phase::Checks { until: at, .. } => at,
        };
        self.recovery.as_ref().and_then(Recovery::deadline).map_or(own, |at| at.min(own))
    }

    /// Takes something in. What begins now gets its number from `numbers`.
    pub(crate) fn step(&mut self, now: Duration, input: Input, numbers: &mut u64, out: &mut Vec<Output>) {
        match input {
            Input::Look => {}
            Input::Checked { number, verdict } => {
                if let Phase::Checks { number: running, began, .. } = self.phase
                    && running == number
                {
                    self.phase = Phase::Waits(began + self.rules.interval);
                    self.judge(now, verdict, out);
                }
            }
            Input::Reported(verdict) => {
                if let Kind::Reports { within } = self.rules.kind {
                    self.phase = Phase::Waits(now + within);
                    self.judge(now, verdict, out);
                }
            }
            Input::Recovered { number, result } => self.recovered(now, number, result, out),
        }
        self.look(now, numbers, out);
    }

    /// Does what is due.
    fn look(&mut self, now: Duration, numbers: &mut u64, out: &mut Vec<Output>) {
        match self.phase {
            Phase::Waits(at) if at <= now => match self.rules.kind {
                Kind::Checked => {
                    let number = next(numbers);
                    self.phase = Phase::Checks { number, began: now, until: now + self.rules.timeout };
                    out.push(Output::Check { number });
                }
                Kind::Reports { within } => {
                    self.phase = Phase::Waits(now + within);
                    let silent = now.saturating_sub(self.heard.unwrap_or(self.since));
                    self.fail(now, format!("silent for {}", in_words(silent)), out);
                }
            },
            Phase::Checks { number, began, until } if until <= now => {
                out.push(Output::Stop { number });
                // A check that takes longer than its interval delays the next one.
                self.phase = Phase::Waits((began + self.rules.interval).max(now));
                self.heard = Some(now);
                self.fail(now, format!("no answer within {}", in_words(self.rules.timeout)), out);
            }
            _ => {}
        }
        let Some(recovery) = &mut self.recovery else { return };
        match recovery.step(now, *numbers + 1) {
            Step::Nothing => {}
            Step::Begin(_) => out.push(Output::Recover { number: next(numbers) }),
            Step::Stop(number) => {
                out.push(Output::Stop { number });
                self.recovered(now, number, Err("it took too long and was stopped".to_owned()), out);
            }
        }
    }

    fn recovered(&mut self, now: Duration, number: u64, result: Result<(), String>, out: &mut Vec<Output>) {
        let unhealthy = self.status == Status::Unhealthy;
        let Some(recovery) = &mut self.recovery else { return };
        let Some(message) = recovery.ended(now, number, result, unhealthy) else { return };
        out.push(Output::Tell { from: self.status, to: self.status, message });
        if self.rules.kind == Kind::Checked && matches!(self.phase, Phase::Waits(_)) {
            // Whether it helped is worth knowing now.
            self.phase = Phase::Waits(now);
        }
    }

    fn judge(&mut self, now: Duration, verdict: Verdict, out: &mut Vec<Output>) {
        self.heard = Some(now);
        let message = verdict.message();
        let well = match verdict {
            Verdict::Failed(reason) => return self.fail(now, cut(&reason), out),
            Verdict::Degraded(_) => Status::Degraded,
            Verdict::Healthy(_) => Status::Healthy,
        };
        self.failures = 0;
        self.successes = self.successes.saturating_add(1);
        if let Some(recovery) = &mut self.recovery {
            recovery.helped();
        }
        let needed = self.rules.success_threshold;
        if self.status == Status::Unhealthy && self.successes < needed {
            self.message = Some(format!("passed {} of the {needed} checks in a row that it needs", self.successes));
            return;
        }
        self.become_status(now, well, message, out);
    }

    fn fail(&mut self, now: Duration, reason: String, out: &mut Vec<Output>) {
        self.successes = 0;
        self.failures = self.failures.saturating_add(1);
        if self.status == Status::Unhealthy || self.failures >= self.rules.failure_threshold {
            if let Some(recovery) = &mut self.recovery {
                if self.status != Status::Unhealthy {
                    recovery.turned_unhealthy(now.saturating_sub(self.mended));
                }
                recovery.needed(now);
            }
            self.become_status(now, Status::Unhealthy, Some(reason), out);
        } else {
            self.become_status(now, Status::Degraded, Some(reason), out);
        }
    }

    fn become_status(&mut self, now: Duration, to: Status, message: Option<String>, out: &mut Vec<Output>) {
        let from = std::mem::replace(&mut self.status, to);
        self.message = message;
        if from == to {
            return;
        }
        self.since = now;
        if from == Status::Unhealthy {
            self.mended = now;
        }
        let message = self.message.clone().unwrap_or_else(|| "its check passed".to_owned());
        out.push(Output::Tell { from, to, message });
    }

    /// What others may know.
    pub(crate) fn health(&self, name: &str, now: Duration) -> ComponentHealth {
        ComponentHealth {
            name: name.to_owned(),
            status: self.status,
            critical: self.rules.critical,
            message: self.message.clone(),
            consecutive_failures: self.failures,
            since: now.saturating_sub(self.since),
            checked_ago: self.heard.map(|heard| now.saturating_sub(heard)),
            recovery_attempts: self.recovery.as_ref().map_or(0, Recovery::attempts),
            recovery: self.recovery.as_ref().and_then(Recovery::sentence),
        }
    }
}

fn next(numbers: &mut u64) -> u64 {
    *numbers += 1;
    *numbers
}

/// A time for people.
pub(crate) fn in_words(time: Duration) -> String {
    match time.as_millis() {
        milliseconds @ 0..1000 => format!("{milliseconds} ms"),
        milliseconds => format!("{} s", milliseconds as f64 / 1000.0),
    }
}

#[cfg(test)]
mod tests;
