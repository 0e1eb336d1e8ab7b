//! The first frames of a connection: each side says who it is and decides whether the other may talk to it.
//!
//! ```text
//! dialling side                    accepting side
//!   hello            ──────────►
//!                    ◄──────────   challenge            only where nodes share a secret
//!   prove            ──────────►     admit?
//!     admit?         ◄──────────   hello, or refuse
//!   confirm or refuse ─────────►
//! ```
//! Nothing else is read before the last step, and nothing here changes any state. Where nodes share a secret, each step
//! after the challenge is followed by a proof of it (see [`crate::secret`]). The dialling side proves itself first, so
//! that a stranger who dials learns nothing that a guess could be tried on; no gate is asked about a peer, and no
//! refusal is believed, before the proof.
//!
//! Who is of a lower generation is not told so with a refusal but with the hello of the higher one, from which it learns
//! what it has to join anew; whatever it answers, the connection ends.

mod talk;

use bytes::BytesMut;
use std::io;

use crate::codec::hello::{Hello, Refuse, Step, StepError, Versions};
use crate::connection::driver::Framed;
use crate::limits::BULK_CONNECTIONS_MAX;
use crate::secret::{Nonce, Nonces, Part, Transcript};
use crate::wire::{Socket, tls};
use crate::{Gate, Incarnation, Introduction, Lane, NodeId, Refusal, RefusalCode};
use talk::{Heard, Talk, malformed};

/// What this side brings to a greeting.
pub(crate) struct Greeter<'a> {
    pub(crate) gate: &'a dyn Gate,
    pub(crate) versions: Versions,
    /// Of this process.
    pub(crate) instance: u64,
    /// Where nodes share a secret.
    pub(crate) nonces: Option<&'a Nonces>,
    /// Which secret is shown by whoever dials.
    pub(crate) key: usize,
}

/// A greeting that both sides have passed.
pub(crate) struct Greeted {
    pub(crate) framed: Framed,
    pub(crate) introduction: Introduction,
    pub(crate) lane: Lane,
}

/// The other side has admitted us, and we it; it waits for our word.
pub(crate) struct Offer {
    talk: Talk,
    introduction: Introduction,
    lane: Lane,
}

/// Why a greeting led to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GreetingError {
    #[error(transparent)]
    Io(io::Error),
    #[error("this very process answered")]
    Myself,
    #[error("{refusal}")]
    Refused { refusal: Refusal, node_id: Option<NodeId>, by_peer: bool },
    /// Not a greeting at all.
    #[error("{reason}")]
    Malformed { reason: String },
}

impl GreetingError {
    /// Whether the other side does not know the secret that it was shown.
    pub(crate) fn is_about_the_secret(&self) -> bool {
        matches!(self, Self::Refused { refusal, by_peer: true, .. } if refusal.code == RefusalCode::Secret)
    }

    /// What it amounts to when the other side came by itself: anybody can send an alert of TLS, so that one which did not
    /// even say who it is has turned nobody away.
    pub(crate) fn of_caller(self) -> Self {
        match self {
            Self::Refused { refusal, node_id: None, .. } => Self::Refused { refusal, node_id: None, by_peer: false },
            other => other,
        }
    }
}

impl From<io::Error> for GreetingError {
    /// A handshake that failed is a refusal; everything else of the wire is not.
    fn from(error: io::Error) -> Self {
        match tls::refusal_of(&error) {
            Some((refusal, by_peer)) => Self::Refused { refusal, node_id: None, by_peer },
            None => Self::Io(error),
        }
    }
}

