//! Checks of a service that runs on one node at a time: they count on the node where it runs.
//!
//! Elsewhere nothing answers them, and must not: a node that is called unwell for that could never take the service over.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ha_config::{CheckTarget, Config};
use ha_failover::FailoverStatus;
use ha_health::{Check, Heartbeat, HttpCheck, Verdict};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::FailoverHandle;

/// Whether the service runs here, and what is asked here is the service.
#[derive(Clone)]
pub(crate) struct Here {
    status: watch::Receiver<Arc<FailoverStatus>>,
    addresses: Vec<IpAddr>,
    /// How long it may take to its first answer.
    patience: Duration,
}

impl Here {
    pub(crate) fn new(options: &Config, failover: &FailoverHandle) -> Self {
        let named = options.cluster.advertise_address.as_ref().and_then(|named| named.host.parse().ok());
        let addresses = [options.cluster.address, options.http.address].into_iter().chain(named).collect();
        Self { status: failover.watch(), addresses, patience: options.failover.timeout }
    }

    /// Whether this asks the service. What a command looks at, only its author knows.
    pub(super) fn is_asked_by(&self, target: &CheckTarget) -> bool {
        match target {
            CheckTarget::Tcp(endpoint) => self.is_this_node(&endpoint.host),
            CheckTarget::Http(url) => HttpCheck::new(url).is_ok_and(|check| self.is_this_node(check.host())),
            CheckTarget::Heartbeat(_) => true,
            CheckTarget::Command(_) | CheckTarget::Disk { .. } => false,
        }
    }

    fn is_this_node(&self, host: &str) -> bool {
        let is_own = |address: IpAddr| address.is_loopback() || self.addresses.contains(&address);
        host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(is_own)
    }

    fn runs(&self) -> bool {
        !self.status.borrow().here.is_empty()
    }

    /// A check that counts while the service runs here.
    pub(super) fn check(&self, check: impl Check) -> impl Check {
        let (here, check, run) = (self.clone(), Arc::new(check), Arc::new(Mutex::new(Run::default())));
        move || {
            let (here, check, run) = (here.clone(), check.clone(), run.clone());
            async move {
                let found = if here.runs() { Some(check.check().await) } else { None };
                let mut run = run.lock().unwrap_or_else(PoisonError::into_inner);
                match found {
                    Some(verdict) if here.runs() => run.judge(verdict, Instant::now(), here.patience),
                    // It may have ended meanwhile.
                    _ => {
                        *run = Run::default();
                        Verdict::Healthy(Some("not checked: the service runs elsewhere".to_owned()))
                    }
                }
            }
        }
    }

    /// Reports in place of a service that runs elsewhere, or has just been started here. Ends with the node.
    pub(super) async fn report(mut self, heartbeat: Heartbeat, within: Duration) {
        let mut since = None;
        loop {
            // For the first time now, or still.
            since = self.runs().then(|| since.unwrap_or_else(Instant::now));
            if since.is_none_or(|since| since.elapsed() < self.patience) {
                heartbeat.beat();
            }
            if timeout(within / 2, self.status.changed()).await.is_ok_and(|changed| changed.is_err()) {
                return;
            }
        }
    }
}

/// One run of the service here.
#[derive(Debug, Default)]
struct Run {
    since: Option<Instant>,
    has_answered: bool,
}

impl Run {
    /// What a verdict means: until its first answer the service is starting, for a while.
    fn judge(&mut self, verdict: Verdict, now: Instant, patience: Duration) -> Verdict {
        let since = *self.since.get_or_insert(now);
        match verdict {
            Verdict::Failed(why) if !self.has_answered && now - since < patience => {
                Verdict::Degraded(format!("it has not answered since it was started: {why}"))
            }
            Verdict::Failed(_) => verdict,
            Verdict::Healthy(_) | Verdict::Degraded(_) => {
                self.has_answered = true;
                verdict
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(config: &Config) -> (Here, watch::Sender<Arc<FailoverStatus>>) {
        let off = FailoverHandle::off().status();
        let (tell, status) = watch::channel(Arc::new(off));
        (Here { status, ..Here::new(config, &FailoverHandle::off()) }, tell)
    }

    fn runs(tell: &watch::Sender<Arc<FailoverStatus>>, runs: bool) {
        let mut status = (**tell.borrow()).clone();
        status.here = if runs { vec![ha_failover::GroupId::default().into()] } else { Vec::new() };
        tell.send_replace(Arc::new(status));
    }

    #[test]
    fn what_asks_this_node_asks_the_service() {
        let builder =
            Config::builder().set("CLUSTER_ADDRESS", "10.0.0.1").set("CLUSTER_ADVERTISE_ADDRESS", "192.0.2.7");
        let (here, _tell) = here(&builder.build().unwrap());
        let asks = |target: &str| {
            let checks = format!("it={target}");
            let config = Config::builder().set("HEALTH_CHECKS", &checks).build().unwrap();
            here.is_asked_by(&config.health.checks[0].target)
        };
        for own in [
            "http://127.0.0.1:8000/",
            "http://LocalHost/x",
            "http://[::1]:80",
            "http://10.0.0.1:1/?a",
            "tcp:192.0.2.7:5",
        ] {
            assert!(asks(own), "{own}");
        }
        assert!(asks("heartbeat:3s"));
        for other in ["http://db.example:8000/", "http://10.0.0.2/", "tcp:db:5432", "command:true", "disk:/:5"] {
            assert!(!asks(other), "{other}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_counts_where_the_service_runs_once_it_has_answered() {
        let (here, tell) = here(&Config::default());
        let patience = here.patience;
        let answers = Arc::new(Mutex::new(false));
        let answering = answers.clone();
        let check = here.check(move || {
            let answers = *answering.lock().unwrap();
            async move { if answers { Verdict::HEALTHY } else { Verdict::failed("refused") } }
        });
        assert!(matches!(check.check().await, Verdict::Healthy(Some(_))), "it runs elsewhere");
        runs(&tell, true);
        assert!(matches!(check.check().await, Verdict::Degraded(_)), "it is starting");
        *answers.lock().unwrap() = true;
        assert_eq!(check.check().await, Verdict::HEALTHY);
        *answers.lock().unwrap() = false;
        assert_eq!(check.check().await, Verdict::failed("refused"));
        runs(&tell, false);
        assert!(matches!(check.check().await, Verdict::Healthy(Some(_))), "it has moved away");
        runs(&tell, true);
        assert!(matches!(check.check().await, Verdict::Degraded(_)), "it is starting again");
        tokio::time::advance(patience).await;
        assert_eq!(check.check().await, Verdict::failed("refused"), "it never answered");
    }
}
