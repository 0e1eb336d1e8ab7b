//! What the scenes share.

use std::error::Error;
use std::fmt;

mod digest;
mod refusal;

pub(crate) use digest::Digest;
pub(crate) use refusal::{ends_with_error, told_in_health};

/// Any error ends a test with its own words.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Why a test ended. Printed as the sentence it is, line breaks included, and not as a Rust value.
pub(crate) struct Failure(Box<dyn Error>);

impl<E: Into<Box<dyn Error>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
