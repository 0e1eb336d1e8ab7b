//! Starts the room on a node of a cluster.

use std::sync::Arc;

use ha_cluster::{Cluster, Event, NodeId};
use tokio::sync::{broadcast, mpsc, watch};

use crate::agent::{Agent, Settings};
use crate::config::{Config, ConfigError};
use crate::controller::Controller;
use crate::driver::Driver;
use crate::events::{EVENTS_MAX, Events};
use crate::fitness::Fitness;
use crate::handle::{Failover, Inner, ORDERS_MAX, Rest};
use crate::hooks::{Groups, Hooked, Lines};
use crate::lonely::Lonely;
use crate::roster::Roster;
use crate::seams::Seams;
use crate::service::{AnyService, Service};
use crate::status;

/// Why the room cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Settings that cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The cluster was started without [`Roster`] among its machines.
    #[error("the cluster was started without the roster: give it to the cluster's machines")]
    NoRoster,
}

/// The service, with the commands of a person's choice around it.
fn hooked(me: NodeId, service: Arc<dyn AnyService>, config: &Config, groups: &Groups) -> Arc<dyn AnyService> {
    let (promote, demote, limit) = (config.promote_command.clone(), config.demote_command.clone(), config.timeout);
    if promote.is_none() && demote.is_none() {
        return service;
    }
    Arc::new(Hooked::new(me, service, Lines { promote, demote, limit }, groups.clone()))
}

/// Starts to take part in the roles of a cluster. The cluster must have been started with [`Roster`] among its
/// machines. Must be called on a tokio runtime.
///
/// `fitness` tells how fit this node is; when its sender is dropped, the last value stays true.
pub fn start(
    config: Config,
    seams: Seams,
    cluster: Cluster,
    service: impl Service,
    fitness: watch::Receiver<Fitness>,
) -> Result<Failover, StartError> {
    config.validate()?;
    let replicated = cluster.replicated::<Roster>().ok_or(StartError::NoRoster)?;
    let roster = replicated.read_local(Roster::watch);
    let view = cluster.watch();
    let (events, _) = broadcast::channel::<Event>(EVENTS_MAX);
    let (orders, ordered) = mpsc::channel(ORDERS_MAX);
    let first = status::status(&status::Facts {
        config: &config,
        view: &view.borrow(),
        roster: &roster.borrow(),
        here: &Default::default(),
        holds_lease: false,
        next_scheduled: None,
        leaderless_for: std::time::Duration::ZERO,
    });
    let (tell_status, status) = watch::channel(Arc::new(first));
    let (tell_rest, rest) = watch::channel(Rest { here: true, told: true });
    let settings = {
        let view = view.borrow();
        // The first life of a data directory has none before it.
        let has_past = view.incarnation.0 > 1;
        Settings {
            me: view.node_id.clone(),
            incarnation: view.incarnation,
            timeout: config.timeout,
            stop_time: config.stop_time,
            // As long as others would leave a node alone that fell silent at this instant, and some more.
            former_life: if has_past { config.lease + config.lease / 8 } else { std::time::Duration::ZERO },
            check_interval: config.check_interval,
            failure_threshold: config.failure_threshold,
            rules: config.rules(),
        }
    };
    let (restart, _) = watch::channel(false);
    let own = cluster.clone();
    let (me, commands) = (settings.me.clone(), Groups::default());
    let driver = Driver {
        began: tokio::time::Instant::now(),
        agent: Agent::new(std::time::Duration::ZERO, settings),
        controller: Controller::new(Config {
            fence_command: config.fence_command.clone().filter(|_| seams.fence.is_some()),
            ..config.clone()
        }),
        leads_in: None,
        lonely: Lonely::default(),
        restart: restart.clone(),
        led_at: std::time::Duration::ZERO,
        lease: cluster.lease(),
        grants: cluster.grants(),
        cluster,
        replicated: replicated.clone(),
        told: roster.borrow().decisions.back().map_or(0, |decision| decision.epoch.0),
        roster: roster.clone(),
        view,
        fitness,
        service: hooked(me, Arc::new(service), &config, &commands),
        commands,
        seams,
        starts: std::collections::BTreeMap::new(),
        doing: futures::stream::FuturesUnordered::new(),
        events: Events::new(events.clone()),
        status: tell_status,
        rest: tell_rest,
        config: config.clone(),
    };
    let lease = driver.lease.clone();
    tokio::spawn(driver.run(ordered));
    Ok(Failover {
        inner: Arc::new(Inner {
            config,
            replicated,
            roster,
            status,
            lease,
            events,
            orders,
            rest,
            cluster: own,
            restart,
        }),
    })
}
