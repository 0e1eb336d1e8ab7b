//! Keys and values as JSON.

use std::borrow::Cow;

use ha_runtime::ha_state::{Event, KeyValue};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

/// A key and its value.
#[derive(Serialize)]
pub(crate) struct Item<'a> {
    key: &'a str,
    #[serde(flatten)]
    value: Value<'a>,
    revision: u64,
    created_revision: u64,
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<String>,
}

/// A value. What was put over HTTP is JSON, and comes back as it was; what a program put may be anything.
#[derive(Serialize)]
struct Value<'a> {
    value: Cow<'a, RawValue>,
    /// How `value` is to be read when it was not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
}

impl<'a> From<&'a KeyValue> for Item<'a> {
    fn from(found: &'a KeyValue) -> Self {
        Self {
            key: &found.key,
            value: Value::new(&found.value),
            revision: found.modified.0,
            created_revision: found.created.0,
            version: found.version,
            lease: found.lease.map(|lease| lease.to_string()),
        }
    }
}

impl<'a> Value<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        if let Ok(json) = serde_json::from_slice::<&RawValue>(bytes) {
            return Self { value: Cow::Borrowed(json), encoding: None };
        }
        let (text, encoding) = match std::str::from_utf8(bytes) {
            Ok(text) => (Cow::Borrowed(text), "text"),
            Err(_) => (Cow::Owned(base64(bytes)), "base64"),
        };
        // A text has no part that could not be written.
        let value = to_raw_value(&text).unwrap_or_else(|_| RawValue::NULL.to_owned());
        Self { value: Cow::Owned(value), encoding: Some(encoding) }
    }
}

/// A change of a key.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Change<'a> {
    /// It was set.
    Put(Item<'a>),
    /// It was removed.
    Delete {
        /// Which.
        key: &'a str,
        /// When.
        revision: u64,
    },
}

impl<'a> From<&'a Event> for Change<'a> {
    fn from(event: &'a Event) -> Self {
        match event {
            Event::Put(found) => Self::Put(Item::from(&**found)),
            Event::Delete { key, revision } => Self::Delete { key, revision: revision.0 },
        }
    }
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let number = group.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for digit in 0..4 {
            let at = (number >> (18 - 6 * digit) & 63) as usize;
            text.push(if digit <= group.len() { char::from(DIGITS[at]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_as_in_the_rfc() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[255, 254, 253]), "//79");
    }

    #[test]
    fn json_comes_back_as_it_was_and_the_rest_says_what_it_is() {
        let shown = |bytes: &[u8]| serde_json::to_string(&Value::new(bytes)).unwrap();
        assert_eq!(shown(br#"{"a": [1.0, "x"]}"#), r#"{"value":{"a": [1.0, "x"]}}"#);
        assert_eq!(shown(b"plain \"text\""), r#"{"value":"plain \"text\"","encoding":"text"}"#);
        assert_eq!(shown(&[0xff, 0]), r#"{"value":"/wA=","encoding":"base64"}"#);
        assert_eq!(shown(b""), r#"{"value":"","encoding":"text"}"#);
    }
}
