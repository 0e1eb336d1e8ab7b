//! The secret that the nodes of a cluster share, and how one shows another that it knows it without saying it.
//!
//! Both sides draw a nonce, and each answers with HMAC-SHA256 (RFC 2104), keyed with the secret, over its own part in
//! the conversation and a hash of every frame so far in both directions. The nonces make each answer good for one
//! connection only; the part keeps an answer from being sent back to whoever gave it; and since the frames hold both
//! introductions, the lane and the versions, nobody on the way can change what was said.
//!
//! This proves who talks when a connection begins. It does not protect what follows: that is the work of TLS.
//!
//! While one secret follows another, a node knows both. Whoever is dialled takes either, and answers with the one that
//! it was shown; whoever dials shows the first, and the next one when it is turned away.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use ring::{digest, hmac};

use crate::limits::SECRETS_MAX;
use crate::sync::lock;

/// Drawn anew for each connection by each side.
pub(crate) type Nonce = [u8; 32];
/// What only a node that knows the secret can say at this point of this conversation.
pub(crate) type Answer = [u8; 32];

/// What every node of a cluster must know: one secret, or, while one follows another, several. Clones share what
/// [`Self::replace`] puts in. Prints as a mask.
#[derive(Clone)]
pub struct Secret(Arc<Mutex<Keys>>);

/// The keys that are good at one instant, the one to show first.
#[derive(Clone)]
pub(crate) struct Keys(Arc<[hmac::Key]>);

impl Secret {
    /// A secret of any length. Whoever records one greeting can try guesses at leisure, so that it must be too long to
    /// guess: 16 random bytes at least.
    pub fn new(text: impl AsRef<[u8]>) -> Self {
        Self(Arc::new(Mutex::new(Keys::of([text]))))
    }

    /// From now on these are good, for new connections, and the first is shown first; no more than 4 of them. Without
    /// any, nothing changes.
    pub fn replace<T: AsRef<[u8]>>(&self, texts: impl IntoIterator<Item = T>) {
        let keys = Keys::of(texts);
        if keys.count() > 0 {
            *lock(&self.0) = keys;
        }
    }

    /// Whether there is another clone of this one, so that somebody may still use it.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    pub(crate) fn keys(&self) -> Keys {
        lock(&self.0).clone()
    }
}

impl Keys {
    fn of<T: AsRef<[u8]>>(texts: impl IntoIterator<Item = T>) -> Self {
        let key = |text: T| hmac::Key::new(hmac::HMAC_SHA256, text.as_ref());
        Self(texts.into_iter().take(SECRETS_MAX).map(key).collect())
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    fn sign(&self, number: usize, label: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        let Some(key) = self.0.get(number) else { return [0; 32] };
        let mut signing = hmac::Context::with_key(key);
        signing.update(label);
        parts.iter().for_each(|part| signing.update(part));
        bytes_of(signing.sign().as_ref())
    }

    fn verify(&self, number: usize, message: &[u8], answer: &Answer) -> bool {
        self.0.get(number).is_some_and(|key| hmac::verify(key, message, answer).is_ok())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("********")
    }
}

/// The first 32 bytes of an output of SHA-256, which has no others.
fn bytes_of(output: &[u8]) -> [u8; 32] {
    output.first_chunk().copied().unwrap_or_default()
}

/// Where the nonces of one node come from. Nobody without the secret can tell the next one, and none comes twice: not
/// within a life of the process, nor in another one, which has another seed and a higher incarnation.
#[derive(Debug)]
pub(crate) struct Nonces {
    secret: Secret,
    seed: u64,
    drawn: AtomicU64,
}

impl Nonces {
    pub(crate) fn new(secret: Secret, seed: u64) -> Self {
        Self { secret, seed, drawn: AtomicU64::new(0) }
    }

    pub(crate) fn keys(&self) -> Keys {
        self.secret.keys()
    }

    pub(crate) fn next(&self, incarnation: u64) -> Nonce {
        let number = self.drawn.fetch_add(1, Ordering::Relaxed);
        let numbers = [self.seed, incarnation, number].map(u64::to_be_bytes);
        self.secret.keys().sign(0, b"ha nonce 1", &[numbers.as_flattened()])
    }
}

/// One side's part in a greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Dialling = 1,
    Accepting = 2,
}

impl Part {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Dialling => Self::Accepting,
            Self::Accepting => Self::Dialling,
        }
    }
}

/// All frames of one greeting so far, as one hash, and the key that its proofs are made with.
#[derive(Clone)]
pub(crate) struct Transcript {
    keys: Keys,
    /// Which of them: the dialling side's choice. `None` until the other side has seen its proof.
    chosen: Option<usize>,
    frames: digest::Context,
}

