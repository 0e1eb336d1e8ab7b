//! Everything that waits has a bound, and the slow harm nobody else.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use ha_net::wire::memory::MemoryNetwork;
use ha_net::{AskError, Lane, PeerEvent, Service, StreamEnded};
use tokio::time::{Instant, sleep, timeout};

use crate::cast::{DEADLINE, HANDED, HELD, MIRROR, MUTE, Node, Script, id, soon};
use crate::counting::Counting;

const MIB: usize = 1024 * 1024;

async fn pair() -> (MemoryNetwork, Node, Node) {
    let network = MemoryNetwork::new();
    let mut a = Script::new("a", Arc::new(network.host("a")), "a").start().await;
    let b = Script::new("b", Arc::new(network.host("b")), "b").start().await;
    a.greet(&b).await;
    assert!(matches!(a.event().await, PeerEvent::Up(_)));
    (network, a, b)
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_both_the_wait_and_the_work() {
    let (_network, a, mut b) = pair().await;
    let began = Instant::now();
    let answer = a.net.ask(&id("b"), Lane::Control, MUTE, Bytes::new(), Duration::from_millis(70)).await;
    assert!(matches!(answer, Err(AskError::Unknown { .. })), "{answer:?}");
    assert!(began.elapsed() < Duration::from_millis(75), "{:?}", began.elapsed());
    soon("the end of the work", b.dropped.recv()).await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(75), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_work_ends_at_the_deadline_also_when_the_asker_cannot_say_so() {
    let (network, a, mut b) = pair().await;
    let began = Instant::now();
    let to = id("b");
    let asking = a.net.ask(&to, Lane::Control, MUTE, Bytes::new(), Duration::from_millis(70));
    let cutting = async {
        while b.asked.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        network.cut("a", "b");
        soon("the end of the work", b.dropped.recv()).await.unwrap();
        assert!(began.elapsed() < Duration::from_millis(75), "{:?}", began.elapsed());
    };
    let (answer, ()) = tokio::join!(asking, cutting);
    assert!(matches!(answer, Err(AskError::Unknown { .. })), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_given_up_ends_the_work() {
    const LONG: Duration = Duration::from_secs(3600);
    let (_network, a, mut b) = pair().await;
    let (net, asked) = (a.net.clone(), Arc::clone(&b.asked));
    let asking = tokio::spawn(async move { net.ask(&id("b"), Lane::Bulk(0), MUTE, Bytes::new(), LONG).await });
    while asked.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    asking.abort();
    soon("the end of the work", b.dropped.recv()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn only_so_many_requests_are_in_flight() {
    const IN_FLIGHT_MAX: usize = 1024;
    let (_network, a, b) = pair().await;
    let to = id("b");
    let ask = || a.net.ask(&to, Lane::Bulk(0), HELD, Bytes::new(), DEADLINE).boxed();
    let mut waiting: Vec<_> = (0..IN_FLIGHT_MAX).map(|_| ask()).collect();
    let all = futures::future::join_all(waiting.iter_mut());
    assert!(timeout(Duration::from_secs(1), all).await.is_err());
    assert_eq!(b.asked.load(Ordering::SeqCst), IN_FLIGHT_MAX);
    let answer = a.net.ask(&to, Lane::Bulk(0), HELD, Bytes::new(), Duration::from_secs(1)).await;
    assert!(matches!(answer, Err(AskError::NotSent { .. })), "{answer:?}");
    assert_eq!(b.asked.load(Ordering::SeqCst), IN_FLIGHT_MAX, "it never left");
    // One more finds room as soon as one has been answered, and other lanes never noticed.
    assert_eq!(a.ask("b", Lane::Control, MIRROR, "ab").await, "ba");
    b.release.add_permits(IN_FLIGHT_MAX + 1);
    let (last, others) = tokio::join!(ask(), futures::future::join_all(waiting));
    assert!(last.is_ok() && others.iter().all(Result::is_ok));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_of_a_stream_stops_its_sender_and_nobody_else() {
    const WINDOW_BYTES: usize = 4 * MIB;
    let (_network, a, mut b) = pair().await;
    for (lane, frame_bytes) in [(Lane::Control, 64 * 1024), (Lane::Bulk(0), MIB), (Lane::Control, 10)] {
        let near = a.net.open(&id("b"), lane, HANDED).await.unwrap();
        let mut far = soon("a stream", b.opened.recv()).await.unwrap();
        let frame = Bytes::from(vec![1; frame_bytes]);
        let mut sent = 0;
        while timeout(Duration::from_secs(1), near.sender.send(frame.clone())).await.is_ok() {
            sent += 1;
            assert!(sent * frame_bytes <= WINDOW_BYTES, "more than the window is under way");
        }
        let frames_max = WINDOW_BYTES / frame_bytes.max(512);
        assert_eq!(sent, frames_max, "the window was used");
        // Heartbeats and requests on the very connection of that stream go on.
        assert_eq!(a.ask("b", lane, MIRROR, "ab").await, "ba");
        assert!(a.net.tell(&id("b"), lane, Service(9), Bytes::from_static(b"beat")));
        assert_eq!(soon("a heartbeat", b.told.recv()).await.unwrap().2, "beat");
        // The reader takes all, and the sender goes on.
        let sender = async {
            for _ in 0..sent {
                near.sender.send(frame.clone()).await.unwrap();
            }
        };
        let reader = async {
            for _ in 0..sent * 2 {
                assert_eq!(far.receiver.recv().await.unwrap().len(), frame_bytes);
            }
        };
        soon("all frames", async { tokio::join!(sender, reader) }).await;
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_connection() {
    let (network, mut a, mut b) = pair().await;
    let mut near = a.net.open(&id("b"), Lane::Control, HANDED).await.unwrap();
    let mut far = soon("a stream", b.opened.recv()).await.unwrap();
    far.sender.send(Bytes::from_static(b"first")).await.unwrap();
    assert_eq!(soon("a frame", near.receiver.recv()).await.unwrap(), "first");
    network.reset("a", "b");
    assert_eq!(soon("the end", near.receiver.recv()).await, None);
    assert_eq!(soon("the end", far.receiver.recv()).await, None);
    assert_eq!(near.sender.send(Bytes::new()).await, Err(StreamEnded));
    assert!(matches!(a.event().await, PeerEvent::Down(_)));
}

#[tokio::test]
async fn only_so_many_streams_are_open() {
    const STREAMS_MAX: usize = 256;
    let (_network, a, mut b) = pair().await;
    let mut open = Vec::new();
    for _ in 0..STREAMS_MAX {
        open.push(a.net.open(&id("b"), Lane::Bulk(0), HANDED).await.unwrap());
        open.push(soon("a stream", b.opened.recv()).await.unwrap());
    }
    assert!(matches!(a.net.open(&id("b"), Lane::Bulk(0), HANDED).await, Err(AskError::NotSent { .. })));
    open.truncate(2 * STREAMS_MAX - 2);
    let again = a.net.open(&id("b"), Lane::Bulk(0), HANDED).await.unwrap();
    let mut far = soon("a stream", b.opened.recv()).await.unwrap();
    again.sender.send(Bytes::from_static(b"room")).await.unwrap();
    assert_eq!(soon("a frame", far.receiver.recv()).await.unwrap(), "room");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_costs_a_bounded_queue() {
    const QUEUE_BYTES_MAX: usize = 4 * MIB;
    const BODY_BYTES: usize = 10_000;
    let (network, a, mut b) = pair().await;
    network.cut("a", "b");
    let body = Bytes::from(vec![0; BODY_BYTES]);
    let mut taken = 0;
    // Again after a while, since what the wire itself holds leaves the queue.
    for _ in 0..3 {
        while a.net.tell(&id("b"), Lane::Control, Service(9), body.clone()) {
            taken += 1;
        }
        sleep(Duration::from_millis(10)).await;
    }
    assert!(taken * BODY_BYTES >= QUEUE_BYTES_MAX && taken * BODY_BYTES < QUEUE_BYTES_MAX + MIB, "{taken}");
    // A request cannot leave either, and does not arrive later.
    let answer = a.net.ask(&id("b"), Lane::Control, MIRROR, Bytes::new(), Duration::from_millis(50)).await;
    assert!(matches!(answer, Err(AskError::NotSent { .. })), "{answer:?}");
    network.heal("a", "b");
    for _ in 0..taken {
        assert_eq!(soon("a message", b.told.recv()).await.unwrap().2.len(), BODY_BYTES);
    }
    assert_eq!(a.ask("b", Lane::Control, MIRROR, "ab").await, "ba");
    assert_eq!(b.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_still_waits_at_its_deadline_is_taken_back() {
    let (network, a, mut b) = pair().await;
    network.cut("a", "b");
    // More than the wire holds, less than the queue does.
    for _ in 0..20 {
        assert!(a.net.tell(&id("b"), Lane::Control, Service(9), Bytes::from(vec![0; 10_000])));
    }
    tokio::task::yield_now().await;
    let answer = a.net.ask(&id("b"), Lane::Control, MIRROR, Bytes::new(), Duration::from_millis(50)).await;
    assert!(matches!(answer, Err(AskError::NotSent { .. })), "{answer:?}");
    network.heal("a", "b");
    for _ in 0..20 {
        soon("a message", b.told.recv()).await.unwrap();
    }
    assert_eq!(a.ask("b", Lane::Control, MIRROR, "ab").await, "ba");
    assert_eq!(b.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn many_small_messages_share_their_writes() {
    let network = MemoryNetwork::new();
    let (wire_a, wire_b) = (Counting::new(network.host("a")), Counting::new(network.host("b")));
    let a = Script::new("a", Arc::new(wire_a.clone()), "a").start().await;
    let mut b = Script::new("b", Arc::new(wire_b.clone()), "b").start().await;
    a.greet(&b).await;
    let (before, writes) = (a.net.traffic(), wire_a.writes());
    for _ in 0..500 {
        assert!(a.net.tell(&id("b"), Lane::Control, Service(9), Bytes::from_static(b"0123456789")));
    }
    for _ in 0..500 {
        soon("a message", b.told.recv()).await.unwrap();
    }
    let after = a.net.traffic();
    assert_eq!(after.sent_frames - before.sent_frames, 500);
    assert_eq!(after.sent_bytes - before.sent_bytes, 500 * 32);
    assert_eq!(b.net.traffic().received_frames, after.sent_frames);
    assert_eq!(b.net.traffic().received_bytes, after.sent_bytes);
    assert!(wire_a.writes() - writes <= 3, "{} writes", wire_a.writes() - writes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn many_requests_at_once_share_their_writes() {
    const ASKERS: usize = 64;
    const ROUNDS: usize = 20;
    let network = MemoryNetwork::new();
    let (wire_a, wire_b) = (Counting::new(network.host("a")), Counting::new(network.host("b")));
    let a = Script::new("a", Arc::new(wire_a.clone()), "a").start().await;
    let b = Script::new("b", Arc::new(wire_b.clone()), "b").start().await;
    a.greet(&b).await;
    let askers = (0..ASKERS).map(|_| {
        let net = a.net.clone();
        tokio::spawn(async move {
            for _ in 0..ROUNDS {
                net.ask(&id("b"), Lane::Control, MIRROR, Bytes::from_static(b"ab"), DEADLINE).await.unwrap();
            }
        })
    });
    assert!(futures::future::join_all(askers).await.iter().all(Result::is_ok));
    let (writes_a, writes_b) = (wire_a.writes(), wire_b.writes());
    let writes_max = ASKERS * ROUNDS / 4;
    assert!(writes_a < writes_max && writes_b < writes_max, "{writes_a} writes of requests, {writes_b} of answers");
}
