//! The fence command of a person's choice.

use std::process::Stdio;

use futures::future::BoxFuture;
use ha_cluster::NodeId;
use tokio::process::Command;

use crate::seams::Fence;

/// Bytes of its last words that are told.
const WORDS_MAX: usize = 300;

/// Runs a command with the id and the address of the node to switch off; only exit code 0 is a success.
///
/// The command is given to `sh`, with both as its last arguments, and in `HA_FENCE_NODE` and `HA_FENCE_ADDRESS`. It is
/// killed when nobody waits for it any more.
#[derive(Clone, Debug)]
pub struct FenceCommand {
    command: String,
}

impl FenceCommand {
    /// A command line for `sh`.
    pub fn new(command: impl Into<String>) -> Self {
        Self { command: command.into() }
    }
}

impl Fence for FenceCommand {
    fn fence(&self, node: &NodeId, address: &str) -> BoxFuture<'static, Result<(), String>> {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("{} \"$@\"", self.command))
            .arg("fence")
            .arg(node.as_str())
            .arg(address)
            .env("HA_FENCE_NODE", node.as_str())
            .env("HA_FENCE_ADDRESS", address)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Box::pin(async move {
            let output = command.output().await.map_err(|error| format!("it could not be run: {error}"))?;
            if output.status.success() {
                return Ok(());
            }
            let words = String::from_utf8_lossy(&output.stderr);
            let words = words.trim();
            let words = &words[words.floor_char_boundary(words.len().saturating_sub(WORDS_MAX))..];
            Err(format!("{}: {words}", output.status))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(command: &str) -> Result<(), String> {
        FenceCommand::new(command).fence(&"node-2".parse().unwrap(), "10.0.0.2:7946").await
    }

    #[tokio::test]
    async fn only_exit_code_0_is_a_success_and_the_node_is_named() {
        assert!(run("test node-2 =").await.is_err());
        assert_eq!(run("test \"$HA_FENCE_ADDRESS\" = 10.0.0.2:7946; true").await, Ok(()));
        assert_eq!(run("sh -c 'test \"$0 $1\" = \"node-2 10.0.0.2:7946\"'").await, Ok(()));
        let failed = run("echo no route >&2; exit 3 #").await.unwrap_err();
        assert!(failed.contains('3') && failed.contains("no route"), "{failed}");
    }
}
