//! The first frames of a connection: each side says who it is and decides whether the other may talk to it.
//!
//! ```text
//! dialling side                    accepting side
//!   hello            ──────────►     admit?
//!     admit?         ◄──────────   hello, or refuse
//!   confirm or refuse ─────────►
//! ```
//! Nothing else is read before the last step, and nothing here changes any state.

use std::fmt::Display;
use std::io;

use bytes::BytesMut;
use futures::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

use crate::codec::frame::LENGTH_BYTES;
use crate::codec::hello::{self, Hello, Proof, Refuse, Step, StepError, Versions};
use crate::connection::driver::Framed;
use crate::limits::{BULK_CONNECTIONS_MAX, HELLO_FRAME_BYTES_MAX};
use crate::wire::Socket;
use crate::{Gate, Introduction, Lane, NodeId, Refusal, RefusalCode};

/// What this side brings to a greeting.
pub(crate) struct Greeter<'a> {
    pub(crate) gate: &'a dyn Gate,
    pub(crate) versions: Versions,
    /// Of this process.
    pub(crate) instance: u64,
}

/// A greeting that both sides have passed.
pub(crate) struct Greeted {
    pub(crate) framed: Framed,
    pub(crate) introduction: Introduction,
    pub(crate) lane: Lane,
}

/// The other side has admitted us, and we it; it waits for our word.
pub(crate) struct Offer {
    greeted: Greeted,
    versions: Versions,
}

/// Why a greeting led to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GreetingError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("this very process answered")]
    Myself,
    #[error("{refusal}")]
    Refused { refusal: Refusal, node_id: Option<NodeId>, by_peer: bool },
    /// Not a greeting at all.
    #[error("{reason}")]
    Malformed { reason: String },
}

fn malformed(error: impl Display) -> GreetingError {
    GreetingError::Malformed { reason: error.to_string() }
}

impl Greeter<'_> {
    /// The dialling side's half, up to its own last word.
    pub(crate) async fn dial(&self, socket: Box<dyn Socket>, lane: Lane) -> Result<Offer, GreetingError> {
        let mut framed = frame(socket);
        let ours = self.gate.introduce();
        self.send(&mut framed, &self.hello(&ours, lane)).await?;
        let theirs = self.hear(&mut framed, &ours).await?;
        if theirs.lane != lane {
            return Err(malformed("the peer answered for another lane"));
        }
        self.judge(&mut framed, &ours, &theirs).await?;
        let greeted = Greeted { framed, introduction: theirs.introduction, lane };
        Ok(Offer { greeted, versions: self.versions })
    }

    /// The accepting side's half. `may_enter` is asked last, after the gate.
    pub(crate) async fn accept(
        &self,
        socket: Box<dyn Socket>,
        may_enter: impl FnOnce() -> Result<(), Refusal>,
    ) -> Result<Greeted, GreetingError> {
        let mut framed = frame(socket);
        let ours = self.gate.introduce();
        let theirs = self.hear(&mut framed, &ours).await?;
        self.judge(&mut framed, &ours, &theirs).await?;
        if matches!(theirs.lane, Lane::Bulk(number) if usize::from(number) >= BULK_CONNECTIONS_MAX) {
            let message = format!("one node may keep {BULK_CONNECTIONS_MAX} bulk connections");
            return self.turn_away(&mut framed, &ours, &theirs, refusal(RefusalCode::Busy, message)).await;
        }
        if let Err(refusal) = may_enter() {
            return self.turn_away(&mut framed, &ours, &theirs, refusal).await;
        }
        self.send(&mut framed, &self.hello(&ours, theirs.lane)).await?;
        match self.receive(&mut framed).await? {
            Ok((_, Step::Confirm(_))) => Ok(Greeted { framed, introduction: theirs.introduction, lane: theirs.lane }),
            Ok((_, Step::Refuse(refuse))) => Err(self.refused_by(*refuse)),
            Ok((_, Step::Hello(_))) => Err(malformed("a second hello")),
            Err(error) => Err(malformed(error)),
        }
    }

    fn hello(&self, ours: &Introduction, lane: Lane) -> Step {
        let (introduction, proof) = (ours.clone(), Proof::default());
        Step::Hello(Box::new(Hello { introduction, lane, instance: self.instance, proof }))
    }

    /// Waits for the other side's hello; turns it away when there is no common version.
    async fn hear(&self, framed: &mut Framed, ours: &Introduction) -> Result<Hello, GreetingError> {
        match self.receive(framed).await? {
            Ok((_, Step::Hello(hello))) => Ok(*hello),
            Ok((_, Step::Refuse(refuse))) => Err(self.refused_by(*refuse)),
            Ok((_, Step::Confirm(_))) => Err(malformed("a confirmation before the hello")),
            Err(StepError::Versions { theirs }) => {
                let message = format!(
                    "no protocol version in common: node {} speaks {}, the other one {theirs}; upgrade the older one",
                    ours.node_id, self.versions
                );
                let refusal = refusal(RefusalCode::Version, message);
                self.send(framed, &self.refuse(ours, &refusal)).await?;
                Err(GreetingError::Refused { refusal, node_id: None, by_peer: false })
            }
            Err(error) => Err(malformed(error)),
        }
    }

    /// Asks the gate about the other side. Its word counts more than the check of the id after it, since it may give
    /// the better reason.
    async fn judge(&self, framed: &mut Framed, ours: &Introduction, theirs: &Hello) -> Result<(), GreetingError> {
        let peer = &theirs.introduction;
        let same_id = peer.node_id == ours.node_id;
        if same_id && peer.incarnation == ours.incarnation && theirs.instance == self.instance {
            let message = format!("node {} has dialled itself", ours.node_id);
            self.send(framed, &self.refuse(ours, &refusal(RefusalCode::NodeId, message))).await?;
            return Err(GreetingError::Myself);
        }
        let verdict = match self.gate.admit(peer) {
            Ok(()) if same_id => {
                let message = format!(
                    "two nodes call themselves {}; give each an id and a data directory of its own",
                    ours.node_id
                );
                Err(refusal(RefusalCode::NodeId, message))
            }
            verdict => verdict,
        };
        match verdict {
            Ok(()) => Ok(()),
            Err(refusal) => self.turn_away(framed, ours, theirs, refusal).await,
        }
    }

    async fn turn_away<T>(
        &self,
        framed: &mut Framed,
        ours: &Introduction,
        theirs: &Hello,
        refusal: Refusal,
    ) -> Result<T, GreetingError> {
        self.send(framed, &self.refuse(ours, &refusal)).await?;
        Err(GreetingError::Refused { refusal, node_id: Some(theirs.introduction.node_id.clone()), by_peer: false })
    }

    fn refuse(&self, ours: &Introduction, refusal: &Refusal) -> Step {
        let (refusal, node_id) = (refusal.clone(), ours.node_id.clone());
        Step::Refuse(Box::new(Refuse { refusal, node_id, incarnation: ours.incarnation, instance: self.instance }))
    }

    fn refused_by(&self, refuse: Refuse) -> GreetingError {
        let ours = self.gate.introduce();
        if refuse.instance == self.instance && refuse.node_id == ours.node_id && refuse.incarnation == ours.incarnation
        {
            return GreetingError::Myself;
        }
        GreetingError::Refused { refusal: refuse.refusal, node_id: Some(refuse.node_id), by_peer: true }
    }

    async fn send(&self, framed: &mut Framed, step: &Step) -> Result<(), GreetingError> {
        send(framed, self.versions, step).await
    }

    async fn receive(&self, framed: &mut Framed) -> Result<Result<(Versions, Step), StepError>, GreetingError> {
        match framed.next().await {
            Some(Ok(frame)) => Ok(hello::open(self.versions, &frame)),
            Some(Err(error)) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::Other) => {
                Err(malformed(error))
            }
            Some(Err(error)) => Err(error.into()),
            None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed during the greeting").into()),
        }
    }
}

