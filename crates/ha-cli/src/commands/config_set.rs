//! `ha config set`: changes a running node, until it starts again.

use serde_json::{Value, json};

use crate::client::{Client, ClientArgs};
use crate::failure::Failure;
use crate::output::{print, print_json};

/// What it takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to change.
    #[arg(value_enum)]
    what: What,

    /// The new value: a level or a filter such as `info,ha_net=debug`; a priority from 0 to 1000.
    value: String,

    #[command(flatten)]
    client: ClientArgs,
}

/// What can be changed.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum What {
    /// What the node logs.
    LogLevel,
    /// How likely the node is to lead.
    Priority,
}

/// Asks for the change, and says what is so now.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let value = &args.value;
    let (path, body) = match args.what {
        What::LogLevel => ("/v1/config/log-level", json!({"level": value})),
        What::Priority => {
            let priority = value.parse::<u16>();
            let priority = priority.map_err(|_| Failure::usage("a priority is a whole number from 0 to 1000"))?;
            ("/v1/cluster/priority", json!({"priority": priority}))
        }
    };
    let answer = Client::new(&args.client).post(path, &body).await?;
    let changed: Value = answer.success()?;
    if args.client.json {
        return print_json(&changed);
    }
    print(&match args.what {
        What::LogLevel => format!("the node logs {value} until it starts again\n"),
        What::Priority => format!("the priority of the node is {value} until it starts again\n"),
    })
}
