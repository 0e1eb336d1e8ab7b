//! When what callers ask for takes off for the log, together. An entry costs all nodes as much as many commands do, and
//! callers who are answered together tend to ask again together: the next flight waits for them a little, so that they do
//! not fall apart into groups, each with an entry of its own. Whether they are such is tried now and then; those who come
//! one by one, or do not come back, are soon left alone. (`commit_siblings` of PostgreSQL and the group commit of MySQL's
//! log wait too, for as long as somebody has set.)

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// For how many times as long as the last flight took those who were answered are expected back, within these bounds: the
/// timers of tokio know no less than a millisecond, and a flight far away takes long.
const FLIGHTS_OF_PATIENCE: u32 = 4;
const PATIENCE_MIN: Duration = Duration::from_millis(1);
const PATIENCE_MAX: Duration = Duration::from_millis(10);
/// Those who fly together leave less than one of so many behind, or on the way back. When all others are back, these are
/// given as much time again: they are not to wait for a few who are slow.
const APART_SHARE: usize = 4;
/// One of so many may be late.
const LATE_SHARE: usize = 64;
/// Flights that wait for nobody after callers did not fly together: more than doubled each time, up to this many, and
/// one fewer for each time they did.
const HURRIED_MAX: u32 = 256;
/// Whatever waits takes off so long after the last flight, though that one has not landed.
const OVERDUE: Duration = Duration::from_secs(1);

/// What waits to take off. The callers' side.
#[derive(Debug)]
pub struct Waiting {
    /// A load that is worth a flight beside others.
    full: usize,
    load: AtomicUsize,
    /// All who ever came.
    arrivals: AtomicUsize,
    /// So many arrivals are waited for. Whoever writes one of the two reads the other after it.
    awaited: AtomicUsize,
    told: Notify,
}

impl Waiting {
    /// One more waits, with so much load.
    pub fn add(&self, load: usize) {
        let arrivals = self.arrivals.fetch_add(1, Ordering::SeqCst) + 1;
        let before = self.load.fetch_add(load, Ordering::Relaxed);
        let is_full = before < self.full && before + load >= self.full;
        if is_full || arrivals == self.awaited.load(Ordering::SeqCst) {
            self.told.notify_one();
        }
    }

    fn arrivals(&self) -> usize {
        self.arrivals.load(Ordering::SeqCst)
    }
}

/// Decides when the next flight takes off. The side of whoever gathers.
#[derive(Debug)]
pub struct Gathering {
    waiting: Arc<Waiting>,
    flights_max: usize,
    /// All who ever took off.
    departures: usize,
    took_off: Instant,
    /// Those who were answered, while they are waited for.
    expected: Option<Expected>,
    /// Those who were waited for last came back in time.
    together: bool,
    /// Flights that still wait for nobody, and how many they were last time.
    hurried: u32,
    hurried_last: u32,
}

/// Who is waited for.
#[derive(Clone, Copy, Debug)]
struct Expected {
    count: usize,
    /// Before they come.
    arrivals: usize,
    since: Instant,
    until: Instant,
    /// Most of them are back.
    most: bool,
}

impl Gathering {
    /// A load of `full` takes off beside flights that are under way, while they are fewer than `flights_max`.
    pub fn new(full: usize, flights_max: usize) -> Self {
        let (load, arrivals, awaited) = Default::default();
        let waiting = Arc::new(Waiting { full, load, arrivals, awaited, told: Notify::new() });
        let took_off = Instant::now();
        let (departures, expected, together, hurried, hurried_last) = Default::default();
        Self { waiting, flights_max, departures, took_off, expected, together, hurried, hurried_last }
    }

    /// The callers' side.
    pub fn waiting(&self) -> Arc<Waiting> {
        self.waiting.clone()
    }

    /// How many ever came; to be read before anybody is answered.
    pub fn arrivals(&self) -> usize {
        self.waiting.arrivals()
    }

    /// So many were answered; `arrivals` is how many had ever come before.
    pub fn answered(&mut self, count: usize, arrivals: usize, now: Instant) {
        let waiting = arrivals - self.departures;
        let still = self.expected.filter(|expected| expected.until > now);
        let missing = still.map_or(0, |expected| expected.missing(arrivals));
        let is_alone = count + missing + waiting < 2;
        if count == 0 || self.hurried > 0 || is_alone {
            return;
        }
        if self.together {
            if waiting * APART_SHARE > count {
                // So many came while others flew: they would make one another wait, and no longer entries.
                return self.hurry();
            }
            self.hurried_last = self.hurried_last.saturating_sub(1);
        }
        let patience = (FLIGHTS_OF_PATIENCE * (now - self.took_off)).clamp(PATIENCE_MIN, PATIENCE_MAX);
        let until = still.map_or(now + patience, |expected| expected.until);
        self.expect(Some(Expected { count: count + missing, arrivals, since: now, until, most: false }));
    }

