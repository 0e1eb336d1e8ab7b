//! Whether a history of keys and transactions is linearizable.
//!
//! A general checker searches for an order (Wing and Gong, *Testing and verifying concurrent objects*, 1993). Here the
//! store names the order itself, by its revisions, so that nothing is searched for, and histories of any length are
//! judged: the order must agree with real time, and every answer must be what a simple map would have said at that
//! place in the order. What became of a request with an unknown outcome is known once somebody saw its value.

use std::collections::BTreeMap;
use std::time::Duration;

use super::records::{Record, Request, Revision, Seen, Told};

/// Judges a history; an error says what cannot be.
pub fn check(records: &[Record]) -> Result<(), String> {
    agrees_with_real_time(records)?;
    let model = Model::of(records)?;
    records.iter().try_for_each(|record| model.explains(record))
}

/// The revision at which a request took place, if it was told.
fn revision(record: &Record) -> Option<Revision> {
    match record.told?.1 {
        Told::Found(_, revision) | Told::Done(revision) | Told::Else(_, revision) => Some(revision),
        Told::Refused(_) | Told::Absent | Told::NotDone | Told::Unknown => None,
    }
}

fn agrees_with_real_time(records: &[Record]) -> Result<(), String> {
    let mut answered: Vec<(Duration, Revision)> =
        records.iter().filter_map(|record| Some((record.told?.0, revision(record)?))).collect();
    answered.sort();
    // The highest revision that anybody had been told by then.
    let mut highest = 0;
    for (_, revision) in &mut answered {
        highest = highest.max(*revision);
        *revision = highest;
    }
    for record in records {
        let Some(own) = revision(record) else { continue };
        let before = answered.partition_point(|(when, _)| *when < record.asked);
        let floor = before.checked_sub(1).map_or(0, |last| answered[last].1);
        let reads = matches!(record.request, Request::Find(_) | Request::Look(_));
        if own < floor || (own == floor && !reads) {
            return Err(format!("revision {floor} had been told before, and then came {record:?}"));
        }
    }
    Ok(())
}

/// What each key was, by revision.
#[derive(Default)]
struct Model {
    keys: BTreeMap<u8, BTreeMap<Revision, Option<u64>>>,
    /// When removals were asked for whose outcome nobody knows.
    lost_deletes: BTreeMap<u8, Vec<Duration>>,
    /// When values were to be set whose fate nobody knows, because nobody saw them.
    lost_values: BTreeMap<u8, Vec<Duration>>,
}

impl Model {
    fn of(records: &[Record]) -> Result<Self, String> {
        let seen = seen_values(records)?;
        let mut model = Self::default();
        let mut taken = BTreeMap::new();
        for record in records {
            let unknown = matches!(record.told, None | Some((_, Told::Unknown)));
            let done = match record.told {
                Some((_, Told::Done(revision))) => Some(revision),
                _ => None,
            };
            let (effects, value): (Vec<(u8, Option<u64>)>, _) = match record.request {
                Request::Find(_) | Request::Look(_) => continue,
                Request::Put(key, value, _) => (vec![(key, Some(value))], Some(value)),
                Request::Both(one, other, value) => (vec![(one, Some(value)), (other, Some(value))], Some(value)),
                Request::Delete(key) => {
                    if unknown {
                        model.lost_deletes.entry(key).or_default().push(record.asked);
                    }
                    (vec![(key, None)], None)
                }
            };
            let shown = value.and_then(|value| seen.get(&value).copied());
            let happened = match (done, shown) {
                (Some(done), Some(shown)) if done != shown => {
                    return Err(format!("{record:?}, but its value was seen with revision {shown}"));
                }
                (None, Some(shown)) if !unknown => {
                    return Err(format!("{record:?}, but its value was seen with revision {shown}"));
                }
                (done, shown) => done.or(shown),
            };
            let Some(at) = happened else {
                for (key, _) in effects.into_iter().filter(|(_, value)| unknown && value.is_some()) {
                    model.lost_values.entry(key).or_default().push(record.asked);
                }
                continue;
            };
            if let Some(other) = taken.insert(at, *record) {
                return Err(format!("{record:?} and {other:?} have one revision"));
            }
            for (key, value) in effects {
                model.keys.entry(key).or_default().insert(at, value);
            }
        }
        Ok(model)
    }

    /// What a key was at a revision, or just before it.
    fn at(&self, key: u8, revision: Revision, before: bool) -> Seen {
        let end = if before { revision } else { revision + 1 };
        let (at, value) = self.keys.get(&key)?.range(..end).next_back()?;
        value.map(|value| (value, *at))
    }

    /// Whether a key can have been seen so at a revision.
    fn fits(&self, key: u8, seen: Seen, revision: Revision, before: bool, told: Duration) -> bool {
        let is = self.at(key, revision, before);
        // A removal that nobody was told of may have been the last.
        let may_be_gone = || self.lost_deletes.get(&key).is_some_and(|asked| asked.iter().any(|asked| *asked < told));
        seen == is || (seen.is_none() && may_be_gone())
    }

