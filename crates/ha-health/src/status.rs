//! What is known of components.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::limits::MESSAGE_BYTES_MAX;

/// How a component is, or all of them together. The worse is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Its last check passed.
    Healthy,
    /// It works with restrictions, failed its last check, or was not checked yet.
    Degraded,
    /// It failed as many checks in a row as it may.
    Unhealthy,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        })
    }
}

/// What one check found. Made from a `Result<(), impl Display>`, from `bool`, or by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All is well; perhaps with a remark.
    Healthy(Option<String>),
    /// It works, and this should be looked at.
    Degraded(String),
    /// It does not work.
    Failed(String),
}

impl Verdict {
    /// All is well.
    pub const HEALTHY: Self = Self::Healthy(None);

    /// It does not work.
    pub fn failed(reason: impl fmt::Display) -> Self {
        Self::Failed(reason.to_string())
    }

    /// The sentence, cut where it is too long.
    pub(crate) fn message(&self) -> Option<String> {
        match self {
            Self::Healthy(message) => message.as_deref().map(cut),
            Self::Degraded(message) | Self::Failed(message) => Some(cut(message)),
        }
    }
}

/// A sentence of a bounded length, on one line.
pub(crate) fn cut(text: &str) -> String {
    let line = |c: char| if c.is_control() { ' ' } else { c };
    let text = text.trim_matches(|c: char| c.is_whitespace() || c.is_control());
    if text.len() <= MESSAGE_BYTES_MAX {
        return text.chars().map(line).collect();
    }
    let mut end = MESSAGE_BYTES_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].chars().map(line).chain(['…']).collect()
}

impl<E: fmt::Display> From<Result<(), E>> for Verdict {
    fn from(result: Result<(), E>) -> Self {
        match result {
            Ok(()) => Self::HEALTHY,
            Err(error) => Self::failed(error),
        }
    }
}

impl From<bool> for Verdict {
    fn from(works: bool) -> Self {
        if works { Self::HEALTHY } else { Self::failed("the check answered no") }
    }
}

/// One component, as it is now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComponentHealth {
    /// Its name.
    pub name: String,
    /// How it is.
    pub status: Status,
    /// Whether all is unhealthy when it is.
    pub critical: bool,
    /// What the last check said, if anything.
    pub message: Option<String>,
    /// Failed checks in a row.
    pub consecutive_failures: u32,
    /// How long it has had this status.
    #[serde(rename = "since_seconds", serialize_with = "seconds")]
    pub since: Duration,
    /// How long ago it was last checked, or last heard; `None` before that.
    #[serde(rename = "checked_seconds_ago", serialize_with = "optional_seconds")]
    pub checked_ago: Option<Duration>,
    /// Attempts to recover it that have not been forgotten.
    pub recovery_attempts: u32,
    /// How its recovery stands, as one sentence; `None` when nothing was tried.
    pub recovery: Option<String>,
}

/// All components together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OverallHealth {
    /// `unhealthy` when a critical component is, `degraded` when any component is not healthy.
    pub status: Status,
    /// True when every component is healthy.
    pub healthy: bool,
    /// How many there are.
    pub total_components: usize,
    /// How many are healthy.
    pub healthy_components: usize,
    /// Each of them, by name.
    pub components: Vec<ComponentHealth>,
}

impl OverallHealth {
    pub(crate) fn of(components: Vec<ComponentHealth>) -> Self {
        let weight = |component: &ComponentHealth| {
            if component.critical { component.status } else { component.status.min(Status::Degraded) }
        };
        let status = components.iter().map(weight).max().unwrap_or(Status::Healthy);
        let healthy_components = components.iter().filter(|component| component.status == Status::Healthy).count();
        Self {
            status,
            healthy: status == Status::Healthy,
            total_components: components.len(),
            healthy_components,
            components,
        }
    }

    /// The component of that name.
    pub fn component(&self, name: &str) -> Option<&ComponentHealth> {
        self.components.iter().find(|component| component.name == name)
    }
}

/// A component changed its status, or an attempt to recover it was made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Transition {
    /// Counts up from 1 within the life of the monitor.
    pub number: u64,
    /// Which component.
    pub component: String,
    /// How it was.
    pub from: Status,
    /// How it is; the same as `from` when this tells of an attempt to recover it.
    pub to: Status,
    /// Why, as one sentence.
    pub message: String,
    /// When, counted from the start of the monitor.
    #[serde(rename = "at_seconds", serialize_with = "seconds")]
    pub at: Duration,
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    // To the millisecond: more is noise.
    serializer.serialize_f64(time.as_millis() as f64 / 1000.0)
}

fn optional_seconds<S: serde::Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => seconds(time, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(status: Status, critical: bool) -> ComponentHealth {
        ComponentHealth {
            name: "x".to_owned(),
            status,
            critical,
            message: None,
            consecutive_failures: 0,
            since: Duration::from_millis(1500),
            checked_ago: None,
            recovery_attempts: 0,
            recovery: None,
        }
    }

    #[test]
    fn only_a_critical_component_makes_all_unhealthy() {
        use Status::{Degraded, Healthy, Unhealthy};
        for (components, status, healthy) in [
            (vec![], Healthy, 0),
            (vec![(Healthy, true), (Healthy, false)], Healthy, 2),
            (vec![(Healthy, true), (Degraded, true)], Degraded, 1),
            (vec![(Healthy, true), (Unhealthy, false)], Degraded, 1),
            (vec![(Unhealthy, true), (Degraded, false)], Unhealthy, 0),
        ] {
            let components = components.into_iter().map(|(status, critical)| component(status, critical)).collect();
            let overall = OverallHealth::of(components);
            assert_eq!((overall.status, overall.healthy_components), (status, healthy));
            assert_eq!(overall.healthy, status == Healthy);
        }
    }

    #[test]
    fn as_json_it_speaks_in_seconds() {
        let overall = OverallHealth::of(vec![component(Status::Healthy, true)]);
        assert_eq!(
            serde_json::to_value(overall).unwrap(),
            serde_json::json!({
                "status": "healthy", "healthy": true, "total_components": 1, "healthy_components": 1,
                "components": [{
                    "name": "x", "status": "healthy", "critical": true, "message": null, "consecutive_failures": 0,
                    "since_seconds": 1.5, "checked_seconds_ago": null, "recovery_attempts": 0, "recovery": null,
                }],
            })
        );
    }

    #[test]
    fn a_sentence_is_one_line_of_bounded_length() {
        assert_eq!(cut(" two\nlines\u{1b}\n"), "two lines");
        let long = cut(&"ä".repeat(MESSAGE_BYTES_MAX));
        assert!(long.len() <= MESSAGE_BYTES_MAX + '…'.len_utf8() && long.ends_with("ä…"), "{long}");
    }
}
