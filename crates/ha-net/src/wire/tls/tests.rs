use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::testing::{DAY, Folder, TestAuthority, Validity};
use super::*;
use crate::wire::TcpWire;

const YEAR: Validity = Validity::For(DAY.saturating_mul(365));

async fn wire(files: TlsFiles, under: impl Wire) -> TlsWire {
    TlsWire::new(Arc::new(under), TlsKeys::load(files).await.unwrap())
}

/// The suite for all wires sends before the other side listens to anything, which no handshake survives; this is what
/// it asks for besides.
#[tokio::test]
async fn much_passes_both_ways_and_an_end_is_an_end() {
    let (folder, authority) = (Folder::new("passes"), TestAuthority::new());
    let files = |node| authority.issue(&folder, node, &[node], YEAR);
    let (a, b) = (wire(files("a"), TcpWire).await, wire(files("b"), TcpWire).await);
    let mut door = b.listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let near = a.dial(&door.local_addr().unwrap().into()).await.unwrap();
    let (far, from) = door.accept().await.unwrap();
    assert!(from.ip().is_loopback());
    let sent: Vec<u8> = (0..1_000_000u32).map(|number| (number % 251) as u8).collect();
    let exchange = |socket: Box<dyn Socket>| {
        let sent = sent.clone();
        async move {
            let (mut reads, mut writes) = tokio::io::split(socket);
            let mut heard = Vec::new();
            let write = async {
                writes.write_all(&sent).await.unwrap();
                writes.shutdown().await.unwrap();
            };
            tokio::join!(write, async { reads.read_to_end(&mut heard).await.unwrap() });
            heard == sent
        }
    };
    assert_eq!(tokio::join!(exchange(near), exchange(far)), (true, true));
}

/// One dials, the other listens, and each sends a byte; what each made of it.
async fn meet(a: TlsFiles, b: TlsFiles) -> (io::Result<u8>, io::Result<u8>) {
    let (a, b) = (wire(a, TcpWire).await, wire(b, TcpWire).await);
    let mut door = b.listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let near = a.dial(&door.local_addr().unwrap().into()).await.unwrap();
    let (far, _) = door.accept().await.unwrap();
    let exchange = |mut socket: Box<dyn Socket>| async move {
        socket.write_all(b"x").await?;
        socket.flush().await?;
        socket.read_u8().await
    };
    tokio::join!(exchange(near), exchange(far))
}

fn told(result: io::Result<u8>) -> (String, bool) {
    let error = result.expect_err("it was let in");
    let (refusal, by_peer) = refusal_of(&error).unwrap_or_else(|| panic!("no refusal: {error:?}"));
    assert_eq!(refusal.code, crate::RefusalCode::Secret);
    (refusal.message, by_peer)
}

#[tokio::test]
async fn nodes_of_one_authority_meet_and_others_do_not() {
    let (folder, authority, other) = (Folder::new("meet"), TestAuthority::new(), TestAuthority::new());
    let a = || authority.issue(&folder, "a", &["a"], YEAR);
    let (dialled, accepted) = meet(a(), authority.issue(&folder, "b", &["b"], YEAR)).await;
    assert_eq!((dialled.unwrap(), accepted.unwrap()), (b'x', b'x'));
    let (dialled, accepted) = meet(a(), other.issue(&folder, "b", &["b"], YEAR)).await;
    let (message, by_peer) = told(dialled);
    assert!(message.contains("CLUSTER_TLS_CA") && !by_peer, "{message}");
    let (message, by_peer) = told(accepted);
    assert!(message.contains("CLUSTER_TLS_CERT") && by_peer, "{message}");
}

/// Each side would take the other's certificate for its own reasons only: here the dialling one believes both
/// authorities, the accepting one its own.
#[tokio::test]
async fn the_accepting_side_checks_too() {
    let (folder, authority, other) = (Folder::new("accepts"), TestAuthority::new(), TestAuthority::new());
    let a = other.issue(&folder, "a", &["a"], YEAR);
    std::fs::write(&a.authorities, other.pem() + &authority.pem()).unwrap();
    let (dialled, accepted) = meet(a, authority.issue(&folder, "b", &["b"], YEAR)).await;
    assert!(told(dialled).1, "the other side told");
    assert!(!told(accepted).1);
}

struct Open;

impl crate::Gate for Open {
    fn introduce(&self) -> crate::Introduction {
        crate::Introduction {
            cluster_name: "play".to_owned(),
            cluster_id: None,
            generation: 0,
            node_id: "b".parse().unwrap(),
            incarnation: crate::Incarnation(1),
            address: "h:1".parse().unwrap(),
            claims: std::collections::BTreeMap::new(),
        }
    }

    fn admit(&self, _: &crate::Introduction) -> Result<(), crate::Refusal> {
        Ok(())
    }
}

impl crate::Handler for Open {
    fn told(&self, _: &crate::Peer, _: crate::Service, _: bytes::Bytes) {}

    fn asked(
        &self,
        _: &crate::Peer,
        _: crate::Service,
        body: bytes::Bytes,
    ) -> BoxFuture<'static, Result<bytes::Bytes, crate::Fault>> {
        Box::pin(std::future::ready(Ok(body)))
    }

    fn opened(&self, _: &crate::Peer, _: crate::Service, _: crate::FrameStream) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// The alert needs no certificate: whoever sends it is nobody, and may send it again from any port.
