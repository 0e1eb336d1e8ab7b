//! `ha remove`: takes a member out of the cluster for good.

use http::Method;
use serde_json::Value;

use crate::client::{Client, ClientArgs};
use crate::failure::Failure;
use crate::output::{print, print_json};

/// What it takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The member. Neither its id nor its data directory can be used in this cluster again.
    #[arg(value_name = "NODE")]
    node: String,

    #[command(flatten)]
    client: ClientArgs,
}

/// Asks, and returns once the member is out.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let path = format!("/v1/cluster/members/{}", args.node);
    let body: Value = Client::new(&args.client).change(Method::DELETE, &path, None, None).await?.success()?;
    if args.client.json { print_json(&body) } else { print(&format!("{} is no member any more\n", args.node)) }
}
