//! Opens what an earlier life left behind, and starts everything in order.

use std::io;
use std::sync::Arc;

use ha_net::{Address, Net};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::advertised::worked_out;
use super::driver::{Context, Driver, Queues};
use super::gate::Doorman;
use super::inbox::Inbox;
use super::leading::Leading;
use super::leases::Leases;
use super::meeting::Meeting;
use super::view::{self, Facts};
use super::vitals::{WELL, own_traits};
use super::{ALONE, DISK_ID, LEDGER, Me};
use crate::campaign::{Campaign, Pace, Reluctant};
use crate::cluster::{ASKS_MAX, Asks, Seams};
use crate::discovery::{self, Discovery};
use crate::disk::Disk;
use crate::events::Events;
use crate::formation::{self, Formation, Profile, SeedList};
use crate::gossip::{self, Gossip};
use crate::identity::{self, Identity, IdentityError};
use crate::lineage::Fork;
use crate::machine::{Host, Machines, OpenSession, Submitter};
use crate::raft::{Engine, EngineParts, PeerRecord, go_on_alone};
use crate::rooms::Rooms;
use crate::snapshot::SnapshotStore;
use crate::take::Grants;
use crate::wal::{self, Wal};
use crate::{Config, ConfigError, NodeLease, Overtaken, Role, View};

/// A node that has started.
pub(crate) struct Started {
    pub(crate) net: Net,
    pub(crate) doorman: Doorman,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) engine: Engine,
    pub(crate) machines: Machines,
    pub(crate) submitter: Submitter,
    pub(crate) lease: NodeLease,
    pub(crate) grants: watch::Receiver<Arc<Grants>>,
    pub(crate) view: watch::Receiver<Arc<View>>,
    pub(crate) events: Events,
    pub(crate) stopwatch: Arc<wal::Stopwatch>,
    pub(crate) asks: Asks,
    pub(crate) rooms: Rooms,
    pub(crate) overtaken: watch::Receiver<Option<Overtaken>>,
    pub(crate) start_number: u64,
}

