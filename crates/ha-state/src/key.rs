//! Names of keys and of locks.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::KEY_BYTES_MAX;

/// The name of a key or of a lock: text of 1 to [`KEY_BYTES_MAX`] bytes. Ordered by its bytes. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// A key of this text.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        match text.len() {
            0 => Err(KeyError::Empty),
            bytes if bytes > KEY_BYTES_MAX => Err(KeyError::TooLong { bytes }),
            _ => Ok(Self(text.into())),
        }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text cannot be a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It has no name.
    #[error("a key or a name must not be empty")]
    Empty,
    /// It is too long.
    #[error("a key or a name has at most {KEY_BYTES_MAX} bytes, not {bytes}")]
    TooLong {
        /// How long it was.
        bytes: usize,
    },
}

impl Deref for Key {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "text of 1 to {KEY_BYTES_MAX} bytes")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Key, E> {
                Key::new(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_a_length() {
        assert_eq!(Key::new(""), Err(KeyError::Empty));
        let longest = "k".repeat(KEY_BYTES_MAX);
        assert_eq!(Key::new(&longest).unwrap().as_str(), longest);
        assert_eq!(Key::new(&(longest + "k")), Err(KeyError::TooLong { bytes: KEY_BYTES_MAX + 1 }));
    }

    #[test]
    fn a_key_is_text_wherever_it_is_written() {
        let key = Key::new("a/b").unwrap();
        assert_eq!(serde_json::to_string(&key).unwrap(), "\"a/b\"");
        assert_eq!(serde_json::from_str::<Key>("\"a/b\"").unwrap(), key);
        assert!(serde_json::from_str::<Key>("\"\"").is_err());
    }
}
