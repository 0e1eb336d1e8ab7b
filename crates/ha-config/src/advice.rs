//! What is legal but unwise.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::address::Seed;
use crate::choice::{FailoverMode, Role};
use crate::config::{Config, OPTIONS};
use crate::seconds::print_seconds;
use crate::secret::Secret;
use crate::source::Source;

/// Shortest secret that is not worth a warning, in bytes.
const SECRET_BYTES_WISE: usize = 16;

/// Heartbeats that should fit into a node timeout: fewer, and one lost packet can cost a lease.
const HEARTBEATS_PER_TIMEOUT: u32 = 3;

/// Something legal but unwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Warning {
    /// The options it is about.
    pub options: Vec<&'static str>,
    /// What may happen, and what to do about it: one sentence without a full stop.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.options.join(", "), self.message)
    }
}

impl Config {
    /// What is legal but unwise, to be said once, at start, and by `ha doctor`.
    pub fn warnings(&self) -> Vec<Warning> {
        let advice = ADVICE.iter().filter_map(|advice| {
            let message = (advice.unwise)(self)?;
            Some(Warning { options: advice.options.to_vec(), message })
        });
        advice.chain(self.secrets_in_sight()).collect()
    }

    fn secrets_in_sight(&self) -> impl Iterator<Item = Warning> {
        OPTIONS.iter().filter(|option| option.secret).filter_map(|option| {
            let is_in_sight = matches!(self.source(option.name), Source::CommandLine { .. });
            let message = "a secret on the command line is visible to every user of this machine: \
                           give it in the environment or in a file";
            is_in_sight.then(|| Warning { options: vec![option.name], message: message.to_owned() })
        })
    }
}

struct Advice {
    options: &'static [&'static str],
    unwise: fn(&Config) -> Option<String>,
}

fn when(unwise: bool, message: &str) -> Option<String> {
    unwise.then(|| message.to_owned())
}

fn can_be_guessed(secret: &Option<Secret>) -> Option<String> {
    secret
        .as_ref()
        .filter(|secret| secret.expose().len() < SECRET_BYTES_WISE)
        .map(|_| format!("a short secret can be guessed: take at least {SECRET_BYTES_WISE} random characters"))
}

/// Whether the seeds leave room for a third machine. Names may stand for any number.
fn are_at_most_two(seeds: &[Seed]) -> bool {
    let distinct: BTreeSet<String> = seeds.iter().map(Seed::to_string).collect();
    distinct.len() <= 2 && seeds.iter().all(|seed| matches!(seed, Seed::Address { .. }))
}

static ADVICE: &[Advice] = &[
    Advice {
        options: &["CLUSTER_ENABLED"],
        unwise: |config| {
            when(
                !config.cluster.enabled,
                "this node joins no cluster and only serves HTTP: choose a preset, or set CLUSTER_ENABLED=true",
            )
        },
    },
    Advice {
        options: &["HA_MIN_NODES", "FAILOVER_FENCE_COMMAND"],
        unwise: |config| {
            let failover = &config.failover;
            let is_automatic = failover.enabled && failover.mode == FailoverMode::Automatic;
            let are_two = config.ha.min_nodes == 2 && are_at_most_two(&config.cluster.seed_nodes);
            let is_alone = failover.fence_command.is_none() && config.cluster.role == Role::Member;
            when(
                is_automatic && are_two && is_alone && config.ha.split_brain_prevention,
                "when one of two nodes fails, the other cannot know that it stopped, and waits for a person: \
                 unless there is a witness already, run one on a third machine (CLUSTER_ROLE=witness) \
                 or set FAILOVER_FENCE_COMMAND",
            )
        },
    },
    Advice {
        options: &["SPLIT_BRAIN_PREVENTION"],
        unwise: |config| {
            when(
                !config.ha.split_brain_prevention,
                "when the network between two nodes is cut, both serve and accept writes, and what one of them accepted is \
                 set aside when they meet again; with a witness it does nothing",
            )
        },
    },
    Advice {
        options: &["HA_QUORUM_SIZE", "HA_MIN_NODES"],
        unwise: |config| {
            let (quorum, nodes) = (config.ha.quorum_size, config.ha.min_nodes);
            (quorum > nodes)
                .then(|| format!("a cluster that forms with {nodes} accepts no writes until {quorum} voters are alive"))
        },
    },
    Advice {
        options: &["CLUSTER_NODE_TIMEOUT", "CLUSTER_HEARTBEAT_INTERVAL"],
        unwise: |config| {
            let wise = config.cluster.heartbeat_interval.saturating_mul(HEARTBEATS_PER_TIMEOUT);
            (config.cluster.node_timeout < wise).then(|| {
                format!(
                    "one lost heartbeat may cost a node its lease: leave room for {HEARTBEATS_PER_TIMEOUT}, \
                     a node timeout of {}",
                    print_seconds(wise)
                )
            })
        },
    },
    Advice {
        options: &["HEALTH_CHECK_TIMEOUT", "HEALTH_CHECK_INTERVAL"],
        unwise: |config| {
            let health = &config.health;
            when(
                health.monitor_enabled && health.check_timeout > health.check_interval,
                "a check that hangs delays the checks after it: make the timeout no longer than the interval",
            )
        },
    },
    Advice {
        options: &["HEALTH_CHECKS", "HEALTH_MONITOR_ENABLED"],
        unwise: |config| {
            when(
                !config.health.monitor_enabled && !config.health.checks.is_empty(),
                "components are named and none is checked: set HEALTH_MONITOR_ENABLED=true",
            )
        },
    },
    Advice {
        options: &["CLUSTER_ADDRESS", "CLUSTER_SECRET"],
        unwise: |config| {
            let cluster = &config.cluster;
            let is_guarded = cluster.secret.is_some() || cluster.tls_cert.is_some();
            let is_open = cluster.enabled && !cluster.address.is_loopback() && !is_guarded;
            let remedy = "set CLUSTER_SECRET, or CLUSTER_TLS_CERT, CLUSTER_TLS_KEY and CLUSTER_TLS_CA";
            is_open.then(|| format!("whoever reaches port {} can join the cluster: {remedy}", cluster.port))
        },
    },
    Advice {
        options: &["HTTP_ADDRESS", "HTTP_TOKEN"],
        unwise: |config| {
            let http = &config.http;
            when(
                !http.address.is_loopback() && http.token.is_none(),
                "without a token everybody who reaches the HTTP API can read it, \
                 and calls that change anything are answered only on a loopback address",
            )
        },
    },
    Advice { options: &["CLUSTER_SECRET"], unwise: |config| can_be_guessed(&config.cluster.secret) },
    Advice { options: &["HTTP_TOKEN"], unwise: |config| can_be_guessed(&config.http.token) },
];
