//! `ha run`: runs a node until it is told to stop, or can never run.

mod banner;
mod fate;
mod service;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::sync::Arc;
use std::time::Duration;

use ha_config::{Config, Role, Strategy};
use ha_http::{Door, LogControl, Server, Token};
use ha_runtime::{FailoverSeams, Ha, huge_pages};
use tokio::sync::watch;

use crate::failure::Failure;
use crate::logging::{Log, LogArgs};
use crate::settings::SettingsArgs;
use crate::signals::Signals;
use fate::{Fate, Verdict};
use service::{CommandService, Manners};

/// Threads that run tasks. What a node does for one request runs through many tasks in a row: with two threads they wake
/// each other, and every rate falls by a tenth or more.
const WORKER_THREADS: usize = 1;

/// How long a thread that waits for a disk may keep this process from ending.
const THREADS_END_WITHIN: Duration = Duration::from_secs(1);

/// How long a command has between SIGTERM and SIGKILL at most.
const STOP_GRACE_MAX: Duration = Duration::from_secs(5);

/// What it takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    settings: SettingsArgs,

    #[command(flatten)]
    log: LogArgs,

    /// A command to keep running on the primary and nowhere else.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs a node.
pub(crate) fn run(args: Args) -> Result<(), Failure> {
    huge_pages::hold_back();
    let config = args.settings.load()?;
    if !args.command.is_empty() {
        check_command(&config)?;
    }
    let token = config.http.token.as_ref().map(|token| Token::new(token.expose())).transpose();
    let token = token.map_err(|error| Failure::usage(format_args!("HTTP_TOKEN: {error}")))?;
    let log = Log::start(args.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKER_THREADS).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(format_args!("cannot start: {error}")))?;
    let outcome = runtime.block_on(node(config, token, args.command, &log));
    // A look at a disk that hangs never ends.
    runtime.shutdown_timeout(THREADS_END_WITHIN);
    outcome
}

/// Whether a command can run with these settings.
fn check_command(config: &Config) -> Result<(), Failure> {
    let refuse = |why: &str| Err(Failure::usage(format_args!("a command cannot run here: {why}")));
    if !config.failover.enabled {
        return refuse("failover decides where it runs (FAILOVER_ENABLED=true, or --preset simple_failover)");
    }
    if config.ha.strategy == Strategy::ActiveActive {
        return refuse("with HA_STRATEGY=active_active every node runs its own shards, through the Rust API");
    }
    if config.cluster.role == Role::Witness {
        return refuse("a witness runs nothing (CLUSTER_ROLE=witness)");
    }
    Ok(())
}

/// The life of a node.
async fn node(config: Config, token: Option<Token>, command: Vec<OsString>, log: &Log) -> Result<(), Failure> {
    tokio::spawn(huge_pages::allow_once_large());
    let mut signals = Signals::new().map_err(|error| Failure::failed(format_args!("cannot catch signals: {error}")))?;
    let started = tokio::select! {
        started = start(config.clone(), token, command, log) => started?,
        (name, _) = signals.next() => {
            tracing::info!(signal = name, "told to stop before the node had started");
            return Ok(());
        }
    };
    let Node { ha, server } = &started;
    log.say(&banner::text(&config, &ha.cluster().view(), server.local_addr()));
    let mut again = false;
    let outcome = tokio::select! {
        (name, _) = signals.next() => {
            tracing::info!(signal = name, "told to stop: handing over and leaving");
            Ok(())
        }
        () = ha.restart_wanted() => {
            tracing::warn!("this process becomes a new one, on what its data directory holds then");
            again = true;
            Ok(())
        }
        reason = never(ha) => Err(Failure::failed(format_args!("this node cannot run: {reason}"))),
    };
    if let Some(code) = stop(&started, &mut signals).await {
        log.flush();
        std::process::exit(code);
    }
    if again {
        log.flush();
        return Err(start_anew());
    }
    outcome
}

