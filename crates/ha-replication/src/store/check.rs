//! Reads everything, and says whether it fits together.

use redb::ReadableTable;
use serde::Serialize;

use super::{Store, StoreError, Totals, decode, valid};
use crate::record::fingerprint;

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
        let (mut totals, mut placed) = (Totals::default(), 0_u64);
        for entry in tables.records.iter().map_err(|error| self.fault(error))? {
            let (key, value) = entry.map_err(|error| self.fault(error))?;
            let read = valid(key.value()).and_then(|key| Ok((decode(&key, value.value())?, key)));
            let (kept, key) = match read {
                Ok(read) => read,
                Err(error) => {
                    report.found(error.to_string());
                    continue;
                }
            };
            let at = tables.order.get(kept.order()).map_err(|error| self.fault(error))?;
            if at.is_none_or(|at| at.value() != &key.bytes()[..]) {
                report.found(format!("{key} is not in the order of changes"));
            }
            placed += 1;
            match kept.data {
                None => totals.graves += 1,
                Some(_) => {
                    totals.records += 1;
                    totals.bytes += kept.bytes(&key) as u64;
                    totals.digest = totals.digest.wrapping_add(fingerprint(&key, &kept));
                }
            }
        }
        let changes = tables.order.iter().map_err(|error| self.fault(error))?.count() as u64;
        if changes != placed {
            report.found(format!("the order of changes has {changes} entries for {placed} records"));
        }
        if totals != tables.state.totals {
            report.found(format!("its own totals {:?} are not what was counted: {totals:?}", tables.state.totals));
        }
        let Totals { records, graves, bytes, digest } = totals;
        Ok(CheckReport { records, graves, bytes, digest, ..report })
    }
}
