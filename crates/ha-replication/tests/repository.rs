//! A foreign database that crashes between its steps loses nothing and gets nothing twice.

#![allow(clippy::unwrap_used, reason = "helpers stand outside of the tests that use them")]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use ha_replication::repository::{Bridge, BridgeError, Outgoing, Repository, RepositoryError};
use ha_replication::{Change, Event, Key, Version};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use support::{PATIENCE, Stage, until};

/// What is on the disk of the foreign database: changed only whole, as in transactions.
#[derive(Default)]
struct Tables {
    outbox: BTreeMap<u64, Change>,
    rows: BTreeMap<Key, (Version, Option<bytes::Bytes>)>,
    applied: Version,
    /// Events that were applied a second time.
    twice: usize,
    crashes: usize,
}

/// A foreign database that crashes: before what it is asked, or after it and before it says so.
struct Crashing {
    tables: Mutex<Tables>,
    rng: Mutex<StdRng>,
}

impl Crashing {
    fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self { tables: Mutex::default(), rng: Mutex::new(StdRng::seed_from_u64(seed)) })
    }

    fn step<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tables) -> T,
    ) -> BoxFuture<'_, Result<T, RepositoryError>> {
        let chance = self.rng.lock().unwrap().random_range(0..6_u32);
        let mut tables = self.tables.lock().unwrap();
        let crash = |tables: &mut Tables| {
            tables.crashes += 1;
            Err(RepositoryError("it crashed".to_owned()))
        };
        let outcome = match chance {
            0 => crash(&mut tables),
            1 => {
                work(&mut tables);
                crash(&mut tables)
            }
            _ => Ok(work(&mut tables)),
        };
        Box::pin(std::future::ready(outcome))
    }
}

impl Repository for Crashing {
    fn outbox(&self, above: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Outgoing>, RepositoryError>> {
        self.step(|tables| {
            let above = tables.outbox.range(above + 1..).take(limit);
            above.map(|(number, change)| Outgoing { number: *number, change: change.clone() }).collect()
        })
    }

    fn shipped(&self, upto: u64) -> BoxFuture<'_, Result<(), RepositoryError>> {
        self.step(|tables| tables.outbox.retain(|number, _| *number > upto))
    }

    fn applied(&self) -> BoxFuture<'_, Result<Version, RepositoryError>> {
        self.step(|tables| tables.applied)
    }

    fn apply(&self, changes: Vec<Event>) -> BoxFuture<'_, Result<(), RepositoryError>> {
        self.step(|tables| {
            for event in changes {
                tables.twice += usize::from(event.version() <= tables.applied);
                tables.applied = event.version();
                let (key, version) = (event.key().clone(), event.version());
                let data = match event {
                    Event::Changed(record) => Some(record.data),
                    Event::Deleted { .. } => None,
                };
                tables.rows.insert(key, (version, data));
            }
        })
    }
}

