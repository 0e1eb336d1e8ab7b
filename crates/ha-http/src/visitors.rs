//! The connections of one room, and who gives way when there are too many: of those that are served, or of those that
//! have said nothing yet, which all wait.
//!
//! A connection *waits* while its next request is not there in full: it has just come, is idle, or sends slowly. Such a
//! one may be ended at any time, and its caller may call again. One whose request is being answered is left alone.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

use crate::limits::SHARE_OF_ONE_PLACE;

/// All connections. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Visitors {
    max: usize,
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    visits: BTreeMap<u64, Visitor>,
    /// Of each place, those that wait: since when, and which. A flood must not cost a look at all of them each time.
    waiting: BTreeMap<IpAddr, BTreeSet<(u64, u64)>>,
    /// Of each place, how many.
    places: BTreeMap<IpAddr, usize>,
    next: u64,
}

#[derive(Debug)]
struct Visitor {
    place: IpAddr,
    /// Since when it waits, as a count of all that happened; `None` while it is answered.
    waits_since: Option<u64>,
    task: Option<AbortHandle>,
}

/// Whether somebody may come in.
#[derive(Debug)]
pub(crate) enum Entry {
    /// Yes; true when another one had to give way.
    Admitted(Visit, bool),
    /// Every place is taken by requests that are being answered.
    Full,
}

/// One connection, for as long as it lasts.
#[derive(Debug)]
pub(crate) struct Visit {
    visitors: Visitors,
    number: u64,
    place: IpAddr,
}

