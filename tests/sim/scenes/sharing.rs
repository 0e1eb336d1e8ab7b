//! Keys, leases and locks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ha_state::{Fence, LockLost};

use crate::sim::nemesis::Chaos;
use crate::sim::{Name, World, ms, nodes, secs};

/// Length of the leases here.
const TTL: Duration = secs(2);
/// When others may have what was not renewed, as a share of the length.
const OTHERS: f64 = 1.06;
/// How late a lock may be free, beyond that: an election, and the way of a command through the log.
const GRACE: Duration = secs(3);

/// T05: the machine of a holder sleeps past the end of its lease. When it wakes up, it is told that the lock is lost
/// before anything else can be done with it; and the resource turns its token away.
pub(super) fn holder_sleeps(world: &mut World) {
    world.share(ms(200));
    world.start(nodes(3));
    let (_, sleeper) = world.expect_leader_and_follower();
    // Also in the rounds in which it only falls silent, it must stop in time.
    world.drift_clock(sleeper, -5000);
    for round in 0..4 {
        let fence = Arc::new(Fence::new());
        let (told, resource) = (Arc::new(Mutex::new(None)), fence.clone());
        let report = told.clone();
        let holder =
            world.order_with(sleeper, "hold a lock and use it for as long as it can", move |handles| async move {
                let lock =
                    handles.state.lock("t05").ttl(TTL).timeout(secs(10)).acquire().await.map_err(|e| e.to_string())?;
                let token = lock.fencing_token();
                *report.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
                loop {
                    match lock.check() {
                        Ok(_) => resource.admit(token).map_err(|stale| format!("it held the lock, but {stale}"))?,
                        Err(LockLost) => return Ok::<_, String>(resource.admit(token).is_err()),
                    }
                    tokio::time::sleep(ms(1)).await;
                }
            });
        let holds = |told: &Mutex<Option<ha_state::FencingToken>>| *told.lock().unwrap_or_else(PoisonError::into_inner);
        world.expect("it holds the lock", secs(10), |_| holds(&told).is_some());
        world.run_up_to(secs(3));
        let cut = world.now();
        let others: Vec<Name> = world.names().into_iter().filter(|name| *name != sleeper).collect();
        world.cut(sleeper, others.clone());
        if round % 2 == 0 {
            world.jump_clock(sleeper, TTL * 10);
        }
        let resource = fence.clone();
        let next = world.order_with(others[0], "take the lock", move |handles| async move {
            let lock =
                handles.state.lock("t05").ttl(TTL).timeout(secs(20)).acquire().await.map_err(|e| e.to_string())?;
            let admitted = resource.admit(lock.fencing_token()).is_ok();
            lock.release().await.map_err(|error| error.to_string())?;
            Ok::<_, String>(admitted)
        });
        let taken = world.expect_result(&next, secs(20));
        assert_eq!(taken, Ok(true), "the next holder");
        let took = world.now() - cut;
        assert!(took <= TTL.mul_f64(OTHERS * 1.01) + GRACE, "the lock of a silent holder was free after {took:?}");
        let noticed = world.expect_result(&holder, secs(1));
        if let Err(broken) = noticed {
            panic!("it must hold that a holder knows before anybody else has its lock; but {broken}");
        }
        world.heal();
        world.expect_leader();
    }
}

/// T58: a crowd on every node waits for one lock, and the node of its holder dies, and with it some of the crowd. The
/// others are served in the order in which they came, and nothing is left of the dead.
pub(super) fn storm(world: &mut World) {
    const CROWD: usize = 150;
    world.share(ms(500));
    world.start(nodes(3));
    let (_, holder) = world.expect_leader_and_follower();
    let held = world.order_with(holder, "take the lock and keep it", |handles| async move {
        let lock = handles.state.lock("t58").ttl(TTL).timeout(secs(10)).acquire().await;
        let token = lock.as_ref().map(|lock| lock.fencing_token()).map_err(ToString::to_string);
        // Kept for as long as the node lives.
        std::mem::forget(lock);
        token
    });
    world.expect_result(&held, secs(10)).expect("nobody else wants it");
    let served = Arc::new(Mutex::new(Vec::<(u64, String)>::new()));
    for name in world.names() {
        let served = served.clone();
        let crowd = world.order_with(name, "let a crowd wait for the lock", move |handles| async move {
            for number in 0..CROWD {
                let (state, served, label) = (handles.state.clone(), served.clone(), format!("{name}-{number}"));
                tokio::spawn(async move {
                    let request = state.lock("t58").ttl(TTL).timeout(secs(300)).owner(label.clone());
                    // Some lose patience, and leave the queue.
                    if number % 10 == 9 {
                        return drop(tokio::time::timeout(ms(number as u64 * 20), request.acquire()).await);
                    }
                    let Ok(lock) = request.acquire().await else { return };
                    served.lock().unwrap_or_else(PoisonError::into_inner).push((lock.fencing_token().0, label));
                    drop(lock.release().await);
                });
            }
        });
        world.expect_result(&crowd, secs(1));
    }
    let patient = CROWD - CROWD / 10;
    let survivors: Vec<Name> = world.names().into_iter().filter(|name| *name != holder).collect();
    world.expect("all that are patient wait", secs(20), |world| waiters(world, survivors[0]).len() == 3 * patient);
    let dead = format!("{holder}-");
    let queue: Vec<String> =
        waiters(world, survivors[0]).into_iter().filter(|label| !label.starts_with(&dead)).collect();
    let died = world.now();
    world.kill(holder);
    let first = world
        .expect("somebody is served", secs(20), |_| !served.lock().unwrap_or_else(PoisonError::into_inner).is_empty());
    assert!(first <= TTL.mul_f64(OTHERS * 1.01) + GRACE, "the lock of the dead was free after {first:?}");
    world.expect("all that live are served", secs(60), |_| {
        served.lock().unwrap_or_else(PoisonError::into_inner).len() == queue.len()
    });
    let mut order = served.lock().unwrap_or_else(PoisonError::into_inner).clone();
    order.sort();
    let order: Vec<String> = order.into_iter().map(|(_, label)| label).collect();
    assert!(order == queue, "they were served in another order than they came in");
    world.trace.line("*", format_args!("{} were served in {:?}", order.len(), world.now() - died));
    world.restart(holder);
}

