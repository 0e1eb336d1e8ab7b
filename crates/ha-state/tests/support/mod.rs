//! Real nodes in one process, on loopback and in a folder that goes away.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper of tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ha_cluster::clock::{BootClock, Clock};
use ha_cluster::{Cluster, Config, Machines, Seams};
use ha_state::{State, Store};
use tempfile::TempDir;

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The boot clock, which a test may set forward, as a pause of the machine does.
#[derive(Default)]
pub(crate) struct TestClock(Mutex<Duration>);

impl TestClock {
    /// So much time passes at once.
    pub(crate) fn jump(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for TestClock {
    fn now(&self) -> Duration {
        BootClock.now() + *self.0.lock().unwrap()
    }
}

/// A cluster of one node.
pub(crate) struct One {
    pub(crate) state: State,
    pub(crate) cluster: Cluster,
    /// The clock that the shared state goes by.
    pub(crate) clock: Arc<TestClock>,
    folder: TempDir,
}

impl One {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::start_in(folder, |_| {}).await
    }

    pub(crate) async fn start_in(folder: TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.data_dir = folder.path().to_owned();
        config.listen = ([127, 0, 0, 1], 0).into();
        (config.min_nodes, config.quorum_size) = (1, 1);
        config.heartbeat_interval = Duration::from_millis(50);
        config.election_timeout = Duration::from_millis(250);
        config.node_timeout = Duration::from_millis(500);
        change(&mut config);
        let machines = Machines::new().with(Store::new());
        let cluster = ha_cluster::start(config, Seams::default(), machines).await.unwrap();
        let clock = Arc::new(TestClock::default());
        let state = ha_state::start(ha_state::Config::default(), &cluster, clock.clone()).unwrap();
        in_time(cluster.watch().wait_for(|view| view.leader_is_live)).await.unwrap();
        Self { state, cluster, clock, folder }
    }

    /// Stops it; what it kept stays.
    pub(crate) async fn stop(self) -> TempDir {
        self.cluster.stop().await;
        self.folder
    }
}

/// What takes too long is a failure.
pub(crate) async fn in_time<F: Future>(work: F) -> F::Output {
    tokio::time::timeout(PATIENCE, work).await.expect("it takes too long")
}

/// Waits until the store is so: looked at after each change.
pub(crate) async fn until(one: &One, mut holds: impl FnMut(&State) -> bool) {
    let mut epoch = one.cluster.epoch();
    in_time(async {
        while !holds(&one.state) {
            epoch.changed().await.unwrap();
        }
    })
    .await;
}
