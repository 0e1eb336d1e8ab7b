//! Greetings between nodes that share a secret, and those that do not.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

use super::*;
use crate::codec::hello;
use crate::limits::HELLO_FRAME_BYTES_MAX;
use crate::secret::Secret;

/// A node of this name. Counts whom its gate was asked about.
struct House {
    name: &'static str,
    asked: AtomicUsize,
    nonces: Option<Nonces>,
    verdict: Result<(), Refusal>,
}

impl House {
    fn new(name: &'static str, secret: Option<&str>) -> Self {
        let nonces = secret.map(|secret| Nonces::new(Secret::new(secret), u64::from(crc32c::crc32c(name.as_bytes()))));
        Self { name, asked: AtomicUsize::new(0), nonces, verdict: Ok(()) }
    }

    fn refusing(name: &'static str, secret: &str) -> Self {
        let message = "node a was removed".to_owned();
        Self { verdict: Err(refusal(RefusalCode::Removed, message)), ..Self::new(name, Some(secret)) }
    }

    fn greeter(&self) -> Greeter<'_> {
        let instance = u64::from(crc32c::crc32c(self.name.as_bytes()));
        Greeter { gate: self, versions: Versions::OURS, instance, nonces: self.nonces.as_ref(), key: 0 }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Gate for House {
    fn introduce(&self) -> Introduction {
        Introduction {
            cluster_name: "play".to_owned(),
            cluster_id: None,
            generation: 0,
            node_id: self.name.parse().unwrap(),
            incarnation: Incarnation(1),
            address: "h:1".parse().unwrap(),
            claims: BTreeMap::new(),
        }
    }

    fn admit(&self, _: &Introduction) -> Result<(), Refusal> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.verdict.clone()
    }
}

fn pipe() -> (DuplexStream, DuplexStream) {
    tokio::io::duplex(HELLO_FRAME_BYTES_MAX)
}

type Met = Result<Greeted, GreetingError>;

async fn greet(a: &House, b: &House) -> (Met, Met) {
    let (near, far) = pipe();
    let (a, b) = (a.greeter(), b.greeter());
    let dialling = async { a.dial(Box::new(near), Lane::Control).await?.confirm().await };
    tokio::join!(dialling, b.accept(Box::new(far), || Ok(())))
}

fn refused(met: Met) -> (Refusal, bool) {
    match met {
        Err(GreetingError::Refused { refusal, by_peer, .. }) => (refusal, by_peer),
        Err(other) => panic!("not refused: {other:?}"),
        Ok(_) => panic!("admitted"),
    }
}

fn frames(of: DuplexStream) -> FramedRead<DuplexStream, LengthDelimitedCodec> {
    FramedRead::new(of, LengthDelimitedCodec::new())
}

fn with_length(frame: &[u8]) -> Vec<u8> {
    [&(frame.len() as u32).to_be_bytes(), frame].concat()
}

#[tokio::test]
async fn nodes_that_share_a_secret_meet() {
    let (a, b) = (House::new("a", Some("open sesame")), House::new("b", Some("open sesame")));
    let (dialled, accepted) = greet(&a, &b).await;
    assert_eq!(dialled.unwrap().introduction.node_id.as_str(), "b");
    assert_eq!(accepted.unwrap().introduction.node_id.as_str(), "a");
    assert_eq!((a.asked(), b.asked()), (1, 1));
}

#[tokio::test]
async fn without_the_same_secret_both_sides_refuse_and_no_gate_is_asked() {
    let cases = [(Some("open sesame"), Some("open sesam")), (Some("open sesame"), None), (None, Some("open sesame"))];
    for (of_a, of_b) in cases {
        let (a, b) = (House::new("a", of_a), House::new("b", of_b));
        let (dialled, accepted) = greet(&a, &b).await;
        for (met, told) in [(dialled, true), (accepted, false)] {
            let (refusal, by_peer) = refused(met);
            assert_eq!((refusal.code, by_peer), (RefusalCode::Secret, told), "{of_a:?} {of_b:?}");
            assert!(refusal.message.contains("CLUSTER_SECRET") && !refusal.message.contains("sesam"), "{refusal}");
        }
        assert_eq!((a.asked(), b.asked()), (0, 0), "{of_a:?} {of_b:?}");
    }
}

