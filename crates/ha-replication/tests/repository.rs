//! A foreign database that crashes between its steps loses nothing and gets nothing twice.

#![allow(clippy::unwrap_used, reason = "helpers stand outside of the tests that use them")]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use ha_replication::repository::{Bridge, BridgeError, Outgoing, Repository, RepositoryError};
use ha_replication::{Change, Event, Key, SubscribeError, Version};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use support::{PATIENCE, Stage, until};
use tokio::sync::Semaphore;

/// What is on the disk of the foreign database: changed only whole, as in transactions.
#[derive(Default)]
struct Tables {
    outbox: BTreeMap<u64, Change>,
    rows: BTreeMap<Key, (Version, Option<bytes::Bytes>)>,
    applied: Version,
    /// Events that came a second time.
    twice: usize,
    crashes: usize,
}

impl Tables {
    /// In one transaction.
    fn apply(&mut self, changes: Vec<Event>) {
        for event in changes {
            let (key, version) = (event.key().clone(), event.version());
            // Another bridge has applied it, or what came after it.
            if version <= self.applied {
                self.twice += 1;
                continue;
            }
            self.applied = version;
            let data = match event {
                Event::Changed(record) => Some(record.data),
                Event::Deleted { .. } => None,
            };
            self.rows.insert(key, (version, data));
        }
    }
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
        self.step(|tables| tables.apply(changes))
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

/// A sink of which the first transaction is late, and the bridge that asked for it does not live to hear of it.
struct Late {
    tables: Mutex<Tables>,
    begun: AtomicUsize,
    gate: Semaphore,
}

impl Repository for Late {
    fn outbox(&self, _above: u64, _limit: usize) -> BoxFuture<'_, Result<Vec<Outgoing>, RepositoryError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn shipped(&self, _upto: u64) -> BoxFuture<'_, Result<(), RepositoryError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn applied(&self) -> BoxFuture<'_, Result<Version, RepositoryError>> {
        Box::pin(std::future::ready(Ok(self.tables.lock().unwrap().applied)))
    }

    fn apply(&self, changes: Vec<Event>) -> BoxFuture<'_, Result<(), RepositoryError>> {
        let is_first = self.begun.fetch_add(1, Ordering::SeqCst) == 0;
        Box::pin(async move {
            if is_first {
                self.gate.acquire().await.unwrap().forget();
            }
            self.tables.lock().unwrap().apply(changes);
            if is_first {
                self.gate.close();
                std::future::pending::<()>().await;
            }
            Ok(())
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_that_is_late_does_not_take_a_sink_back_and_ends_with_its_node() {
    let stage = Stage::new(1);
    let node = stage.start_all().await.pop().unwrap();
    let sink = Late { tables: Mutex::default(), begun: AtomicUsize::default(), gate: Semaphore::new(0) };
    let sink = Arc::new(sink);
    let applying = || {
        let bridge = Bridge::new(node.replication.clone(), sink.clone(), "sink").unwrap();
        tokio::spawn(async move { bridge.apply().await })
    };
    let write = async |data: &'static str| {
        node.replication.replicate_bytes("order", "1", bytes::Bytes::from_static(data.as_bytes())).await.unwrap()
    };
    let row = || sink.tables.lock().unwrap().rows.get(&Key::new("order", "1").unwrap()).cloned();
    write("old").await;
    let late = applying();
    until("the first bridge applies", async || match sink.begun.load(Ordering::SeqCst) {
        0 => Err(0),
        _ => Ok(()),
    })
    .await;
    let newer = (write("new").await.version, Some(bytes::Bytes::from_static(b"new")));
    let beside = applying();
    until("the second bridge has applied", async || if row().as_ref() == Some(&newer) { Ok(()) } else { Err(row()) })
        .await;
    sink.gate.add_permits(1);
    until("the first one has too", async || if sink.gate.is_closed() { Ok(()) } else { Err(()) }).await;
    assert_eq!(row(), Some(newer));
    late.abort();
    node.replication.stop().await;
    let told = tokio::time::timeout(PATIENCE, beside).await.expect("it ends").unwrap();
    assert!(matches!(told, BridgeError::Subscribe(SubscribeError::Stopped)), "{told}");
}