impl Offer {
    /// Who answered.
    pub(crate) fn introduction(&self) -> &Introduction {
        &self.greeted.introduction
    }

    /// Takes the connection. An offer that is dropped instead leaves no trace at the other side.
    pub(crate) async fn confirm(mut self) -> Result<Greeted, GreetingError> {
        send(&mut self.greeted.framed, self.versions, &Step::Confirm(Proof::default())).await?;
        Ok(self.greeted)
    }

    /// Turns the other side away after all.
    pub(crate) async fn turn_away(mut self, ours: &Introduction, instance: u64, refusal: Refusal) -> GreetingError {
        let node_id = Some(self.greeted.introduction.node_id.clone());
        let (sent, incarnation) = (refusal.clone(), ours.incarnation);
        let refuse = Refuse { refusal: sent, node_id: ours.node_id.clone(), incarnation, instance };
        // It is turned away also when it does not hear of it.
        let _ = send(&mut self.greeted.framed, self.versions, &Step::Refuse(Box::new(refuse))).await;
        GreetingError::Refused { refusal, node_id, by_peer: false }
    }
}

impl Greeted {
    /// The socket, made ready for the frames of its lane.
    pub(crate) fn into_framed(self) -> Framed {
        let mut framed = self.framed;
        framed.decoder_mut().set_max_frame_length(self.lane.frame_bytes_max());
        let mut buffer = BytesMut::with_capacity(self.lane.read_bytes());
        buffer.extend_from_slice(framed.read_buffer());
        *framed.read_buffer_mut() = buffer;
        framed
    }
}

fn refusal(code: RefusalCode, message: String) -> Refusal {
    Refusal { code, message }
}

fn frame(socket: Box<dyn Socket>) -> Framed {
    let codec = LengthDelimitedCodec::builder()
        .length_field_length(LENGTH_BYTES)
        .max_frame_length(HELLO_FRAME_BYTES_MAX)
        .new_codec();
    FramedRead::with_capacity(socket, codec, 1024)
}

async fn send(framed: &mut Framed, versions: Versions, step: &Step) -> Result<(), GreetingError> {
    let bytes = hello::seal(versions, step).map_err(malformed)?;
    framed.get_mut().write_all(&bytes).await?;
    framed.get_mut().flush().await?;
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::Incarnation;

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
        Greeter { gate, versions: Versions { lowest, highest }, instance }
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
}
