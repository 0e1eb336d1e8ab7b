//! What a copy holds of one record where no leader orders it: the values that no later write has seen, and which writes
//! were seen (a dotted version vector set: Preguiça, Baquero, Almeida, Fonte, Gonçalves 2010).

use std::collections::BTreeMap;

use bytes::Bytes;
use ha_cluster::encoding;
use serde::{Deserialize, Serialize};

use crate::Version;
use crate::record::{Kept, mix};

/// The state of one record. Two states of a record are joined into one that knows what both know, in whichever order
/// and however often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Siblings {
    /// Of each node that wrote it, the last time of its writes that is known here.
    seen: BTreeMap<u64, u64>,
    /// The values that no known write replaced, the latest first.
    values: Vec<(Version, Bytes)>,
}

/// What is kept beside the latest value.
#[derive(Serialize, Deserialize)]
struct Past {
    seen: Vec<(u64, u64)>,
    /// The version of the latest value; none when the record is deleted.
    latest: Option<Version>,
    others: Vec<(Version, Bytes)>,
}

impl Siblings {
    /// What is kept of a record, or nothing.
    pub(crate) fn of(kept: Option<&Kept>) -> Result<Self, String> {
        let Some(Kept { version, data, past, .. }) = kept else { return Ok(Self::default()) };
        if past.is_empty() {
            // It was written before records were kept in this way.
            let values = data.iter().map(|data| (*version, data.clone())).collect();
            return Ok(Self { seen: [(version.tie, version.time)].into(), values });
        }
        let Past { seen, latest, others } = encoding::decode(past).map_err(|error| error.to_string())?;
        let latest = latest.zip(data.clone());
        let values = latest.into_iter().chain(others).collect();
        Ok(Self { seen: seen.into_iter().collect(), values })
    }

    /// As it is kept: a version that stands for the whole of it, the latest value, and the rest.
    pub(crate) fn into_kept(self) -> Kept {
        let version = self.version();
        let mut values = self.values.into_iter();
        let (latest, data) = values.next().unzip();
        let past = Past { seen: self.seen.into_iter().collect(), latest, others: values.collect() };
        let past = encoding::encode(&past).unwrap_or_default().into();
        Kept { version, place: 0, data, past }
    }

    /// Equal, in all likelihood, where states are; not lower than that of any state that it was joined from.
    pub(crate) fn version(&self) -> Version {
        let seen = self.seen.iter().fold(0, |sum, (tie, time)| mix(mix(sum ^ tie) ^ time));
        let sum = self.values.iter().fold(seen, |sum, (version, data)| {
            mix(mix(mix(sum ^ version.time) ^ version.tie) ^ u64::from(crc32c::crc32c(data)))
        });
        Version { time: self.time(), tie: sum | Version::STAMPED }
    }

    /// The latest time that is known.
    pub(crate) fn time(&self) -> u64 {
        self.seen.values().copied().max().unwrap_or(0)
    }

    /// The values, the latest first.
    pub(crate) fn values(&self) -> &[(Version, Bytes)] {
        &self.values
    }

    /// What is known without the values: enough to write over it.
    pub(crate) fn bare(&self) -> Self {
        Self { seen: self.seen.clone(), values: Vec::new() }
    }

    fn has_seen(&self, version: Version) -> bool {
        self.seen.get(&version.tie).is_some_and(|time| *time >= version.time)
    }

    /// What both know.
    pub(crate) fn join(self, other: Self) -> Self {
        let kept = |of: &Self, by: &Self| -> Vec<(Version, Bytes)> {
            let stays =
                |version: &Version| !by.has_seen(*version) || by.values.iter().any(|(theirs, _)| theirs == version);
            of.values.iter().filter(|(version, _)| stays(version)).cloned().collect()
        };
        let mut values = kept(&self, &other);
        values.extend(kept(&other, &self));
        // The bytes decide between equal versions, which only a node without a memory could give.
        values.sort_by(|one, another| another.cmp(one));
        values.dedup_by(|later, earlier| later.0 == earlier.0);
        let mut seen = self.seen;
        for (tie, time) in other.seen {
            let known = seen.entry(tie).or_default();
            *known = time.max(*known);
        }
        Self { seen, values }
    }

    /// A write over everything that is known; its version must be later than all of it.
    pub(crate) fn write(mut self, version: Version, data: Option<Bytes>) -> Self {
        self.seen.insert(version.tie, version.time);
        self.values = data.into_iter().map(|data| (version, data)).collect();
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dot(time: u64, node: u64) -> Version {
        Version { time, tie: Version::STAMPED | node }
    }

    /// States as they come about: writes on one of three copies over what that copy knows, and joins of two copies.
    fn copies(steps: &[(usize, usize, u8)]) -> Vec<Siblings> {
        let mut copies = vec![Siblings::default(); 3];
        let mut last = [0; 3];
        for (step, (here, there, what)) in steps.iter().enumerate() {
            let (here, there) = (here % 3, there % 3);
            copies[here] = if *what < 4 {
                let time = copies[here].time().max(last[here]) + 1;
                last[here] = time;
                let data = (*what > 0).then(|| Bytes::from(step.to_string()));
                copies[here].clone().write(dot(time, here as u64), data)
            } else {
                copies[here].clone().join(copies[there].clone())
            };
        }
        copies
    }

    proptest! {
        #[test]
        fn joining_is_the_same_in_any_order_and_however_often(
            steps in prop::collection::vec((0..3_usize, 0..3_usize, 0..8_u8), 0..24)
        ) {
            let copies = copies(&steps);
            let (a, b, c) = (&copies[0], &copies[1], &copies[2]);
            let join = |one: &Siblings, other: &Siblings| one.clone().join(other.clone());
            prop_assert_eq!(join(a, a), a.clone());
            prop_assert_eq!(join(a, b), join(b, a));
            prop_assert_eq!(join(&join(a, b), c), join(a, &join(b, c)));
            prop_assert!(join(a, b).version().time >= a.version().time);
            prop_assert_eq!(join(a, b).version() == a.version(), join(a, b) == *a);
        }

        #[test]
        fn a_state_is_kept_and_read_back(
            steps in prop::collection::vec((0..3_usize, 0..3_usize, 0..8_u8), 0..24)
        ) {
            for state in copies(&steps) {
                let kept = state.clone().into_kept();
                prop_assert_eq!(kept.version, state.version());
                prop_assert_eq!(kept.data.as_ref(), state.values().first().map(|(_, data)| data));
                prop_assert_eq!(kept.latest(), state.values().first().map_or(kept.version, |(version, _)| *version));
                if state != Siblings::default() {
                    prop_assert_eq!(Siblings::of(Some(&kept)).unwrap(), state);
                }
            }
        }
    }

    #[test]
    fn writes_that_did_not_see_each_other_stay_and_one_that_saw_both_replaces_them() {
        let begun = Siblings::default().write(dot(1, 1), Some("first".into()));
        let one = begun.clone().write(dot(2, 1), Some("one".into()));
        let other = begun.clone().write(dot(3, 2), Some("other".into()));
        let both = one.join(other).join(begun);
        let texts: Vec<&[u8]> = both.values().iter().map(|(_, data)| &data[..]).collect();
        assert_eq!(texts, [&b"other"[..], b"one"]);
        let deleted = both.clone().write(dot(4, 1), None);
        assert!(both.join(deleted.clone()).values().is_empty(), "what was deleted does not come back");
        let beside = Siblings::default().write(dot(9, 2), Some("beside".into()));
        assert_eq!(deleted.join(beside).values().len(), 1, "a write that did not see the deletion stays");
    }
}
