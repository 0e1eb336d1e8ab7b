//! How long detection and failover take at worst, term by term, with the present settings.
//!
//! `total = detect + stable + agree + lease + promote`. The terms add up, and nothing overlaps, since the worst case
//! is that of a primary that is also the leader: the next leader restarts every lease at full length.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::config::Config;
use crate::seconds::print_seconds;

/// Clocks of two nodes may differ in speed by this much, in percent of a lease.
pub const DRIFT_PERCENT: u32 = 1;

/// Kept between the end of a lease for its holder and its end for the others, in percent of the lease, on each side.
pub const MARGIN_PERCENT: u32 = 5;

/// How long nodes that saw the leader's connection end and its port refuse go on campaigning; then timers decide.
pub const CRASH_HINT_WINDOW: Duration = Duration::from_millis(500);

/// How long a suspicion that is not a crash must hold before a role moves.
pub const STABILITY_WINDOW: Duration = Duration::from_millis(500);

/// Assumed for two round trips and one write to disk, which no option bounds.
pub const AGREEMENT_ALLOWANCE: Duration = Duration::from_millis(100);

/// Raft's shortest election timeout: 0.8 times `CLUSTER_ELECTION_TIMEOUT`.
pub fn election_timeout_min(config: &Config) -> Duration {
    config.cluster.election_timeout.saturating_mul(4) / 5
}

/// Raft's longest election timeout: 1.6 times `CLUSTER_ELECTION_TIMEOUT`.
pub fn election_timeout_max(config: &Config) -> Duration {
    config.cluster.election_timeout.saturating_mul(8) / 5
}

/// When the others may act, counted from the last renewal of a lease.
pub fn lease_upper_bound(config: &Config) -> Duration {
    config.cluster.node_timeout.saturating_mul(100 + DRIFT_PERCENT + MARGIN_PERCENT) / 100
}

/// When the holder of a lease stops, counted from its last renewal.
pub fn lease_lower_bound(config: &Config) -> Duration {
    config.cluster.node_timeout.saturating_mul(100 - DRIFT_PERCENT - MARGIN_PERCENT) / 100
}

/// A check that begins to hang right after it succeeded is noticed so late, and why. The next check begins when the
/// interval is over and the last check too.
fn unhealthy(interval: (&str, Duration), threshold: (&str, u32), timeout: (&str, Duration)) -> (String, Duration) {
    let others = interval.1.max(timeout.1).saturating_mul(threshold.1.saturating_sub(1));
    let formula = if timeout.1 > interval.1 {
        format!("{} + {} × {}: checks that hang follow one another", interval.0, timeout.0, threshold.0)
    } else {
        format!("{} × {} + {}", interval.0, threshold.0, timeout.0)
    };
    (formula, interval.1.saturating_add(others).saturating_add(timeout.1))
}

/// One line of [`Timing`]. In JSON `time` is a number of seconds, `seconds`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Term {
    /// What happens in this time.
    pub name: &'static str,
    /// How the time follows from the options.
    pub formula: String,
    /// How long it takes at worst.
    #[serde(rename = "seconds", serialize_with = "as_seconds")]
    pub time: Duration,
}

fn as_seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

/// The worst-case times that a configuration implies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Timing {
    /// The single steps.
    pub terms: Vec<Term>,
    /// What they add up to, for each way in which a primary can fail.
    pub totals: Vec<Term>,
}