    fn explains(&self, record: &Record) -> Result<(), String> {
        let Some((when, told)) = record.told else { return Ok(()) };
        let fits = match (record.request, told) {
            (Request::Find(key) | Request::Look(key), Told::Found(seen, revision)) => {
                self.fits(key, seen, revision, false, when)
            }
            (Request::Put(key, _, Some(expected)), Told::Done(revision)) => match expected {
                0 => self.fits(key, None, revision, true, when),
                expected => self.at(key, revision, true).is_some_and(|(_, at)| at == expected),
            },
            (Request::Both(one, ..), Told::Done(revision)) => {
                // Its key may have been made by a write that nobody was told of, and whose value this one replaced.
                let may_be_there =
                    || self.lost_values.get(&one).is_some_and(|asked| asked.iter().any(|asked| *asked < when));
                self.at(one, revision, true).is_some() || may_be_there()
            }
            (Request::Both(one, other, _), Told::Else(seen, revision)) => {
                self.fits(one, None, revision, true, when) && self.fits(other, seen, revision, true, when)
            }
            (Request::Put(key, ..), Told::Refused(current)) => self.was(key, current, record.asked, when),
            (Request::Delete(key), Told::Absent) => self.was(key, 0, record.asked, when),
            _ => true,
        };
        let known: Vec<_> = self.keys.values().map(BTreeMap::len).collect();
        if fits { Ok(()) } else { Err(format!("{record:?} fits no order of {known:?} changes")) }
    }

    /// Whether a key can have been last changed at a revision (0 when it did not exist).
    fn was(&self, key: u8, current: Revision, _asked: Duration, told: Duration) -> bool {
        match current {
            0 => true,
            current => {
                let changed = self.keys.get(&key).and_then(|changes| changes.get(&current));
                // A change that nobody else saw is one with an unknown outcome.
                changed.is_none_or(Option::is_some) && told > Duration::ZERO
            }
        }
    }
}

/// At which revision each value was seen; nobody may have seen it at two.
fn seen_values(records: &[Record]) -> Result<BTreeMap<u64, Revision>, String> {
    let mut seen = BTreeMap::new();
    for record in records {
        let found = match record.told {
            Some((_, Told::Found(found, _) | Told::Else(found, _))) => found,
            _ => None,
        };
        if let Some((value, at)) = found
            && let Some(other) = seen.insert(value, at).filter(|other| *other != at)
        {
            return Err(format!("{record:?}, but the same value was seen with revision {other}"));
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(asked: u64, told: u64, request: Request, what: Told) -> Record {
        Record { request, asked: Duration::from_secs(asked), told: Some((Duration::from_secs(told), what)) }
    }

    #[test]
    fn a_history_that_can_be_is_accepted() {
        let history = [
            record(0, 9, Request::Put(1, 10, None), Told::Unknown),
            record(1, 2, Request::Put(1, 11, None), Told::Done(3)),
            record(1, 4, Request::Find(1), Told::Found(Some((11, 3)), 3)),
            record(5, 6, Request::Find(1), Told::Found(Some((10, 4)), 4)),
            record(5, 6, Request::Put(1, 12, Some(3)), Told::Refused(4)),
            record(7, 8, Request::Both(1, 2, 13), Told::Done(6)),
            record(9, 10, Request::Find(2), Told::Found(Some((13, 6)), 6)),
            record(9, 11, Request::Delete(2), Told::Unknown),
            record(12, 13, Request::Both(2, 1, 14), Told::Else(Some((13, 6)), 9)),
            record(14, 15, Request::Put(2, 15, Some(0)), Told::Done(10)),
            record(16, 17, Request::Delete(2), Told::Done(11)),
            record(18, 20, Request::Put(2, 16, Some(0)), Told::Unknown),
            record(21, 22, Request::Both(2, 1, 17), Told::Done(13)),
        ];
        assert_eq!(check(&history), Ok(()));
    }

    #[test]
    fn what_cannot_be_is_noticed() {
        let put = record(0, 1, Request::Put(1, 10, None), Told::Done(3));
        let again = record(2, 3, Request::Put(1, 11, None), Told::Done(5));
        let broken: [(&str, &[Record]); 9] = [
            ("a condition that did not hold", &[put, record(2, 3, Request::Both(2, 1, 12), Told::Done(5))]),
            ("a stale read", &[put, again, record(4, 5, Request::Find(1), Told::Found(Some((10, 3)), 3))]),
            (
                "a read that goes back",
                &[
                    put,
                    record(2, 9, Request::Put(1, 11, None), Told::Done(5)),
                    record(3, 4, Request::Find(1), Told::Found(Some((11, 5)), 5)),
                    record(5, 6, Request::Find(1), Told::Found(Some((10, 3)), 4)),
                ],
            ),
            ("a lost write", &[put, record(2, 3, Request::Find(1), Told::Found(None, 4))]),
            ("a value from nowhere", &[put, record(2, 3, Request::Find(1), Told::Found(Some((99, 4)), 4))]),
            (
                "a refused write that happened",
                &[
                    put,
                    record(2, 3, Request::Put(1, 12, None), Told::NotDone),
                    record(4, 5, Request::Find(1), Told::Found(Some((12, 4)), 4)),
                ],
            ),
            (
                "two with one condition",
                &[
                    put,
                    record(2, 4, Request::Put(1, 12, Some(3)), Told::Done(5)),
                    record(2, 4, Request::Put(1, 13, Some(3)), Told::Done(6)),
                ],
            ),
            (
                "half a transaction",
                &[
                    put,
                    record(2, 3, Request::Both(1, 2, 12), Told::Done(5)),
                    record(4, 5, Request::Find(2), Told::Found(None, 5)),
                ],
            ),
            ("an order against real time", &[again, record(4, 5, Request::Put(1, 12, None), Told::Done(4))]),
        ];
        for (what, history) in broken {
            assert!(check(history).is_err(), "{what}");
        }
    }
}