#[tokio::test]
async fn an_alert_of_a_stranger_turns_nobody_away() {
    let (folder, authority) = (Folder::new("alert"), TestAuthority::new());
    let under = Arc::new(wire(authority.issue(&folder, "b", &["b"], YEAR), TcpWire).await);
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = crate::Config { listen, ..crate::Config::default() };
    let (net, mut events) = crate::start(config, under, Arc::new(Open), Arc::new(Open)).await.unwrap();
    for sent in 1..=50 {
        let mut stranger = tokio::net::TcpStream::connect(net.local_addr()).await.unwrap();
        stranger.write_all(b"\x15\x03\x03\x00\x02\x02\x30").await.unwrap();
        while net.traffic().refused < sent {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
    let mut told = 0;
    while let Ok(event) = events.try_recv() {
        assert!(matches!(event, crate::PeerEvent::Refused { by_peer: false, .. }), "{event:?}");
        told += 1;
    }
    assert!((1..50).contains(&told), "{told} events");
}

/// While one authority follows another, nodes of both meet: none has to stop.
#[tokio::test]
async fn authorities_overlap() {
    let (folder, old, new) = (Folder::new("overlap"), TestAuthority::new(), TestAuthority::new());
    let (a, b) = (old.issue(&folder, "a", &["a"], YEAR), new.issue(&folder, "b", &["b"], YEAR));
    for files in [&a, &b] {
        std::fs::write(&files.authorities, old.pem() + &new.pem()).unwrap();
    }
    let (dialled, accepted) = meet(a, b).await;
    assert_eq!((dialled.unwrap(), accepted.unwrap()), (b'x', b'x'));
}

#[tokio::test]
async fn a_certificate_has_its_time() {
    let (folder, authority) = (Folder::new("time"), TestAuthority::new());
    let load = |validity| TlsKeys::load(authority.issue(&folder, "a", &["a"], validity));
    for (validity, word) in [(Validity::EndedBefore(DAY), "expired"), (Validity::From(DAY), "not valid yet")] {
        let error = load(validity).await.unwrap_err().to_string();
        assert!(error.contains(word) && error.contains("CLUSTER_TLS_CERT"), "{error}");
    }
    let left = load(Validity::For(3 * DAY)).await.unwrap().time_left();
    assert!(left > 3 * DAY - DAY / 100 && left <= 3 * DAY, "{left:?}");
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let (folder, authority) = (Folder::new("files"), TestAuthority::new());
    let files = || authority.issue(&folder, "a", &["a"], YEAR);
    let error = |files: TlsFiles| async { TlsKeys::load(files).await.unwrap_err().to_string() };
    let missing = folder.path().join("missing");
    assert!(error(TlsFiles { certificate: missing.clone(), ..files() }).await.starts_with("CLUSTER_TLS_CERT: "));
    assert!(error(TlsFiles { key: missing.clone(), ..files() }).await.starts_with("CLUSTER_TLS_KEY: "));
    assert!(error(TlsFiles { authorities: missing, ..files() }).await.starts_with("CLUSTER_TLS_CA: "));
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    assert!(error(TlsFiles { authorities: empty.clone(), ..files() }).await.contains("no certificate"));
    assert!(error(TlsFiles { key: empty, ..files() }).await.contains("no private key"));
    let other = TestAuthority::new().issue(&folder, "other", &["a"], YEAR);
    assert!(error(TlsFiles { key: other.key, ..files() }).await.contains("CLUSTER_TLS_KEY"));
    assert!(error(TlsFiles { authorities: other.authorities, ..files() }).await.contains("not signed by"));
}

#[tokio::test(start_paused = true)]
async fn renewed_files_come_into_use_and_broken_ones_do_not() {
    let (folder, authority) = (Folder::new("renewed"), TestAuthority::new());
    let files = authority.issue(&folder, "a", &["a"], Validity::For(3 * DAY));
    let keys = TlsKeys::load(files.clone()).await.unwrap();
    let ends = keys.ends_at_seconds();
    // A certificate without its key is half a renewal.
    let (certificate, key) = authority.sign(&["a"], YEAR);
    std::fs::write(&files.certificate, &certificate).unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert_eq!(keys.ends_at_seconds(), ends);
    std::fs::write(&files.key, &key).unwrap();
    while keys.ends_at_seconds() == ends {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    assert!(keys.time_left() > 300 * DAY);
}

#[test]
fn a_certificate_is_bound_to_the_id_or_the_address() {
    let authority = TestAuthority::new();
    let certificate = |of: &[&str]| {
        use tokio_rustls::rustls::pki_types::pem::PemObject;
        CertificateDer::from_pem_slice(authority.sign(of, YEAR).0.as_bytes()).unwrap()
    };
    let is_for = |of: &[&str], node: &str, address: &str| {
        names(&certificate(of), &node.parse().unwrap(), &address.parse().unwrap())
    };
    assert!(is_for(&["node-1"], "node-1", "h:1"));
    assert!(is_for(&["10.0.0.7"], "node-1", "10.0.0.7:1"));
    assert!(is_for(&["fd00::7"], "node-1", "[fd00::7]:1"));
    assert!(is_for(&["h.example"], "127", "h.example:1"), "an id that is no DNS name");
    assert!(!is_for(&["h.example"], "node-1", "h.example:1"));
    assert!(!is_for(&["node-3"], "node-2", "node-3:1"), "it is that of another node");
    assert!(!is_for(&["node-1"], "node-2", "h:1"));
    assert!(!is_for(&["node-1"], "node-12", "10.0.0.7:1"));
    assert!(!is_for(&["10.0.0.7"], "node-1", "10.0.0.8:1"));
}
