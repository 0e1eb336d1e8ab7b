//! Options that cannot work together.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::choice::{Consistency, Preset, Profile, Role};
use crate::component::ComponentName;
use crate::config::Config;
use crate::names::find;
use crate::problem::{Mention, Problem, ProblemKind};
use crate::seconds::print_seconds;
use crate::source::Source;
use crate::table::OptionInfo;
use crate::timing;

/// One thing that must hold between options.
pub(crate) struct Rule {
    /// The options it is about.
    pub(crate) options: &'static [&'static str],
    /// Why, in one sentence without a full stop.
    pub(crate) law: &'static str,
    /// `Some(what would be accepted)` when the rule is broken.
    broken: fn(&Config) -> Option<String>,
}

/// Every contradiction in a configuration.
pub(crate) fn contradictions(config: &Config) -> Vec<Problem> {
    let check = |rule: &Rule| {
        let accepted = (rule.broken)(config)?;
        let mention = |option: &OptionInfo| {
            Mention::new(option.name, Some(&option.value(config).to_string()), config.source(option.name))
        };
        let settings = rule.options.iter().filter_map(|name| find(name)).map(mention).collect();
        Some(Problem {
            kind: ProblemKind::Contradiction,
            settings,
            reason: rule.law.to_owned(),
            accepted: Some(accepted),
            nearest: None,
        })
    };
    RULES.iter().filter_map(check).collect()
}

/// Whether a contradiction is there whatever the refused values were meant to be. A second complaint that may only
/// follow from the first would hide how few mistakes there are.
pub(crate) fn is_certain(contradiction: &Problem, refused: &[Problem]) -> bool {
    contradiction.settings.iter().all(|setting| {
        !refused.iter().any(|problem| {
            problem.names(&setting.option)
                || (!setting.source.is_explicit() && may_have_meant(problem, &setting.option))
        })
    })
}

/// Whether this option might have another value if that problem were mended.
fn may_have_meant(problem: &Problem, option: &str) -> bool {
    let is_among = |settings: &[(&str, &str)]| settings.iter().any(|(name, _)| *name == option);
    match problem.kind {
        ProblemKind::File | ProblemKind::Syntax => true,
        ProblemKind::Unknown => problem.nearest.as_deref().and_then(find).is_some_and(|nearest| nearest.name == option),
        _ if problem.names("HA_PRESET") => Preset::ALL.iter().any(|preset| is_among(preset.settings())),
        _ if problem.names("HA_PROFILE") => Profile::ALL.iter().any(|profile| is_among(profile.settings())),
        _ => false,
    }
}

fn when(broken: bool, accepted: impl FnOnce() -> String) -> Option<String> {
    broken.then(accepted)
}

fn needs_cluster(config: &Config, enabled: bool, name: &str) -> Option<String> {
    when(enabled && !config.cluster.enabled, || format!("CLUSTER_ENABLED=true, or {name}=false"))
}

/// The first name that no check has.
fn not_checked<'a>(config: &Config, mut names: impl Iterator<Item = &'a ComponentName>) -> Option<String> {
    let is_checked = |name: &&ComponentName| config.health.checks.iter().any(|check| check.name == **name);
    let name = names.find(|name| !is_checked(name))?;
    Some(format!("`{name}=...` among HEALTH_CHECKS too"))
}

/// Certificate, key and authority go together: each rule compares two of them, so that both names are told.
fn must_both_be_set<A, B>(one: &Option<A>, other: &Option<B>) -> Option<String> {
    when(one.is_some() != other.is_some(), || "both of them, or neither".to_owned())
}

/// A secret that was read from the file is not a second one.
fn must_not_both_be_set(config: &Config, secret: &str, file: &Option<PathBuf>, is_set: bool) -> Option<String> {
    let is_read_from_file = matches!(config.source(secret), Source::SecretFile { .. });
    when(file.is_some() && is_set && !is_read_from_file, || "one of them".to_owned())
}