#[tokio::test]
async fn the_gates_of_those_who_share_a_secret_may_still_refuse() {
    let refusals = [
        (House::new("a", Some("x")), House::refusing("b", "x"), true),
        (House::refusing("a", "x"), House::new("b", Some("x")), false),
    ];
    for (a, b, told) in refusals {
        let (dialled, accepted) = greet(&a, &b).await;
        assert_eq!(refused(dialled).1, told);
        let (refusal, by_peer) = refused(accepted);
        assert_eq!((refusal.code, by_peer), (RefusalCode::Removed, !told));
    }
}

#[tokio::test]
async fn a_node_that_dials_itself_knows_itself() {
    let a = House::new("a", Some("x"));
    let (dialled, accepted) = greet(&a, &a).await;
    assert!(matches!((dialled, accepted), (Err(GreetingError::Myself), Err(GreetingError::Myself))));
}

/// All that the dialling side says in a good greeting.
async fn recorded(a: &House, b: &House) -> Vec<u8> {
    let (near, tap_near) = pipe();
    let (tap_far, far) = pipe();
    let (greeter_a, greeter_b) = (a.greeter(), b.greeter());
    let dialling = async { greeter_a.dial(Box::new(near), Lane::Control).await?.confirm().await };
    let (mut from_a, mut to_a) = tokio::io::split(tap_near);
    let (mut from_b, mut to_b) = tokio::io::split(tap_far);
    let mut said = Vec::new();
    let forth = async {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = from_a.read(&mut buffer).await {
            said.extend_from_slice(&buffer[..count]);
            to_b.write_all(&buffer[..count]).await.unwrap();
        }
    };
    let met = async { tokio::join!(dialling, greeter_b.accept(Box::new(far), || Ok(()))) };
    tokio::select! {
        met = met => { met.0.unwrap(); met.1.unwrap(); }
        () = forth => panic!("the dialling side went away"),
        _ = tokio::io::copy(&mut from_b, &mut to_a) => panic!("the accepting side went away"),
    }
    said
}

#[tokio::test]
async fn a_recorded_greeting_cannot_be_said_again() {
    let (a, b) = (House::new("a", Some("open sesame")), House::new("b", Some("open sesame")));
    let said = recorded(&a, &b).await;
    assert_eq!(b.asked(), 1);
    let (mut near, far) = pipe();
    near.write_all(&said).await.unwrap();
    let (refusal, _) = refused(b.greeter().accept(Box::new(far), || Ok(())).await);
    assert_eq!((refusal.code, b.asked()), (RefusalCode::Secret, 1));
}

/// A stranger without the secret answers a node that dials it, sending back what it can of what it hears.
#[tokio::test]
async fn an_answer_cannot_be_sent_back_to_its_sender() {
    let a = House::new("a", Some("open sesame"));
    let (near, far) = pipe();
    let (hears, mut says) = tokio::io::split(far);
    let mut hears = FramedRead::new(hears, LengthDelimitedCodec::new());
    let mirror = async {
        let hello = hears.next().await.unwrap().unwrap();
        let (_, Step::Hello(theirs)) = hello::open(Versions::OURS, &hello).unwrap() else { panic!("no hello") };
        // Its own nonce as the challenge.
        let challenge = Step::Challenge(theirs.nonce.unwrap());
        says.write_all(&hello::seal(Versions::OURS, &challenge).unwrap()).await.unwrap();
        let proof = hears.next().await.unwrap().unwrap();
        says.write_all(&with_length(&hello)).await.unwrap();
        says.write_all(&with_length(&proof)).await.unwrap();
        hears.next().await
    };
    let greeter = a.greeter();
    let (met, _) = tokio::join!(
        async {
            match greeter.dial(Box::new(near), Lane::Control).await {
                Ok(_) => panic!("it took its own words for another's"),
                Err(error) => error,
            }
        },
        mirror
    );
    assert!(
        matches!(met, GreetingError::Refused { refusal, by_peer: false, .. } if refusal.code == RefusalCode::Secret)
    );
    assert_eq!(a.asked(), 0);
}

