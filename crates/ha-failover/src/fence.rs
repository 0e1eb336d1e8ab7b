//! The fence command of a person's choice.

use futures::future::BoxFuture;
use ha_cluster::NodeId;

use crate::hooks::{Groups, run};
use crate::seams::Fence;

/// Runs a command with the id and the address of the node to switch off; only exit code 0 is a success.
///
/// The command is given to `sh`, with both as its last arguments, and in `HA_FENCE_NODE` and `HA_FENCE_ADDRESS`. It is
/// killed, with everything in its process group, when nobody waits for it any more.
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
        let line = format!("{} \"$@\"", self.command);
        let (node, address) = (node.to_string(), address.to_owned());
        Box::pin(async move {
            let variables = [("HA_FENCE_NODE", node.clone()), ("HA_FENCE_ADDRESS", address.clone())];
            run(&Groups::default(), &line, &["fence", &node, &address], &variables).await
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
