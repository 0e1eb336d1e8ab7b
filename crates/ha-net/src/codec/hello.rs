//! The frames of a greeting, before a connection is admitted.
//!
//! ```text
//! length u32 | "HANT" | step u8 | lowest version u16 | highest version u16 | crc32c u32 | body
//! ```
//! Numbers are big endian, and these fields never change, whatever the version: two nodes of any age can tell one
//! another which versions they speak. The checksum covers the fields before it and the body. The body is bincode, and
//! later versions only add fields at its end.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::{CodecError, decode_prefix, decode_stranger, encode};
use crate::limits::{FAULT_BYTES_MAX, HELLO_FRAME_BYTES_MAX};
use crate::secret::{Answer, Nonce};
use crate::{Incarnation, Introduction, Lane, NodeId, Refusal, RefusalCode};

const MAGIC: [u8; 4] = *b"HANT";
const FIELDS_BYTES: usize = 13;
const CHECKSUM_AT: usize = 9;

/// The versions of the protocol that a node speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) lowest: u16,
    pub(crate) highest: u16,
}

impl Versions {
    /// What this code speaks.
    pub(crate) const OURS: Self = Self { lowest: 1, highest: 1 };

    /// The highest version that both speak.
    pub(crate) fn common(self, other: Self) -> Option<u16> {
        let highest = self.highest.min(other.highest);
        (self.lowest.max(other.lowest) <= highest).then_some(highest)
    }
}

impl std::fmt::Display for Versions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} to {}", self.lowest, self.highest)
    }
}

/// What each side says first; the accepting side repeats the lane that the dialling side chose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) introduction: Introduction,
    pub(crate) lane: Lane,
    /// Drawn at start, so that two processes with copies of one identity can be told apart.
    pub(crate) instance: u64,
    /// From the dialling side, when it knows a secret.
    pub(crate) nonce: Option<Nonce>,
}

/// Turns the other side away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refuse {
    pub(crate) refusal: Refusal,
    pub(crate) node_id: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) instance: u64,
}

/// One frame of a greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Hello(Box<Hello>),
    /// The dialling side has admitted the other and is about to use the connection.
    Confirm,
    Refuse(Box<Refuse>),
    /// The accepting side wants proof that the other knows the secret, and an answer that is good only now.
    Challenge(Nonce),
    /// Shows that its sender knows the secret, and that it heard and said what came before.
    Prove(Answer),
}

/// A step as bytes, length included.
pub(crate) fn seal(versions: Versions, step: &Step) -> Result<Bytes, CodecError> {
    let (number, body) = match step {
        Step::Hello(hello) => (1, encode(hello)?),
        Step::Confirm => (2, Vec::new()),
        Step::Refuse(refuse) => (3, encode(refuse)?),
        Step::Challenge(nonce) => (4, encode(nonce)?),
        Step::Prove(answer) => (5, encode(answer)?),
    };
    let length = FIELDS_BYTES + body.len();
    if length > HELLO_FRAME_BYTES_MAX {
        return Err(CodecError(format!("a greeting of {length} bytes is longer than {HELLO_FRAME_BYTES_MAX}")));
    }
    let mut fields = [0; CHECKSUM_AT];
    fields[..4].copy_from_slice(&MAGIC);
    fields[4] = number;
    fields[5..7].copy_from_slice(&versions.lowest.to_be_bytes());
    fields[7..].copy_from_slice(&versions.highest.to_be_bytes());
    let mut frame = BytesMut::with_capacity(4 + length);
    frame.put_u32(length as u32);
    frame.put_slice(&fields);
    frame.put_u32(crc32c::crc32c_append(crc32c::crc32c(&fields), &body));
    frame.put_slice(&body);
    Ok(frame.freeze())
}

/// Takes a step, without its length, apart. Versions are compared before the body is looked at.
pub(crate) fn open(ours: Versions, frame: &[u8]) -> Result<(Versions, Step), StepError> {
    let Some((fields, body)) = frame.split_first_chunk::<FIELDS_BYTES>() else {
        return Err(StepError::Foreign);
    };
    let [m0, m1, m2, m3, number, l0, l1, h0, h1, c0, c1, c2, c3] = *fields;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(StepError::Foreign);
    }
    if crc32c::crc32c_append(crc32c::crc32c(&fields[..CHECKSUM_AT]), body) != u32::from_be_bytes([c0, c1, c2, c3]) {
        return Err(StepError::Checksum);
    }
    let theirs = Versions { lowest: u16::from_be_bytes([l0, l1]), highest: u16::from_be_bytes([h0, h1]) };
    // A newer peer may have added fields at the end; one of our own age has not.
    let newer = theirs.highest > ours.highest;
    let step = match number {
        1 if ours.common(theirs).is_none() => return Err(StepError::Versions { theirs }),
        1 => {
            let hello: Hello = body_of(body, newer)?;
            let incarnation = hello.introduction.incarnation;
            if incarnation > Incarnation::MAX {
                return Err(StepError::Incarnation { incarnation });
            }
            Step::Hello(Box::new(hello))
        }
        2 => {
            let () = body_of(body, newer)?;
            Step::Confirm
        }
        3 => {
            let mut refuse = refuse_of(body, newer, theirs)?;
            refuse.refusal.message = plain(&refuse.refusal.message);
            Step::Refuse(Box::new(refuse))
        }
        4 => Step::Challenge(body_of(body, newer)?),
        5 => Step::Prove(body_of(body, newer)?),
        _ => return Err(StepError::Step { number }),
    };
    Ok((theirs, step))
}

