//! Reads everything, and says whether it fits together.

use redb::ReadableTable;
use serde::Serialize;

use super::entry::{Entry, decode_change};
use super::{Store, StoreError, Totals};

/// Findings that are told one by one.
const FINDINGS_MAX: usize = 20;

/// What a check of all records found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// Records that were read.
    pub records: u64,
    /// Deleted records whose graves are kept.
    pub graves: u64,
    /// Bytes of keys and data.
    pub bytes: u64,
    /// The sum by which copies are compared.
    pub digest: u64,
    /// What is wrong, the first of it.
    pub findings: Vec<String>,
    /// How much is wrong in all.
    pub wrong: u64,
}

impl CheckReport {
    fn found(&mut self, finding: String) {
        self.wrong += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }
}

impl Store {
    /// Reads every record of the last batch. Takes as long as the disk needs to read the file once.
    pub(crate) fn check(&self) -> Result<CheckReport, StoreError> {
        let mut report = CheckReport::default();
        let Some(tables) = self.tables()? else { return Ok(report) };
        let (mut totals, mut changes) = (Totals::default(), 0_u64);
        for change in tables.changes.iter().map_err(|error| self.fault(error))? {
            let (place, change) = change.map_err(|error| self.fault(error))?;
            changes += 1;
            let (key, kept) = match decode_change(change.value()) {
                Ok(read) => read,
                Err(error) => {
                    report.found(error.to_string());
                    continue;
                }
            };
            let entry = Entry::of(&key, &kept);
            let indexed = tables.index.get(&key.bytes()[..]).map_err(|error| self.fault(error))?;
            let indexed = indexed.and_then(|indexed| Entry::decode(key.bytes(), indexed.value()).ok());
            if indexed != Some(entry) || place.value() != entry.order() {
                report.found(format!("the index does not say of {key} what its change says"));
            }
            if entry.is_grave {
                totals.graves += 1;
            } else {
                totals.records += 1;
                totals.bytes += u64::from(entry.bytes);
                totals.digest = totals.digest.wrapping_add(entry.fingerprint);
            }
        }
        let indexed = tables.index.iter().map_err(|error| self.fault(error))?.count() as u64;
        if indexed != changes {
            report.found(format!("the index has {indexed} entries for {changes} records"));
        }
        if totals != tables.state.totals {
            report.found(format!("its own totals {:?} are not what was counted: {totals:?}", tables.state.totals));
        }
        let Totals { records, graves, bytes, digest } = totals;
        Ok(CheckReport { records, graves, bytes, digest, ..report })
    }
}
