//! Who is let in, who is turned away, and who hears of it.

use std::sync::Arc;

use bytes::Bytes;
use ha_net::wire::Wire;
use ha_net::wire::memory::MemoryNetwork;
use ha_net::{AskError, GreetError, Lane, PeerEvent, RefusalCode};
use tokio::io::AsyncWriteExt;

use crate::cast::{DEADLINE, MIRROR, Node, Script, id, soon};

async fn node(network: &MemoryNetwork, name: &'static str, host: &str) -> Node {
    Script::new(name, Arc::new(network.host(host)), host).start().await
}

#[tokio::test]
async fn another_cluster_is_refused_and_both_sides_say_so() {
    let network = MemoryNetwork::new();
    let mut a = node(&network, "a", "a").await;
    let mut script = Script::new("b", Arc::new(network.host("b")), "b");
    script.cluster = "other";
    let mut b = script.start().await;
    let answer = a.net.greet(&b.address).await;
    let Err(GreetError::Refused { refusal, address }) = answer else { panic!("{answer:?}") };
    assert_eq!((refusal.code, &address), (RefusalCode::ClusterName, &b.address));
    assert_eq!(refusal.message, "this is cluster other, not play");
    let PeerEvent::Refused { node_id, by_peer, refusal: told, .. } = a.event().await else { panic!("not refused") };
    assert_eq!((node_id, by_peer, &told), (Some(id("b")), true, &refusal));
    let PeerEvent::Refused { node_id, by_peer, refusal: told, .. } = b.event().await else { panic!("not refused") };
    assert_eq!((node_id, by_peer, &told), (Some(id("a")), false, &refusal));
    assert_eq!((a.net.traffic().refused, b.net.traffic().refused), (1, 1));
    assert_eq!(b.net.traffic().connections, 0);
}

#[tokio::test]
async fn the_dialling_gate_refuses_too() {
    let network = MemoryNetwork::new();
    let mut a = node(&network, "a", "a").await;
    let mut b = node(&network, "b", "b").await;
    // The other side would take anyone of this name, so that only our own gate can refuse.
    let answer = {
        let gate = Arc::clone(&b.gate);
        struct Swap(Arc<crate::cast::House>);
        impl ha_net::Gate for Swap {
            fn introduce(&self) -> ha_net::Introduction {
                self.0.introduce()
            }
            fn admit(&self, peer: &ha_net::Introduction) -> Result<(), ha_net::Refusal> {
                let message = format!("{} is not wanted", peer.node_id);
                Err(ha_net::Refusal { code: RefusalCode::Removed, message })
            }
        }
        let says = gate.says.lock().unwrap().clone();
        let own = crate::cast::House { says: std::sync::Mutex::new(ha_net::Introduction { node_id: id("c"), ..says }) };
        let config = ha_net::Config { listen: "0.0.0.0:0".parse().unwrap(), ..Default::default() };
        let wire = Arc::new(network.host("c"));
        let (net, events) = ha_net::start(config, wire, Arc::new(Swap(Arc::new(own))), Arc::new(Nobody)).await.unwrap();
        let answer = net.greet(&b.address).await;
        (answer, events, net)
    };
    let (answer, mut events, _net) = answer;
    assert!(matches!(&answer, Err(GreetError::Refused { refusal, .. }) if refusal.code == RefusalCode::Removed));
    assert!(matches!(soon("an event", events.recv()).await, Some(PeerEvent::Refused { by_peer: false, .. })));
    let PeerEvent::Refused { node_id, by_peer, refusal, .. } = b.event().await else { panic!("not refused") };
    assert_eq!((node_id, by_peer, refusal.code), (Some(id("c")), true, RefusalCode::Removed));
    a.greet(&b).await;
    assert!(matches!(a.event().await, PeerEvent::Up(_)));
}

struct Nobody;

impl ha_net::Handler for Nobody {
    fn told(&self, _: &ha_net::Peer, _: ha_net::Service, _: Bytes) {}

    fn asked(
        &self,
        _: &ha_net::Peer,
        _: ha_net::Service,
        body: Bytes,
    ) -> futures::future::BoxFuture<'static, Result<Bytes, ha_net::Fault>> {
        Box::pin(async { Ok(body) })
    }

    fn opened(
        &self,
        _: &ha_net::Peer,
        _: ha_net::Service,
        _: ha_net::FrameStream,
    ) -> futures::future::BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

#[tokio::test]
async fn a_node_that_greets_itself_knows_itself() {
    let network = MemoryNetwork::new();
    let mut a = node(&network, "a", "a").await;
    let answer = a.net.greet(&a.address).await;
    assert!(matches!(&answer, Err(GreetError::Myself { address }) if *address == a.address), "{answer:?}");
    assert!(a.events.try_recv().is_err(), "that is no refusal");
    a.net.learn(&id("a"), &a.address);
    let answer = a.net.ask(&id("a"), Lane::Control, MIRROR, Bytes::new(), DEADLINE).await;
    assert!(matches!(answer, Err(AskError::NotSent { .. })));
}

