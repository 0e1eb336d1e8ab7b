//! The place of checked components in a node: options become components, transitions become events.

mod here;

use ha_cluster::Events;
use ha_config::CheckTarget;
use ha_health::{Health, HttpCheck, RegisterError, Status, TcpCheck, Transition};
use tokio::sync::broadcast::error::RecvError;

use crate::settings::SettingsError;
use crate::vitals;
use crate::{ClusterHandle, Rooms};
pub(crate) use here::Here;

/// The config of the health room. With failover on, critical components are checked at the pace of failover: what they
/// say moves roles.
pub(crate) fn config(config: &ha_config::Config) -> ha_health::Config {
    let from = &config.health;
    let mut health = ha_health::Config::default();
    health.interval = from.check_interval;
    health.timeout = from.check_timeout;
    health.failure_threshold = from.failure_threshold;
    health.recovery_enabled = from.recovery_enabled;
    if config.failover.enabled {
        health.critical_interval = Some(config.failover.health_check_interval);
        health.critical_failure_threshold = Some(config.failover.failure_threshold);
    }
    health
}

/// Starts the room, with the components that the options name and the vital signs of the node itself. What asks a service
/// of the node's own counts where that runs.
pub(crate) fn start(
    options: &ha_config::Config,
    rooms: Rooms,
    cluster: &ClusterHandle,
    service: Option<Here>,
) -> Result<Health, SettingsError> {
    if !rooms.health_monitor {
        return Ok(Health::off());
    }
    let health = ha_health::start(config(options)).map_err(|error| SettingsError::new("HEALTH_*", error))?;
    // Before anything is checked: the first check may end at once.
    tokio::spawn(tell(health.transitions(), cluster.event_stream()));
    register(&health, options, service.as_ref()).map_err(|error| SettingsError::new("HEALTH_CHECKS", error))?;
    vitals::register(&health, options, cluster).map_err(|error| SettingsError::new("HA_DATA_DIR", error))?;
    Ok(health)
}

fn register(health: &Health, options: &ha_config::Config, service: Option<&Here>) -> Result<(), RegisterError> {
    for check in &options.health.checks {
        let name = check.name.as_str();
        let mut component = health.component(name);
        if options.health.critical.contains(&check.name) {
            component = component.critical();
        }
        if let Some(recovery) = options.health.recovery_commands.iter().find(|command| command.name == check.name) {
            component = component.recover_command(&recovery.line);
        }
        let service = service.filter(|service| service.is_asked_by(&check.target));
        match (&check.target, service) {
            (CheckTarget::Tcp(endpoint), None) => component.tcp(&endpoint.to_string())?,
            (CheckTarget::Tcp(endpoint), Some(here)) => {
                component.check(here.check(TcpCheck::new(&endpoint.to_string())?))?;
            }
            (CheckTarget::Http(url), None) => component.http(url)?,
            (CheckTarget::Http(url), Some(here)) => component.check(here.check(HttpCheck::new(url)?))?,
            (CheckTarget::Command(line), _) => component.command(line)?,
            (CheckTarget::Disk { path, free_percent }, _) => component.disk(path, f64::from(*free_percent) / 100.0)?,
            // Whoever reports does so by name, over HTTP.
            (CheckTarget::Heartbeat(within), service) => {
                let heartbeat = component.heartbeat(*within)?;
                if let Some(here) = service {
                    tokio::spawn(here.clone().report(heartbeat, *within));
                }
            }
        }
    }
    Ok(())
}

/// Tells every transition in the stream of the node's events.
async fn tell(mut transitions: tokio::sync::broadcast::Receiver<Transition>, events: Events) {
    loop {
        match transitions.recv().await {
            Ok(transition) => {
                let (kind, sentence) = event(&transition);
                events.happened(kind, sentence);
            }
            Err(RecvError::Lagged(missed)) => {
                events.happened("component_changed", format!("{missed} changes of components were missed"));
            }
            Err(RecvError::Closed) => return,
        }
    }
}

