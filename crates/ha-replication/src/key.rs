//! What names a record: its type and its id.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

/// Longest type, in bytes.
pub const TYPE_BYTES_MAX: usize = 128;
/// Longest id, in bytes.
pub const ID_BYTES_MAX: usize = 512;

/// The type and the id of a record, laid out so that records sort by type and then by id. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(Bytes);

impl Key {
    /// A key, if type and id are acceptable.
    pub fn new(data_type: &str, data_id: &str) -> Result<Self, KeyError> {
        let length = check("type", data_type, TYPE_BYTES_MAX)?;
        check("id", data_id, ID_BYTES_MAX)?;
        let mut bytes = BytesMut::with_capacity(1 + data_type.len() + data_id.len());
        bytes.put_u8(length);
        bytes.put_slice(data_type.as_bytes());
        bytes.put_slice(data_id.as_bytes());
        Ok(Self(bytes.freeze()))
    }

    /// Its type.
    pub fn data_type(&self) -> &str {
        self.parts().map_or("", |(data_type, _)| data_type)
    }

    /// Its id within the type.
    pub fn data_id(&self) -> &str {
        self.parts().map_or("", |(_, data_id)| data_id)
    }

    fn parts(&self) -> Option<(&str, &str)> {
        let (length, rest) = self.0.split_first()?;
        let (data_type, data_id) = rest.split_at_checked(usize::from(*length))?;
        Some((std::str::from_utf8(data_type).ok()?, std::str::from_utf8(data_id).ok()?))
    }

    /// As it sorts and is stored.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// A key that a peer or the disk holds.
    pub(crate) fn from_bytes(bytes: Bytes) -> Result<Self, KeyError> {
        let key = Self(bytes);
        let (data_type, data_id) = key.parts().ok_or(KeyError::Layout)?;
        check("type", data_type, TYPE_BYTES_MAX)?;
        check("id", data_id, ID_BYTES_MAX)?;
        Ok(key)
    }

    /// Whether a peer sent something that is one.
    pub(crate) fn is_valid(&self) -> bool {
        Self::from_bytes(self.0.clone()).is_ok()
    }

    /// Where the records of a type begin.
    pub(crate) fn prefix(data_type: &str) -> Result<Bytes, KeyError> {
        let length = check("type", data_type, TYPE_BYTES_MAX)?;
        let mut bytes = BytesMut::with_capacity(1 + data_type.len());
        bytes.put_u8(length);
        bytes.put_slice(data_type.as_bytes());
        Ok(bytes.freeze())
    }
}

/// Keys are looked for by the bytes that they begin with.
impl std::borrow::Borrow<Bytes> for Key {
    fn borrow(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.data_type(), self.data_id())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn check(what: &'static str, text: &str, bytes_max: usize) -> Result<u8, KeyError> {
    if text.is_empty() {
        return Err(KeyError::Empty { what });
    }
    if text.len() > bytes_max {
        return Err(KeyError::TooLong { what, bytes: text.len(), bytes_max });
    }
    let is_plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if !is_plain && text.chars().any(char::is_control) {
        return Err(KeyError::Control { what });
    }
    // An id may be longer than this, and its length is not needed.
    Ok(u8::try_from(text.len()).unwrap_or(u8::MAX))
}

/// Why a type or an id cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It has no characters.
    #[error("the {what} of a record must not be empty")]
    Empty {
        /// `type` or `id`.
        what: &'static str,
    },
    /// It is too long.
    #[error("the {what} of a record has {bytes} bytes: at most {bytes_max}")]
    TooLong {
        /// `type` or `id`.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// It holds a control character.
    #[error("the {what} of a record must not hold control characters")]
    Control {
        /// `type` or `id`.
        what: &'static str,
    },
    /// It is not laid out as a key is.
    #[error("not the key of a record")]
    Layout,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_keep_their_parts_and_sort_by_type_first(
            a in ("[a-z/]{1,9}", "[^\\p{C}]{1,20}"),
            b in ("[a-z/]{1,9}", "[^\\p{C}]{1,20}"),
        ) {
            let (x, y) = (Key::new(&a.0, &a.1).unwrap(), Key::new(&b.0, &b.1).unwrap());
            prop_assert_eq!((x.data_type(), x.data_id()), (&*a.0, &*a.1));
            let by_parts = (a.0.len(), &a.0, &a.1).cmp(&(b.0.len(), &b.0, &b.1));
            prop_assert_eq!(x.cmp(&y), by_parts);
            prop_assert!(x.bytes().starts_with(&Key::prefix(&a.0).unwrap()));
            prop_assert_eq!(Key::from_bytes(x.bytes().clone()).unwrap(), x);
        }

        #[test]
        fn bytes_of_a_stranger_are_a_key_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(key) = Key::from_bytes(bytes.into()) {
                prop_assert_eq!(Key::new(key.data_type(), key.data_id()).unwrap(), key);
            }
        }
    }

    #[test]
    fn what_cannot_name_a_record_is_refused() {
        assert_eq!(Key::new("", "a").unwrap_err(), KeyError::Empty { what: "type" });
        assert_eq!(Key::new("a", "").unwrap_err(), KeyError::Empty { what: "id" });
        assert_eq!(Key::new("a", "b\n").unwrap_err(), KeyError::Control { what: "id" });
        assert!(matches!(Key::new(&"t".repeat(129), "b"), Err(KeyError::TooLong { bytes: 129, .. })));
        assert!(Key::new(&"t".repeat(128), &"i".repeat(512)).is_ok());
    }
}
