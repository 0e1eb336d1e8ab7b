//! How the copies are: for people and programs.

use std::collections::VecDeque;
use std::time::Duration;

use ha_cluster::NodeId;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::Consistency;
use crate::in_step::BEHIND_MAX;
use crate::message::Report;

/// Moments that are remembered, to say how long ago something was written.
const MOMENTS_MAX: usize = 4096;

/// Replication at a glance, as the leader sees it, or as this node does while there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// `master_slave` or `multi_master`.
    pub mode: String,
    /// When a write is acknowledged.
    pub consistency: Consistency,
    /// Who orders what is written; none while there is no leader, and where there is no such node.
    pub master_node: Option<NodeId>,
    /// Each copy, by id.
    pub nodes: Vec<NodeStatus>,
    /// Changes that were replicated since the cluster began.
    pub replicated_items: u64,
    /// Records that there are, as far as the store of the answering node holds them.
    pub records: u64,
}

/// How one copy is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Which.
    pub node_id: NodeId,
    /// Changes that it has not applied yet; of a silent copy, as far as it was last heard of; `None` when it never was, and
    /// while it fetches: how many it lacks of those that it was taken past is not known before it has them.
    pub lag_items: Option<u64>,
    /// Bytes of those changes.
    pub lag_bytes: Option<u64>,
    /// How long ago the first of them was applied elsewhere.
    pub lag_seconds: Option<f64>,
    /// How it is.
    pub state: CopyState,
    /// Why it cannot store, when it cannot.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trouble: Option<String>,
    /// The sum by which copies are compared: equal, in all likelihood, where the records are.
    pub digest: Option<u64>,
}

/// How a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyState {
    /// A strong write waits for it.
    InStep,
    /// It holds everything that it has applied.
    Complete,
    /// It fetches changes that it lacks.
    Fetching,
    /// It does not answer.
    Silent,
}

/// When how much had been replicated.
#[derive(Default)]
pub(crate) struct History(VecDeque<(Instant, u64)>);

impl History {
    pub(crate) fn remember(&mut self, now: Instant, items: u64) {
        if self.0.back().is_some_and(|(_, seen)| *seen == items) {
            return;
        }
        if self.0.len() >= MOMENTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((now, items));
    }

    /// How long a copy that has applied so many changes has lacked the next one.
    pub(crate) fn lag(&self, now: Instant, items: u64) -> Duration {
        let next = self.0.partition_point(|(_, seen)| *seen <= items);
        self.0.get(next).map_or(Duration::ZERO, |(at, _)| now.saturating_duration_since(*at))
    }
}

/// What is known of one copy.
pub(crate) struct Heard {
    pub(crate) report: Report,
    pub(crate) at: Instant,
    pub(crate) answers: bool,
    /// The end of the log here when it was asked, if this node led.
    pub(crate) last: Option<u64>,
}

impl Heard {
    /// Whether it held everything when it was asked, close to the end of the log. One that is further behind may be
    /// taken past changes by a snapshot right after it has said so.
    pub(crate) fn is_complete_and_close(&self) -> bool {
        let is_close = |last: u64| self.report.position.index + BEHIND_MAX >= last;
        self.answers && self.report.is_complete() && self.last.is_some_and(is_close)
    }
}

impl NodeStatus {
    pub(crate) fn new(
        node_id: NodeId,
        heard: Option<&Heard>,
        newest: (u64, u64),
        history: &History,
        now: Instant,
        is_in_step: bool,
    ) -> Self {
        let Some(Heard { report, at, answers, .. }) = heard else {
            let (lag_items, lag_bytes, lag_seconds) = (None, None, None);
            let state = CopyState::Silent;
            return Self { node_id, lag_items, lag_bytes, lag_seconds, state, trouble: None, digest: None };
        };
        let lag_items = newest.0.saturating_sub(report.position.items);
        // A silent copy may lack what was written while it has been silent.
        let silent = if *answers { Duration::ZERO } else { now.saturating_duration_since(*at) };
        let lag = if lag_items == 0 { Duration::ZERO } else { history.lag(now, report.position.items).max(silent) };
        let is_complete = report.is_complete();
        Self {
            node_id,
            lag_items: is_complete.then_some(lag_items),
            lag_bytes: is_complete.then(|| newest.1.saturating_sub(report.position.bytes)),
            lag_seconds: is_complete.then_some(lag.as_secs_f64()),
            state: match (answers, is_complete, is_in_step) {
                (false, ..) => CopyState::Silent,
                (_, false, _) => CopyState::Fetching,
                (.., true) => CopyState::InStep,
                _ => CopyState::Complete,
            },
            trouble: report.trouble.clone(),
            digest: Some(report.digest),
        }
    }

