//! Places of those who stay, such as followers of events: bounded, and no more than a share of them for one address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Extension;

use crate::error::ApiError;
use crate::limits::SHARE_OF_ONE_PLACE;

/// Where a caller is, as far as it matters to those who count: put on each request that finds its way by the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CameFrom(pub(crate) IpAddr);

impl CameFrom {
    /// Where nobody has looked.
    pub(crate) const NOWHERE: Self = Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
}

/// A number of places. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    max: usize,
    taken: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    of: IpAddr,
    places: Places,
}

impl Places {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, taken: Arc::default() }
    }

    /// Takes a place, if there is one left for whoever calls from there.
    pub(crate) fn enter(&self, from: Option<Extension<CameFrom>>) -> Result<Place, ApiError> {
        let CameFrom(of) = from.map_or(CameFrom::NOWHERE, |Extension(from)| from);
        let share = (self.max * SHARE_OF_ONE_PLACE.0).div_ceil(SHARE_OF_ONE_PLACE.1);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, own) = (taken.values().sum::<usize>(), taken.get(&of).copied().unwrap_or_default());
        let too_many = |message| Err(ApiError::unavailable("too_many_streams", message));
        if all >= self.max {
            return too_many(format!("{} callers follow already", self.max));
        }
        if own >= share {
            return too_many(format!("{share} callers follow from this address already"));
        }
        taken.insert(of, own + 1);
        Ok(Place { of, places: self.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_leaves_places_for_others() {
        let places = Places::new(8);
        let from = |last: u8| Some(Extension(CameFrom(IpAddr::from([10, 0, 0, last]))));
        let mut one: Vec<Place> = std::iter::from_fn(|| places.enter(from(1)).ok()).collect();
        assert_eq!(one.len(), 6, "three quarters of all");
        let others = [places.enter(from(2)), places.enter(None)];
        assert!(others.iter().all(Result::is_ok) && places.enter(from(3)).is_err(), "all are taken");
        one.pop();
        assert!(places.enter(from(3)).is_ok(), "whoever leaves makes room");
        drop((one, others));
        assert!(places.taken.lock().unwrap().is_empty());
    }
}
