//! Stops nodes in order: SIGTERM to all, a bounded wait, SIGKILL to what is left.

use rustix::process::Signal;
use tokio::time::Instant;
use xtask::local_cluster::{Ended, Node, ProcessState, STOP_TIMEOUT};

use crate::ui::{self, Step};

/// Stops all nodes; prints how each ended, and what had to be killed.
pub(crate) async fn stop_all(nodes: &mut [Node]) {
    let mut stopping: Vec<&mut Node> = nodes.iter_mut().filter(|n| n.state() != ProcessState::Gone).collect();
    for node in &stopping {
        // A frozen process does not see SIGTERM before it wakes. Either signal fails only when the process has ended,
        // and the wait below finds that.
        let _ = node.signal(Signal::TERM);
        let _ = node.signal(Signal::CONT);
    }
    let mut step = Step::begin("stopping");
    let deadline = Instant::now() + STOP_TIMEOUT;
    let total = stopping.len();
    for (done, node) in stopping.iter_mut().enumerate() {
        step.update(done, total, &node.spec.node_id);
        match node.wait_exit(deadline.saturating_duration_since(Instant::now())).await {
            Ok(Ended::Status(status)) if status.success() => println!("{} stopped", node.spec.node_id),
            Ok(Ended::Unseen) => println!("{} stopped", node.spec.node_id),
            Ok(Ended::Status(status)) => ui::warning(&format!("{} ended with {status}", node.spec.node_id)),
            Err(_) => kill(node).await,
        }
    }
    step.end("done");
}

async fn kill(node: &mut Node) {
    let node_id = node.spec.node_id.clone();
    let killed = node.signal(Signal::KILL);
    let ended = node.wait_exit(STOP_TIMEOUT).await;
    match (killed, ended) {
        (_, Ok(_)) => ui::warning(&format!(
            "{node_id} did not stop within {} s and was killed; its last words are in {}",
            STOP_TIMEOUT.as_secs(),
            node.spec.log().display()
        )),
        (Err(error), _) | (_, Err(error)) => ui::error(&error.to_string()),
    }
}
