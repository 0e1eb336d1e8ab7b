//! Bytes that are not ours: they cost their connection, one line in the log, and nothing else.

use std::cell::RefCell;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Once};
use std::time::Duration;

use bytes::Bytes;
use ha_net::wire::memory::MemoryNetwork;
use ha_net::wire::{Socket, TcpWire, Wire};
use ha_net::{Address, AskError, Config, HELLO_FRAME_BYTES_MAX, Lane, PeerEvent, Service};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};

use crate::cast::{DEADLINE, MIRROR, MUTE, Node, Script, id, soon};
use crate::meddler::Meddler;

thread_local! {
    /// What has been logged on this thread.
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Writes to the lines of its thread.
struct ToThread;

impl Write for ToThread {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LINES.with_borrow_mut(|lines| lines.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The log of this thread, on which all nodes of a test with one run. One subscriber serves all threads, since those
/// that come and go with tests in parallel lose lines to one another.
struct Log;

impl Log {
    fn of_this_thread() -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let subscriber = tracing_subscriber::fmt()
                .with_max_level(tracing::Level::WARN)
                .with_ansi(false)
                .without_time()
                .with_writer(|| ToThread)
                .finish();
            tracing::subscriber::set_global_default(subscriber).unwrap();
        });
        let log = Self;
        log.take();
        log
    }

    fn take(&self) -> Vec<String> {
        let bytes = LINES.with_borrow_mut(std::mem::take);
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }
}

async fn node(network: &MemoryNetwork, name: &'static str) -> Node {
    Script::new(name, Arc::new(network.host(name)), name).start().await
}

async fn dial(network: &MemoryNetwork, to: &Address) -> Box<dyn Socket> {
    network.host("stranger").dial(to).await.unwrap()
}

/// Everything that comes until the end.
async fn rest(socket: &mut Box<dyn Socket>) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset is an end too.
    let _ = soon("the end of the connection", socket.read_to_end(&mut bytes)).await;
    bytes
}

#[tokio::test]
async fn a_first_frame_that_is_no_hello_costs_its_connection_and_one_line() {
    let log = Log::of_this_thread();
    let network = MemoryNetwork::new();
    let mut b = node(&network, "b").await;
    let too_long = (HELLO_FRAME_BYTES_MAX as u32 + 1).to_be_bytes().to_vec();
    let empty = vec![0, 0, 0, 0];
    let another_step = b"\0\0\0\x0dHANT\x09\0\x01\0\x01\0\0\0\0".to_vec();
    let longest = u32::MAX.to_be_bytes().to_vec();
    for first in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), too_long, empty, another_step, longest] {
        let mut socket = dial(&network, &b.address).await;
        socket.write_all(&first).await.unwrap();
        assert_eq!(rest(&mut socket).await, []);
        let lines = log.take();
        assert!(lines.len() == 1 && lines[0].contains("WARN"), "{first:?}: {lines:?}");
    }
    assert!(b.events.try_recv().is_err());
    assert_eq!(b.net.traffic().connections, 0);
}

