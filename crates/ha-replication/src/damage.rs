//! What is known to be damaged in the store.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{CheckReport, StoreError};

/// The first damage that was read, until everything is found sound.
#[derive(Debug, Default)]
pub(crate) struct Damage(Mutex<Option<String>>);

impl Damage {
    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn known(&self) -> Option<String> {
        self.lock().clone()
    }

    /// Takes note of what a read met.
    pub(crate) fn noted<T>(&self, read: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::Damaged { what }) = &read {
            self.lock().get_or_insert_with(|| what.clone());
        }
        read
    }

    /// Everything was read.
    pub(crate) fn checked(&self, report: &CheckReport) {
        *self.lock() = report.findings.first().cloned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_known_until_everything_is_found_sound() {
        let damage = Damage::default();
        assert_eq!(damage.noted(Ok(1)), Ok(1));
        assert_eq!(damage.known(), None);
        let met = |what: &str| damage.noted::<()>(Err(StoreError::Damaged { what: what.to_owned() }));
        assert!(met("one").is_err() && met("two").is_err());
        assert_eq!(damage.known().as_deref(), Some("one"));
        assert_eq!(damage.noted::<()>(Err(StoreError::Closed)), Err(StoreError::Closed));
        damage.checked(&CheckReport { findings: vec!["three".to_owned()], wrong: 1, ..CheckReport::default() });
        assert_eq!(damage.known().as_deref(), Some("three"));
        damage.checked(&CheckReport::default());
        assert_eq!(damage.known(), None);
    }
}