fn change(id: &str, data: Option<&str>) -> Change {
    Change {
        key: Key::new("order", id).unwrap(),
        data: data.map(|data| bytes::Bytes::copy_from_slice(data.as_bytes())),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_change_passes_once_in_both_directions_wherever_it_crashes() {
    let mut stage = Stage::new(1);
    // Small pieces, so that there are many moments to crash in.
    stage.batch_items = 10;
    let node = stage.start_all().await.pop().unwrap();
    let (source, sink) = (Crashing::new(1), Crashing::new(2));
    const CHANGES: u64 = 400;
    {
        let mut tables = source.tables.lock().unwrap();
        for number in 1..=CHANGES {
            tables.outbox.insert(number, change(&format!("{number:04}"), Some(&number.to_string())));
        }
        tables.outbox.insert(CHANGES + 1, change("0001", None));
    }
    let applying = Bridge::new(node.replication.clone(), sink.clone(), "sink").unwrap();
    let applying = tokio::spawn(async move { applying.apply().await });
    let bridge = Bridge::new(node.replication.clone(), source.clone(), "orders").unwrap();
    let mut rng = StdRng::seed_from_u64(3);
    let taken = async {
        while node.replication.imported("orders").await.unwrap() <= CHANGES {
            // The process dies in the middle, now and then.
            let life = Duration::from_micros(rng.random_range(1..8_000));
            match tokio::time::timeout(life, bridge.take_over_once()).await {
                Err(_) | Ok(Ok(_) | Err(BridgeError::Repository(_))) => {}
                Ok(Err(error)) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, taken).await.expect("everything in time");

    assert_eq!(node.replication.held_here().items, CHANGES + 1, "each change was written exactly once");
    assert_eq!(node.replication.list("order", None, 1000).await.unwrap().len() as u64, CHANGES - 1);
    assert_eq!(node.replication.get("order", "0001").await.unwrap(), None);
    until("the sink has everything", async || {
        let tables = sink.tables.lock().unwrap();
        let there = tables.rows.values().filter(|(_, data)| data.is_some()).count() as u64;
        if there == CHANGES - 1 { Ok(()) } else { Err(there) }
    })
    .await;
    applying.abort();
    let tables = sink.tables.lock().unwrap();
    assert_eq!(tables.twice, 0, "nothing was applied twice");
    assert!(tables.crashes > 5 && source.tables.lock().unwrap().crashes > 5, "there were crashes to survive");
    for (key, (version, data)) in tables.rows.iter().filter(|(_, (_, data))| data.is_some()) {
        let record = node.replication.get_local("order", key.data_id()).unwrap().unwrap();
        assert_eq!((record.version, Some(record.data)), (*version, data.clone()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outbox_whose_numbers_do_not_count_up_is_for_somebody_to_look_at() {
    struct Wrong;
    impl Repository for Wrong {
        fn outbox(&self, _above: u64, _limit: usize) -> BoxFuture<'_, Result<Vec<Outgoing>, RepositoryError>> {
            let outgoing = |number| Outgoing { number, change: change("1", None) };
            Box::pin(std::future::ready(Ok(vec![outgoing(2), outgoing(1)])))
        }
        fn shipped(&self, _upto: u64) -> BoxFuture<'_, Result<(), RepositoryError>> {
            Box::pin(std::future::ready(Ok(())))
        }
        fn applied(&self) -> BoxFuture<'_, Result<Version, RepositoryError>> {
            Box::pin(std::future::ready(Ok(Version::default())))
        }
        fn apply(&self, _changes: Vec<Event>) -> BoxFuture<'_, Result<(), RepositoryError>> {
            Box::pin(std::future::ready(Ok(())))
        }
    }
    let stage = Stage::new(1);
    let node = stage.start_all().await.pop().unwrap();
    let bridge = Bridge::new(node.replication.clone(), Arc::new(Wrong), "wrong").unwrap();
    let told = tokio::time::timeout(PATIENCE, bridge.take_over()).await.unwrap();
    assert!(matches!(told, BridgeError::Outbox { .. }), "{told}");
}

/// A database whose outbox another bridge takes over from, in the moment before it is read.
#[derive(Default)]
struct Shared {
    outbox: Mutex<BTreeMap<u64, Change>>,
    beside: Mutex<Option<Bridge<Shared>>>,
}

impl Shared {
    fn of(numbers: &[u64]) -> Self {
        let outbox = numbers.iter().map(|number| (*number, change(&number.to_string(), Some("1")))).collect();
        Self { outbox: Mutex::new(outbox), beside: Mutex::default() }
    }
}

impl Repository for Shared {
    fn outbox(&self, above: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Outgoing>, RepositoryError>> {
        let beside = self.beside.lock().unwrap().take();
        Box::pin(async move {
            if let Some(bridge) = beside {
                bridge.take_over_once().await.unwrap();
            }
            let outbox = self.outbox.lock().unwrap();
            let above = outbox.range(above + 1..).take(limit);
            Ok(above.map(|(number, change)| Outgoing { number: *number, change: change.clone() }).collect())
        })
    }

    fn shipped(&self, upto: u64) -> BoxFuture<'_, Result<(), RepositoryError>> {
        self.outbox.lock().unwrap().retain(|number, _| *number > upto);
        Box::pin(std::future::ready(Ok(())))
    }

    fn applied(&self) -> BoxFuture<'_, Result<Version, RepositoryError>> {
        Box::pin(std::future::ready(Ok(Version::default())))
    }

    fn apply(&self, _changes: Vec<Event>) -> BoxFuture<'_, Result<(), RepositoryError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_leaves_an_outbox_that_the_cluster_did_not_take_over() {
    let stage = Stage::new(1);
    let node = stage.start_all().await.pop().unwrap();
    let bridge =
        |shared: Shared, source: &str| Bridge::new(node.replication.clone(), Arc::new(shared), source).unwrap();
    let shared = Shared::of(&[1, 2, 3]);
    *shared.beside.lock().unwrap() = Some(bridge(Shared::of(&[1]), "source-00"));
    let both = bridge(shared, "source-00");
    for _ in 0..3 {
        both.take_over_once().await.unwrap();
    }
    assert_eq!(node.replication.list("order", None, 10).await.unwrap().len(), 3);

    for n in 1..64 {
        assert_eq!(bridge(Shared::of(&[1]), &format!("source-{n:02}")).take_over_once().await.unwrap(), 1);
    }
    let one_more = bridge(Shared::of(&[1]), "source-64").take_over_once().await;
    assert!(matches!(one_more, Err(BridgeError::Outbox { .. })), "{one_more:?}");
    assert!(both.take_over_once().await.is_ok(), "those that are known go on");
}