#[tokio::test]
async fn a_flood_of_strangers_writes_few_lines() {
    let log = Log::of_this_thread();
    let network = MemoryNetwork::new();
    let b = node(&network, "b").await;
    for _ in 0..200 {
        let mut socket = dial(&network, &b.address).await;
        socket.write_all(&[0; 4]).await.unwrap();
        rest(&mut socket).await;
    }
    assert!(log.take().len() <= 50, "rate-limited, also when this takes some seconds");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_bytes_close_the_connection_and_harm_nobody(bytes in prop::collection::vec(any::<u8>(), 1..400)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let network = MemoryNetwork::new();
            let (a, b) = (node(&network, "a").await, node(&network, "b").await);
            let mut socket = dial(&network, &b.address).await;
            socket.write_all(&bytes).await.unwrap();
            socket.shutdown().await.unwrap();
            assert_eq!(rest(&mut socket).await, []);
            a.greet(&b).await;
            assert_eq!(a.ask("b", Lane::Control, MIRROR, "ab").await, "ba");
        });
    }

    #[test]
    fn random_bytes_after_the_greeting_end_that_connection_only(bytes in prop::collection::vec(any::<u8>(), 23..400)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let network = MemoryNetwork::new();
            let (mut a, b) = (node(&network, "a").await, node(&network, "b").await);
            let meddler = Meddler::start(&network, &b.address).await;
            a.net.learn(&id("b"), &meddler.address);
            assert_eq!(a.ask("b", Lane::Control, MIRROR, "ab").await, "ba");
            assert!(matches!(a.event().await, PeerEvent::Up(_)));
            let mut length = 19u32.to_be_bytes().to_vec();
            length.extend(&bytes);
            meddler.add_to_target(length);
            assert!(matches!(a.event().await, PeerEvent::Down(_)));
            assert!(matches!(a.event().await, PeerEvent::Up(_)));
            assert_eq!(a.ask("b", Lane::Control, MIRROR, "ab").await, "ba");
        });
    }
}

/// A frame as the protocol lays it out, with any kind.
fn frame(kind: u8, id: u64, body: &[u8]) -> Vec<u8> {
    let mut fields = vec![kind, 1];
    fields.extend(id.to_be_bytes());
    fields.extend(1000u32.to_be_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&fields), body);
    fields.extend(checksum.to_be_bytes());
    fields.extend(body);
    [&(fields.len() as u32).to_be_bytes()[..], &fields].concat()
}

#[tokio::test]
async fn a_bad_frame_of_an_admitted_peer_costs_its_connection_and_one_line() {
    let log = Log::of_this_thread();
    let network = MemoryNetwork::new();
    let (mut a, b) = (node(&network, "a").await, node(&network, "b").await);
    let meddler = Meddler::start(&network, &b.address).await;
    a.net.learn(&id("b"), &meddler.address);
    a.net.tell(&id("b"), Lane::Control, Service(9), Bytes::new());
    let mut damaged = frame(4, 0, b"body");
    damaged[24] ^= 1;
    let (ask, answer, unknown) = (frame(1, 1, b""), frame(2, 1, b""), frame(13, 1, b""));
    let too_long = (1024u32 * 1024 + 1).to_be_bytes().to_vec();
    let (short, never) = (vec![0, 0, 0, 1, 9], frame(0, 0, b""));
    let to_target = [damaged, answer, unknown, too_long, short, never];
    for (bytes, towards_target) in to_target.into_iter().map(|bytes| (bytes, true)).chain([(ask, false)]) {
        assert!(matches!(a.event().await, PeerEvent::Up(_)));
        let described = format!("{bytes:?}");
        if towards_target {
            meddler.add_to_target(bytes)
        } else {
            meddler.add_to_dialler(bytes)
        }
        assert!(matches!(a.event().await, PeerEvent::Down(_)), "{described}");
        let lines = log.take();
        assert!(lines.len() == 1 && lines[0].contains("WARN"), "{described}: {lines:?}");
    }
    assert!(matches!(a.event().await, PeerEvent::Up(_)));
}

#[tokio::test]
async fn a_frame_about_something_unknown_is_ignored() {
    let network = MemoryNetwork::new();
    let (a, b) = (node(&network, "a").await, node(&network, "b").await);
    let meddler = Meddler::start(&network, &b.address).await;
    a.net.learn(&id("b"), &meddler.address);
    assert_eq!(a.ask("b", Lane::Control, MIRROR, "ab").await, "ba");
    // Frames of streams that have ended, and cancels of requests that have been answered.
    for kind in [6, 7, 8, 9, 10, 11] {
        meddler.add_to_target(frame(kind, 77, b""));
        meddler.add_to_dialler(frame(kind, 77, b""));
    }
    for kind in [2, 3] {
        meddler.add_to_dialler(frame(kind, 77, b"late"));
    }
    assert_eq!(a.ask("b", Lane::Control, MIRROR, "ab").await, "ba");
    assert_eq!(a.net.traffic().connections, 1);
}

