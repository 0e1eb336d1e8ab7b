//! `ha transfer`: hands leadership to another node.

use serde_json::{Value, json};

use super::leader;
use crate::client::{Client, ClientArgs};
use crate::failure::Failure;
use crate::output::{print, print_json};

/// What it takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The node that shall lead; the best candidate when absent.
    #[arg(long, value_name = "NODE")]
    to: Option<String>,

    #[command(flatten)]
    client: ClientArgs,
}

/// Asks, waits until the new leader leads, and names it.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let body = args.to.map_or(json!({}), |to| json!({"to": to}));
    let answer = Client::new(&args.client).post("/v1/cluster/transfer", &body).await?;
    if args.client.json {
        return print_json(&answer.success::<Value>()?);
    }
    print(&format!("leadership is with {}", leader::show(&answer.success()?)))
}