/// A stranger that begins with a refusal, or answers with one, cannot make a node believe it.
#[tokio::test]
async fn no_refusal_of_a_stranger_is_believed() {
    let refuse = Refuse {
        refusal: refusal(RefusalCode::Removed, "go away\nfor ever".to_owned()),
        node_id: "b".parse().unwrap(),
        incarnation: Incarnation(1),
        instance: 7,
    };
    let bytes = hello::seal(Versions::OURS, &Step::Refuse(Box::new(refuse))).unwrap();
    for secret in [None, Some("open sesame")] {
        let a = House::new("a", secret);
        let (mut near, far) = pipe();
        near.write_all(&bytes).await.unwrap();
        let met = a.greeter().accept(Box::new(far), || Ok(())).await;
        assert!(matches!(met, Err(GreetingError::Malformed { .. })));
    }
    // At once, and after the proof.
    let challenge = hello::seal(Versions::OURS, &Step::Challenge([7; 32])).unwrap();
    for before in [Bytes::new(), challenge] {
        let a = House::new("a", Some("open sesame"));
        let (near, mut far) = pipe();
        far.write_all(&before).await.unwrap();
        far.write_all(&bytes).await.unwrap();
        far.shutdown().await.unwrap();
        let met = a.greeter().dial(Box::new(near), Lane::Control).await.map(drop);
        let Err(GreetingError::Refused { refusal, by_peer: true, node_id: None }) = met else { panic!("{met:?}") };
        assert_eq!(refusal.code, RefusalCode::Secret);
        assert!(!refusal.message.contains("go away"), "its words are not repeated: {refusal}");
    }
}

/// Each byte of the conversation counts: one that is changed on the way ends it.
#[tokio::test]
async fn whatever_is_changed_on_the_way_ends_the_greeting() {
    let (a, b) = (House::new("a", Some("open sesame")), House::new("b", Some("open sesame")));
    let (near, far) = pipe();
    let (mut to_b, b_end) = pipe();
    let greeter_b = b.greeter();
    let accepting = greeter_b.accept(Box::new(b_end), || Ok(())).fuse();
    let greeter_a = a.greeter();
    let dialling = greeter_a.dial(Box::new(near), Lane::Control).fuse();
    let mut from_a = frames(far);
    let meddling = async {
        let hello = from_a.next().await.unwrap().unwrap();
        let (_, Step::Hello(mut said)) = hello::open(Versions::OURS, &hello).unwrap() else { panic!("no hello") };
        said.introduction.node_id = "c".parse().unwrap();
        let changed = hello::seal(Versions::OURS, &Step::Hello(said)).unwrap();
        to_b.write_all(&changed).await.unwrap();
        // Everything else passes as it is.
        let (mut read_b, mut write_b) = tokio::io::split(to_b);
        let (mut read_a, mut write_a) = tokio::io::split(from_a.into_inner());
        tokio::join!(tokio::io::copy(&mut read_a, &mut write_b), tokio::io::copy(&mut read_b, &mut write_a)).0.unwrap();
    };
    tokio::pin!(accepting, dialling, meddling);
    let met = tokio::select! {
        met = &mut accepting => met,
        _ = &mut dialling => panic!("the accepting side must notice first"),
        () = &mut meddling => panic!("the wires stay up"),
    };
    assert_eq!((refused(met).0.code, b.asked()), (RefusalCode::Secret, 0));
}