#[tokio::test]
async fn another_process_with_the_same_id_is_refused_whatever_its_life() {
    for incarnation in [1, 2] {
        let network = MemoryNetwork::new();
        let mut a = node(&network, "a", "a").await;
        let mut script = Script::new("a", Arc::new(network.host("b")), "b");
        script.incarnation = incarnation;
        script.config.seed += 1;
        let mut twin = script.start().await;
        let answer = a.net.greet(&twin.address).await;
        let Err(GreetError::Refused { refusal, .. }) = answer else { panic!("{answer:?}") };
        assert_eq!(refusal.code, RefusalCode::NodeId);
        assert!(matches!(a.event().await, PeerEvent::Refused { by_peer: true, .. }));
        assert!(matches!(twin.event().await, PeerEvent::Refused { by_peer: false, .. }));
    }
}

#[tokio::test]
async fn another_node_at_the_address_is_not_taken_for_the_one_that_was_meant() {
    let network = MemoryNetwork::new();
    let mut a = node(&network, "a", "a").await;
    let mut c = node(&network, "c", "c").await;
    a.net.learn(&id("b"), &c.address);
    let answer = a.net.ask(&id("b"), Lane::Control, MIRROR, Bytes::new(), DEADLINE).await;
    let Err(AskError::NotSent { reason }) = answer else { panic!("{answer:?}") };
    assert!(reason.contains("node c answered"), "{reason}");
    let refused = |event, by_us: bool| match event {
        PeerEvent::Refused { refusal, by_peer, .. } => refusal.code == RefusalCode::NodeId && by_peer != by_us,
        _ => false,
    };
    assert!(refused(a.event().await, true));
    assert!(refused(c.event().await, false));
}

#[tokio::test]
async fn greetings_at_once_lead_to_one_connection() {
    let network = MemoryNetwork::new();
    let mut a = node(&network, "a", "a").await;
    let b = node(&network, "b", "b").await;
    let greetings = futures::future::join_all((0..8).map(|_| a.net.greet(&b.address))).await;
    assert!(greetings.iter().all(|found| found.as_ref().is_ok_and(|found| found.node_id == id("b"))));
    assert!(matches!(a.event().await, PeerEvent::Up(_)));
    assert_eq!(a.ask("b", Lane::Control, MIRROR, "ab").await, "ba");
    assert_eq!((a.net.traffic().connections, b.net.traffic().connections), (1, 1));
    assert!(a.events.try_recv().is_err(), "the connection was replaced for nothing");
}

#[tokio::test]
async fn a_greeting_of_a_new_life_replaces_the_old_connection() {
    let network = MemoryNetwork::new();
    let mut a = node(&network, "a", "a").await;
    let b = node(&network, "b", "b").await;
    a.greet(&b).await;
    assert!(matches!(a.event().await, PeerEvent::Up(_)));
    // A process took the id over while the wire to the old one was cut, which nobody has noticed yet.
    network.cut("a", "b");
    let mut script = Script::new("b", Arc::new(network.host("b2")), "b2");
    script.incarnation = 2;
    let newer = script.start().await;
    // It says that it is found where the old one was, so that only the life differs.
    newer.gate.says.lock().unwrap().address = b.address.clone();
    soon("a greeting", a.net.greet(&newer.address)).await.unwrap();
    assert!(matches!(a.event().await, PeerEvent::Down(peer) if peer.incarnation.0 == 1));
    assert!(matches!(a.event().await, PeerEvent::Up(peer) if peer.incarnation.0 == 2));
    assert_eq!(a.ask("b", Lane::Control, MIRROR, "ab").await, "ba");
}

#[tokio::test]
async fn another_service_at_a_seed_is_no_node() {
    let network = MemoryNetwork::new();
    let a = node(&network, "a", "a").await;
    let web = network.host("web");
    let mut listener = web.listen("0.0.0.0:80".parse().unwrap()).await.unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await.unwrap();
        std::future::pending::<()>().await;
    });
    let answer = a.net.greet(&"web:80".parse().unwrap()).await;
    assert!(matches!(answer, Err(GreetError::NotANode { .. })), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn nobody_at_a_seed_is_unreachable() {
    let network = MemoryNetwork::new();
    let a = node(&network, "a", "a").await;
    network.host("empty");
    for place in ["empty:1", "nowhere:1"] {
        let answer = a.net.greet(&place.parse().unwrap()).await;
        assert!(matches!(answer, Err(GreetError::Unreachable { .. })), "{answer:?}");
    }
    network.cut("a", "empty");
    let answer = a.net.greet(&"empty:1".parse().unwrap()).await;
    let Err(GreetError::Unreachable { reason, .. }) = answer else { panic!("{answer:?}") };
    assert!(reason.contains("no answer"), "{reason}");
}
