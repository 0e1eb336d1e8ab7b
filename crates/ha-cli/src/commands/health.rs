//! `ha health`: how a node is. Serves as the health check of a container.

use anstyle::Style;
use serde_json::Value;

use crate::answers::{Component, Health};
use crate::client::{Client, ClientArgs};
use crate::failure::Failure;
use crate::output::{print, print_json};
use crate::table::{BAD, Cell, DOUBTFUL, GOOD, PLAIN, STRONG, list, table};

/// Asks and shows; fails when the node is unhealthy.
pub(crate) async fn run(args: ClientArgs) -> Result<(), Failure> {
    let answer = Client::new(&args).get("/health").await?;
    let health: Health = answer.read()?;
    if args.json {
        print_json(&answer.read::<Value>()?)?;
    } else {
        print(&show(&health))?;
    }
    if !answer.status().is_success() {
        return Err(Failure::failed(format_args!("{} is {}", args.url, health.status)));
    }
    Ok(())
}

fn show(health: &Health) -> String {
    let mut text = list(&[("status", Cell::new(&health.status, style(&health.status)))]);
    if !health.ha_enabled {
        text.push_str(&list(&[("  note", "everything is off on this node".into())]));
    }
    text.extend(health.reasons.iter().map(|reason| list(&[("  note", reason.clone().into())])));
    let components = health.ha_details.as_ref().and_then(|details| details.health_status.as_ref());
    if let Some(components) = components.filter(|components| !components.checks.is_empty()) {
        text.push('\n');
        text.push_str(&table(
            ["COMPONENT", "STATUS", "CRITICAL", "SINCE", "MESSAGE"],
            &components.checks.iter().map(row).collect::<Vec<_>>(),
        ));
    }
    text
}

fn row(component: &Component) -> [Cell; 5] {
    let said = component.message.iter().chain(&component.recovery).map(String::as_str).collect::<Vec<_>>();
    [
        Cell::new(&component.name, STRONG),
        Cell::new(&component.status, style(&component.status)),
        if component.critical { "yes" } else { "no" }.into(),
        format!("{:.0} s", component.since_seconds).into(),
        said.join("; ").into(),
    ]
}

fn style(status: &str) -> Style {
    match status {
        "healthy" => GOOD,
        "degraded" => DOUBTFUL,
        "unhealthy" => BAD,
        _ => PLAIN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_component_has_its_row() {
        let document = r#"{"status": "degraded", "ha_enabled": true, "ha_details": {"health_status": {"checks": [
            {"name": "db", "status": "unhealthy", "critical": false, "message": "it is gone", "since_seconds": 12.4,
             "recovery": "attempt 1 of 5 to recover it failed: no"},
            {"name": "web", "status": "healthy", "critical": true, "message": null, "since_seconds": 0,
             "recovery": null}]}}}"#;
        let health: Health = serde_json::from_str(document).unwrap();
        let text = anstream::adapter::strip_str(&show(&health)).to_string();
        let rows: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "COMPONENT  STATUS     CRITICAL  SINCE  MESSAGE",
                "db         unhealthy  no        12 s   it is gone; attempt 1 of 5 to recover it failed: no",
                "web        healthy    yes       0 s    ",
            ]
        );
    }

    #[test]
    fn each_reason_has_its_line() {
        let document = r#"{"status": "unhealthy", "ha_enabled": true, "reasons": ["no quorum", "node-2 has failed"]}"#;
        let health: Health = serde_json::from_str(document).unwrap();
        let text = anstream::adapter::strip_str(&show(&health)).to_string();
        assert_eq!(text, "status  unhealthy\n  note  no quorum\n  note  node-2 has failed\n");
    }
}