fn body_of<T: serde::de::DeserializeOwned>(body: &[u8], newer: bool) -> Result<T, CodecError> {
    if newer { prefix_of(body) } else { decode_stranger(body) }
}

fn prefix_of<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, CodecError> {
    decode_prefix::<HELLO_FRAME_BYTES_MAX, T>(body).map(|(value, _)| value)
}

/// A refusal of a newer version may give a reason that this one has no name for; its sentence still counts.
fn refuse_of(body: &[u8], newer: bool, theirs: Versions) -> Result<Refuse, CodecError> {
    #[derive(Deserialize)]
    struct Plain {
        refusal: (u32, String),
        node_id: NodeId,
        incarnation: Incarnation,
        instance: u64,
    }
    match body_of(body, newer) {
        Ok(refuse) => Ok(refuse),
        Err(_) if newer => {
            let plain: Plain = prefix_of(body)?;
            let message = format!("{} (from a node that speaks versions {theirs})", plain.refusal.1);
            let refusal = Refusal { code: RefusalCode::Version, message };
            Ok(Refuse { refusal, node_id: plain.node_id, incarnation: plain.incarnation, instance: plain.instance })
        }
        Err(error) => Err(error),
    }
}

/// A sentence of a peer, as one line of a log: cut, and without anything that would end the line or change others.
fn plain(text: &str) -> String {
    let cut = &text[..text.floor_char_boundary(FAULT_BYTES_MAX)];
    cut.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Why some bytes are not a step of a greeting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StepError {
    #[error("the first bytes are not those of this protocol")]
    Foreign,
    #[error("the checksum of a greeting does not match")]
    Checksum,
    #[error("the peer speaks versions {theirs} only")]
    Versions { theirs: Versions },
    #[error("a greeting of unknown step {number}")]
    Step { number: u8 },
    #[error("a greeting of life {}, more than any node can have had", incarnation.0)]
    Incarnation { incarnation: Incarnation },
    #[error(transparent)]
    Body(#[from] CodecError),
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{Address, ClusterId};

    const OURS: Versions = Versions::OURS;

    fn hello() -> Hello {
        Hello {
            introduction: Introduction {
                cluster_name: "shop".to_owned(),
                cluster_id: Some(ClusterId(5)),
                generation: 1,
                node_id: "n1".parse().unwrap(),
                incarnation: Incarnation(2),
                address: Address::new("h", 7946).unwrap(),
                claims: BTreeMap::from([("ttl".to_owned(), "9".to_owned())]),
            },
            lane: Lane::Bulk(3),
            instance: 7,
            nonce: None,
        }
    }

    fn refuse() -> Refuse {
        Refuse {
            refusal: Refusal { code: RefusalCode::ClusterName, message: "other".to_owned() },
            node_id: "n1".parse().unwrap(),
            incarnation: Incarnation(2),
            instance: 7,
        }
    }

    fn opened(bytes: &[u8]) -> Result<(Versions, Step), StepError> {
        open(OURS, &bytes[4..])
    }

    #[test]
    fn the_bytes_of_a_hello_stay() {
        let golden = b"\0\0\0\x2bHANT\x01\0\x01\0\x01\x81\xb6\x3d\xc1\
            \x04shop\x01\x05\x01\x02n1\x02\x06h:7946\x01\x03ttl\x019\x01\x03\x07\0";
        assert_eq!(&seal(OURS, &Step::Hello(Box::new(hello()))).unwrap()[..], &golden[..]);
    }

    #[test]
    fn the_bytes_of_a_proof_stay() {
        let golden = |number: u8, checksum: [u8; 4]| {
            [b"\0\0\0\x2dHANT", &[number, 0, 1, 0, 1][..], &checksum, &[7; 32]].concat()
        };
        assert_eq!(&seal(OURS, &Step::Challenge([7; 32])).unwrap()[..], golden(4, [0xdd, 0xde, 0xf4, 0x0d]));
        assert_eq!(&seal(OURS, &Step::Prove([7; 32])).unwrap()[..], golden(5, [0x22, 0xbb, 0x85, 0xaf]));
        assert_eq!(&seal(OURS, &Step::Confirm).unwrap()[..], b"\0\0\0\x0dHANT\x02\0\x01\0\x01\x9b\xe1\xe1\x43");
    }

    #[test]
    fn the_bytes_of_a_refusal_stay() {
        let golden = b"\0\0\0\x19HANT\x03\0\x01\0\x01\xd3\x87\x80\xd7\x01\x05other\x02n1\x02\x07";
        assert_eq!(&seal(OURS, &Step::Refuse(Box::new(refuse()))).unwrap()[..], &golden[..]);
    }

    #[test]
    fn the_sentence_of_a_peer_is_one_line() {
        let message = format!("no\n2026 INFO all is well\x1b[2J{}", "x".repeat(FAULT_BYTES_MAX));
        let refusal = Refusal { message, ..refuse().refusal };
        let bytes = seal(OURS, &Step::Refuse(Box::new(Refuse { refusal, ..refuse() }))).unwrap();
        let Ok((_, Step::Refuse(heard))) = opened(&bytes) else { panic!("not a refusal") };
        let told = heard.refusal.message;
        assert!(told.starts_with("no 2026 INFO all is well [2Jxx") && told.len() == FAULT_BYTES_MAX, "{told}");
    }

    #[test]
    fn a_life_beyond_belief_is_refused() {
        let hello_of = |incarnation| {
            let introduction = Introduction { incarnation, ..hello().introduction };
            opened(&seal(OURS, &Step::Hello(Box::new(Hello { introduction, ..hello() }))).unwrap())
        };
        assert!(hello_of(Incarnation::MAX).is_ok());
        let incarnation = Incarnation(1 << 63);
        assert_eq!(hello_of(incarnation), Err(StepError::Incarnation { incarnation }));
    }

    #[test]
    fn each_step_comes_back() {
        for step in [
            Step::Hello(Box::new(hello())),
            Step::Hello(Box::new(Hello { nonce: Some([9; 32]), ..hello() })),
            Step::Confirm,
            Step::Refuse(Box::new(refuse())),
            Step::Challenge([1; 32]),
            Step::Prove([2; 32]),
        ] {
            assert_eq!(opened(&seal(OURS, &step).unwrap()), Ok((OURS, step)));
        }
    }

    #[test]
    fn the_highest_common_version_is_chosen() {
        let versions = |lowest, highest| Versions { lowest, highest };
        assert_eq!(versions(1, 3).common(versions(2, 5)), Some(3));
        assert_eq!(versions(2, 5).common(versions(1, 3)), Some(3));
        assert_eq!(versions(1, 1).common(versions(2, 2)), None);
        assert_eq!(versions(3, 4).common(versions(1, 2)), None);
    }

    #[test]
    fn a_hello_without_a_common_version_names_the_versions() {
        let theirs = Versions { lowest: 2, highest: 3 };
        let bytes = seal(theirs, &Step::Hello(Box::new(hello()))).unwrap();
        assert_eq!(opened(&bytes), Err(StepError::Versions { theirs }));
    }

    #[test]
    fn a_newer_node_may_say_more_and_an_equal_one_may_not() {
        let hello_and_more = |versions: Versions| {
            let mut body = encode(&hello()).unwrap();
            body.extend([1, 2, 3]);
            raw(versions, 1, &body)
        };
        let newer = Versions { lowest: 1, highest: 2 };
        assert_eq!(opened(&hello_and_more(newer)), Ok((newer, Step::Hello(Box::new(hello())))));
        assert!(matches!(opened(&hello_and_more(OURS)), Err(StepError::Body(_))));
    }

    #[test]
    fn an_unknown_reason_of_a_newer_node_keeps_its_sentence() {
        let body = encode(&((200u32, "too old for us"), "n9", 1u64, 4u64)).unwrap();
        let newer = Versions { lowest: 2, highest: 2 };
        let Ok((_, Step::Refuse(refuse))) = opened(&raw(newer, 3, &body)) else { panic!("not a refusal") };
        assert_eq!(refuse.refusal.code, RefusalCode::Version);
        assert!(refuse.refusal.message.starts_with("too old for us"));
    }

    /// A step whose body need not be one.
    fn raw(versions: Versions, number: u8, body: &[u8]) -> Vec<u8> {
        let mut fields = MAGIC.to_vec();
        fields.push(number);
        fields.extend(versions.lowest.to_be_bytes());
        fields.extend(versions.highest.to_be_bytes());
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&fields), body);
        let length = (FIELDS_BYTES + body.len()) as u32;
        [&length.to_be_bytes()[..], &fields, &checksum.to_be_bytes(), body].concat()
    }

    #[test]
    fn a_cut_or_damaged_step_is_an_error_at_every_byte() {
        let bytes = seal(OURS, &Step::Hello(Box::new(hello()))).unwrap();
        for at in 4..bytes.len() {
            assert!(open(OURS, &bytes[4..at]).is_err(), "cut at {at}");
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1;
            assert!(opened(&damaged).is_err(), "damaged at {at}");
        }
    }

    #[test]
    fn a_greeting_that_is_too_long_is_not_sent() {
        let mut long = hello();
        long.introduction.claims.insert("x".to_owned(), "y".repeat(HELLO_FRAME_BYTES_MAX));
        assert!(seal(OURS, &Step::Hello(Box::new(long))).is_err());
    }

    proptest! {
        #[test]
        fn random_bodies_never_panic(number in 0u8..7, body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = opened(&raw(OURS, number, &body));
            let _ = opened(&raw(Versions { lowest: 1, highest: 9 }, number, &body));
        }

        #[test]
        fn random_bytes_are_no_greeting(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(open(OURS, &bytes).is_err());
        }
    }
}
