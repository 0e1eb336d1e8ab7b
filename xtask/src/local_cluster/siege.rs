//! Connections by the thousand that say nothing, or say it slowly: kept up against one port, as somebody would who wants
//! others to find no place there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

/// How long one that was turned away waits before it comes again.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a slow one says one byte more.
const BYTE_EVERY: Duration = Duration::from_millis(700);
/// How long one may take to be connected.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Files that this process needs beside the connections.
const OTHER_FILES: u64 = 256;

/// A siege that goes on until it is dropped.
#[derive(Debug)]
pub struct Siege {
    count: Arc<Count>,
    /// Aborts its tasks when it is dropped.
    _besiegers: JoinSet<()>,
}

/// How many connections there are.
#[derive(Debug, Default)]
struct Count {
    open: AtomicUsize,
    made: AtomicUsize,
}

impl Siege {
    /// Lays it: so many that are silent, and so many that send these bytes one at a time, over and over.
    pub fn lay(address: SocketAddr, silent: usize, slow: usize, bytes: &'static [u8]) -> Self {
        let count = Arc::new(Count::default());
        let mut besiegers = JoinSet::new();
        for number in 0..silent + slow {
            let (count, bytes) = (count.clone(), (number < slow).then_some(bytes));
            besiegers.spawn(async move {
                // Not all in one instant, which no network could do either.
                sleep(PAUSE.mul_f64(number as f64 / (silent + slow) as f64)).await;
                loop {
                    if let Ok(Ok(stream)) = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                        count.made.fetch_add(1, Ordering::Relaxed);
                        count.open.fetch_add(1, Ordering::Relaxed);
                        hold(stream, bytes).await;
                        count.open.fetch_sub(1, Ordering::Relaxed);
                    }
                    sleep(PAUSE).await;
                }
            });
        }
        Self { count, _besiegers: besiegers }
    }

    /// Connections that stand now.
    pub fn open(&self) -> usize {
        self.count.open.load(Ordering::Relaxed)
    }

    /// Connections made so far.
    pub fn made(&self) -> usize {
        self.count.made.load(Ordering::Relaxed)
    }
}

/// Until the other side has had enough.
async fn hold(mut stream: TcpStream, bytes: Option<&'static [u8]>) {
    let Some(bytes) = bytes else {
        while stream.read(&mut [0; 64]).await.is_ok_and(|count| count > 0) {}
        return;
    };
    let mut ticks = interval(BYTE_EVERY);
    for byte in bytes.iter().cycle() {
        let mut answer = [0; 64];
        tokio::select! {
            read = stream.read(&mut answer) => if !read.is_ok_and(|count| count > 0) { return },
            _ = ticks.tick() => if stream.write_all(&[*byte]).await.is_err() { return },
        }
    }
}

/// Lets this process have so many connections; the error says what to do where it may not.
pub fn make_room_for(connections: u64) -> Result<(), String> {
    let (wanted, now) = (connections + OTHER_FILES, getrlimit(Resource::Nofile));
    let Rlimit { current, maximum } = now;
    if current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    if maximum.is_some_and(|maximum| maximum < wanted) {
        let most = maximum.unwrap_or_default();
        return Err(format!("{wanted} open files are needed, and this process may have {most}: raise `ulimit -Hn`"));
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).map_err(|error| error.to_string())
}
