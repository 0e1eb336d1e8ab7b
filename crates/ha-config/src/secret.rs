//! A value that must not be seen.

use std::fmt;

use serde::{Serialize, Serializer};

/// What is shown instead of a secret.
pub const MASK: &str = "********";

/// A shared secret or token. It prints, debugs and serialises as a mask; only [`Secret::expose`] gives it away.
///
/// Equality is for comparing configurations. It is not constant in time: compare what a peer sent some other way.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: to prove knowledge of it, never to print it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_only_the_mask() {
        let secret = Secret::new("open sesame");
        assert_eq!(format!("{secret} {secret:?} {:#?}", Some(&secret)).matches("sesame").count(), 0);
        assert_eq!(serde_json::to_string(&secret).unwrap(), format!("\"{MASK}\""));
        assert_eq!(secret.expose(), "open sesame");
    }
}