pub(crate) static RULES: &[Rule] = &[
    Rule {
        options: &["CLUSTER_NODE_TIMEOUT", "CLUSTER_HEARTBEAT_INTERVAL"],
        law: "the node timeout must be longer than the heartbeat interval, or every lease ends between two heartbeats",
        broken: |config| {
            let interval = config.cluster.heartbeat_interval;
            when(config.cluster.node_timeout <= interval, || {
                format!("CLUSTER_NODE_TIMEOUT above {}, better three times as long", print_seconds(interval))
            })
        },
    },
    Rule {
        options: &["CLUSTER_ELECTION_TIMEOUT", "CLUSTER_HEARTBEAT_INTERVAL"],
        law: "the shortest election timeout (0.8 times the option) must be longer than the heartbeat interval, \
              or followers campaign between two heartbeats",
        broken: |config| {
            let interval = config.cluster.heartbeat_interval;
            when(timing::election_timeout_min(config) <= interval, || {
                format!("CLUSTER_ELECTION_TIMEOUT above {}", print_seconds(interval.saturating_mul(5) / 4))
            })
        },
    },
    Rule {
        options: &["FAILOVER_TIMEOUT", "CLUSTER_NODE_TIMEOUT"],
        law: "a promotion must have time to wait out the lease of the failed primary, \
              which is the node timeout and 6 % for clocks that differ",
        broken: |config| {
            let lease = timing::lease_upper_bound(config);
            let is_used = config.failover.enabled || config.is_explicit("FAILOVER_TIMEOUT");
            when(is_used && config.failover.timeout < lease, || {
                format!("FAILOVER_TIMEOUT of at least {}", print_seconds(lease))
            })
        },
    },
    Rule {
        options: &["HA_QUORUM_SIZE", "HA_MIN_NODES"],
        law: "with SPLIT_BRAIN_PREVENTION the quorum must be a majority of the nodes that form the cluster",
        broken: |config| {
            let majority = config.ha.min_nodes / 2 + 1;
            when(config.ha.split_brain_prevention && config.ha.quorum_size < majority, || {
                format!("HA_QUORUM_SIZE of at least {majority}")
            })
        },
    },
    Rule {
        options: &["REPLICATION_ASYNC_WRITES", "REPLICATION_CONSISTENCY"],
        law: "strong and quorum promise that an acknowledged write is on disk, \
              and asynchronous writes acknowledge before it is",
        broken: |config| {
            let is_durable = config.replication.consistency != Consistency::Eventual;
            when(is_durable && config.replication.async_writes, || {
                "REPLICATION_ASYNC_WRITES=false, or REPLICATION_CONSISTENCY=eventual".to_owned()
            })
        },
    },
    Rule {
        options: &["FAILOVER_ENABLED", "CLUSTER_ENABLED"],
        law: "failover needs the cluster, which decides who is primary",
        broken: |config| needs_cluster(config, config.failover.enabled, "FAILOVER_ENABLED"),
    },
    Rule {
        options: &["REPLICATION_ENABLED", "CLUSTER_ENABLED"],
        law: "replication needs the cluster, whose nodes hold the copies",
        broken: |config| needs_cluster(config, config.replication.enabled, "REPLICATION_ENABLED"),
    },
    Rule {
        options: &["STATE_ENABLED", "CLUSTER_ENABLED"],
        law: "shared keys and locks need the cluster, which orders them",
        broken: |config| needs_cluster(config, config.state.enabled, "STATE_ENABLED"),
    },
    Rule {
        options: &["CLUSTER_NODE_PRIORITY", "CLUSTER_ROLE"],
        law: "a witness has no priority: it leads only to hand over",
        broken: |config| {
            when(config.cluster.role == Role::Witness && config.cluster.node_priority != 0, || {
                "no CLUSTER_NODE_PRIORITY, or 0".to_owned()
            })
        },
    },
    Rule {
        options: &["HEALTH_CHECKS"],
        law: "each component has one check",
        broken: |config| {
            let names: Vec<&ComponentName> = config.health.checks.iter().map(|check| &check.name).collect();
            let distinct: BTreeSet<&ComponentName> = names.iter().copied().collect();
            when(distinct.len() < names.len(), || "a name of its own for each check".to_owned())
        },
    },
    Rule {
        options: &["HEALTH_CRITICAL", "HEALTH_CHECKS"],
        law: "a component is critical only if it is checked",
        broken: |config| not_checked(config, config.health.critical.iter()),
    },
    Rule {
        options: &["HEALTH_RECOVERY_COMMANDS", "HEALTH_CHECKS"],
        law: "a component is recovered only if it is checked",
        broken: |config| not_checked(config, config.health.recovery_commands.iter().map(|command| &command.name)),
    },
    Rule {
        options: &["HTTP_PORT", "CLUSTER_PORT"],
        law: "two listeners cannot share one port of one address",
        broken: |config| {
            let (http, cluster) = (&config.http, &config.cluster);
            let is_same_address =
                http.address == cluster.address || http.address.is_unspecified() || cluster.address.is_unspecified();
            when(cluster.enabled && http.port != 0 && http.port == cluster.port && is_same_address, || {
                "two different ports".to_owned()
            })
        },
    },
    Rule {
        options: &["CLUSTER_SECRET", "CLUSTER_SECRET_FILE"],
        law: "the secret comes from one place",
        broken: |config| {
            must_not_both_be_set(config, "CLUSTER_SECRET", &config.cluster.secret_file, config.cluster.secret.is_some())
        },
    },
    Rule {
        options: &["HTTP_TOKEN", "HTTP_TOKEN_FILE"],
        law: "the token comes from one place",
        broken: |config| {
            must_not_both_be_set(config, "HTTP_TOKEN", &config.http.token_file, config.http.token.is_some())
        },
    },
    Rule {
        options: &["CLUSTER_TLS_CERT", "CLUSTER_TLS_KEY"],
        law: "a certificate is of use only with its key",
        broken: |config| must_both_be_set(&config.cluster.tls_cert, &config.cluster.tls_key),
    },
    Rule {
        options: &["CLUSTER_TLS_CERT", "CLUSTER_TLS_CA"],
        law: "TLS between nodes is mutual: it needs a certificate and the authority to check those of others",
        broken: |config| must_both_be_set(&config.cluster.tls_cert, &config.cluster.tls_ca),
    },
];