    /// Where a majority holds each record and no leader orders them, all that can be seen is that a copy holds what a
    /// majority does.
    pub(crate) fn compared(self, of_most: Option<u64>) -> Self {
        let is_equal = of_most.is_some() && self.digest == of_most;
        let lag = is_equal.then_some(0);
        Self { lag_items: lag, lag_bytes: lag, lag_seconds: is_equal.then_some(0.0), ..self }
    }

    /// Without a leader: what the copies that made changes have for this one still, as far as they were last heard of.
    pub(crate) fn with_pending<'a>(self, copies: impl Iterator<Item = &'a Heard>, now: Instant) -> Self {
        let (mut items, mut longest) = (0, Duration::ZERO);
        for heard in copies {
            for (_, left, waits) in
                heard.report.pending.iter().filter(|(node, left, _)| *node == self.node_id && *left > 0)
            {
                items += left;
                let since = now.saturating_duration_since(heard.at);
                longest = longest.max(Duration::from_millis(*waits).saturating_add(since));
            }
        }
        Self { lag_items: Some(items), lag_bytes: None, lag_seconds: Some(longest.as_secs_f64()), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Hole, Position};

    #[tokio::test(start_paused = true)]
    async fn a_copy_that_is_complete_so_far_is_not_taken_for_complete() {
        let is_complete = |index, last| {
            let position = Position { index, ..Position::default() };
            let report = Report { position, ..Report::default() };
            Heard { report, at: Instant::now(), answers: true, last }.is_complete_and_close()
        };
        assert!(is_complete(5_000, Some(5_000)) && is_complete(4_000, Some(5_000)));
        assert!(!is_complete(0, Some(5_000)), "a snapshot is about to take it past everything");
        assert!(!is_complete(3_999, Some(5_000)));
        assert!(!is_complete(5_000, None), "how long the log was is not known");
    }

    #[tokio::test(start_paused = true)]
    async fn a_copy_that_was_taken_past_changes_does_not_lack_none_of_them() {
        let lag = |hole| {
            let position = Position { items: 9, bytes: 90, ..Position::default() };
            let report = Report { position, hole, ..Report::default() };
            let heard = Heard { report, at: Instant::now(), answers: true, last: None };
            let node = "node-1".parse().unwrap();
            let status = NodeStatus::new(node, Some(&heard), (9, 90), &History::default(), Instant::now(), false);
            (status.state, status.lag_items, status.lag_bytes, status.lag_seconds)
        };
        assert_eq!(lag(None), (CopyState::Complete, Some(0), Some(0), Some(0.0)));
        let hole = Some(Hole { after: 2, after_tie: 0, upto: 7, anew: false });
        assert_eq!(lag(hole), (CopyState::Fetching, None, None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lag_counts_from_the_first_change_that_is_missing() {
        let mut history = History::default();
        let begun = Instant::now();
        for (seconds, items) in [(0, 10), (1, 10), (2, 15), (5, 30)] {
            history.remember(begun + Duration::from_secs(seconds), items);
        }
        let now = begun + Duration::from_secs(6);
        let lag = |items| history.lag(now, items).as_secs();
        assert_eq!((lag(9), lag(10), lag(14), lag(15), lag(29), lag(30), lag(31)), (6, 4, 4, 1, 1, 0, 0));
    }
}