impl Transcript {
    /// For the side that dials, with the number of the key to show; for the other one, with none.
    pub(crate) fn new(keys: Keys, chosen: Option<usize>) -> Self {
        Self { keys, chosen, frames: digest::Context::new(&digest::SHA256) }
    }

    /// Notes a frame, without its length.
    pub(crate) fn note(&mut self, speaker: Part, frame: &[u8]) {
        self.frames.update(&[speaker as u8]);
        self.frames.update(&(frame.len() as u64).to_be_bytes());
        self.frames.update(frame);
    }

    /// What `speaker` says to show that it knows the secret.
    pub(crate) fn answer(&self, speaker: Part) -> Answer {
        let number = self.chosen.unwrap_or_default();
        self.keys.sign(number, b"ha proof 1", &[&[speaker as u8], self.frames.clone().finish().as_ref()])
    }

    /// Whether an answer is that of `speaker`, who chooses the key where none is chosen. Takes as long for a wrong one
    /// as for the right one.
    pub(crate) fn is_proved_by(&mut self, speaker: Part, answer: &Answer) -> bool {
        let message = [b"ha proof 1", &[speaker as u8][..], self.frames.clone().finish().as_ref()].concat();
        let fits = |number: &usize| self.keys.verify(*number, &message, answer);
        let fitting = match self.chosen {
            Some(number) => Some(number).filter(fits),
            None => (0..self.keys.count()).find(fits),
        };
        self.chosen = fitting.or(self.chosen);
        fitting.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcript(secret: &str, frames: &[(Part, &[u8])]) -> Transcript {
        let mut transcript = Transcript::new(Secret::new(secret).keys(), None);
        frames.iter().for_each(|(speaker, frame)| transcript.note(*speaker, frame));
        transcript
    }

    #[test]
    fn an_answer_fits_one_secret_one_part_and_one_conversation() {
        use Part::{Accepting, Dialling};
        let frames: [(Part, &[u8]); 2] = [(Dialling, b"one"), (Accepting, b"two")];
        let mut ours = transcript("open sesame", &frames);
        let answer = ours.answer(Dialling);
        assert!(transcript("open sesame", &frames).is_proved_by(Dialling, &answer));
        assert!(!ours.is_proved_by(Accepting, &answer), "sent back to the one who gave it");
        assert!(!transcript("open sesam", &frames).is_proved_by(Dialling, &answer));
        assert!(!transcript("open sesame", &frames[..1]).is_proved_by(Dialling, &answer));
        assert!(!transcript("open sesame", &[(Dialling, b"onet"), (Accepting, b"wo")]).is_proved_by(Dialling, &answer));
        assert!(
            !transcript("open sesame", &[(Accepting, b"one"), (Accepting, b"two")]).is_proved_by(Dialling, &answer)
        );
        for bit in 0..256 {
            let mut damaged = answer;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(!ours.is_proved_by(Dialling, &damaged));
        }
    }

    /// The bytes of HMAC-SHA256, so that another implementation of it can take over.
    #[test]
    fn the_answers_stay() {
        let answer = transcript("open sesame", &[(Part::Dialling, b"one")]).answer(Part::Dialling);
        let hex: String = answer.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "4a8858513b13e5db85cdc87df5a7c5c5730a369816639f8870e599d6ad605285");
    }

    #[test]
    fn no_nonce_comes_twice() {
        let nonces = |seed| Nonces::new(Secret::new("open sesame"), seed);
        let (one, other) = (nonces(1), nonces(2));
        let drawn: std::collections::BTreeSet<Nonce> =
            (0..100).map(|_| one.next(1)).chain((0..100).map(|_| other.next(1))).chain([nonces(1).next(2)]).collect();
        assert_eq!(drawn.len(), 201);
    }

    #[test]
    fn whoever_is_dialled_takes_any_of_its_secrets_and_answers_with_the_one_it_was_shown() {
        let both = Secret::new("new");
        both.clone().replace(["new", "old"]);
        let answer = transcript("old", &[]).answer(Part::Dialling);
        let mut accepting = Transcript::new(both.keys(), None);
        assert!(accepting.is_proved_by(Part::Dialling, &answer));
        let mut dialling = Transcript::new(Secret::new("old").keys(), Some(0));
        assert!(dialling.is_proved_by(Part::Accepting, &accepting.answer(Part::Accepting)));
        // The side that dials takes no other one than it has shown.
        let mut dialling = Transcript::new(both.keys(), Some(0));
        assert!(!dialling.is_proved_by(Part::Accepting, &accepting.answer(Part::Accepting)));
        both.replace([""; 0]);
        assert_eq!(both.keys().count(), 2, "a file that is empty for a moment takes nothing away");
    }

    #[test]
    fn a_secret_prints_as_a_mask() {
        assert_eq!(format!("{:?}", Some(Secret::new("open sesame"))), "Some(********)");
    }
}