impl Greeter<'_> {
    fn talk(&self, socket: Box<dyn Socket>, part: Part) -> Talk {
        let key = (part == Part::Dialling).then_some(self.key);
        Talk::new(socket, self.versions, part, self.nonces.map(|nonces| Transcript::new(nonces.keys(), key)))
    }

    /// The dialling side's half, up to its own last word.
    pub(crate) async fn dial(&self, socket: Box<dyn Socket>, lane: Lane) -> Result<Offer, GreetingError> {
        let mut talk = self.talk(socket, Part::Dialling);
        let ours = self.gate.introduce();
        let nonce = self.nonces.map(|nonces| nonces.next(ours.incarnation.0));
        talk.send(&self.hello(&ours, lane, nonce)).await?;
        if self.nonces.is_some() {
            self.answer_challenge(&mut talk, &ours).await?;
        }
        let theirs = match self.hear(&mut talk, &ours).await? {
            Heard { step: Step::Hello(hello), proved: true, .. } => *hello,
            Heard { step: Step::Refuse(refuse), proved: true, .. } => return Err(self.refused_by(*refuse)),
            Heard { step: Step::Refuse(refuse), proved: false, versions } => {
                return Err(self.refused_by_nobody(&refuse, versions, &ours));
            }
            Heard { proved: false, .. } => return Err(unproved(&ours)),
            Heard { .. } => return Err(malformed("no hello from the other side")),
        };
        if theirs.lane != lane {
            return Err(malformed("the peer answered for another lane"));
        }
        self.judge(&mut talk, &ours, &theirs).await?;
        Ok(Offer { talk, introduction: theirs.introduction, lane })
    }

    async fn answer_challenge(&self, talk: &mut Talk, ours: &Introduction) -> Result<(), GreetingError> {
        let heard = self.hear(talk, ours).await?;
        match heard.step {
            Step::Challenge(_) => talk.prove().await,
            Step::Refuse(refuse) => Err(self.refused_by_nobody(&refuse, heard.versions, ours)),
            Step::Hello(_) => Err(unproved(ours)),
            Step::Confirm | Step::Prove(_) => Err(malformed("no challenge from the other side")),
        }
    }

    /// The accepting side's half. `may_enter` is asked last, after the gate.
    pub(crate) async fn accept(
        &self,
        socket: Box<dyn Socket>,
        may_enter: impl FnOnce() -> Result<(), Refusal>,
    ) -> Result<Greeted, GreetingError> {
        let mut talk = self.talk(socket, Part::Accepting);
        let ours = self.gate.introduce();
        // Who begins with a refusal was not asked anything.
        let Heard { step: Step::Hello(theirs), .. } = self.hear(&mut talk, &ours).await? else {
            return Err(malformed("the first step is no hello"));
        };
        self.challenge(&mut talk, &ours, &theirs).await?;
        self.judge(&mut talk, &ours, &theirs).await?;
        if matches!(theirs.lane, Lane::Bulk(number) if usize::from(number) >= BULK_CONNECTIONS_MAX) {
            let message = format!("one node may keep {BULK_CONNECTIONS_MAX} bulk connections");
            return self.turn_away(&mut talk, &ours, &theirs, refusal(RefusalCode::Busy, message)).await;
        }
        if let Err(refusal) = may_enter() {
            return self.turn_away(&mut talk, &ours, &theirs, refusal).await;
        }
        talk.send(&self.hello(&ours, theirs.lane, None)).await?;
        match talk.receive().await?.map_err(malformed)? {
            Heard { proved: false, .. } => Err(malformed("the last step came without proof of the secret")),
            Heard { step: Step::Confirm, .. } => {
                Ok(Greeted { framed: talk.framed, introduction: theirs.introduction, lane: theirs.lane })
            }
            Heard { step: Step::Refuse(refuse), .. } => Err(self.refused_by(*refuse)),
            Heard { .. } => Err(malformed("neither a confirmation nor a refusal")),
        }
    }

    /// Sees to it that both sides share a secret, or neither has one. Nothing is known of a peer that fails here: what
    /// it calls itself is only repeated.
    async fn challenge(&self, talk: &mut Talk, ours: &Introduction, theirs: &Hello) -> Result<(), GreetingError> {
        let (us, them) = (&ours.node_id, &theirs.introduction.node_id);
        let message = match (self.nonces, &theirs.nonce) {
            (None, None) => return Ok(()),
            (Some(nonces), Some(_)) => {
                if talk.challenge(nonces.next(ours.incarnation.0)).await? {
                    return Ok(());
                }
                format!(
                    "the secrets (CLUSTER_SECRET) of node {us} and of the peer that calls itself {them} differ; \
                     give every node the same one"
                )
            }
            (Some(_), None) => format!(
                "node {us} has a secret (CLUSTER_SECRET), and the peer that calls itself {them} has none; \
                 give every node the same one"
            ),
            (None, Some(_)) => format!(
                "node {us} has no secret (CLUSTER_SECRET), and the peer that calls itself {them} has one; \
                 give every node the same one"
            ),
        };
        let refusal = refusal(RefusalCode::Secret, message);
        talk.send(&self.refuse_stranger(ours, &refusal)).await?;
        Err(GreetingError::Refused { refusal, node_id: None, by_peer: false })
    }

    fn hello(&self, ours: &Introduction, lane: Lane, nonce: Option<Nonce>) -> Step {
        Step::Hello(Box::new(Hello { introduction: ours.clone(), lane, instance: self.instance, nonce }))
    }

    /// Waits for a step; turns the other side away when there is no common version.
    async fn hear(&self, talk: &mut Talk, ours: &Introduction) -> Result<Heard, GreetingError> {
        match talk.receive().await? {
            Ok(heard) => Ok(heard),
            Err(StepError::Versions { theirs }) => {
                let refusal = refusal(RefusalCode::Version, self.no_common_version(ours, theirs));
                talk.send(&self.refuse_stranger(ours, &refusal)).await?;
                Err(GreetingError::Refused { refusal, node_id: None, by_peer: false })
            }
            Err(error) => Err(malformed(error)),
        }
    }

    fn no_common_version(&self, ours: &Introduction, theirs: Versions) -> String {
        format!(
            "no protocol version in common: node {} speaks {}, the other one {theirs}; upgrade the older one",
            ours.node_id, self.versions
        )
    }

    /// Asks the gate about the other side. Its word counts more than the check of the id after it, since it may give
    /// the better reason.
    async fn judge(&self, talk: &mut Talk, ours: &Introduction, theirs: &Hello) -> Result<(), GreetingError> {
        let peer = &theirs.introduction;
        let same_id = peer.node_id == ours.node_id;
        if same_id && peer.incarnation == ours.incarnation && theirs.instance == self.instance {
            let message = format!("node {} has dialled itself", ours.node_id);
            talk.send(&self.refuse(ours, &refusal(RefusalCode::NodeId, message))).await?;
            return Err(GreetingError::Myself);
        }
        if !talk.may_be(&peer.node_id, &peer.address) {
            let message = format!(
                "the certificate (CLUSTER_TLS_CERT) of the peer that calls itself {0} at {1} names neither; \
                 it needs the DNS name {0}",
                peer.node_id, peer.address
            );
            return self.turn_away(talk, ours, theirs, refusal(RefusalCode::Secret, message)).await;
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
            Err(refusal) => self.turn_away(talk, ours, theirs, refusal).await,
        }
    }

    async fn turn_away<T>(
        &self,
        talk: &mut Talk,
        ours: &Introduction,
        theirs: &Hello,
        refusal: Refusal,
    ) -> Result<T, GreetingError> {
        if refusal.code == RefusalCode::Generation && talk.part() == Part::Accepting {
            talk.send(&self.hello(ours, theirs.lane, None)).await?;
            // Read only so that the hello is not lost to a connection that ends with something unread.
            let _ = talk.receive().await;
        } else {
            talk.send(&self.refuse(ours, &refusal)).await?;
        }
        Err(GreetingError::Refused { refusal, node_id: Some(theirs.introduction.node_id.clone()), by_peer: false })
    }

    fn refuse(&self, ours: &Introduction, refusal: &Refusal) -> Step {
        let (refusal, node_id) = (refusal.clone(), ours.node_id.clone());
        Step::Refuse(Box::new(Refuse { refusal, node_id, incarnation: ours.incarnation, instance: self.instance }))
    }

    /// Where nodes share a secret, a stranger does not learn which life of which process it has met.
    fn refuse_stranger(&self, ours: &Introduction, refusal: &Refusal) -> Step {
        if self.nonces.is_none() {
            return self.refuse(ours, refusal);
        }
        let (refusal, node_id) = (refusal.clone(), ours.node_id.clone());
        Step::Refuse(Box::new(Refuse { refusal, node_id, incarnation: Incarnation(0), instance: 0 }))
    }

    fn refused_by(&self, refuse: Refuse) -> GreetingError {
        let ours = self.gate.introduce();
        if refuse.instance == self.instance && refuse.node_id == ours.node_id && refuse.incarnation == ours.incarnation
        {
            return GreetingError::Myself;
        }
        GreetingError::Refused { refusal: refuse.refusal, node_id: Some(refuse.node_id), by_peer: true }
    }

    /// A refusal of somebody who has not shown that it knows the secret. That it does not let us in is all that is
    /// believed of it, and its words are not repeated.
    fn refused_by_nobody(&self, refuse: &Refuse, theirs: Versions, ours: &Introduction) -> GreetingError {
        let refusal = match refuse.refusal.code {
            RefusalCode::Version => refusal(RefusalCode::Version, self.no_common_version(ours, theirs)),
            _ => refusal(
                RefusalCode::Secret,
                format!(
                    "node {} and the peer that calls itself {} do not share a secret (CLUSTER_SECRET); \
                     give every node the same one",
                    ours.node_id, refuse.node_id
                ),
            ),
        };
        GreetingError::Refused { refusal, node_id: None, by_peer: true }
    }
}

