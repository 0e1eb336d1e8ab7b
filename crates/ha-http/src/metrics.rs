//! What `/metrics` shows. Every name that this crate sets is listed here.
//!
//! The crates below record through the `metrics` facade, which goes nowhere until a program installs a recorder
//! ([`Metrics::install`]); what follows from the node's view is set at the moment of reading.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use ha_runtime::{ClusterState, Ha, MemberRole, MemberState};
use metrics::{Counter, SetRecorderError, Unit, counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use tokio::time::Instant;

/// 1, with the version as a label.
const BUILD_INFO: &str = "ha_build_info";
/// Seconds since the server started.
const UPTIME_SECONDS: &str = "ha_process_uptime_seconds";
/// The status of the health document as a number.
const HEALTH_STATUS: &str = "ha_health_status";
/// Status of each checked component, as a number.
const HEALTH_COMPONENT: &str = "ha_health_component_status";
/// Requests answered, by route and status code.
const HTTP_REQUESTS: &str = "ha_http_requests_total";
/// Members, by what gossip believes of them.
const CLUSTER_MEMBERS: &str = "ha_cluster_members";
/// 1 for the state that the cluster is in, 0 for the others.
const CLUSTER_STATE: &str = "ha_cluster_state";
/// 1 when a leader that can commit is known and no member is missing.
const CLUSTER_IS_HEALTHY: &str = "ha_cluster_is_healthy";
/// 1 when a leader is known and was heard from lately.
const CLUSTER_LEADER_IS_LIVE: &str = "ha_cluster_leader_is_live";
/// 1 when this node is the leader.
const CLUSTER_IS_LEADER: &str = "ha_cluster_is_leader";
/// The term.
const CLUSTER_TERM: &str = "ha_cluster_term";
/// Commands applied here.
const CLUSTER_EPOCH: &str = "ha_cluster_epoch_commands";
/// Voters believed alive.
const CLUSTER_VOTES_HAVE: &str = "ha_cluster_votes_have";
/// Fewest voters that may commit.
const CLUSTER_VOTES_NEED: &str = "ha_cluster_votes_need";
/// Which life of this node.
const CLUSTER_INCARNATION: &str = "ha_cluster_incarnation";
/// 1 when this node has stopped taking part, as after a disk error.
const CLUSTER_STOPPED: &str = "ha_cluster_stopped";

/// Bytes sent to other nodes.
const NET_SENT_BYTES: &str = "ha_net_sent_bytes_total";
/// Bytes received from other nodes.
const NET_RECEIVED_BYTES: &str = "ha_net_received_bytes_total";
/// Frames sent to other nodes.
const NET_SENT_FRAMES: &str = "ha_net_sent_frames_total";
/// Frames received from other nodes.
const NET_RECEIVED_FRAMES: &str = "ha_net_received_frames_total";
/// Connections with other nodes that are open.
const NET_CONNECTIONS: &str = "ha_net_connections";
/// Connections that one side turned away.
const NET_REFUSED: &str = "ha_net_refused_total";
/// How long this node's certificate is good for still.
const NET_CERTIFICATE_LEFT_SECONDS: &str = "ha_net_certificate_left_seconds";

const MEMBER_STATES: [(MemberState, &str); 4] = [
    (MemberState::Alive, "alive"),
    (MemberState::Suspect, "suspect"),
    (MemberState::Failed, "failed"),
    (MemberState::Left, "left"),
];

const CLUSTER_STATES: [(ClusterState, &str); 4] = [
    (ClusterState::Forming, "forming"),
    (ClusterState::Healthy, "healthy"),
    (ClusterState::Degraded, "degraded"),
    (ClusterState::NoQuorum, "no_quorum"),
];

/// Collects what is recorded, and renders it. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    recorder: Arc<PrometheusRecorder>,
    started: Instant,
    answers: Arc<Mutex<Answers>>,
}

/// How often each route was answered with each status: looking a counter up by its labels takes longer than a read.
type Answers = BTreeMap<String, BTreeMap<u16, Counter>>;