    /// Whether a flight takes off beside so many that are under way, if anything waits.
    pub fn is_due(&mut self, under_way: usize, now: Instant) -> bool {
        if under_way >= self.flights_max {
            return false;
        }
        let is_full = self.waiting.load.load(Ordering::Relaxed) >= self.waiting.full;
        let is_overdue = now >= self.took_off + OVERDUE;
        is_full || is_overdue || (under_way == 0 && self.are_back(now))
    }

    /// Whether nobody else is waited for.
    fn are_back(&mut self, now: Instant) -> bool {
        let Some(mut expected) = self.expected else { return true };
        let arrivals = self.waiting.arrivals();
        if now >= expected.until {
            if arrivals == self.departures {
                // Nobody waited in vain.
                self.expect(None);
            }
            return true;
        }
        if !expected.most && arrivals >= expected.most_at() {
            expected.most = true;
            expected.until = expected.until.min(now + (now - expected.since).max(PATIENCE_MIN));
            self.expect(Some(expected));
        }
        self.waiting.arrivals() >= expected.enough_at()
    }

    /// Waits until [`Self::is_due`] may have another answer for other reasons than a landing. Cancel-safe.
    pub async fn changes(&self, under_way: usize) {
        let told = self.waiting.told.notified();
        let overdue = self.took_off + OVERDUE;
        // One that has passed by now ends the wait at once, and then the answer is another.
        let until = match under_way {
            0 => self.expected.map_or(overdue, |expected| expected.until.min(overdue)),
            few if few < self.flights_max => overdue,
            _ => return told.await,
        };
        tokio::select! {
            () = told => {}
            () = sleep_until(until) => {}
        }
    }

    /// So many took off, with so much load together.
    pub fn takes_off(&mut self, count: usize, load: usize, now: Instant) {
        self.waiting.load.fetch_sub(load, Ordering::Relaxed);
        self.departures += count;
        self.took_off = now;
        self.hurried = self.hurried.saturating_sub(1);
        let Some(expected) = self.expected else { return };
        self.expect(None);
        if self.waiting.arrivals() >= expected.enough_at() {
            self.together = true;
        } else if now >= expected.until {
            self.hurry();
        }
    }

    fn expect(&mut self, expected: Option<Expected>) {
        let awaited = expected.map_or(0, |expected| match expected.most {
            true => expected.enough_at(),
            false => expected.most_at(),
        });
        self.waiting.awaited.store(awaited, Ordering::SeqCst);
        self.expected = expected;
    }

    fn hurry(&mut self) {
        self.expect(None);
        self.together = false;
        self.hurried_last = (2 * self.hurried_last + 2).min(HURRIED_MAX);
        self.hurried = self.hurried_last;
    }
}

impl Expected {
    fn most_at(&self) -> usize {
        self.arrivals + self.count - self.count / APART_SHARE
    }

    fn enough_at(&self) -> usize {
        self.arrivals + self.count - self.count / LATE_SHARE
    }

