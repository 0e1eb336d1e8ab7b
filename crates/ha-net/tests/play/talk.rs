//! Two nodes talk over TCP and over memory.

use std::sync::Arc;

use crate::cast::{DEADLINE, FAULTY, HANDED, HUGE, MIRROR, Node, PANICKING, Script, id, soon};
use bytes::Bytes;
use ha_net::wire::TcpWire;
use ha_net::wire::memory::MemoryNetwork;
use ha_net::{AskError, Lane, PeerEvent, Service, StreamEnded};

async fn over_memory() -> (Node, Node) {
    let network = MemoryNetwork::new();
    let a = Script::new("a", Arc::new(network.host("host-a")), "host-a").start().await;
    let b = Script::new("b", Arc::new(network.host("host-b")), "host-b").start().await;
    (a, b)
}

async fn over_tcp() -> (Node, Node) {
    let a = Script::new("a", Arc::new(TcpWire), "127.0.0.1").start().await;
    let b = Script::new("b", Arc::new(TcpWire), "127.0.0.1").start().await;
    (a, b)
}

/// Runs one scene on each wire.
macro_rules! on_each_wire {
    ($($scene:ident),* $(,)?) => {
        mod tcp {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $scene() { super::$scene(super::over_tcp().await).await })*
        }
        mod memory {
            $(#[tokio::test]
            async fn $scene() { super::$scene(super::over_memory().await).await })*
        }
    };
}

on_each_wire!(
    a_greeting_leads_to_answers_on_every_lane,
    messages_arrive_in_order,
    a_stream_carries_frames_both_ways,
    faults_reach_the_asker,
    both_ends_of_a_stream_hear_of_the_other,
    large_bodies_arrive_whole,
    a_stop_is_a_goodbye,
);

async fn a_greeting_leads_to_answers_on_every_lane((mut a, mut b): (Node, Node)) {
    let found = a.greet(&b).await;
    assert_eq!((found.node_id, found.address), (id("b"), b.address.clone()));
    let PeerEvent::Up(peer) = a.event().await else { panic!("not up") };
    assert_eq!((peer.node_id, peer.address), (id("b"), b.address.clone()));
    for lane in [Lane::Control, Lane::Bulk(0), Lane::Bulk(1), Lane::Bulk(2)] {
        assert_eq!(a.ask("b", lane, MIRROR, "abc").await, "cba");
    }
    // Bulk lanes 0 and 2 share a connection; the other side counts the same three.
    assert_eq!(a.net.traffic().connections, 3);
    assert_eq!(b.net.traffic().connections, 3);
    // The way back has to be learnt and dialled.
    assert!(matches!(
        b.net.ask(&id("a"), Lane::Control, MIRROR, Bytes::new(), DEADLINE).await,
        Err(AskError::NotSent { .. })
    ));
    b.net.learn(&id("a"), &a.address);
    assert_eq!(b.ask("a", Lane::Control, MIRROR, "xy").await, "yx");
    assert!(matches!(b.event().await, PeerEvent::Up(peer) if peer.node_id == id("a")));
}

async fn messages_arrive_in_order((a, mut b): (Node, Node)) {
    a.greet(&b).await;
    for number in 0..1000u32 {
        assert!(a.net.tell(&id("b"), Lane::Control, Service(9), Bytes::copy_from_slice(&number.to_be_bytes())));
    }
    for number in 0..1000u32 {
        let (from, service, body) = soon("a message", b.told.recv()).await.unwrap();
        assert_eq!((from, service), (id("a"), Service(9)));
        assert_eq!(&body[..], number.to_be_bytes());
    }
}

async fn a_stream_carries_frames_both_ways((a, b): (Node, Node)) {
    a.greet(&b).await;
    let mut echo = a.net.open(&id("b"), Lane::Bulk(0), Service(20)).await.unwrap();
    for number in 0..100u8 {
        echo.sender.send(Bytes::from(vec![number; usize::from(number) * 100])).await.unwrap();
    }
    drop(echo.sender);
    for number in 0..100u8 {
        let frame = soon("a frame", echo.receiver.recv()).await.unwrap();
        assert_eq!(frame, vec![number; usize::from(number) * 100]);
    }
    assert_eq!(soon("the end", echo.receiver.recv()).await, None);
}