/// Why a node cannot start. Nothing of what was in the data directory is changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Settings that cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] IdentityError),
    /// A file of the data directory cannot be used.
    #[error(transparent)]
    Slot(#[from] identity::SlotError),
    /// The log cannot be used.
    #[error(transparent)]
    Log(#[from] wal::OpenError),
    /// The snapshot, or what it holds, cannot be used.
    #[error("{reason}")]
    State {
        /// Why, and what to do.
        reason: String,
    },
    /// Two machines of one id, or the id 0.
    #[error("machine id {id} is reserved or used twice: give each machine its own id from 1 to 255")]
    MachineId {
        /// The id.
        id: u8,
    },
    /// The port cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ha_net::StartError),
}

pub(crate) async fn start(mut config: Config, seams: Seams, machines: Machines) -> Result<Started, StartError> {
    config.validate()?;
    if let Some(id) = machines.refused() {
        return Err(StartError::MachineId { id: id.0 });
    }
    let seed = config.seed.unwrap_or_else(|| rand::rng().random());
    let expected =
        identity::Expected { node_id: config.node_id.clone(), cluster_name: config.name.clone(), seed: Some(seed) };
    identity::put_aside(&seams.disk, &config.data_dir).await?;
    let identity = Identity::open(seams.disk.clone(), config.data_dir.clone(), expected).await?;
    let seed = seed ^ identity.incarnation().0.rotate_left(32);
    require_log(&identity, &*seams.disk).await?;
    let disk = disk_id(&identity, seed).await?;
    let mut random = StdRng::seed_from_u64(seed);
    let (salt, start_number) = (random.random(), random.random());
    let (segment_bytes, freed_bytes) = (config.segment_bytes, config.freed_bytes);
    let wal_config = wal::Config { segment_bytes, freed_bytes, salt, ..wal::Config::default() };
    let (wal, _) = Wal::open(seams.disk.clone(), identity.wal_directory(), wal_config).await?;
    if identity.begins_anew().await? {
        identity.has_begun().await?;
    }
    let snapshots = SnapshotStore::open(seams.disk.clone(), identity.snapshot_directory()).await;
    let snapshots = snapshots.map_err(|e| StartError::State { reason: e.to_string() })?;

    let address = match &config.advertise {
        Some(told) => told.clone(),
        None => worked_out(&config, &*seams.wire).await,
    };
    let mut me = Me { node_id: identity.node_id(), incarnation: identity.incarnation(), address, disk };
    let doorman = Doorman::new(&config, me.node_id.clone(), me.incarnation, me.address.clone(), me.disk);
    recover(&config, &identity, &me, &wal).await?;
    if identity.generation() > 0 {
        // Whoever goes on with fewer nodes than the cluster was planned for has said that these are enough: from then
        // on a majority of the voters is.
        config.quorum_size = 1;
    }
    if let Some(cluster_id) = identity.cluster_id() {
        doorman.belong(cluster_id, identity.lineage().await?);
    }
    let rooms = Rooms::default();
    let (inbox, mail) = Inbox::new(rooms.clone());
    let net_config = ha_net::Config {
        listen: config.listen,
        bulk_connections: config.bulk_connections.max(1),
        connect_timeout: config.node_timeout,
        idle_timeout: config.node_timeout * 2,
        seed,
        secret: config.secret.clone(),
    };
    let gate = Arc::new(doorman.clone());
    let (net, peers) = ha_net::start(net_config, seams.wire.clone(), gate, Arc::new(inbox.clone())).await?;

    if me.address.port() == 0 {
        let port = net.local_addr().port();
        me.address = Address::new(me.address.host(), port).unwrap_or_else(|_| net.local_addr().into());
        doorman.listens_at(me.address.clone());
    }

    let log = wal.clone();
    let host = Host::new(machines.clone(), config.role == Role::Witness);
    #[cfg(feature = "testing")]
    let host = host.forgetful(config.applies_twice);
    let parts = EngineParts {
        node_id: me.node_id.clone(),
        net: net.clone(),
        wal,
        snapshots,
        host,
        witness: config.role == Role::Witness,
        forgetful: {
            let (doorman, net) = (doorman.clone(), net.clone());
            Arc::new(move |node| {
                doorman.distrust(node);
                net.forget(node);
            })
        },
    };
    let recovered = parts.host.recovered();
    let removed_members = parts.host.removed();
    let engine = Engine::start(&config, parts).await.map_err(unusable)?;
    if identity.cluster_id().is_some() {
        inbox.open_engine(engine.clone());
    }
    let open = OpenSession { node: me.node_id.clone(), incarnation: me.incarnation.0 };
    let submitter = Submitter::start(engine.clone(), open);

    let began = Instant::now();
    let events = Events::new();
    let (asks, asked) = mpsc::channel(ASKS_MAX);
    let (leases, tenure, grants) = Leases::new(&config, me.incarnation, engine.applied_index());
    let lease = NodeLease::new(tenure, seams.clock.clone());
    let meeting = meeting(&config, &me, &identity, seed).await?;
    let status = engine.status();
    let context = Context {
        config,
        me,
        net: net.clone(),
        engine: engine.clone(),
        doorman: doorman.clone(),
        wire: seams.wire,
        clock: seams.clock,
        events: events.clone(),
        doing: futures::stream::FuturesUnordered::new(),
        status,
        began,
    };
    let first = view::view(&Facts {
        config: &context.config,
        me: &context.me,
        cluster_id: identity.cluster_id(),
        status: &context.status,
        opinions: meeting.gossip.members(),
        silent: Default::default(),
        epoch: *engine.epoch().borrow(),
        leader_silence: None,
        leader_lease: engine.election_max(),
        waiting_for: Some("starts".to_owned()),
        stopped: None,
    });
    let (view, follow) = watch::channel(Arc::new(first));
    let (tell_overtaken, overtaken) = watch::channel(None);
    let (me, config) = (&context.me, &context.config);
    let campaign = Campaign::new(me.node_id.clone(), Pace::for_heartbeat(config.heartbeat_interval));
    let reluctant = (config.role == Role::Witness || config.priority == 0)
        .then(|| Reluctant::new(context.now(), engine.election_max(), seed));
    let driver = Driver {
        leading: Leading::new(&context.config),
        cx: context,
        meeting,
        leases,
        campaign,
        elects: false,
        reluctant,
        identity,
        inbox,
        epoch: engine.epoch(),
        view,
        look_at: std::time::Duration::ZERO,
        wal_failure: log.failure(),
        contradiction: engine.contradiction(),
        wal: log,
        stopping: None,
        health: WELL,
        failed: None,
        removed: false,
        removed_members,
        recovered,
        overtaken: tell_overtaken,
        overtaken_since: None,
    };
    let stopwatch = driver.wal.stopwatch();
    tokio::spawn(driver.run(Queues { mail, peers, asks: asked }));
    let disk = seams.disk;
    let view = follow;
    Ok(Started {
        net,
        doorman,
        disk,
        engine,
        machines,
        submitter,
        lease,
        grants,
        view,
        events,
        stopwatch,
        asks,
        rooms,
        overtaken,
        start_number,
    })
}

/// Carries a person's order out: this node goes on without the voters that are lost.
async fn recover(config: &Config, identity: &Identity, me: &Me, wal: &Wal) -> Result<(), StartError> {
    let order = identity.read_slot(ALONE).await?.filter(|order| !order.is_empty());
    let (Some(cluster_id), Some(order)) = (identity.cluster_id(), order) else { return Ok(()) };
    let failed = |error: io::Error| StartError::State { reason: format!("cannot go on alone: {error}") };
    let generation = identity.generation() + 1;
    let (address, priority) = (me.address.clone(), config.priority);
    let record = PeerRecord { address, priority, role: config.role, disk: me.disk };
    let fork = go_on_alone(wal, &me.node_id, record, generation).await.map_err(failed)?;
    let applied_at = str::from_utf8(&order).ok().and_then(|epoch| epoch.parse().ok());
    let before = identity.lineage().await?;
    identity.save_lineage(&before.and(Fork { applied_at, ..fork })).await?;
    identity.save_cluster(cluster_id, generation).await.map_err(failed)?;
    // Last: until then the next start does it all again.
    identity.write_slot(ALONE, bytes::Bytes::new()).await?;
    tracing::warn!("goes on alone, as it was ordered to, in generation {generation}: what it never received is lost");
    Ok(())
}

/// A member without its log would forget what it voted and acknowledged: it must not start, nor begin a new one.
async fn require_log(identity: &Identity, disk: &dyn Disk) -> Result<(), StartError> {
    let wal = identity.wal_directory();
    let Some(cluster_id) = identity.cluster_id() else { return Ok(()) };
    if disk.list(&wal).await.is_ok_and(|names| !names.is_empty()) || identity.begins_anew().await? {
        return Ok(());
    }
    Err(StartError::State {
        reason: format!(
            "the log {} is gone, although this node belongs to cluster {cluster_id}: it would forget what it voted \
             and acknowledged. Restore the log; if it is lost, empty the data directory and start with another \
             CLUSTER_NODE_ID",
            wal.display()
        ),
    })
}

/// The number that tells this data directory from any other one of the same node id: drawn once.
async fn disk_id(identity: &Identity, seed: u64) -> Result<u64, StartError> {
    if let Some(kept) = identity.read_slot(DISK_ID).await? {
        let kept = <[u8; 8]>::try_from(&kept[..]);
        return kept.map(u64::from_le_bytes).map_err(|_| StartError::State {
            reason: "the file slot-disk in the data directory has the wrong length: put it back from a backup"
                .to_owned(),
        });
    }
    // It was drawn before this node joined its cluster. Under another one it would pass for another disk.
    if identity.cluster_id().is_some() && !identity.begins_anew().await? {
        let reason = "the file slot-disk is gone from the data directory: put it back from a backup, or let the node join \
                      anew under a new id, with an empty directory";
        return Err(StartError::State { reason: reason.to_owned() });
    }
    let id: u64 = StdRng::seed_from_u64(seed).random();
    identity.write_slot(DISK_ID, id.to_le_bytes().to_vec().into()).await?;
    Ok(id)
}

fn unusable(error: io::Error) -> StartError {
    StartError::State { reason: error.to_string() }
}

/// Discovery, formation and gossip, each where its last life left off.
async fn meeting(config: &Config, me: &Me, identity: &Identity, seed: u64) -> Result<Meeting, StartError> {
    let seeds: Vec<String> = config.seeds.iter().map(ToString::to_string).collect();
    let profile = Profile { address: me.address.clone(), priority: config.priority, role: config.role, disk: me.disk };
    let forming = formation::Config {
        node_id: me.node_id.clone(),
        profile,
        seeds: SeedList::new(seeds.iter().map(String::as_str)),
        min_nodes: config.min_nodes,
        voters_max: config.voters_max,
        exchange: formation::Config::exchange_for(config.heartbeat_interval),
        seed,
    };
    let ledger = identity.read_slot(LEDGER).await?;
    let formation = Formation::new(forming, ledger.as_deref());
    let formation = formation.map_err(|e| StartError::State { reason: e.to_string() })?;
    let gossiper = gossip::Profile {
        node_id: me.node_id.clone(),
        incarnation: me.incarnation,
        address: me.address.clone(),
        traits: own_traits(config),
    };
    let gossip = Gossip::new(gossip::Config::from(config), gossiper, std::time::Duration::ZERO, seed);
    let pace = discovery::Config::from(config);
    let who = (me.node_id.clone(), me.incarnation);
    let now = std::time::Duration::ZERO;
    let discovery = Discovery::new(pace, who, me.address.clone(), &config.seeds, now, seed);
    Ok(Meeting { discovery, formation, gossip, turned_away: Default::default(), lines: Default::default() })
}
