//! The vital signs of a node, as components beside those of the service: none of them is critical, since the cluster
//! itself acts on what makes a node unfit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ha_health::{Health, RegisterError, Verdict};
use ha_net::wire::tls::{EXPIRY_WARNING, TlsKeys};
use tokio::time::Instant;

use crate::ClusterHandle;

/// How much of the disk must be free for the node's own data.
const DISK_FREE_MIN: f64 = 0.05;

/// How often the event loop is asked for a moment of its time.
const PULSE: Duration = Duration::from_millis(250);

/// The vital signs, by the names of their components.
const EVENT_LOOP: &str = "ha.event-loop";
const DISK_SPACE: &str = "ha.disk-space";
const DISK_LATENCY: &str = "ha.disk-latency";
const CERTIFICATE: &str = "ha.certificate";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Registers them.
pub(crate) fn register(
    health: &Health,
    options: &ha_config::Config,
    cluster: &ClusterHandle,
) -> Result<(), RegisterError> {
    let lease = options.cluster.node_timeout;
    let pulse = Pulse::start();
    health
        .register(EVENT_LOOP, move || std::future::ready(judge("a task waited for its turn", pulse.worst(), lease)))?;
    if !cluster.enabled() {
        return Ok(());
    }
    // Without a cluster, a node has no data directory.
    health.component(DISK_SPACE).disk(&options.ha.data_dir, DISK_FREE_MIN)?;
    let (cluster, looked_at) = (cluster.clone(), AtomicU64::new(0));
    health.register(DISK_LATENCY, move || {
        let times = cluster.disk_times().unwrap_or_default();
        // A quiet log is synced seldom: what was slow long ago says nothing about now.
        let is_new = looked_at.swap(times.count, Ordering::Relaxed) != times.count;
        let last = if is_new { times.last } else { Duration::ZERO };
        let slowest = times.running.unwrap_or_default().max(last);
        std::future::ready(judge("the disk took for one sync of the log", slowest, lease))
    })
}

/// Registers the certificate of a node that has one.
pub(crate) fn register_certificate(health: &Health, certificate: Option<&TlsKeys>) -> Result<(), RegisterError> {
    let Some(certificate) = certificate.cloned() else { return Ok(()) };
    health.register(CERTIFICATE, move || std::future::ready(judge_certificate(certificate.time_left())))
}

fn judge_certificate(left: Duration) -> Verdict {
    let days = left.as_secs() / DAY.as_secs();
    if left.is_zero() {
        Verdict::Failed("the certificate of this node has ended".to_owned())
    } else if left <= EXPIRY_WARNING {
        Verdict::Degraded(format!("the certificate of this node is good for {days} days: renew it"))
    } else {
        Verdict::Healthy(Some(format!("good for {days} days")))
    }
}

/// What takes as long as a lease costs the lease; half of it is worth a look.
fn judge(what: &str, time: Duration, lease: Duration) -> Verdict {
    let sentence = || format!("{what} {} ms; a lease lasts {} ms", time.as_millis(), lease.as_millis());
    match time {
        time if time >= lease => Verdict::Failed(sentence()),
        time if time >= lease / 2 => Verdict::Degraded(sentence()),
        _ => Verdict::HEALTHY,
    }
}

/// Asks the event loop for a moment of its time, again and again, and remembers the longest wait. Cheap to clone; it ends
/// with its last clone.
#[derive(Clone)]
struct Pulse {
    /// In microseconds, since somebody last looked.
    worst: Arc<AtomicU64>,
}

impl Pulse {
    fn start() -> Self {
        let worst = Arc::<AtomicU64>::default();
        let watched = Arc::downgrade(&worst);
        tokio::spawn(async move {
            let mut due = Instant::now() + PULSE;
            loop {
                tokio::time::sleep_until(due).await;
                let Some(worst) = watched.upgrade() else { return };
                let late = due.elapsed();
                worst.fetch_max(u64::try_from(late.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
                due = Instant::now() + PULSE;
            }
        });
        Self { worst }
    }

    /// The longest wait since this was last asked.
    fn worst(&self) -> Duration {
        Duration::from_micros(self.worst.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_lease_is_worth_a_look_and_a_whole_one_fails() {
        let judge = |milliseconds| judge("it took", Duration::from_millis(milliseconds), Duration::from_millis(500));
        assert_eq!(judge(249), Verdict::HEALTHY);
        assert_eq!(judge(250), Verdict::Degraded("it took 250 ms; a lease lasts 500 ms".to_owned()));
        assert_eq!(judge(500), Verdict::Failed("it took 500 ms; a lease lasts 500 ms".to_owned()));
    }

    #[test]
    fn the_days_of_the_certificate_are_told() {
        assert_eq!(judge_certificate(DAY * 90), Verdict::Healthy(Some("good for 90 days".to_owned())));
        assert!(matches!(judge_certificate(DAY * 14), Verdict::Degraded(told) if told.contains("14 days")));
        assert!(matches!(judge_certificate(Duration::ZERO), Verdict::Failed(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_stood_still_is_noticed_once() {
        let pulse = Pulse::start();
        tokio::time::sleep(PULSE * 4).await;
        assert!(pulse.worst() < Duration::from_millis(10));
        // Nobody else has a turn while the clock moves on by itself.
        tokio::time::advance(PULSE + Duration::from_secs(3)).await;
        tokio::task::yield_now().await;
        let worst = pulse.worst();
        assert!(worst >= Duration::from_secs(3), "{worst:?}");
        assert_eq!(pulse.worst(), Duration::ZERO);
    }
}