async fn faults_reach_the_asker((a, b): (Node, Node)) {
    a.greet(&b).await;
    for (service, sentence) in [(FAULTY, "not today"), (HUGE, "too long"), (PANICKING, "dropped")] {
        let answer = a.net.ask(&id("b"), Lane::Bulk(0), service, Bytes::new(), DEADLINE).await;
        let Err(AskError::Fault(fault)) = answer else { panic!("{answer:?}") };
        assert!(fault.message.contains(sentence), "{fault}");
    }
    assert_eq!(a.ask("b", Lane::Bulk(0), MIRROR, "on").await, "no");
}

async fn both_ends_of_a_stream_hear_of_the_other((a, mut b): (Node, Node)) {
    a.greet(&b).await;
    let near = a.net.open(&id("b"), Lane::Bulk(0), HANDED).await.unwrap();
    let mut far = soon("a stream", b.opened.recv()).await.unwrap();
    // The reader at this end is gone: the writer at the other end hears of it, the other direction goes on.
    drop(near.receiver);
    let refused = async { while far.sender.send(Bytes::from_static(b"unwanted")).await.is_ok() {} };
    soon("the end of the sender", refused).await;
    near.sender.send(Bytes::from_static(b"wanted")).await.unwrap();
    assert_eq!(soon("a frame", far.receiver.recv()).await.unwrap(), "wanted");
    drop(near.sender);
    assert_eq!(soon("the end", far.receiver.recv()).await, None);
    assert_eq!(far.sender.send(Bytes::new()).await, Err(StreamEnded));
}

async fn large_bodies_arrive_whole((a, b): (Node, Node)) {
    a.greet(&b).await;
    for lane in [Lane::Control, Lane::Bulk(0)] {
        let body: Bytes = (0..lane.body_bytes_max()).map(|at| (at * 7 / 3) as u8).collect();
        let answer = a.net.ask(&id("b"), lane, MIRROR, body.clone(), DEADLINE).await.unwrap();
        assert!(answer.iter().rev().eq(body.iter()));
        let longer = Bytes::from(vec![0; lane.body_bytes_max() + 1]);
        let refused = a.net.ask(&id("b"), lane, MIRROR, longer.clone(), DEADLINE).await;
        assert!(matches!(refused, Err(AskError::NotSent { .. })));
        assert!(!a.net.tell(&id("b"), lane, MIRROR, longer));
    }
}

async fn a_stop_is_a_goodbye((mut a, mut b): (Node, Node)) {
    a.greet(&b).await;
    assert!(matches!(a.event().await, PeerEvent::Up(_)));
    b.net.learn(&id("a"), &a.address);
    assert!(!b.net.tell(&id("a"), Lane::Control, MIRROR, Bytes::new()), "no connection is up yet");
    assert!(matches!(b.event().await, PeerEvent::Up(_)));
    // What was told before the stop still arrives.
    assert!(b.net.tell(&id("a"), Lane::Control, Service(9), Bytes::from_static(b"last")));
    soon("the stop", b.net.stop()).await;
    assert_eq!(soon("a message", a.told.recv()).await.unwrap().2, "last");
    assert!(matches!(a.event().await, PeerEvent::Down(peer) if peer.node_id == id("b")));
    let refused = a.net.ask(&id("b"), Lane::Control, MIRROR, Bytes::new(), DEADLINE).await;
    assert!(matches!(refused, Err(AskError::NotSent { .. })), "{refused:?}");
    assert!(a.events.try_recv().is_err(), "a goodbye is no crash");
    let after = b.net.ask(&id("a"), Lane::Control, MIRROR, Bytes::new(), DEADLINE).await;
    assert!(matches!(after, Err(AskError::NotSent { .. })), "{after:?}");
    assert_eq!(b.net.traffic().connections, 0);
}