    fn missing(&self, arrivals: usize) -> usize {
        (self.arrivals + self.count).saturating_sub(arrivals)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FULL: usize = 1000;
    const FLIGHTS_MAX: usize = 3;
    const LOAD: usize = 1;

    /// Callers, and who gathers what they ask.
    struct Airport {
        gathering: Gathering,
        waiting: Arc<Waiting>,
        count: usize,
    }

    impl Airport {
        fn new() -> Self {
            let gathering = Gathering::new(FULL, FLIGHTS_MAX);
            let waiting = gathering.waiting();
            Self { gathering, waiting, count: 0 }
        }

        fn come(&mut self, count: usize) {
            (0..count).for_each(|_| self.waiting.add(LOAD));
            self.count += count;
        }

        fn is_due(&mut self) -> bool {
            self.gathering.is_due(0, Instant::now())
        }

        async fn until_due(&mut self) -> Duration {
            let began = Instant::now();
            while !self.is_due() {
                self.gathering.changes(0).await;
            }
            began.elapsed()
        }

        fn answered(&mut self, count: usize) {
            self.gathering.answered(count, self.gathering.arrivals(), Instant::now());
        }

        /// All who wait take off, and are answered after a flight.
        async fn fly(&mut self) {
            self.fly_while(0).await;
        }

        /// The same, while so many come.
        async fn fly_while(&mut self, come: usize) {
            let count = std::mem::take(&mut self.count);
            self.gathering.takes_off(count, count * LOAD, Instant::now());
            tokio::time::sleep(FLIGHT).await;
            self.come(come);
            self.answered(count);
        }
    }

    const FLIGHT: Duration = Duration::from_millis(2);

    #[tokio::test(start_paused = true)]
    async fn whoever_is_alone_waits_for_nobody() {
        let mut airport = Airport::new();
        for _ in 0..3 {
            airport.come(1);
            assert!(airport.is_due());
            airport.fly().await;
        }
        airport.come(1);
        assert!(airport.is_due());
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_were_answered_are_waited_for_but_for_one_of_many() {
        let mut airport = Airport::new();
        airport.come(128);
        airport.fly().await;
        for _ in 0..200 {
            airport.come(125);
            assert!(!airport.is_due());
            airport.come(1);
            assert_eq!(airport.until_due().await, Duration::ZERO);
            airport.come(2);
            airport.fly().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn groups_that_fly_in_turn_become_one() {
        let mut airport = Airport::new();
        airport.come(30);
        airport.fly_while(30).await;
        assert!(!airport.is_due());
        airport.come(30);
        assert!(airport.is_due());
        airport.fly().await;
        assert!(!airport.is_due(), "all sixty are expected");
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_come_one_by_one_are_left_alone() {
        let mut airport = Airport::new();
        let mut waited = Vec::new();
        for flight in 0..1000 {
            while !airport.is_due() {
                waited.push(flight);
                tokio::time::sleep(FLIGHT).await;
                airport.come(20);
            }
            airport.fly_while(20).await;
        }
        assert_eq!(waited, [2, 5, 12, 27, 58, 121, 248, 503, 760]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_does_not_come_back_is_expected_less_and_less() {
        let mut airport = Airport::new();
        let mut waited = Vec::new();
        for flight in 0..1000 {
            // Most of twenty do not come back.
            airport.come(if flight % 2 == 0 { 20 } else { 2 });
            let wait = airport.until_due().await;
            if !wait.is_zero() {
                waited.push(flight);
                assert_eq!(wait, FLIGHTS_OF_PATIENCE * FLIGHT);
            }
            airport.fly().await;
        }
        assert_eq!(waited, [1, 5, 11, 21, 39, 73, 139, 269, 527, 785]);
    }

    #[tokio::test(start_paused = true)]
    async fn many_do_not_wait_for_one_who_is_slow() {
        const FLIGHTS: u32 = 1000;
        for (fast, away) in [(7, 6), (32, 2), (4, 3)] {
            let mut airport = Airport::new();
            let mut waited = Duration::ZERO;
            for flight in 0..FLIGHTS {
                airport.come(fast);
                waited += airport.until_due().await;
                airport.fly_while(usize::from(flight % away == 0)).await;
            }
            assert!(waited < FLIGHT * FLIGHTS / 10, "{fast} waited for {waited:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_of_all_is_no_failure() {
        let mut airport = Airport::new();
        for _ in 0..10 {
            airport.come(20);
            assert_eq!(airport.until_due().await, Duration::ZERO);
            airport.fly().await;
            assert_eq!(airport.until_due().await, PATIENCE_MAX.min(FLIGHTS_OF_PATIENCE * FLIGHT));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flight_that_does_not_land_holds_up_nobody_for_long() {
        let mut airport = Airport::new();
        // One of the others lands, and those who flew with it are expected.
        airport.gathering.takes_off(0, 0, Instant::now());
        airport.answered(2);
        airport.come(1);
        let began = Instant::now();
        while !airport.gathering.is_due(1, Instant::now()) {
            airport.gathering.changes(1).await;
        }
        assert_eq!(began.elapsed(), OVERDUE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_that_ends_between_two_looks_is_not_missed() {
        let mut airport = Airport::new();
        airport.answered(2);
        airport.come(1);
        assert!(!airport.is_due());
        tokio::time::sleep(PATIENCE_MAX).await;
        airport.gathering.changes(0).await;
        assert!(airport.is_due());
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_load_takes_off_beside_others_and_less_does_not() {
        let mut airport = Airport::new();
        airport.come(FULL - 1);
        assert!(!airport.gathering.is_due(1, Instant::now()));
        airport.come(1);
        airport.gathering.changes(1).await;
        assert!(airport.gathering.is_due(FLIGHTS_MAX - 1, Instant::now()));
        assert!(!airport.gathering.is_due(FLIGHTS_MAX, Instant::now()));
    }

    proptest! {
        #[test]
        fn nobody_waits_for_long(
            steps in prop::collection::vec((0..40_usize, 0..40_usize, 0..10_u64), 1..50),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let mut airport = Airport::new();
                for (come, answered, millis) in steps {
                    airport.come(come);
                    airport.answered(answered);
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                    let longest = Instant::now() + PATIENCE_MAX;
                    assert!(airport.gathering.is_due(0, longest));
                    if airport.is_due() {
                        airport.fly().await;
                    }
                }
            });
        }
    }
}
