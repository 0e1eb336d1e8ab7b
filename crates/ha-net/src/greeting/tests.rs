use std::collections::BTreeMap;

use futures::StreamExt;
use tokio::io::AsyncWriteExt;

use super::*;
use crate::limits::HELLO_FRAME_BYTES_MAX;

/// What node `b` of that life offers to node `a`.
pub(crate) async fn offer_of(incarnation: u64) -> Offer {
    let (near, far) = tokio::io::duplex(HELLO_FRAME_BYTES_MAX);
    let (a, b) = (Named("a", 1), Named("b", incarnation));
    let (a, b) = (greeter(&a, 1, 1), greeter(&b, 1, 1));
    // The other side waits for a confirmation that never comes.
    let accepting = b.accept(Box::new(far), || Ok(()));
    tokio::select! {
        biased;
        offer = a.dial(Box::new(near), Lane::Control) => offer.unwrap(),
        _ = accepting => panic!("it was not confirmed"),
    }
}

struct Named(&'static str, u64);

impl Gate for Named {
    fn introduce(&self) -> Introduction {
        Introduction {
            cluster_name: "play".to_owned(),
            cluster_id: None,
            generation: 0,
            node_id: self.0.parse().unwrap(),
            incarnation: Incarnation(self.1),
            address: "h:1".parse().unwrap(),
            claims: BTreeMap::new(),
        }
    }

    fn admit(&self, _: &Introduction) -> Result<(), Refusal> {
        Ok(())
    }
}

fn greeter(gate: &Named, lowest: u16, highest: u16) -> Greeter<'_> {
    let instance = u64::from(crc32c::crc32c(gate.0.as_bytes()));
    Greeter { gate, versions: Versions { lowest, highest }, instance, nonces: None, key: 0 }
}

async fn greet(a: Greeter<'_>, b: Greeter<'_>) -> (Result<Greeted, GreetingError>, Result<Greeted, GreetingError>) {
    let (near, far) = tokio::io::duplex(HELLO_FRAME_BYTES_MAX);
    let dialling = async { a.dial(Box::new(near), Lane::Bulk(3)).await?.confirm().await };
    tokio::join!(dialling, b.accept(Box::new(far), || Ok(())))
}

#[tokio::test]
async fn nodes_of_neighbouring_versions_understand_one_another() {
    for (ours, theirs) in [((1, 1), (1, 2)), ((1, 2), (1, 1)), ((1, 2), (2, 3))] {
        let (a, b) = (Named("a", 1), Named("b", 1));
        let (dialled, accepted) = greet(greeter(&a, ours.0, ours.1), greeter(&b, theirs.0, theirs.1)).await;
        let (dialled, accepted) = (dialled.unwrap(), accepted.unwrap());
        assert_eq!((dialled.introduction.node_id.as_str(), dialled.lane), ("b", Lane::Bulk(3)));
        assert_eq!((accepted.introduction.node_id.as_str(), accepted.lane), ("a", Lane::Bulk(3)));
    }
}

#[tokio::test]
async fn nodes_without_a_common_version_name_both_ranges_on_both_sides() {
    let (a, b) = (Named("a", 1), Named("b", 1));
    let (dialled, accepted) = greet(greeter(&a, 1, 2), greeter(&b, 3, 4)).await;
    for (result, expected) in [(dialled, true), (accepted, false)] {
        let Err(GreetingError::Refused { refusal, by_peer, .. }) = result else { panic!("not refused") };
        assert_eq!((refusal.code, by_peer), (RefusalCode::Version, expected));
        assert!(refusal.message.contains("3 to 4") && refusal.message.contains("1 to 2"), "{refusal}");
    }
}

#[tokio::test]
async fn no_greeting_goes_past_the_bound_of_the_accepting_side() {
    let (a, b) = (Named("a", 1), Named("b", 1));
    let (near, far) = tokio::io::duplex(HELLO_FRAME_BYTES_MAX);
    let busy = || Err(refusal(RefusalCode::Busy, "full".to_owned()));
    let (a, b) = (greeter(&a, 1, 1), greeter(&b, 1, 1));
    let (dialled, accepted) = tokio::join!(a.dial(Box::new(near), Lane::Control), b.accept(Box::new(far), busy));
    assert!(matches!(dialled, Err(GreetingError::Refused { by_peer: true, .. })));
    assert!(matches!(accepted, Err(GreetingError::Refused { by_peer: false, .. })));
}

