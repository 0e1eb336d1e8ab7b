//! Reads everything, and says whether it fits together.

use redb::ReadableTable;
use serde::Serialize;

use super::entry::{Entry, decode_change};
use super::{Store, StoreError, Totals, name_of, runs};
use crate::Version;
use crate::record::mix;

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
        let (recent, Some(tables)) = self.moment(0..=u64::MAX)? else { return Ok(report) };
        let (mut totals, mut changes, mut slots) = (Totals::default(), 0_u64, 0_u64);
        tables.changes.walk(self, (0, 0), (u64::MAX, u64::MAX), |change| {
            changes += 1;
            let (key, kept) = match change.and_then(decode_change) {
                Ok(read) => read,
                Err(error) => {
                    report.found(error.to_string());
                    return Ok(true);
                }
            };
            let entry = Entry::of(&key, &kept);
            let indexed = tables.index.get(&key.bytes()[..]).map_err(|error| self.fault(error))?;
            let indexed = indexed.and_then(|indexed| Entry::decode(key.bytes(), indexed.value()).ok());
            if indexed != Some(entry) {
                report.found(format!("the index does not say of {key} what its change says"));
            }
            if entry.version.is_stamp() {
                slots = slots.wrapping_add(slot_sum(name_of(&key), entry.version, entry.place));
            }
            if entry.is_grave {
                totals.graves += 1;
            } else {
                totals.records += 1;
                totals.bytes += u64::from(entry.bytes);
                totals.digest = totals.digest.wrapping_add(entry.fingerprint);
            }
            Ok(true)
        })?;
        let indexed = tables.index.iter().map_err(|error| self.fault(error))?.count() as u64;
        if indexed != changes {
            report.found(format!("the index has {indexed} entries for {changes} records"));
        }
        for slot in runs::joined(self, Some(&tables.runs), &tables.state.runs, recent)? {
            let (name, slot) = slot?;
            if slot.is_there() {
                slots = slots.wrapping_sub(slot_sum(name, slot.version, slot.place));
            }
        }
        if slots != 0 {
            report.found("names and versions by which copies are compared are not those of the records".to_owned());
        }
        if totals != tables.state.totals {
            report.found(format!("its own totals {:?} are not what was counted: {totals:?}", tables.state.totals));
        }
        let Totals { records, graves, bytes, digest } = totals;
        Ok(CheckReport { records, graves, bytes, digest, ..report })
    }
}

/// Differs, in all likelihood, between two sets of slots when it is summed over all of each.
fn slot_sum(name: u64, version: Version, place: u64) -> u64 {
    [version.time, version.tie, place].into_iter().fold(mix(name), |sum, part| mix(sum ^ part))
}
