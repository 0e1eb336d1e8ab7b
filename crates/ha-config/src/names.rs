//! Finding an option by what somebody called it.

use crate::config::{OPTIONS, SECTIONS};
use crate::nearest::{distance, nearest};
use crate::table::OptionInfo;

/// The option of this name: `CLUSTER_PORT`, or `cluster.port`.
pub fn find(name: &str) -> Option<&'static OptionInfo> {
    OPTIONS.iter().find(|option| option.name == name || name.split_once('.') == Some((option.table, option.key)))
}

/// What was probably meant by a name on the command line, in the same spelling.
pub(crate) fn nearest_name(name: &str) -> Option<String> {
    if let Some((table, key)) = name.split_once('.') {
        return nearest_key(table, key);
    }
    nearest(name, OPTIONS.iter().map(|option| option.name)).map(str::to_owned)
}

/// What was probably meant by a key of a file, with its table.
pub(crate) fn nearest_key(table: &str, key: &str) -> Option<String> {
    let exact = |option: &&OptionInfo| option.key == key || option.name.eq_ignore_ascii_case(key);
    let dotted = format!("{table}.{key}");
    let within: Vec<String> = OPTIONS.iter().filter(|option| option.table == table).map(OptionInfo::dotted).collect();
    nearest(&dotted, within.iter().map(String::as_str))
        .map(str::to_owned)
        .or_else(|| OPTIONS.iter().find(exact).map(OptionInfo::dotted))
        .or_else(|| {
            let all: Vec<String> = OPTIONS.iter().map(OptionInfo::dotted).collect();
            nearest(&dotted, all.iter().map(String::as_str)).map(str::to_owned)
        })
}

/// The tables of a file.
pub(crate) fn tables() -> Vec<&'static str> {
    SECTIONS.iter().map(|(table, _)| *table).collect()
}

/// Shortest first word of a variable, such as `CLUSTER`, in which a mistake is still recognised. Below it, too many
/// variables of other programs are near (`HTTPS_PORT`, `STATS_ENABLED`).
const PREFIX_CHARS_MIN: usize = 6;

/// The option that a variable of another name was probably meant for. The environment belongs to everybody, so only
/// a very small difference counts: one mistake in a short name, three in a long one.
pub(crate) fn nearest_variable(name: &str) -> Option<&'static str> {
    OPTIONS
        .iter()
        .filter_map(|option| {
            let (prefix, rest) = option.name.split_once('_')?;
            let mistakes_max = match rest.len() {
                0..=5 => 1,
                6..=12 => 2,
                _ => 3,
            };
            let has_prefix = name.split_once('_').is_some_and(|(first, _)| first == prefix);
            let mistakes = distance(name, option.name);
            let close = mistakes <= mistakes_max && (has_prefix || prefix.len() >= PREFIX_CHARS_MIN);
            close.then_some((mistakes, option.name))
        })
        .min_by_key(|(mistakes, _)| *mistakes)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_both_spellings() {
        assert_eq!(find("CLUSTER_PORT").unwrap().dotted(), "cluster.port");
        assert_eq!(find("cluster.port").unwrap().name, "CLUSTER_PORT");
        assert_eq!(find("ha.split_brain_prevention").unwrap().name, "SPLIT_BRAIN_PREVENTION");
        for name in ["", ".", "cluster", "cluster.", "CLUSTER.PORT", "cluster_port", "cluster.port.x"] {
            assert!(find(name).is_none(), "{name}");
        }
    }

    #[test]
    fn suggests_in_the_spelling_of_the_asker() {
        for (asked, meant) in [
            ("CLUSTER_HARTBEAT_INTERVAL", Some("CLUSTER_HEARTBEAT_INTERVAL")),
            ("cluster_port", Some("CLUSTER_PORT")),
            ("cluster.hartbeat_interval", Some("cluster.heartbeat_interval")),
            ("cluster.CLUSTER_PORT", Some("cluster.port")),
            ("cluster.batch_size", Some("replication.batch_size")),
            ("clutser.port", Some("cluster.port")),
            ("something.else", None),
            ("SOMETHING_ELSE", None),
        ] {
            assert_eq!(nearest_name(asked).as_deref(), meant, "{asked}");
        }
    }

    #[test]
    fn takes_a_near_variable_for_a_mistake() {
        for (variable, meant) in [
            ("CLUSTER_NODE_PRIORTIY", "CLUSTER_NODE_PRIORITY"),
            ("CLUSTER_PROT", "CLUSTER_PORT"),
            ("CLUTSER_PORT", "CLUSTER_PORT"),
            ("CLUSTER_SEED_NODE", "CLUSTER_SEED_NODES"),
            ("HA_QUORUMSIZE", "HA_QUORUM_SIZE"),
            ("SPLIT_BRAIN_PREVENTON", "SPLIT_BRAIN_PREVENTION"),
            ("FAILOVR_ENABLED", "FAILOVER_ENABLED"),
            ("HTTP_TOKE", "HTTP_TOKEN"),
            ("HEALTH_CHECK_INTERVALL", "HEALTH_CHECK_INTERVAL"),
            ("STATE_ENABLE", "STATE_ENABLED"),
        ] {
            assert_eq!(nearest_variable(variable), Some(meant), "{variable}");
        }
    }

    #[test]
    fn leaves_variables_of_others_alone() {
        for variable in [
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "http_proxy",
            "HTTP_HOST",
            "HTTPS_PORT",
            "HTTP_USER_AGENT",
            "HA_URL",
            "HA_HTTP_TOKEN",
            "HA_NODE_ID",
            "HA_ROLE",
            "HA_EPOCH",
            "HA_FENCING_TOKEN",
            "KUBERNETES_SERVICE_HOST",
            "KUBERNETES_PORT",
            "CLUSTER_SERVICE_HOST",
            "CLUSTER_PORT_7946_TCP_PORT",
            "CLUSTER_HOST",
            "STATS_ENABLED",
            "STATE_DIRECTORY",
            "HOSTNAME",
            "PATH",
            "PORT",
            "",
        ] {
            assert_eq!(nearest_variable(variable), None, "{variable}");
        }
    }
}