impl Config {
    /// The worst-case detection and failover times that these settings imply.
    pub fn timing(&self) -> Timing {
        let (health, failover) = (&self.health, &self.failover);
        let crash = Term {
            name: "detect a crash: the process ended, its machine answers",
            formula: "connection reset and refused: votes within this window".to_owned(),
            time: CRASH_HINT_WINDOW,
        };
        let silence = Term {
            name: "detect silence: power loss, frozen process, cut network",
            formula: "longest election timeout, twice = 2 × 1.6 × CLUSTER_ELECTION_TIMEOUT".to_owned(),
            time: election_timeout_max(self).saturating_mul(2),
        };
        let check_timeout = ("HEALTH_CHECK_TIMEOUT", health.check_timeout);
        let (formula, time) = unhealthy(
            ("FAILOVER_HEALTH_CHECK_INTERVAL", failover.health_check_interval),
            ("FAILOVER_FAILURE_THRESHOLD", failover.failure_threshold),
            check_timeout,
        );
        let service = Term { name: "detect an unhealthy service on a node that lives", formula, time };
        let (formula, time) = unhealthy(
            ("HEALTH_CHECK_INTERVAL", health.check_interval),
            ("HEALTH_FAILURE_THRESHOLD", health.failure_threshold),
            check_timeout,
        );
        let component = Term { name: "notice an unhealthy component", formula, time };
        let stable = Term {
            name: "be sure: the suspicion must hold",
            formula: "fixed; not after a crash".to_owned(),
            time: STABILITY_WINDOW,
        };
        let agree = Term {
            name: "agree on the next primary",
            formula: "assumed: two round trips and one write to disk".to_owned(),
            time: AGREEMENT_ALLOWANCE,
        };
        let lease = Term {
            name: "wait out the lease of the old primary",
            formula: format!("CLUSTER_NODE_TIMEOUT + {DRIFT_PERCENT} % drift + {MARGIN_PERCENT} % margin"),
            time: lease_upper_bound(self),
        };
        let stop = Term {
            name: "a cut-off primary has stopped by itself",
            formula: format!("CLUSTER_NODE_TIMEOUT − {DRIFT_PERCENT} % drift − {MARGIN_PERCENT} % margin"),
            time: lease_lower_bound(self),
        };
        let promote = Term {
            name: "promote: the service starts, or the attempt has failed",
            formula: "FAILOVER_TIMEOUT".to_owned(),
            time: failover.timeout,
        };
        let totals = vec![
            total("a crash: until the next primary is told to start", &[&crash, &agree, &lease]),
            total("a crash: until it serves, or the attempt has failed", &[&crash, &agree, &lease, &promote]),
            total("silence: until the next primary is told to start", &[&silence, &stable, &agree, &lease]),
            total(
                "silence: until it serves, or the attempt has failed",
                &[&silence, &stable, &agree, &lease, &promote],
            ),
            total("unhealthy: until the next primary is told to start", &[&service, &stable, &agree, &lease]),
            total(
                "unhealthy: until it serves, or the attempt has failed",
                &[&service, &stable, &agree, &lease, &promote],
            ),
        ];
        Timing { terms: vec![crash, silence, service, component, stable, agree, lease, stop, promote], totals }
    }
}

fn total(name: &'static str, terms: &[&Term]) -> Term {
    let sum: Vec<String> = terms.iter().map(|term| print_seconds(term.time)).collect();
    let time = terms.iter().fold(Duration::ZERO, |time, term| time.saturating_add(term.time));
    Term { name, formula: sum.join(" + "), time }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Profile;

    fn millis(timing: &Timing, name: &str) -> u128 {
        let all = || timing.terms.iter().chain(&timing.totals);
        all().find(|term| term.name.starts_with(name)).unwrap().time.as_millis()
    }

    #[test]
    fn defaults_imply_what_the_page_says() {
        let timing = Config::default().timing();
        for (name, expected) in [
            ("detect a crash", 500),
            ("detect silence", 32_000),
            ("detect an unhealthy", 20_000),
            ("notice an unhealthy", 95_000),
            ("wait out", 15_900),
            ("a cut-off", 14_100),
            ("promote", 30_000),
            ("a crash: until the next", 16_500),
            ("silence: until the next", 48_500),
            ("silence: until it serves", 78_500),
            ("unhealthy: until the next", 36_500),
        ] {
            assert_eq!(millis(&timing, name), expected, "{name}");
        }
    }

    #[test]
    fn the_lan_profile_is_quick() {
        let timing = Config::builder().profile(Profile::Lan).build().unwrap().timing();
        assert_eq!(millis(&timing, "detect silence"), 800);
        assert_eq!(millis(&timing, "wait out"), 530);
        // Checks that hang for 5 s follow one another, however short the interval is.
        assert_eq!(millis(&timing, "detect an unhealthy"), 100 + 2 * 5000 + 5000);
    }

    #[test]
    fn json_has_seconds() {
        let json = serde_json::to_value(Config::default().timing()).unwrap();
        assert_eq!(json["totals"][0]["seconds"], 16.5);
        assert!(json["terms"].as_array().unwrap().iter().all(|term| term["formula"].is_string()));
    }
}
