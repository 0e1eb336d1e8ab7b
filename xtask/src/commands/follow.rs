//! Follows a running cluster for a person: events of all nodes in one stream, and what happens to their processes.

use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};
use xtask::local_cluster::{Client, Node, NodeStatus, ProcessState, ServerEvent, StateFile};

use super::cluster_status::look;
use crate::ui::{Tone, paint};

/// How often processes and the leader are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long to wait before a node's events are asked for again.
const RETRY_EVENTS_AFTER: Duration = Duration::from_millis(500);
/// Events that may wait to be printed; a node waits when there are more.
const EVENTS_MAX: usize = 256;

/// Ctrl-C and SIGTERM to this program.
pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// From now on they end nothing by themselves.
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// The next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Prints what happens until Ctrl-C, or until another command stopped the cluster.
pub(crate) async fn until_interrupted(root: &Path, nodes: &mut [Node], interrupts: &mut Interrupts) {
    let began = Instant::now();
    let (sender, mut events) = mpsc::channel(EVENTS_MAX);
    let mut readers = JoinSet::new();
    for node in nodes.iter() {
        readers.spawn(read_events(node.spec.node_id.clone(), node.http(), sender.clone()));
    }
    let mut last = look(nodes).await;
    let mut looks = interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = interrupts.next() => return,
            Some((node_id, event)) = events.recv() => say(began, &node_id, None, &sentence(&event)),
            _ = looks.tick() => {
                // Children are waited for as they end, so that none stays behind as a zombie.
                for node in nodes.iter_mut() {
                    node.reap();
                }
                let Ok(current) = StateFile::peek(root) else { continue };
                if current.is_empty() {
                    println!("the cluster was stopped from elsewhere");
                    return;
                }
                let now = look(&current).await;
                for (before, after) in last.iter().zip(&now) {
                    if let Some((tone, text)) = change(before, after) {
                        say(began, &after.node_id, Some(tone), &text);
                    }
                }
                last = now;
            }
        }
    }
}

/// What a person should know about the difference between two looks at a node.
fn change(before: &NodeStatus, after: &NodeStatus) -> Option<(Tone, String)> {
    use ProcessState::{Gone, Paused, Running};
    match (before.process, after.process) {
        (Running | Paused, Gone) => return Some((Tone::Bad, "its process has ended".to_owned())),
        (Gone, _) if after.pid.is_some() => {
            return Some((Tone::Good, format!("started as process {}", after.pid.unwrap_or_default())));
        }
        _ if after.pid != before.pid => {
            return Some((
                Tone::Good,
                format!("ended, and started again as process {}", after.pid.unwrap_or_default()),
            ));
        }
        (Running, Paused) => return Some((Tone::Warning, "frozen".to_owned())),
        (Paused, Running) => return Some((Tone::Good, "woken".to_owned())),
        _ => {}
    }
    let (before, after) = (before.cluster.as_ref()?, after.cluster.as_ref()?);
    if before.leader_node == after.leader_node && before.state == after.state {
        return None;
    }
    let leader = after.leader_node.as_deref().unwrap_or("nobody");
    let tone = if after.is_healthy { Tone::Good } else { Tone::Warning };
    Some((
        tone,
        format!("sees {leader} lead, {} of {} nodes active ({})", after.active_nodes, after.total_nodes, after.state),
    ))
}

/// The sentence of an event: its `message` when it has one.
fn sentence(event: &ServerEvent) -> String {
    let value: serde_json::Value = serde_json::from_str(&event.data).unwrap_or_default();
    let kind = value.get("kind").and_then(|kind| kind.as_str()).unwrap_or(&event.kind);
    match value.get("message").and_then(|message| message.as_str()) {
        Some(message) => format!("{kind}: {message}"),
        None => format!("{kind} {}", event.data),
    }
}

fn say(began: Instant, node_id: &str, tone: Option<Tone>, text: &str) {
    let when = paint(Tone::Faint, &format!("+{:8.2} s", began.elapsed().as_secs_f64()));
    let text = tone.map_or_else(|| text.to_owned(), |tone| paint(tone, text));
    println!("{when}  {node_id:8}  {text}");
}

/// Reads a node's events for as long as this program lives; a node that is down is asked again until it is back.
async fn read_events(node_id: String, client: Client, sender: mpsc::Sender<(String, ServerEvent)>) {
    loop {
        if let Ok(mut events) = client.events().await {
            while let Ok(Some(event)) = events.next().await {
                if sender.send((node_id.clone(), event)).await.is_err() {
                    return;
                }
            }
        }
        sleep(RETRY_EVENTS_AFTER).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_told_by_its_message() {
        let event = ServerEvent {
            kind: String::new(),
            data: r#"{"number": 1, "kind": "leader_changed", "message": "node-1 leads"}"#.to_owned(),
        };
        assert_eq!(sentence(&event), "leader_changed: node-1 leads");
        assert_eq!(sentence(&ServerEvent { kind: "x".into(), data: "1".into() }), "x 1");
    }
}
