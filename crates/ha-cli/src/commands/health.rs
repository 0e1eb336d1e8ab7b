//! `ha health`: how a node is. Serves as the health check of a container.

use serde_json::Value;

use crate::answers::Health;
use crate::client::{Client, ClientArgs};
use crate::failure::Failure;
use crate::output::{print, print_json};
use crate::table::{BAD, Cell, DOUBTFUL, GOOD, PLAIN, list};

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
    let style = match health.status.as_str() {
        "healthy" => GOOD,
        "degraded" => DOUBTFUL,
        "unhealthy" => BAD,
        _ => PLAIN,
    };
    let mut text = list(&[("status", Cell::new(&health.status, style))]);
    if !health.ha_enabled {
        text.push_str(&list(&[("  note", "everything is off on this node".into())]));
    }
    text.extend(health.reasons.iter().map(|reason| list(&[("  note", reason.clone().into())])));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_line() {
        let document = r#"{"status": "unhealthy", "ha_enabled": true, "reasons": ["no quorum", "node-2 has failed"]}"#;
        let health: Health = serde_json::from_str(document).unwrap();
        let text = anstream::adapter::strip_str(&show(&health)).to_string();
        assert_eq!(text, "status  unhealthy\n  note  no quorum\n  note  node-2 has failed\n");
    }
}
