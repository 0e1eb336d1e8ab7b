use super::*;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A component on its stage: time passes, checks answer, and what was told is kept.
struct Stage {
    now: Duration,
    numbers: u64,
    component: Component,
    out: Vec<Output>,
}

impl Stage {
    fn new(change: impl FnOnce(&mut Rules)) -> Self {
        let mut rules = Rules::new(&Config::default(), false);
        change(&mut rules);
        Self { now: secs(100), numbers: 0, component: Component::new(secs(100), rules), out: vec![] }
    }

    fn step(&mut self, input: Input) -> Vec<Output> {
        let mut out = vec![];
        self.component.step(self.now, input, &mut self.numbers, &mut out);
        self.out.extend(out.clone());
        out
    }

    /// Lets time pass up to the next deadline.
    fn wait(&mut self) -> Vec<Output> {
        self.now = self.now.max(self.component.deadline());
        self.step(Input::Look)
    }

    /// Waits for the next check, and answers it.
    fn check(&mut self, verdict: impl Into<Verdict>) -> Status {
        loop {
            let check = self.wait().into_iter().find_map(|output| match output {
                Output::Check { number } => Some(number),
                _ => None,
            });
            let Some(number) = check else { continue };
            self.step(Input::Checked { number, verdict: verdict.into() });
            return self.component.status;
        }
    }

    fn status(&self) -> Status {
        self.component.status
    }
}

#[test]
fn nobody_knows_before_the_first_check_which_comes_at_once() {
    let mut stage = Stage::new(|_| {});
    assert_eq!((stage.status(), stage.component.deadline()), (Status::Degraded, stage.now));
    assert_eq!(stage.step(Input::Look), [Output::Check { number: 1 }]);
    stage.step(Input::Checked { number: 1, verdict: Verdict::HEALTHY });
    let message = "its check passed".to_owned();
    assert_eq!(stage.out.last(), Some(&Output::Tell { from: Status::Degraded, to: Status::Healthy, message }));
    assert_eq!(stage.component.deadline(), stage.now + secs(30));
}

#[test]
fn three_failures_in_a_row_are_unhealthy_and_one_success_between_counts_anew() {
    let mut stage = Stage::new(|_| {});
    let statuses = [true, false, false, true, false, false, false].map(|works| stage.check(works));
    use Status::{Degraded, Healthy, Unhealthy};
    assert_eq!(statuses, [Healthy, Degraded, Degraded, Healthy, Degraded, Degraded, Unhealthy]);
    assert_eq!(stage.component.health("x", stage.now).consecutive_failures, 3);
}

#[test]
fn an_unhealthy_component_needs_as_many_successes_as_the_rule_says() {
    let mut stage = Stage::new(|rules| {
        rules.failure_threshold = 1;
        rules.success_threshold = 3;
    });
    assert_eq!(stage.check(false), Status::Unhealthy);
    assert_eq!([true, true, false].map(|works| stage.check(works)), [Status::Unhealthy; 3]);
    assert_eq!(
        [true, true, true].map(|works| stage.check(works)),
        [Status::Unhealthy, Status::Unhealthy, Status::Healthy]
    );
}

#[test]
fn a_restricted_component_is_degraded_for_as_long_as_it_is() {
    let mut stage = Stage::new(|rules| rules.failure_threshold = 1);
    assert_eq!(stage.check(Verdict::Degraded("half full".to_owned())), Status::Degraded);
    assert_eq!(stage.component.health("x", stage.now).message.as_deref(), Some("half full"));
    assert_eq!(stage.check(true), Status::Healthy);
}

#[test]
fn a_check_that_hangs_is_stopped_counts_as_failed_and_its_late_answer_as_nothing() {
    let mut stage = Stage::new(|rules| rules.failure_threshold = 1);
    assert_eq!(stage.wait(), [Output::Check { number: 1 }]);
    let out = stage.wait();
    assert_eq!(stage.now, secs(105));
    assert_eq!(out[0], Output::Stop { number: 1 });
    assert_eq!(stage.status(), Status::Unhealthy);
    assert_eq!(stage.component.health("x", stage.now).message.as_deref(), Some("no answer within 5 s"));
    stage.step(Input::Checked { number: 1, verdict: Verdict::HEALTHY });
    assert_eq!(stage.status(), Status::Unhealthy);
    assert_eq!(stage.component.deadline(), secs(130), "thirty seconds from beginning to beginning");
}