fn event(transition: &Transition) -> (&'static str, String) {
    let Transition { component, from, to, message, .. } = transition;
    let kind = match to {
        _ if from == to => "component_recovery",
        Status::Healthy => "component_healthy",
        Status::Degraded => "component_degraded",
        Status::Unhealthy => "component_unhealthy",
    };
    let sentence =
        if from == to { format!("{component}: {message}") } else { format!("{component} is {to}: {message}") };
    (kind, sentence)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ha_config::Config;

    use super::*;

    fn options(settings: &[(&str, &str)]) -> Config {
        let settings = settings.iter().copied();
        settings.fold(Config::builder(), |builder, (name, value)| builder.set(name, value)).build().unwrap()
    }

    #[test]
    fn each_option_of_the_room_reaches_it() {
        let health = config(&options(&[
            ("HEALTH_CHECK_INTERVAL", "7"),
            ("HEALTH_CHECK_TIMEOUT", "3"),
            ("HEALTH_FAILURE_THRESHOLD", "4"),
            ("HEALTH_RECOVERY_ENABLED", "false"),
        ]));
        assert_eq!((health.interval, health.timeout), (Duration::from_secs(7), Duration::from_secs(3)));
        assert_eq!((health.failure_threshold, health.recovery_enabled, health.critical_interval), (4, false, None));
        let health = config(&options(&[
            ("CLUSTER_ENABLED", "true"),
            ("FAILOVER_ENABLED", "true"),
            ("FAILOVER_HEALTH_CHECK_INTERVAL", "0.1"),
            ("FAILOVER_FAILURE_THRESHOLD", "2"),
        ]));
        assert_eq!(health.critical_interval, Some(Duration::from_millis(100)));
        assert_eq!(health.critical_failure_threshold, Some(2));
        assert_eq!(config(&Config::default()), ha_health::Config::default());
    }

    fn alone(config: &Config) -> ClusterHandle {
        ClusterHandle::off(crate::settings::alone(config).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn components_of_the_options_are_checked_and_their_changes_are_events() {
        let directory = tempfile::tempdir().unwrap();
        let config = options(&[
            ("HEALTH_MONITOR_ENABLED", "true"),
            ("HA_DATA_DIR", directory.path().to_str().unwrap()),
            ("HEALTH_CHECKS", "bot=heartbeat:20s,no=command:exit 3"),
            ("HEALTH_CRITICAL", "bot"),
        ]);
        let cluster = alone(&config);
        let mut events = cluster.events();
        let health = start(&config, crate::settings::rooms(&config), &cluster, None).unwrap();
        assert!(health.report("bot", true));
        let mut overall = health.watch();
        overall.wait_for(|overall| overall.status == Status::Unhealthy).await.unwrap();
        let bot = health.overall().component("bot").unwrap().clone();
        assert!(bot.critical && bot.message.as_deref() == Some("silent for 20 s"), "{bot:?}");
        let mut told = vec![];
        while !told.iter().any(|(kind, _)| *kind == "component_unhealthy") {
            let event = events.recv().await.unwrap();
            told.push((event.kind, event.message));
        }
        assert!(told.contains(&("component_healthy", "bot is healthy: its check passed".to_owned())), "{told:?}");
        assert!(told.iter().any(|(_, message)| message == "bot is unhealthy: silent for 20 s"), "{told:?}");
    }

    #[tokio::test]
    async fn a_room_that_is_off_checks_nothing_and_a_target_that_cannot_be_is_named() {
        let config = options(&[("HEALTH_CHECKS", "no=tcp:a:1")]);
        let health = start(&config, crate::settings::rooms(&config), &alone(&config), None).unwrap();
        assert!(!health.enabled() && health.overall().total_components == 0);
        let config = options(&[("HEALTH_MONITOR_ENABLED", "true"), ("HEALTH_CHECKS", "no=http://a:0/")]);
        let error = start(&config, crate::settings::rooms(&config), &alone(&config), None).unwrap_err();
        assert_eq!(error.options, "HEALTH_CHECKS");
    }
}
