//! The connections that have not passed their greeting yet, and who gives way when there are too many.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use tokio::task::AbortHandle;

use crate::limits::HALF_OPEN_MAX;

/// One that is being greeted.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) from: SocketAddr,
    pub(super) task: AbortHandle,
}

/// All of them, oldest first.
#[derive(Debug, Default)]
pub(super) struct HalfOpen(BTreeMap<u64, Waiting>);

impl HalfOpen {
    /// Takes one out when all places are taken: the oldest of the place that has the most, so that whoever dials from
    /// many ports of one machine turns away itself and nobody else.
    pub(super) fn make_room(&mut self) -> Option<Waiting> {
        if self.0.len() < HALF_OPEN_MAX {
            return None;
        }
        let mut places: BTreeMap<IpAddr, (usize, u64)> = BTreeMap::new();
        for (number, waiting) in &self.0 {
            places.entry(place(waiting.from)).or_insert((0, *number)).0 += 1;
        }
        let (_, oldest) = places.into_values().max_by_key(|(count, oldest)| (*count, u64::MAX - oldest))?;
        self.0.remove(&oldest)
    }

    pub(super) fn enter(&mut self, number: u64, from: SocketAddr, task: AbortHandle) {
        self.0.insert(number, Waiting { from, task });
    }

    pub(super) fn leave(&mut self, number: u64) {
        self.0.remove(&number);
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

    async fn full_of(froms: impl Fn(u64) -> SocketAddr) -> HalfOpen {
        let mut table = HalfOpen::default();
        for number in 0..HALF_OPEN_MAX as u64 {
            table.enter(number, froms(number), tokio::spawn(async {}).abort_handle());
        }
        table
    }

    #[tokio::test]
    async fn nobody_gives_way_while_there_is_room() {
        let mut table = full_of(|_| from("10.0.0.1:1")).await;
        table.leave(7);
        assert!(table.make_room().is_none());
    }

    #[tokio::test]
    async fn the_oldest_of_the_place_with_the_most_gives_way() {
        let mut table = full_of(|number| if number < 3 { from("10.0.0.9:1") } else { from("10.0.0.1:1") }).await;
        for expected in 3..50 {
            assert_eq!(table.make_room().unwrap().from, from("10.0.0.1:1"));
            assert!(!table.0.contains_key(&expected) && table.0.contains_key(&0));
            table.enter(1000 + expected, from("10.0.0.1:2"), tokio::spawn(async {}).abort_handle());
        }
    }

    #[tokio::test]
    async fn the_addresses_of_one_network_are_one_place() {
        let mut table = full_of(|number| match number {
            0 => from("10.0.0.9:1"),
            number => SocketAddr::from((Ipv6Addr::from_bits(0xfd00 << 112 | u128::from(number)), 1)),
        })
        .await;
        assert!(table.make_room().unwrap().from.is_ipv6());
        assert_eq!(place(from("[::ffff:10.0.0.9]:1")), place(from("10.0.0.9:2")));
    }
}