#[test]
fn silence_is_failure_and_a_report_ends_it() {
    let mut stage = Stage::new(|rules| {
        rules.kind = Kind::Reports { within: secs(10) };
        rules.failure_threshold = 2;
    });
    stage.step(Input::Reported(Verdict::HEALTHY));
    assert_eq!(stage.status(), Status::Healthy);
    stage.wait();
    assert_eq!((stage.now, stage.status()), (secs(110), Status::Degraded));
    stage.wait();
    assert_eq!((stage.now, stage.status()), (secs(120), Status::Unhealthy));
    assert_eq!(stage.component.health("x", stage.now).message.as_deref(), Some("silent for 20 s"));
    stage.step(Input::Reported(Verdict::HEALTHY));
    assert_eq!((stage.status(), stage.component.deadline()), (Status::Healthy, secs(130)));
}

#[test]
fn a_component_that_was_never_heard_is_missed_too() {
    let mut stage = Stage::new(|rules| {
        rules.kind = Kind::Reports { within: secs(10) };
        rules.failure_threshold = 1;
    });
    stage.wait();
    assert_eq!((stage.now, stage.status()), (secs(110), Status::Unhealthy));
}

#[test]
fn recovery_is_tried_when_it_turns_unhealthy_and_judged_by_a_check_at_once() {
    let mut stage = Stage::new(|rules| {
        rules.failure_threshold = 1;
        rules.recovery = Some(RecoveryRules::default());
    });
    let out = {
        stage.check(false);
        stage.out.clone()
    };
    let Some(Output::Recover { number }) = out.last() else { panic!("{out:?}") };
    let out = stage.step(Input::Recovered { number: *number, result: Ok(()) });
    assert!(matches!(&out[0], Output::Tell { from: Status::Unhealthy, to: Status::Unhealthy, message }
        if message == "attempt 1 of 5 to recover it ended well"));
    let Output::Check { number } = out[1] else { panic!("{out:?}") };
    stage.step(Input::Checked { number, verdict: Verdict::HEALTHY });
    assert_eq!(stage.status(), Status::Healthy);
    assert_eq!(stage.component.deadline(), stage.now + secs(30), "no further attempt is due");
    let health = stage.component.health("x", stage.now);
    assert_eq!(health.recovery_attempts, 1);
}

#[test]
fn attempts_that_do_not_help_end_and_checks_go_on() {
    let mut stage = Stage::new(|rules| {
        rules.failure_threshold = 1;
        rules.recovery = Some(RecoveryRules { attempts_max: 2, pause: secs(50) });
    });
    let mut recoveries = 0;
    stage.step(Input::Look);
    while stage.now < secs(2000) {
        for output in stage.wait() {
            match output {
                Output::Check { number } => drop(stage.step(Input::Checked { number, verdict: false.into() })),
                Output::Recover { number } => {
                    recoveries += 1;
                    stage.step(Input::Recovered { number, result: Err("no".to_owned()) });
                }
                _ => {}
            }
        }
    }
    assert_eq!((recoveries, stage.status()), (2, Status::Unhealthy));
}

#[test]
fn critical_components_have_a_pace_of_their_own_where_one_is_given() {
    let config = Config { critical_interval: Some(secs(2)), critical_failure_threshold: Some(7), ..Config::default() };
    let (critical, other) = (Rules::new(&config, true), Rules::new(&config, false));
    assert_eq!((critical.interval, critical.failure_threshold), (secs(2), 7));
    assert_eq!((other.interval, other.failure_threshold), (secs(30), 3));
    assert_eq!(Rules::new(&Config::default(), true).interval, secs(30));
}
