//! Numbers and names that the cluster gives.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where in the cluster's history something is: it only grows, by one or more with each change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// In a condition: that the key does not exist.
    pub const ABSENT: Self = Self(0);

    /// The one after.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Proves which holder of a lock is the later one: each grant of a lock has a higher token than all before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FencingToken(pub u64);

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A lease. Its owner chooses the id, so that asking for it twice gives one lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u128);

impl LeaseId {
    /// The id that belongs to a name: equal names give equal ids. FNV-1a with 128 bits.
    pub fn named(name: &str) -> Self {
        let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        for byte in name.bytes() {
            hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
        Self(hash)
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for LeaseId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let plain = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let number = plain.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        number.map(Self).ok_or(IdError { what: "a lease" })
    }
}

impl Serialize for LeaseId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for LeaseId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
        } else {
            u128::deserialize(deserializer).map(Self)
        }
    }
}

/// One grant of a lock. Carries the fencing token, so that nobody can have the one without the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockId {
    /// The token.
    pub token: FencingToken,
    /// The lease that keeps the lock.
    pub lease: LeaseId,
}

impl LockId {
    /// As bytes.
    pub(crate) fn bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.token.0.to_le_bytes());
        bytes[8..].copy_from_slice(&self.lease.0.to_le_bytes());
        bytes
    }
}

impl fmt::Display for LockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.token, self.lease)
    }
}

impl FromStr for LockId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = IdError { what: "a lock" };
        let (token, lease) = text.split_once('-').ok_or_else(|| wrong.clone())?;
        let token = token.parse().map(FencingToken).map_err(|_| wrong.clone())?;
        Ok(Self { token, lease: lease.parse().map_err(|_| wrong)? })
    }
}

/// A text that is no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not the id of {what}")]
pub struct IdError {
    what: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_back() {
        let lease = LeaseId::named("node-1/7/12");
        assert_eq!(lease.to_string().parse(), Ok(lease));
        let lock = LockId { token: FencingToken(41), lease };
        assert_eq!(lock.to_string().parse(), Ok(lock));
        for wrong in ["", "41", "41-", "-41", "41-xyz", &lock.to_string()[..20], &format!("{lock}0")] {
            assert!(wrong.parse::<LockId>().is_err(), "{wrong}");
        }
        assert_eq!(serde_json::to_string(&LeaseId(255)).unwrap(), format!("\"{:032x}\"", 255));
    }

    #[test]
    fn other_names_have_other_ids() {
        // The vectors of the authors of FNV, for the empty text and "a".
        assert_eq!(LeaseId::named("").to_string(), "6c62272e07bb014262b821756295c58d");
        assert_eq!(LeaseId::named("a").to_string(), "d228cb696f1a8caf78912b704e4a8964");
        assert_ne!(LeaseId::named("n/1/12"), LeaseId::named("n/11/2"));
    }
}
