//! A monitor at work, from outside.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use ha_health::{Config, Health, RegisterError, Status, Verdict};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Waits until a component has a status.
async fn becomes(health: &Health, name: &str, status: Status) {
    let mut overall = health.watch();
    let is_so = |overall: &Arc<ha_health::OverallHealth>| overall.component(name).is_some_and(|c| c.status == status);
    tokio::time::timeout(secs(3600), overall.wait_for(is_so)).await.expect("in time").expect("a monitor");
}

#[tokio::test(start_paused = true)]
async fn a_component_fails_and_comes_back() {
    let health = ha_health::start(Config::default()).unwrap();
    let works = Arc::new(AtomicBool::new(true));
    let check = {
        let works = works.clone();
        move || std::future::ready(works.load(Ordering::Relaxed))
    };
    let mut transitions = health.transitions();
    health.component("database").critical().check(check).unwrap();
    becomes(&health, "database", Status::Healthy).await;
    let overall = health.overall();
    assert!(overall.healthy && overall.status == Status::Healthy && overall.total_components == 1);
    works.store(false, Ordering::Relaxed);
    let began = tokio::time::Instant::now();
    becomes(&health, "database", Status::Unhealthy).await;
    assert_eq!(began.elapsed().as_secs(), 90, "three checks, thirty seconds apart");
    assert_eq!(health.overall().status, Status::Unhealthy);
    works.store(true, Ordering::Relaxed);
    becomes(&health, "database", Status::Healthy).await;
    let told: Vec<Status> = std::iter::from_fn(|| transitions.try_recv().ok()).map(|t| t.to).collect();
    assert_eq!(told, [Status::Healthy, Status::Degraded, Status::Unhealthy, Status::Healthy]);
    assert_eq!(health.history().len(), told.len());
}

