//! A holder of a lock that is frozen, loses the lock without noticing, and wakes up late: the file that it guards turns
//! it away. `cargo run -p ha-state --example fencing`
//!
//! The holder is a process of its own, which is stopped with SIGSTOP. It does what careless programs do: it looks at
//! nothing but its own work.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ha_cluster::clock::BootClock;
use ha_cluster::{Machines, Seams};
use ha_state::{FencedFile, FencingToken, State, Store};

const TTL: Duration = Duration::from_secs(1);
const LOCK: &str = "report";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Runtime::new()?;
    match arguments.as_slice() {
        [_, file, token] => runtime.block_on(hold(&FencedFile::new(file), FencingToken(token.parse()?))),
        _ => runtime.block_on(play()),
    }
}

/// The holder: asks for a renewal and writes, again and again, until the file refuses.
async fn hold(file: &FencedFile, token: FencingToken) -> Result<(), Box<dyn Error>> {
    for number in 1.. {
        println!("renew");
        tokio::time::sleep(Duration::from_millis(100)).await;
        // Frozen here, between two lines, it cannot know how much time has passed.
        if let Err(error) = file.write(token, format!("line {number} of the holder of {token}").as_bytes()) {
            println!("refused: {error}");
            break;
        }
    }
    Ok(())
}

async fn play() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("ha-fencing-{}", std::process::id()));
    let state = node(&folder).await?;
    let file = FencedFile::new(folder.join("report.txt"));

    let id = state.lock(LOCK).ttl(TTL).timeout(TTL * 10).owner("careless").acquire().await?.into_id();
    println!("the first holder has token {}", id.token);
    let mut holder = Command::new(std::env::current_exe()?)
        .args([file.path().as_os_str(), id.token.to_string().as_ref()])
        .stdout(Stdio::piped())
        .spawn()?;
    let output = holder.stdout.take().ok_or("the holder has no output")?;
    let (told, mut lines) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| told.send(line))
    });
    for _ in 0..8 {
        lines.recv().await.ok_or("the holder has ended")?;
        state.renew_lock(LOCK, id).await?;
    }

    signal(&holder, "STOP")?;
    println!("it is frozen; somebody else waits for the lock");
    let next = state.lock(LOCK).ttl(TTL).timeout(TTL * 10).acquire().await?;
    println!("the next holder has token {}", next.fencing_token());
    file.write(next.fencing_token(), b"the work of the next holder")?;

    signal(&holder, "CONT")?;
    while let Some(line) = lines.recv().await {
        if line != "renew" {
            println!("the first holder wakes up and writes; {line}");
        }
    }
    holder.wait()?;
    println!("the file holds: {}", std::fs::read_to_string(file.path())?);
    next.release().await?;
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

fn signal(process: &Child, name: &str) -> Result<(), Box<dyn Error>> {
    let done = Command::new("kill").args([&format!("-{name}"), &process.id().to_string()]).status()?;
    if done.success() { Ok(()) } else { Err(format!("kill: {done}").into()) }
}

/// A cluster of one node.
async fn node(folder: &Path) -> Result<State, Box<dyn Error>> {
    let mut config = ha_cluster::Config::default();
    config.data_dir = folder.join("data");
    config.listen = ([127, 0, 0, 1], 0).into();
    (config.min_nodes, config.quorum_size) = (1, 1);
    config.heartbeat_interval = Duration::from_millis(50);
    config.election_timeout = Duration::from_millis(250);
    config.node_timeout = Duration::from_millis(500);
    let cluster = ha_cluster::start(config, Seams::default(), Machines::new().with(Store::new())).await?;
    Ok(ha_state::start(ha_state::Config::default(), &cluster, std::sync::Arc::new(BootClock))?)
}