/// What those call themselves that wait, as a node's own copy says.
fn waiters(world: &World, name: Name) -> Vec<String> {
    let Some(handles) = world.hosts[&name].body.lock().handles.clone() else { return Vec::new() };
    let waiters = handles.state.waiters_local("t58");
    waiters.iter().map(ToString::to_string).collect()
}

/// T60: leadership changes just when a lock expires, and the clock of the new leader is fast. The lock is free after a
/// lease at the earliest, and the new leader waits a whole one.
pub(super) fn leader_at_expiry(world: &mut World) {
    world.share(ms(400));
    world.start(nodes(3));
    for round in 0..6 {
        world.expect("all have started", secs(10), |world| world.names().iter().all(|name| world.seen(*name).up));
        let (leader, follower) = world.expect_leader_and_follower();
        let other =
            world.names().into_iter().find(|name| *name != leader && *name != follower).expect("there are three");
        world.drift_clock(follower, 5000);
        world.drift_clock(other, 5000);
        let left_behind = world.order_with(follower, "take a lock and leave it behind", move |handles| async move {
            let name = format!("t60-{round}");
            let lock = handles.state.lock(&name).ttl(TTL).timeout(secs(10)).acquire().await;
            lock.map(|lock| lock.into_id().token).map_err(|error| error.to_string())
        });
        let first = world.expect_result(&left_behind, secs(10)).expect("nobody else wants it");
        let answered = world.now();
        let next = world.order_with(other, "wait for the lock", move |handles| async move {
            let name = format!("t60-{round}");
            let lock = handles.state.lock(&name).ttl(TTL).timeout(secs(30)).acquire().await;
            lock.map(|lock| lock.into_id().token).map_err(|error| error.to_string())
        });
        // Around the instant at which the old leader ends the lease.
        let shares = [0.9, 0.99, 1.0, 1.01, 1.03, 1.1];
        world.run(TTL.mul_f64(OTHERS * shares[round % shares.len()]).saturating_sub(world.now() - answered));
        let killed = world.now();
        if next.result().is_none() {
            world.kill(leader);
        }
        let second = world.expect_result(&next, secs(20)).expect("it waits for longer than any lease");
        let now = world.now();
        assert!(second > first, "tokens grow");
        // The clock of the waiter's own node plays no part: the instants are those of the world. The grant was asked
        // for a few milliseconds before its answer.
        let early = answered + TTL.mul_f64(0.995) - ms(50);
        assert!(now >= early, "the lock was free {:?} after it was granted", now - answered);
        let latest = killed.max(answered) + TTL.mul_f64(OTHERS * 1.01) + GRACE;
        assert!(now <= latest, "the lock was free {:?} after leadership changed", now - killed);
        world.restart(leader);
        world.drift_clock(follower, 0);
        world.drift_clock(other, 0);
    }
}

/// Clients of keys and locks amid what is worst for them: a leader that goes on without knowing that it is none.
pub(super) fn deaths_and_splits(world: &mut World) {
    world.share(ms(40));
    world.start(nodes(3));
    world.expect_leader();
    let chaos = Chaos { disks: false, weather: false, ..Chaos::everything(secs(40)) };
    world.endure(chaos);
}

/// Clients of keys and locks amid everything.
pub(super) fn chaos(world: &mut World) {
    world.share(ms(40));
    world.start(nodes(3));
    world.expect_leader();
    world.endure(Chaos::everything(secs(40)));
}