impl Metrics {
    /// An empty collection; uptime counts from here. Nothing is recorded into it yet, see [`Self::install`].
    pub fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, describe);
        Self { recorder: Arc::new(recorder), started: Instant::now(), answers: Arc::default() }
    }

    /// Makes this the collection that every crate of this process records into. A process has at most one.
    pub fn install(&self) -> Result<(), MetricsInstallError> {
        metrics::set_global_recorder(self.recorder.clone()).map_err(|SetRecorderError(_)| MetricsInstallError)
    }

    /// The text of `/metrics`.
    pub(crate) fn render(&self, ha: &Ha) -> String {
        metrics::with_local_recorder(&*self.recorder, || self.read(ha));
        self.recorder.handle().render()
    }

    /// Counts an answer. `route` is the pattern that matched, so that callers cannot invent labels.
    pub(crate) fn count_answer(&self, route: &str, status: u16) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = answers.get(route).and_then(|by_status| by_status.get(&status)) {
            return counter.increment(1);
        }
        let counter = metrics::with_local_recorder(
            &*self.recorder,
            || counter!(HTTP_REQUESTS, "route" => route.to_owned(), "status" => status.to_string()),
        );
        counter.increment(1);
        answers.entry(route.to_owned()).or_default().insert(status, counter);
    }

    /// Folds recorded samples together.
    pub(crate) fn upkeep(&self) {
        self.recorder.handle().run_upkeep();
    }

    fn read(&self, ha: &Ha) {
        gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        gauge!(UPTIME_SECONDS).set(self.started.elapsed().as_secs_f64());
        gauge!(HEALTH_STATUS).set(f64::from(ha.health_document().status as u8));
        for component in ha.health().overall().components {
            gauge!(HEALTH_COMPONENT, "component" => component.name).set(f64::from(component.status as u8));
        }
        if !ha.cluster().enabled() {
            return;
        }
        let view = ha.cluster().view();
        let info = view.info();
        for (state, name) in MEMBER_STATES {
            let count = view.members.iter().filter(|member| member.state == state).count();
            gauge!(CLUSTER_MEMBERS, "state" => name).set(count as f64);
        }
        for (state, name) in CLUSTER_STATES {
            gauge!(CLUSTER_STATE, "state" => name).set(flag(info.state == state));
        }
        gauge!(CLUSTER_IS_HEALTHY).set(flag(info.is_healthy));
        gauge!(CLUSTER_LEADER_IS_LIVE).set(flag(view.leader.is_some() && view.leader_is_live));
        gauge!(CLUSTER_IS_LEADER).set(flag(view.role == Some(MemberRole::Leader)));
        gauge!(CLUSTER_TERM).set(view.term.0 as f64);
        gauge!(CLUSTER_EPOCH).set(view.epoch.0 as f64);
        gauge!(CLUSTER_VOTES_HAVE).set(view.votes.have as f64);
        gauge!(CLUSTER_VOTES_NEED).set(view.votes.need as f64);
        gauge!(CLUSTER_INCARNATION).set(view.incarnation.0 as f64);
        gauge!(CLUSTER_STOPPED).set(flag(view.stopped.is_some()));
        if let Some(certificate) = ha.certificate() {
            gauge!(NET_CERTIFICATE_LEFT_SECONDS).set(certificate.time_left().as_secs_f64());
        }
        if let Some(traffic) = ha.cluster().traffic() {
            counter!(NET_SENT_BYTES).absolute(traffic.sent_bytes);
            counter!(NET_RECEIVED_BYTES).absolute(traffic.received_bytes);
            counter!(NET_SENT_FRAMES).absolute(traffic.sent_frames);
            counter!(NET_RECEIVED_FRAMES).absolute(traffic.received_frames);
            gauge!(NET_CONNECTIONS).set(traffic.connections as f64);
            counter!(NET_REFUSED).absolute(traffic.refused);
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// This process already records into another collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this process already records its metrics elsewhere")]
pub struct MetricsInstallError;

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

fn describe() {
    describe_gauge!(BUILD_INFO, "1, with the version of the program as a label.");
    describe_gauge!(UPTIME_SECONDS, Unit::Seconds, "Seconds since this process started to serve.");
    describe_gauge!(HEALTH_STATUS, "Health of this node: 0 healthy, 1 degraded, 2 unhealthy.");
    describe_gauge!(HEALTH_COMPONENT, "Status of a checked component: 0 healthy, 1 degraded, 2 unhealthy.");
    describe_counter!(HTTP_REQUESTS, "Requests answered, by the route that matched and the status code.");
    describe_gauge!(
        NET_CERTIFICATE_LEFT_SECONDS,
        Unit::Seconds,
        "How long this node's certificate is good for still, where nodes speak TLS; 0 when it has ended."
    );
    describe_gauge!(CLUSTER_MEMBERS, "Members of the cluster, by what gossip believes of them.");
    describe_gauge!(CLUSTER_STATE, "1 for the state that the cluster is in, 0 for the others.");
    describe_gauge!(CLUSTER_IS_HEALTHY, "1 when a leader that can commit is known and no member is missing.");
    describe_gauge!(CLUSTER_LEADER_IS_LIVE, "1 when a leader is known and was heard from lately.");
    describe_gauge!(CLUSTER_IS_LEADER, "1 when this node is the leader.");
    describe_gauge!(CLUSTER_TERM, "The term of leadership.");
    describe_gauge!(CLUSTER_EPOCH, "Commands that this node has applied.");
    describe_gauge!(CLUSTER_VOTES_HAVE, "Voters believed alive, this node included.");
    describe_gauge!(CLUSTER_VOTES_NEED, "Fewest voters that may commit.");
    describe_gauge!(CLUSTER_INCARNATION, "How often this node has started.");
    describe_gauge!(CLUSTER_STOPPED, "1 when this node has stopped taking part, as after a disk error.");
    describe_counter!(NET_SENT_BYTES, "Bytes sent to other nodes, headers included.");
    describe_counter!(NET_RECEIVED_BYTES, "Bytes received from other nodes, headers included.");
    describe_counter!(NET_SENT_FRAMES, "Frames sent to other nodes.");
    describe_counter!(NET_RECEIVED_FRAMES, "Frames received from other nodes.");
    describe_gauge!(NET_CONNECTIONS, "Connections with other nodes that are open, dialled and accepted.");
    describe_counter!(NET_REFUSED, "Connections with other nodes that one side turned away.");
}
