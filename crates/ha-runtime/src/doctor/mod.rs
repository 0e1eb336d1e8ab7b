//! Why nodes do not join, why replication lags, why failover does not trigger: what a node can see of it, with the cause
//! and what mends it. A pure function of what the rooms know.

mod failover;
mod joining;
mod node;
mod replication;

use ha_cluster::{Event, View};
use ha_failover::FailoverStatus;
use ha_health::OverallHealth;
use ha_replication::{Alarm, Status as ReplicationStatus};
use serde::Serialize;

use crate::Rooms;
use crate::aside::Aside;

/// How much something matters. The worse is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// It works, and may not when something else fails.
    Warning,
    /// It does not work.
    Trouble,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What is seen: one sentence.
    pub what: String,
    /// Why it is so, as far as this node can tell: one sentence.
    pub cause: String,
    /// What mends it: a command, or an option to set.
    pub remedy: String,
}

impl Finding {
    fn new(severity: Severity, what: impl Into<String>, cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity, what: what.into(), cause: cause.into(), remedy: remedy.into() }
    }

    fn trouble(what: impl Into<String>, cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Severity::Trouble, what, cause, remedy)
    }

    fn warning(what: impl Into<String>, cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Severity::Warning, what, cause, remedy)
    }

    fn note(what: impl Into<String>, cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Severity::Note, what, cause, remedy)
    }
}

/// One question that people come with, and what was found about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Topic {
    /// For programs: `joining`, `replication`, `failover`, `node` or `configuration`.
    pub name: &'static str,
    /// For people.
    pub question: &'static str,
    /// What was found, the worst first; nothing when all is well.
    pub findings: Vec<Finding>,
}

/// What the doctor says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// False when there is any trouble.
    pub well: bool,
    /// Question by question.
    pub topics: Vec<Topic>,
}

/// What the doctor looks at.
pub(crate) struct Symptoms<'a> {
    pub(crate) rooms: Rooms,
    pub(crate) config: &'a ha_config::Config,
    pub(crate) view: &'a View,
    pub(crate) components: &'a OverallHealth,
    /// How the roles are, where failover is on.
    pub(crate) failover: Option<&'a FailoverStatus>,
    /// How the copies are, where replication is on and says so in time.
    pub(crate) replication: Option<&'a ReplicationStatus>,
    /// What somebody should look at of this node's records.
    pub(crate) alarms: &'a [Alarm],
    /// What has happened lately.
    pub(crate) past: &'a [Event],
    /// What this node set aside when its cluster went on without it.
    pub(crate) aside: &'a [Aside],
}

/// Names what is wrong.
pub(crate) fn diagnose(symptoms: &Symptoms) -> Diagnosis {
    let topic = |name, question, mut findings: Vec<Finding>| {
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        Topic { name, question, findings }
    };
    let topics = vec![
        topic("joining", "Do nodes join?", joining::findings(symptoms)),
        topic("replication", "Does replication keep up?", replication::findings(symptoms)),
        topic("failover", "Would failover trigger?", failover::findings(symptoms)),
        topic("node", "Is this node itself well?", node::findings(symptoms)),
        topic("configuration", "Is the configuration wise?", configuration(symptoms)),
    ];
    let is_trouble = |finding: &Finding| finding.severity == Severity::Trouble;
    Diagnosis { well: !topics.iter().flat_map(|topic| &topic.findings).any(is_trouble), topics }
}

/// What is legal but unwise.
fn configuration(symptoms: &Symptoms) -> Vec<Finding> {
    let warnings = symptoms.config.warnings().into_iter();
    let finding = |warning: ha_config::Warning| {
        let options = warning.options.join(", ");
        let remedy = format!("ha config show, then change {options} and start this node again");
        Finding::warning(format!("{options} may not be what you want"), warning.message, remedy)
    };
    warnings.map(finding).collect()
}

#[cfg(test)]
mod tests;