#[tokio::test(start_paused = true)]
async fn a_check_that_hangs_or_panics_has_failed_and_others_go_on() {
    let health = ha_health::start(Config::default()).unwrap();
    health.component("hangs").failures(1).check(pending::<bool>).unwrap();
    health.component("panics").failures(1).check(|| async { panic!("on purpose") as bool }).unwrap();
    health.register("fine", || async { true }).unwrap();
    becomes(&health, "hangs", Status::Unhealthy).await;
    becomes(&health, "fine", Status::Healthy).await;
    let message = |name| health.overall().component(name).unwrap().message.clone().unwrap();
    assert_eq!(message("hangs"), "no answer within 5 s");
    assert_eq!(message("panics"), "the check panicked");
    assert_eq!(health.overall().status, Status::Degraded, "none of them is critical");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_blocks_its_thread_delays_nobody_and_is_not_begun_again() {
    let mut config = Config::default();
    config.interval = Duration::from_millis(10);
    config.timeout = Duration::from_millis(10);
    let health = ha_health::start(config).unwrap();
    let begun = Arc::new(AtomicU32::new(0));
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let gate = Arc::new(std::sync::Mutex::new(gate));
    let check = {
        let begun = begun.clone();
        move || {
            begun.fetch_add(1, Ordering::Relaxed);
            let _ = gate.lock().unwrap().recv();
            std::future::ready(true)
        }
    };
    health.register("blocks", check).unwrap();
    becomes(&health, "blocks", Status::Unhealthy).await;
    let message = health.overall().component("blocks").unwrap().message.clone().unwrap();
    assert_eq!(message, "the check before it has not ended: it blocks its thread");
    assert_eq!(begun.load(Ordering::Relaxed), 1);
    drop(release);
    becomes(&health, "blocks", Status::Healthy).await;
}

#[tokio::test(start_paused = true)]
async fn recovery_mends_what_it_can() {
    let health = ha_health::start(Config::default()).unwrap();
    let (works, attempts) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let check = {
        let works = works.clone();
        move || std::future::ready(works.load(Ordering::Relaxed))
    };
    let action = {
        let attempts = attempts.clone();
        move || {
            // The second attempt helps.
            let helps = attempts.fetch_add(1, Ordering::Relaxed) == 1;
            works.fetch_or(helps, Ordering::Relaxed);
            std::future::ready(if helps { Ok(()) } else { Err("no") })
        }
    };
    health.component("worker").failures(1).recover(action).check(check).unwrap();
    becomes(&health, "worker", Status::Unhealthy).await;
    becomes(&health, "worker", Status::Healthy).await;
    assert_eq!(attempts.load(Ordering::Relaxed), 2);
    let worker = health.overall().component("worker").unwrap().clone();
    assert_eq!(worker.recovery.as_deref(), Some("attempt 2 of 5 to recover it ended well"));
    let messages: Vec<String> = health.history().into_iter().map(|transition| transition.message).collect();
    assert!(messages.contains(&"attempt 1 of 5 to recover it failed: no".to_owned()), "{messages:?}");
}

#[tokio::test(start_paused = true)]
async fn recovery_that_is_off_is_not_tried() {
    let mut config = Config::default();
    config.recovery_enabled = false;
    let health = ha_health::start(config).unwrap();
    let action = || async { panic!("it is off") as Result<(), String> };
    health.component("worker").failures(1).recover(action).check(|| async { false }).unwrap();
    becomes(&health, "worker", Status::Unhealthy).await;
    tokio::time::sleep(secs(1000)).await;
    assert_eq!(health.overall().component("worker").unwrap().recovery, None);
}

#[tokio::test(start_paused = true)]
async fn a_heart_that_stops_is_missed() {
    let health = ha_health::start(Config::default()).unwrap();
    let worker = health.component("worker").critical().heartbeat(secs(10)).unwrap();
    for _ in 0..5 {
        tokio::time::sleep(secs(9)).await;
        worker.beat();
        becomes(&health, "worker", Status::Healthy).await;
    }
    becomes(&health, "worker", Status::Unhealthy).await;
    let message = health.overall().component("worker").unwrap().message.clone().unwrap();
    assert_eq!(message, "silent for 10 s");
    worker.report(Verdict::Degraded("slow".to_owned()));
    becomes(&health, "worker", Status::Degraded).await;
    assert!(!health.report("nobody", true));
}

#[tokio::test(start_paused = true)]
async fn components_are_replaced_and_removed() {
    let health = ha_health::start(Config::default()).unwrap();
    health.register("x", pending::<bool>).unwrap();
    health.register("x", || async { true }).unwrap();
    becomes(&health, "x", Status::Healthy).await;
    assert!(health.unregister("x") && !health.unregister("x"));
    assert_eq!(health.overall().total_components, 0);
    assert!(matches!(health.register("a b", || async { true }), Err(RegisterError::Name { .. })));
    assert!(matches!(health.component("x").tcp("nowhere"), Err(RegisterError::Target { .. })));
    assert!(matches!(health.component("x").failures(0).tcp("a:1"), Err(RegisterError::Rules)));
    for number in 0..ha_health::COMPONENTS_MAX {
        health.register(&number.to_string(), || async { true }).unwrap();
    }
    assert_eq!(health.register("more", || async { true }), Err(RegisterError::Full));
    assert_eq!(health.register("7", || async { false }), Ok(()), "one that is there may be replaced");
}

#[tokio::test(start_paused = true)]
async fn a_monitor_that_is_off_takes_components_and_checks_none() {
    let health = Health::off();
    health.register("x", || async { panic!("it is off") as Result<(), String> }).unwrap();
    let worker = health.component("worker").heartbeat(secs(1)).unwrap();
    worker.beat();
    tokio::time::sleep(secs(100)).await;
    let overall = health.overall();
    assert_eq!((overall.status, overall.total_components, health.enabled()), (Status::Healthy, 0, false));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_checked_once_every_handle_is_gone() {
    let health = ha_health::start(Config::default()).unwrap();
    let held = Arc::new(());
    let check = {
        let held = held.clone();
        move || {
            let held = held.clone();
            async move {
                pending::<()>().await;
                drop(held);
                true
            }
        }
    };
    health.register("x", check).unwrap();
    tokio::time::sleep(secs(1)).await;
    assert_eq!(Arc::strong_count(&held), 3, "here, in the check, and in its run");
    drop(health);
    while Arc::strong_count(&held) > 1 {
        tokio::task::yield_now().await;
    }
}
