//! `ha events`: follows what happens on a node.

use crate::answers::Event;
use crate::client::{Client, ClientArgs};
use crate::failure::Failure;
use crate::output::print;
use crate::table::{BAD, Cell, PLAIN, QUIET, table};

/// Events of the past that are shown first.
const PAST: usize = 100;
/// Widest kind that is aligned with the others.
const KIND_COLUMNS: usize = 20;

/// Prints what has happened lately, and then one line per event until the node ends the stream or the caller interrupts.
pub(crate) async fn run(args: ClientArgs) -> Result<(), Failure> {
    let mut stream = Client::new(&args).follow(&format!("/v1/events?past={PAST}")).await?;
    while let Some(data) = stream.next().await? {
        if args.json {
            print(&format!("{data}\n"))?;
        } else {
            print(&show(&data))?;
        }
    }
    Err(Failure::failed(format_args!("{} has ended the stream: the node is stopping", args.url)))
}

fn show(data: &str) -> String {
    let Ok(event) = serde_json::from_str::<Event>(data) else { return format!("{data}\n") };
    let number = event.number.map_or(String::new(), |number| format!("#{number}"));
    let style = if event.kind == "lagged" { BAD } else { PLAIN };
    let kind = Cell::new(format!("{:KIND_COLUMNS$}", event.kind), style);
    let line = table(["", "", ""], &[[Cell::new(format!("{number:>6}"), QUIET), kind, event.message.into()]]);
    // A stream has no head.
    line.split_once('\n').map_or(line.clone(), |(_, row)| row.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let text = show(r#"{"number": 12, "kind": "leader_changed", "message": "node-2 leads in term 5"}"#);
        let text = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(text, "   #12  leader_changed        node-2 leads in term 5\n");
        assert_eq!(show("not json"), "not json\n");
    }
}