/// We gave proof, and the other side did not.
fn unproved(ours: &Introduction) -> GreetingError {
    let message = format!(
        "the peer has not shown that it knows the secret (CLUSTER_SECRET) of node {}; give every node the same one",
        ours.node_id
    );
    GreetingError::Refused { refusal: refusal(RefusalCode::Secret, message), node_id: None, by_peer: false }
}

impl Offer {
    /// Who answered.
    pub(crate) fn introduction(&self) -> &Introduction {
        &self.introduction
    }

    /// Takes the connection. An offer that is dropped instead leaves no trace at the other side.
    pub(crate) async fn confirm(mut self) -> Result<Greeted, GreetingError> {
        self.talk.send(&Step::Confirm).await?;
        Ok(Greeted { framed: self.talk.framed, introduction: self.introduction, lane: self.lane })
    }

    /// Turns the other side away after all.
    pub(crate) async fn turn_away(mut self, ours: &Introduction, instance: u64, refusal: Refusal) -> GreetingError {
        let node_id = Some(self.introduction.node_id.clone());
        let (sent, incarnation) = (refusal.clone(), ours.incarnation);
        let refuse = Refuse { refusal: sent, node_id: ours.node_id.clone(), incarnation, instance };
        // It is turned away also when it does not hear of it.
        let _ = self.talk.send(&Step::Refuse(Box::new(refuse))).await;
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

#[cfg(test)]
mod secret_tests;
#[cfg(test)]
pub(crate) mod tests;
