//! `cluster-up`: from a fresh clone to a running cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use xtask::local_cluster::{
    FORM_TIMEOUT, Node, NodeStatus, ProcessState, Settings, StateFile, agreed_leader, binary, ports, preset_for,
};

use super::cluster_status::{look, print_table};
use super::stop::stop_all;
use super::{Outcome, follow};
use crate::ui::{self, Step, Tone, paint};

/// Where the first node listens for others; the next ones above it.
const CLUSTER_PORT_BASE: u16 = 7946;
/// Where the first node's HTTP API is; the next ones above it.
const HTTP_PORT_BASE: u16 = 8080;
/// Most nodes that one machine is asked to carry.
const NODES_MAX: usize = 15;
/// How often the nodes are asked how far they are.
const POLL: Duration = Duration::from_millis(25);

/// What to start.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Nodes that keep data
    #[arg(long, default_value_t = 3, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=NODES_MAX as u64))]
    nodes: usize,
    /// Add a node that only votes
    #[arg(long)]
    witness: bool,
    /// Starting point of all options; chosen by the number of nodes when absent
    #[arg(long)]
    preset: Option<String>,
    /// Timers and the like
    #[arg(long, default_value = "lan")]
    profile: String,
    /// Set an option on every node
    #[arg(long = "set", value_name = "OPTION=VALUE", value_parser = option_value)]
    set: Vec<(String, String)>,
    /// Build with optimizations
    #[arg(long)]
    release: bool,
    /// Start this program instead of building one
    #[arg(long, conflicts_with = "release")]
    binary: Option<PathBuf>,
    /// Return once the cluster serves, and leave it running
    #[arg(long)]
    detach: bool,
    /// Continue on the data of the last local cluster instead of an empty one
    #[arg(long)]
    keep: bool,
}

fn option_value(text: &str) -> Result<(String, String), String> {
    let (option, value) = text.split_once('=').ok_or("expected OPTION=VALUE")?;
    Ok((option.to_owned(), value.to_owned()))
}

/// Runs it.
pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let root = binary::project_root();
    refuse_second_cluster(&StateFile::lock(&root)?.alive()?)?;
    let program = match &arguments.binary {
        Some(binary) => fs::canonicalize(binary).map_err(|error| format!("{}: {error}", binary.display()))?,
        None => ui::build(binary::HA, arguments.release)?,
    };
    // Locked again: building takes long, and the other commands must answer meanwhile.
    let file = StateFile::lock(&root)?;
    refuse_second_cluster(&file.alive()?)?;
    let settings = settings(&arguments);
    let mut nodes = prepare(&settings, file.directory(), &program, arguments.keep)?;
    let began = Instant::now();
    nodes.iter_mut().try_for_each(Node::start)?;
    file.store(&nodes)?;
    drop(file);

    let mut interrupts = follow::Interrupts::listen()?;
    let formed = tokio::select! {
        formed = form(&mut nodes) => formed,
        () = interrupts.next() => Err("interrupted".to_owned()),
    };
    let statuses = match formed {
        Ok(statuses) => statuses,
        Err(reason) => {
            ui::error(&reason);
            finish(&root, &mut nodes).await?;
            return Ok(ExitCode::FAILURE);
        }
    };
    print_table(&statuses);
    let leader = agreed_leader(&statuses).unwrap_or_default();
    println!("\n{} leads, {} after the start", paint(Tone::Good, leader), ui::seconds(began.elapsed()));
    if arguments.detach {
        println!("the cluster runs on; stop it with `cargo xtask cluster-down`");
        return Ok(ExitCode::SUCCESS);
    }
    println!("try `cargo xtask cluster-kill leader` in another terminal; Ctrl-C stops all nodes\n");
    follow::until_interrupted(&root, &mut nodes, &mut interrupts).await;
    println!();
    finish(&root, &mut nodes).await?;
    Ok(ExitCode::SUCCESS)
}

fn refuse_second_cluster(alive: &[Node]) -> Result<(), String> {
    if alive.is_empty() {
        return Ok(());
    }
    let describe = |node: &Node| {
        let pid = node.process().map_or(0, |process| process.pid);
        format!("{} (process {pid}, http://{})", node.spec.node_id, node.spec.http_address())
    };
    let nodes: Vec<_> = alive.iter().map(describe).collect();
    Err(format!("a local cluster is up already: {}; stop it with `cargo xtask cluster-down`", nodes.join(", ")))
}

fn settings(arguments: &Arguments) -> Settings {
    let mut settings = Settings::new(arguments.nodes);
    settings.witness = arguments.witness;
    settings.options.clear();
    let preset = arguments.preset.clone().unwrap_or_else(|| preset_for(arguments.nodes).to_owned());
    settings = settings.with("HA_PRESET", &preset).with("HA_PROFILE", &arguments.profile);
    settings.options.extend(arguments.set.iter().cloned());
    settings
}

fn prepare(
    settings: &Settings,
    directory: &Path,
    program: &Path,
    keep: bool,
) -> Result<Vec<Node>, Box<dyn std::error::Error>> {
    let cluster_ports = ports::search(CLUSTER_PORT_BASE, settings.processes())?;
    let http_ports = ports::search(HTTP_PORT_BASE, settings.processes())?;
    let pairs: Vec<_> = cluster_ports.into_iter().zip(http_ports).collect();
    let specs = settings.specs(directory, program, &pairs);
    if !keep {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                fs::remove_dir_all(&path)?;
            }
        }
    }
    Ok(specs.into_iter().map(|spec| Node::new(spec).shielded()).collect())
}

/// Waits until the nodes agree on a leader, and shows what they wait for meanwhile.
async fn form(nodes: &mut [Node]) -> Result<Vec<NodeStatus>, String> {
    let mut step = Step::begin("forming");
    let deadline = Instant::now() + FORM_TIMEOUT;
    loop {
        if let Some(node) = nodes.iter_mut().find(|node| node.state() == ProcessState::Gone) {
            step.abandon();
            return Err(format!("{} ended; its last lines:\n{}", node.spec.node_id, node.log_tail()));
        }
        let statuses = look(nodes).await;
        if agreed_leader(&statuses).is_some() {
            step.end("done");
            return Ok(statuses);
        }
        let lines: Vec<String> = statuses.iter().map(NodeStatus::line).collect();
        if Instant::now() >= deadline {
            step.abandon();
            let seconds = FORM_TIMEOUT.as_secs();
            return Err(format!("no agreed leader within {seconds} s; last seen:\n{}", lines.join("\n")));
        }
        let answering = statuses.iter().filter(|status| status.cluster.is_some()).count();
        step.update(answering, nodes.len(), &lines.join(" | "));
        sleep(POLL).await;
    }
}

/// Stops what runs now, nodes that another command started included, and forgets the cluster.
async fn finish(root: &Path, nodes: &mut [Node]) -> Outcome {
    let file = StateFile::lock(root)?;
    stop_all(nodes).await;
    let mut others = file.alive()?;
    stop_all(&mut others).await;
    file.clear()?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_split_at_the_first_equals_sign() {
        assert_eq!(option_value("A=b=c").unwrap(), ("A".to_owned(), "b=c".to_owned()));
        assert!(option_value("A").is_err());
    }
}