/// This process becomes a new one of the same program, with the same arguments; returns only when it cannot.
fn start_anew() -> Failure {
    let mut words = std::env::args_os();
    let mut program = std::process::Command::new("/proc/self/exe");
    program.arg0(words.next().unwrap_or_default()).args(words);
    Failure::failed(format_args!("cannot start anew, so start it by hand: {}", program.exec()))
}

/// A node and its server.
struct Node {
    ha: Ha,
    server: Server,
}

async fn start(config: Config, token: Option<Token>, command: Vec<OsString>, log: &Log) -> Result<Node, Failure> {
    // The port is taken first: a node that nobody can ask should not join a cluster.
    let door = open_door(&config, token, log.control()).await?;
    let builder = ha_runtime::builder(config.clone());
    let end_process = service::end_process(Arc::new(log.flusher()));
    let builder = builder.failover_seams(FailoverSeams { end_process, ..FailoverSeams::default() });
    let (tell_me, me) = watch::channel(None);
    let builder = if command.is_empty() {
        builder
    } else {
        let stop_grace = STOP_GRACE_MAX.min(config.failover.timeout / 2);
        let failures_max = config.failover.failure_threshold;
        let manners = Manners { command, stop_grace, failures_max };
        let (service, fitness) = CommandService::new(manners, me);
        builder.service(service).fitness(fitness)
    };
    let ha = builder
        .start()
        .await
        .map_err(|error| if error.is_configuration() { Failure::usage(error) } else { Failure::failed(error) })?;
    tell_me.send_replace(Some(ha.cluster().view().node_id.clone()));
    let server = door.serve(ha.clone());
    Ok(Node { ha, server })
}

async fn open_door(config: &Config, token: Option<Token>, log: LogControl) -> Result<Door, Failure> {
    let listen = SocketAddr::new(config.http.address, config.http.port);
    let http = ha_http::Config { listen, token, log: Some(log), ..ha_http::Config::default() };
    let http = http.within(ha_http::make_room());
    http.metrics.install().map_err(Failure::failed)?;
    ha_http::listen(http).await.map_err(|error| {
        let advice = match error.source.kind() {
            std::io::ErrorKind::AddrInUse => "another process listens there: stop it, or set HTTP_PORT",
            std::io::ErrorKind::AddrNotAvailable => "this machine has no such address: set HTTP_ADDRESS",
            std::io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege: set HTTP_PORT",
            _ => "set HTTP_ADDRESS and HTTP_PORT",
        };
        Failure::failed(format_args!("{error}; {advice}"))
    })
}

/// Resolves with the reason once the node can never run. A node that stops after it has taken part keeps answering,
/// so that people and probes learn why.
async fn never(ha: &Ha) -> String {
    let mut view = ha.cluster().watch();
    let mut fate = Fate::default();
    loop {
        let verdict = fate.observe(&view.borrow_and_update());
        match verdict {
            Verdict::Runs => {}
            Verdict::Stopped(reason) => tracing::error!(%reason, "this node has stopped taking part; /health says so"),
            // It is about to be started anew.
            Verdict::Never(_) if ha.cluster().overtaken().is_some() => {}
            Verdict::Never(reason) => return reason,
        }
        if view.changed().await.is_err() {
            return "the cluster has ended unexpectedly".to_owned();
        }
    }
}

/// Stops in order. When a second signal comes, gives that up and returns the exit code of a process that it ends.
async fn stop(node: &Node, signals: &mut Signals) -> Option<i32> {
    let in_order = async {
        // The server outlives the node, so that balancers see it leave.
        node.ha.stop().await;
        node.server.stop().await;
    };
    tokio::select! {
        () = in_order => {
            tracing::info!("stopped");
            None
        }
        (name, code) = signals.next() => {
            tracing::warn!(signal = name, "told again: ending at once");
            Some(code)
        }
    }
}