impl Visitors {
    /// No more than `max` at once.
    pub(crate) fn new(max: usize) -> Self {
        Self { max: max.max(1), table: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets somebody in, if need be in the place of one that waits: of the caller's own place when that has its share,
    /// or else of the place that has the most.
    pub(crate) fn enter(&self, from: SocketAddr) -> Entry {
        let place = place(from);
        let share = (self.max * SHARE_OF_ONE_PLACE.0).div_ceil(SHARE_OF_ONE_PLACE.1);
        let mut table = self.lock();
        let gives_way = if table.count(place) >= share {
            Some(table.oldest_of(place))
        } else if table.visits.len() >= self.max {
            Some(table.oldest_of_the_largest())
        } else {
            None
        };
        match gives_way {
            Some(Some(number)) => table.remove(number),
            Some(None) => return Entry::Full,
            None => {}
        }
        let number = table.tick();
        table.visits.insert(number, Visitor { place, waits_since: None, task: None });
        table.waits_since(number, Some(number));
        *table.places.entry(place).or_default() += 1;
        Entry::Admitted(Visit { visitors: self.clone(), number, place }, gives_way.is_some())
    }

    /// Says which task serves a visit, so that it can be ended.
    pub(crate) fn served_by(&self, number: u64, task: AbortHandle) {
        match self.lock().visits.get_mut(&number) {
            Some(visitor) => visitor.task = Some(task),
            // It is over already.
            None => task.abort(),
        }
    }
}

impl Table {
    fn tick(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn count(&self, place: IpAddr) -> usize {
        self.places.get(&place).copied().unwrap_or_default()
    }

    fn oldest_of(&self, place: IpAddr) -> Option<u64> {
        Some(self.waiting.get(&place)?.first()?.1)
    }

    /// Of those that wait, one of the place that has the most; the oldest where several have as many.
    fn oldest_of_the_largest(&self) -> Option<u64> {
        let rank = |(place, waiting): (&IpAddr, &BTreeSet<(u64, u64)>)| {
            Some((Reverse(self.count(*place)), waiting.first().copied()?))
        };
        self.waiting.iter().filter_map(rank).min().map(|(_, (_, number))| number)
    }

    /// A visitor waits since then, or is answered.
    fn waits_since(&mut self, number: u64, since: Option<u64>) {
        let Some(visitor) = self.visits.get_mut(&number) else { return };
        let before = std::mem::replace(&mut visitor.waits_since, since);
        if before == since {
            // A request with a body is told to be there twice.
            return;
        }
        let waiting = self.waiting.entry(visitor.place).or_default();
        before.map(|before| waiting.remove(&(before, number)));
        waiting.extend(since.map(|since| (since, number)));
        if waiting.is_empty() {
            self.waiting.remove(&visitor.place);
        }
    }

    fn remove(&mut self, number: u64) {
        self.waits_since(number, None);
        let Some(visitor) = self.visits.remove(&number) else { return };
        if let Some(count) = self.places.get_mut(&visitor.place) {
            *count -= 1;
            if *count == 0 {
                self.places.remove(&visitor.place);
            }
        }
        if let Some(task) = visitor.task {
            task.abort();
        }
    }
}

impl Visit {
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Where its caller is.
    pub(crate) fn place(&self) -> IpAddr {
        self.place
    }

    /// Its request is there in full.
    pub(crate) fn is_answered(&self) {
        self.visitors.lock().waits_since(self.number, None);
    }

    /// Its answer is out.
    pub(crate) fn waits(&self) {
        let mut table = self.visitors.lock();
        let now = table.tick();
        table.waits_since(self.number, Some(now));
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.visitors.lock().remove(self.number);
    }
}

/// What counts as one place: an address of version 4, or a network of version 6, of which anybody has 2^64 addresses.
fn place(from: SocketAddr) -> IpAddr {
    match from.ip().to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn visit(entry: Entry) -> (Visit, bool) {
        match entry {
            Entry::Admitted(visit, gave_way) => (visit, gave_way),
            Entry::Full => panic!("full"),
        }
    }

    fn is_there(visitors: &Visitors, visit: &Visit) -> bool {
        visitors.lock().visits.contains_key(&visit.number)
    }

    #[test]
    fn the_one_that_waits_for_longest_gives_way() {
        let visitors = Visitors::new(4);
        let enter = |port: u16| visit(visitors.enter(SocketAddr::from(([10, 0, 0, port as u8], port))));
        let all: Vec<Visit> = (1..=4).map(|port| enter(port).0).collect();
        all[0].is_answered();
        all[1].is_answered();
        all[1].waits();
        let (fifth, gave_way) = enter(5);
        assert!(gave_way && !is_there(&visitors, &all[2]), "the first is answered, the second waits since later");
        assert!([&all[0], &all[1], &all[3], &fifth].iter().all(|visit| is_there(&visitors, visit)));
        drop(all);
        assert_eq!(visitors.lock().visits.len(), 1, "whoever leaves makes room");
        let table = visitors.lock();
        assert_eq!((table.places.len(), table.waiting.len()), (1, 1));
    }

    #[test]
    fn one_place_turns_away_itself_and_nobody_else() {
        let visitors = Visitors::new(8);
        let other = visit(visitors.enter(from("10.0.0.9:1"))).0;
        let many: Vec<Visit> =
            (1..=7).map(|port| visit(visitors.enter(SocketAddr::from(([10, 0, 0, 1], port)))).0).collect();
        assert_eq!(many.iter().filter(|visit| is_there(&visitors, visit)).count(), 6, "three quarters of all");
        assert!(is_there(&visitors, &other));
        many.iter().for_each(Visit::is_answered);
        assert!(matches!(visitors.enter(from("10.0.0.1:9")), Entry::Full));
        assert!(!visit(visitors.enter(from("10.0.0.2:9"))).1, "there is room for others");
    }

    #[test]
    fn nobody_gives_way_while_all_are_answered() {
        let visitors = Visitors::new(2);
        let visits = [1, 2].map(|last| visit(visitors.enter(SocketAddr::from(([10, 0, 0, last], 1)))).0);
        visits.iter().for_each(Visit::is_answered);
        assert!(matches!(visitors.enter(from("10.0.0.3:1")), Entry::Full));
        visits[1].waits();
        assert!(visit(visitors.enter(from("10.0.0.3:1"))).1);
    }
}