#[tokio::test]
async fn a_goodbye_is_heard_even_when_writing_fails_before_it_is_read() {
    let network = MemoryNetwork::new();
    let (mut a, b) = (node(&network, "a").await, node(&network, "b").await);
    let meddler = Meddler::start(&network, &b.address).await;
    a.net.learn(&id("b"), &meddler.address);
    assert_eq!(a.ask("b", Lane::Control, MIRROR, "ab").await, "ba");
    assert!(matches!(a.event().await, PeerEvent::Up(_)));
    let to = id("b");
    let asking = a.net.ask(&to, Lane::Control, MUTE, Bytes::new(), DEADLINE);
    let closing = async {
        while b.asked.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        let net = a.net.clone();
        meddler.close_with(frame(12, 0, b""), move || {
            assert!(net.tell(&id("b"), Lane::Control, Service(9), Bytes::new()));
        });
    };
    let (answer, ()) = tokio::join!(asking, closing);
    let Err(AskError::Unknown { reason }) = answer else { panic!("{answer:?}") };
    assert!(reason.contains("goodbye"), "{reason}");
}

#[tokio::test]
async fn a_stream_that_ignores_its_window_costs_its_connection() {
    let network = MemoryNetwork::new();
    let (mut a, mut b) = (node(&network, "a").await, node(&network, "b").await);
    let meddler = Meddler::start(&network, &b.address).await;
    a.net.learn(&id("b"), &meddler.address);
    a.net.tell(&id("b"), Lane::Control, Service(9), Bytes::new());
    assert!(matches!(a.event().await, PeerEvent::Up(_)));
    let mut open = frame(5, 99, b"");
    // The service whose streams are handed to the test.
    open[5] = 7;
    let checksum = crc32c::crc32c(&open[4..18]);
    open[18..22].copy_from_slice(&checksum.to_be_bytes());
    meddler.add_to_target(open);
    let _stream = soon("a stream", b.opened.recv()).await.unwrap();
    for _ in 0..6 {
        meddler.add_to_target(frame(6, 99, &vec![0; 1000 * 1000]));
    }
    assert!(matches!(a.event().await, PeerEvent::Down(_)));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_cut_at_any_byte_leaves_nothing_behind() {
    let network = MemoryNetwork::new();
    let (a, b) = (node(&network, "a").await, node(&network, "b").await);
    let meddler = Meddler::start(&network, &b.address).await;
    // The hello, the confirmation and a request are this long together, or shorter.
    let mut answered = 0;
    for passes in 0..220 {
        meddler.passes.store(passes, Ordering::SeqCst);
        a.net.learn(&id("b"), &meddler.address);
        let answer = a.net.ask(&id("b"), Lane::Bulk(0), MIRROR, Bytes::from_static(b"ab"), DEADLINE).await;
        match answer {
            Ok(answer) => {
                assert_eq!(answer, "ba");
                answered += 1;
            }
            Err(AskError::NotSent { .. } | AskError::Unknown { .. }) => assert_eq!(answered, 0, "cut at {passes}"),
            Err(AskError::Fault(fault)) => panic!("cut at {passes}: {fault}"),
            Err(_) => panic!("another error"),
        }
        a.net.forget(&id("b"));
        // Goodbyes are exchanged, and a connection that was cut short is noticed.
        sleep(Duration::from_secs(1)).await;
        assert_eq!((a.net.traffic().connections, b.net.traffic().connections), (0, 0), "cut at {passes}");
    }
    assert!(answered > 0);
    meddler.passes.store(usize::MAX, Ordering::SeqCst);
    a.greet(&b).await;
    assert_eq!(a.ask("b", Lane::Control, MIRROR, "ab").await, "ba");
}

#[tokio::test]
async fn hundreds_of_silent_connections_keep_nobody_out() {
    let mut script = Script::new("b", Arc::new(TcpWire), "127.0.0.1");
    // So that it is not the time for a hello that ends them.
    script.config.connect_timeout = Duration::from_secs(3600);
    let b = script.start().await;
    let a = Script::new("a", Arc::new(TcpWire), "127.0.0.1").start().await;
    let mut silent = Vec::new();
    for _ in 0..400 {
        silent.push(TcpWire.dial(&b.address).await.unwrap());
    }
    a.greet(&b).await;
    assert_eq!(a.ask("b", Lane::Control, MIRROR, "ab").await, "ba");
    // The oldest have given way.
    assert_eq!(rest(&mut silent[0]).await, []);
    assert_eq!(b.net.traffic().connections, 1);
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_ends_with_the_time_for_a_hello() {
    let network = MemoryNetwork::new();
    let b = node(&network, "b").await;
    let began = Instant::now();
    let mut socket = dial(&network, &b.address).await;
    assert_eq!(rest(&mut socket).await, []);
    let patience = Duration::from_secs(2);
    assert!(began.elapsed() >= patience && began.elapsed() < patience * 2, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_config_out_of_range_or_a_taken_port_is_an_error() {
    let network = MemoryNetwork::new();
    let b = node(&network, "b").await;
    for config in [
        Config { bulk_connections: 0, ..Config::default() },
        Config { bulk_connections: 65, ..Config::default() },
        Config { idle_timeout: Duration::ZERO, ..Config::default() },
    ] {
        assert!(config.validate().is_err());
    }
    let wire = network.host("b");
    let taken = SocketAddr::from(([0, 0, 0, 0], b.address.port()));
    assert_eq!(wire.listen(taken).await.err().map(|error| error.kind()), Some(std::io::ErrorKind::AddrInUse));
}

/// A wire whose listener has no file descriptors for a while.
struct Exhausted {
    wire: TcpWire,
    failures: Arc<std::sync::atomic::AtomicUsize>,
}

struct ExhaustedDoor {
    door: Box<dyn ha_net::wire::Listener>,
    failures: Arc<std::sync::atomic::AtomicUsize>,
}

impl Wire for Exhausted {
    fn dial<'a>(&'a self, address: &'a Address) -> futures::future::BoxFuture<'a, std::io::Result<Box<dyn Socket>>> {
        self.wire.dial(address)
    }

    fn listen(
        &self,
        address: SocketAddr,
    ) -> futures::future::BoxFuture<'_, std::io::Result<Box<dyn ha_net::wire::Listener>>> {
        Box::pin(async move {
            let door = self.wire.listen(address).await?;
            Ok(Box::new(ExhaustedDoor { door, failures: Arc::clone(&self.failures) })
                as Box<dyn ha_net::wire::Listener>)
        })
    }

    fn lookup<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> futures::future::BoxFuture<'a, std::io::Result<Vec<SocketAddr>>> {
        self.wire.lookup(host, port)
    }
}

impl ha_net::wire::Listener for ExhaustedDoor {
    fn accept(&mut self) -> futures::future::BoxFuture<'_, std::io::Result<(Box<dyn Socket>, SocketAddr)>> {
        Box::pin(async move {
            if self.failures.fetch_add(1, Ordering::SeqCst) < 12 {
                return Err(std::io::Error::other("too many open files"));
            }
            self.door.accept().await
        })
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.door.local_addr()
    }
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_fails_is_tried_again_ever_more_slowly() {
    let failures = Arc::default();
    let wire = Exhausted { wire: TcpWire, failures: Arc::clone(&failures) };
    let b = Script::new("b", Arc::new(wire), "127.0.0.1").start().await;
    sleep(Duration::from_secs(5)).await;
    let tried = failures.load(Ordering::SeqCst);
    assert!((5..=12).contains(&tried), "tried {tried} times in five seconds");
    sleep(Duration::from_secs(10)).await;
    tokio::time::resume();
    let a = Script::new("a", Arc::new(TcpWire), "127.0.0.1").start().await;
    a.greet(&b).await;
    assert_eq!(a.ask("b", Lane::Control, MIRROR, "ab").await, "ba");
}
