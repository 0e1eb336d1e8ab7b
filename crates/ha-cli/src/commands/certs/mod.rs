//! `ha certs create`: an authority and a certificate for each node, for a test or a small cluster.

mod authority;
mod files;

use std::path::PathBuf;

use ha_runtime::{NodeId, can_be_named};

use crate::failure::Failure;
use crate::output::print;
use authority::Authority;
use files::Folder;

/// Most days that a node's certificate may be good for.
const DAYS_MAX: u32 = 3650;

/// What can be done with certificates.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum CertsCommand {
    /// Make an authority, unless there is one, and a certificate for each node that has none.
    Create(Args),
}

/// What making certificates takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder to write to. Keep it, and above all its `ca.key`, where no node is.
    #[arg(long, value_name = "FOLDER")]
    dir: PathBuf,
    /// The ids of the nodes, separated by commas.
    #[arg(long, value_name = "IDS", value_delimiter = ',', required = true)]
    nodes: Vec<NodeId>,
    /// How long the certificates of nodes are good for.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=i64::from(DAYS_MAX)))]
    days: u32,
    /// Replace the certificates of these nodes.
    #[arg(long)]
    renew: bool,
}

impl CertsCommand {
    /// Does it.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let Self::Create(args) = self;
        create(&args)
    }
}

fn create(args: &Args) -> Result<(), Failure> {
    if let Some(node) = args.nodes.iter().find(|node| !can_be_named(node)) {
        return Err(Failure::usage(format_args!(
            "--nodes: a certificate cannot name {node}: it must read like a DNS name, and not end like a number"
        )));
    }
    let folder = Folder::open(&args.dir)?;
    let taken = args.nodes.iter().find(|node| !args.renew && folder.has(&format!("{node}.crt")));
    if let Some(node) = taken {
        return Err(Failure::failed(format_args!(
            "{} has a certificate of {node} already: pass --renew to replace it, or name other nodes",
            args.dir.display()
        )));
    }
    let authority = Authority::of(&folder)?;
    for node in &args.nodes {
        let (certificate, key) = authority.sign(node, args.days)?;
        // The key last: a node that looks in between keeps what it has until both are there.
        folder.write(&format!("{node}.crt"), &certificate, files::Mode::Public)?;
        folder.write(&format!("{node}.key"), &key, files::Mode::Secret)?;
    }
    print(&instructions(args))
}

fn instructions(args: &Args) -> String {
    let dir = args.dir.display();
    let mut text = String::new();
    for node in &args.nodes {
        text += &format!("{node}: good for {} days\n", args.days);
        text += &format!("  CLUSTER_TLS_CERT={dir}/{node}.crt\n");
        text += &format!("  CLUSTER_TLS_KEY={dir}/{node}.key\n");
        text += &format!("  CLUSTER_TLS_CA={dir}/ca.crt\n");
    }
    text + &format!("Give each node its own files and ca.crt. Whoever has {dir}/ca.key can join the cluster.\n")
}
