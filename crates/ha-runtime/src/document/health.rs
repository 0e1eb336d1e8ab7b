//! What checked components add to the health document.

use ha_health::{ComponentHealth, OverallHealth, Status};
use serde::Serialize;

use super::{Finding, HealthDocument, HealthStatus};

/// The `health_status` of the health document.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HealthDetails {
    /// `unhealthy` when a critical component is, `degraded` when any component is not healthy.
    pub status: Status,
    /// True when every component is healthy.
    pub healthy: bool,
    /// How many there are.
    pub total_components: usize,
    /// How many are healthy.
    pub healthy_components: usize,
    /// Each of them, by name.
    pub checks: Vec<ComponentHealth>,
}

impl HealthDocument {
    /// Adds what the components say to what is known of the node.
    pub(crate) fn with_components(mut self, overall: OverallHealth) -> Self {
        for finding in overall.components.iter().filter_map(finding) {
            self.status = self.status.max(finding.status);
            self.reasons.push(finding.reason);
        }
        if let Some(details) = &mut self.ha_details {
            let OverallHealth { status, healthy, total_components, healthy_components, components } = overall;
            let details_of =
                HealthDetails { status, healthy, total_components, healthy_components, checks: components };
            details.health_status = Some(details_of);
        }
        self
    }
}

fn finding(component: &ComponentHealth) -> Option<Finding> {
    let name = &component.name;
    let why = component.message.as_deref().map_or(String::new(), |message| format!(": {message}"));
    let status = match component.status {
        Status::Healthy => return None,
        Status::Unhealthy if component.critical => HealthStatus::Unhealthy,
        Status::Unhealthy | Status::Degraded => HealthStatus::Degraded,
    };
    Some(Finding { status, reason: format!("{name} is {}{why}", component.status) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Rooms;
    use crate::testing::healthy;

    #[tokio::test(start_paused = true)]
    async fn a_component_counts_by_whether_it_is_critical() {
        let health = ha_health::start(ha_health::Config::default()).unwrap();
        let rooms = Rooms { cluster: true, health_monitor: true, ..Rooms::default() };
        for (critical, status) in [(false, "degraded"), (true, "unhealthy")] {
            let component = health.component("db").failures(1);
            let component = if critical { component.critical() } else { component };
            component.check(|| async { Err::<(), _>("it is gone") }).unwrap();
            health.watch().wait_for(|overall| overall.components[0].status == Status::Unhealthy).await.unwrap();
            let document = super::super::build(rooms, &healthy(), None, false).with_components(health.overall());
            let document = serde_json::to_value(document).unwrap();
            assert_eq!(document["status"], status);
            assert_eq!(document["reasons"], json!(["db is unhealthy: it is gone"]));
            let details = &document["ha_details"]["health_status"];
            assert_eq!((&details["status"], &details["total_components"]), (&json!(status), &json!(1)));
            assert_eq!(details["checks"][0]["name"], "db");
        }
    }
}
