//! What a person writes, to be fed with anything: see the package `ha-fuzz`.

use crate::{Config, parse_seconds, secret_file};

/// A name, valid inputs to begin with, and what takes an input.
pub type Target = (&'static str, Vec<Vec<u8>>, fn(&[u8]));

/// All of this crate.
pub fn targets() -> Vec<Target> {
    let file = b"[ha]\npreset = \"full_ha\"\n[cluster]\nnode_id = \"a\"\nseed_nodes = [\"a:1\", \"dns:b:2\"]\n\
        heartbeat_interval = 0.5\n[http]\nport = 8080\n";
    let variables = b"CLUSTER_SEED_NODES=a:1,[::1]:2\0FAILOVER_TIMEOUT=1m\0HTTP_TOKEN=abc\0cluster.port=7946";
    vec![
        ("config-file", vec![file.to_vec(), b"[health]\ncheck_interval = \"30s\"\n".to_vec()], toml),
        ("config-variables", vec![variables.to_vec()], variables_and_flags),
        ("secret-file", vec![b"first secret\nsecond secret\n".to_vec()], secrets),
        ("duration", vec![b"200ms".to_vec(), b"1.5".to_vec(), b"1h30m".to_vec()], duration),
    ]
}

fn told(result: Result<Config, crate::Problems>) {
    match result {
        Ok(config) => drop((config.warnings(), config.to_toml())),
        Err(problems) => drop(problems.to_string()),
    }
}

fn toml(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    // A file that is named would be read.
    if !text.contains("_file") {
        told(Config::builder().with_toml("ha.toml", text).build());
    }
}

/// `NAME=VALUE` between zeros: as the environment has them, and as flags.
fn variables_and_flags(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let pairs: Vec<&str> = text.split('\0').take(64).filter(|pair| !pair.to_lowercase().contains("_file")).collect();
    told(Config::builder().with_variables(pairs.iter().filter_map(|pair| pair.split_once('='))).build());
    told(pairs.iter().fold(Config::builder(), |builder, pair| builder.set_pair(pair)).build());
}

fn secrets(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Err(reason) = secret_file::secrets_in(&text) {
        let first = text.lines().next().unwrap_or_default();
        assert!(first.len() < 8 || !reason.contains(first), "an error shows the secret");
    }
}

fn duration(input: &[u8]) {
    let _ = parse_seconds(&String::from_utf8_lossy(input));
}
