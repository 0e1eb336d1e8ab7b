//! What the node's certificate adds to the health document.

use std::time::Duration;

use ha_net::wire::tls::EXPIRY_WARNING;

use super::{Finding, HealthDocument};

const DAY_SECONDS: u64 = 24 * 60 * 60;

impl HealthDocument {
    /// Adds how long the certificate is good for still, when that is not long.
    pub(crate) fn with_certificate(mut self, time_left: Duration) -> Self {
        if let Some(finding) = finding(time_left) {
            self.status = self.status.max(finding.status);
            self.reasons.push(finding.reason);
        }
        self
    }
}

fn finding(time_left: Duration) -> Option<Finding> {
    if time_left > EXPIRY_WARNING {
        return None;
    }
    if time_left.is_zero() {
        return Some(Finding::unhealthy(
            "the certificate of this node (CLUSTER_TLS_CERT) has ended: connections that break do not come back",
        ));
    }
    let days = time_left.as_secs() / DAY_SECONDS;
    let left = if days == 1 { "1 day".to_owned() } else { format!("{days} days") };
    Some(Finding::degraded(format!("the certificate of this node (CLUSTER_TLS_CERT) ends in {left}: renew it")))
}

#[cfg(test)]
mod tests {
    use super::super::{HealthStatus, build};
    use super::*;
    use crate::Rooms;
    use crate::testing::healthy;

    #[test]
    fn the_end_of_the_certificate_is_told_two_weeks_ahead() {
        let days = |days: u64| Duration::from_secs(days * DAY_SECONDS);
        let told = |left| {
            let rooms = Rooms { cluster: true, ..Rooms::default() };
            let document = build(rooms, &healthy(), None, false).with_certificate(left);
            (document.status, document.reasons.first().cloned().unwrap_or_default())
        };
        assert_eq!(told(days(15)), (HealthStatus::Healthy, String::new()));
        let (status, reason) = told(days(14));
        assert!(status == HealthStatus::Degraded && reason.contains("ends in 14 days"), "{reason}");
        assert!(told(days(1)).1.contains("ends in 1 day:"));
        let (status, reason) = told(Duration::ZERO);
        assert!(status == HealthStatus::Unhealthy && reason.contains("has ended"), "{reason}");
    }
}
