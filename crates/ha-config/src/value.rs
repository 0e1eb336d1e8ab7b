//! One value of any option, for printing.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::seconds::print_seconds;
use crate::secret::Secret;

/// One value of any option, for printing.
///
/// It displays as the environment would have it, and serialises as JSON would: a time as a number of seconds, an
/// unset option as null, a secret as a mask.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Value {
    /// Not set.
    None,
    /// On or off.
    Boolean(bool),
    /// A whole number.
    Number(u64),
    /// A time.
    Time(Duration),
    /// A word, name, path or address.
    Text(String),
    /// A list of texts.
    List(Vec<String>),
    /// Something to mask.
    Secret(Secret),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.pad("none"),
            Self::Boolean(value) => f.pad(&value.to_string()),
            Self::Number(value) => f.pad(&value.to_string()),
            Self::Time(value) => f.pad(&print_seconds(*value)),
            Self::Text(value) => f.pad(value),
            Self::List(items) if items.is_empty() => f.pad("[]"),
            Self::List(items) => f.pad(&items.join(",")),
            Self::Secret(value) => fmt::Display::fmt(value, f),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_none(),
            Self::Boolean(value) => serializer.serialize_bool(*value),
            Self::Number(value) => serializer.serialize_u64(*value),
            Self::Time(value) if value.subsec_nanos() == 0 => serializer.serialize_u64(value.as_secs()),
            Self::Time(value) => serializer.serialize_f64(value.as_secs_f64()),
            Self::Text(value) => serializer.serialize_str(value),
            Self::List(items) => items.serialize(serializer),
            Self::Secret(value) => value.serialize(serializer),
        }
    }
}