#[tokio::test]
async fn a_lane_beyond_the_bound_is_refused() {
    let (a, b) = (Named("a", 1), Named("b", 1));
    let (near, far) = tokio::io::duplex(HELLO_FRAME_BYTES_MAX);
    let (a, b) = (greeter(&a, 1, 1), greeter(&b, 1, 1));
    let lane = Lane::Bulk(BULK_CONNECTIONS_MAX as u8);
    let (dialled, _) = tokio::join!(a.dial(Box::new(near), lane), b.accept(Box::new(far), || Ok(())));
    let Err(GreetingError::Refused { refusal, .. }) = dialled else { panic!("not refused") };
    assert_eq!(refusal.code, RefusalCode::Busy);
}

#[tokio::test]
async fn an_offer_that_is_dropped_admits_nobody() {
    let (a, b) = (Named("a", 1), Named("b", 1));
    let (near, far) = tokio::io::duplex(HELLO_FRAME_BYTES_MAX);
    let (a, b) = (greeter(&a, 1, 1), greeter(&b, 1, 1));
    let dialling = async { a.dial(Box::new(near), Lane::Control).await.map(drop) };
    let (dialled, accepted) = tokio::join!(dialling, b.accept(Box::new(far), || Ok(())));
    assert!(dialled.is_ok());
    assert!(matches!(accepted, Err(GreetingError::Io(_))));
}

#[tokio::test]
async fn bytes_that_follow_the_greeting_closely_are_kept() {
    let (a, b) = (Named("a", 1), Named("b", 1));
    let (near, far) = tokio::io::duplex(HELLO_FRAME_BYTES_MAX);
    let (a, b) = (greeter(&a, 1, 1), greeter(&b, 1, 1));
    let dialling = async {
        let mut greeted = a.dial(Box::new(near), Lane::Control).await?.confirm().await?;
        greeted.framed.get_mut().write_all(&[0, 0, 0, 2, 5, 6]).await?;
        Ok::<_, GreetingError>(greeted)
    };
    // The duplex is polled in order, so that confirmation and frame are read at once.
    let (dialled, accepted) = tokio::join!(dialling, b.accept(Box::new(far), || Ok(())));
    let mut framed = accepted.unwrap().into_framed();
    drop(dialled);
    assert_eq!(framed.next().await.unwrap().unwrap(), [5, 6][..]);
    assert!(framed.next().await.is_none());
}

/// A gate of a generation, which notes those of its peers.
struct Aged(&'static str, u64, std::sync::Mutex<Vec<u64>>);

impl Gate for Aged {
    fn introduce(&self) -> Introduction {
        Introduction { generation: self.1, ..Named(self.0, 1).introduce() }
    }

    fn admit(&self, peer: &Introduction) -> Result<(), Refusal> {
        self.2.lock().unwrap().push(peer.generation);
        match peer.generation.cmp(&self.1) {
            std::cmp::Ordering::Less => Err(refusal(RefusalCode::Generation, "left behind".to_owned())),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(refusal(RefusalCode::Busy, "about to stop".to_owned())),
        }
    }
}

#[tokio::test]
async fn who_is_left_behind_learns_from_a_hello_what_it_has_to_join() {
    let aged = |name, generation| Aged(name, generation, std::sync::Mutex::default());
    for (ours, theirs) in [(0, 1), (1, 0)] {
        let (a, b) = (aged("a", ours), aged("b", theirs));
        let versions = Versions { lowest: 1, highest: 1 };
        let greeter = |gate| Greeter { gate, versions, instance: 1, nonces: None, key: 0 };
        let (dialled, accepted) = greet(greeter(&a as &dyn Gate), Greeter { instance: 2, ..greeter(&b) }).await;
        for result in [dialled, accepted] {
            assert!(matches!(result, Err(GreetingError::Refused { .. })));
        }
        let old = if ours < theirs { &a } else { &b };
        assert_eq!(*old.2.lock().unwrap(), [1]);
    }
}
