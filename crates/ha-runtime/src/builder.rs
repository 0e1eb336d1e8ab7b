//! A node with a service of the embedder's, or on other seams.

use std::sync::Arc;

use ha_cluster::{Machines, Seams};
use ha_failover::roster::Roster;
use ha_failover::{Fitness, NoService, Service};
use tokio::sync::watch;

use crate::failover::{self, FailoverHandle, Starter};
use crate::feed;
use crate::guard::{follow_secret, guarded};
use crate::settings::SettingsError;
use crate::{
    ClusterHandle, Ha, Rooms, StartError, clock_offset, health, overtaken, replication, settings, start, state, vitals,
};

/// What a node is made from, before it starts.
pub struct Builder {
    config: ha_config::Config,
    seams: Seams,
    failover: ha_failover::Seams,
    service: Starter,
    has_service: bool,
    fitness: watch::Receiver<Fitness>,
}

/// A node that is to start, on this machine, without a service.
pub fn node(config: ha_config::Config) -> Builder {
    let (seams, failover) = (Seams::default(), ha_failover::Seams::default());
    // Whoever has no service of its own is always fit.
    let (_, fitness) = watch::channel(Fitness::default());
    Builder { config, seams, failover, service: failover::starter(NoService), has_service: false, fitness }
}

impl Builder {
    /// The service that runs on one node at a time.
    #[must_use]
    pub fn service(self, service: impl Service) -> Self {
        Self { service: failover::starter(service), has_service: true, ..self }
    }

    /// How fit the service itself is: it moves away when it is unwell for long enough.
    #[must_use]
    pub fn fitness(self, fitness: watch::Receiver<Fitness>) -> Self {
        Self { fitness, ..self }
    }

    /// Another network, disk and clock: for simulation.
    #[must_use]
    pub fn seams(self, seams: Seams) -> Self {
        Self { seams, ..self }
    }

    /// Another way to switch nodes off, and to end this process when its service does not stop.
    #[must_use]
    pub fn failover_seams(self, failover: ha_failover::Seams) -> Self {
        Self { failover, ..self }
    }

    /// Starts the rooms, in order. See [`crate::start`].
    pub async fn start(self) -> Result<Ha, StartError> {
        let Self { config, seams, failover, service, has_service, fitness } = self;
        let rooms = settings::rooms(&config);
        start::warn(&config);
        if !rooms.cluster {
            let cluster = ClusterHandle::off(settings::alone(&config)?);
            let health = health::start(&config, rooms, &cluster, None)?;
            return Ok(Ha::assemble(rooms, cluster).with_health(health).with_config(config));
        }
        // Before anything in the data directory is opened.
        ha_cluster::identity::put_aside(&seams.disk, &config.ha.data_dir)
            .await
            .map_err(ha_cluster::StartError::from)?;
        // On every node, whatever is on here: what others put on the log must be understood.
        let mut machines = state::machines(Machines::new().with(Roster::default()));
        let (replication, records) = replication::prepare(&config, seams.disk.clone()).await?;
        if let Some(records) = records {
            machines = machines.with(records);
        }
        let settings = settings::cluster(&config)?;
        follow_secret(&config, settings.secret.as_ref());
        let (seams, certificate) = guarded(&config, seams).await?;
        let (role, clock, disk) = (settings.role, seams.clock.clone(), seams.disk.clone());
        let cluster = ha_cluster::start(settings, seams, machines).await?;
        let state = state::start(rooms, role, &cluster, clock)?;
        let replication = replication.start(&cluster)?;
        let failover = start_failover(&config, rooms, failover, cluster.clone(), service, fitness)?;
        clock_offset::serve(&cluster);
        let own = cluster.clone();
        let cluster = ClusterHandle::new(Arc::new(cluster));
        let service = has_service.then(|| health::Here::new(&config, &failover));
        let health = health::start(&config, rooms, &cluster, service)?;
        if health.enabled() {
            let registered = clock_offset::register(&health, &own);
            registered.map_err(|error| SettingsError::new("HEALTH_*", error))?;
            vitals::register_certificate(&health, certificate.as_ref())
                .map_err(|error| SettingsError::new("CLUSTER_TLS_CERT", error))?;
        }
        feed::start(config.failover.health_check_interval, &cluster, &failover, &health, &replication);
        let ha = Ha::assemble(rooms, cluster).with_health(health).with_config(config).with_certificate(certificate);
        overtaken::watch(own, disk, state.clone(), replication.clone(), ha.restart());
        Ok(ha.with_state(state).with_replication(replication).with_failover(failover))
    }
}

fn start_failover(
    config: &ha_config::Config,
    rooms: Rooms,
    seams: ha_failover::Seams,
    cluster: ha_cluster::Cluster,
    service: Starter,
    own: watch::Receiver<Fitness>,
) -> Result<FailoverHandle, StartError> {
    if !rooms.failover {
        return Ok(FailoverHandle::off());
    }
    let room = failover::config(config);
    let seams = failover::with_fence(seams, &room);
    let (tell_fitness, others) = watch::channel(Fitness::default());
    let failover = service(room, seams, cluster, failover::together(own, others))?;
    Ok(FailoverHandle::new(failover, tell_fitness, config.failover.timeout))
}
