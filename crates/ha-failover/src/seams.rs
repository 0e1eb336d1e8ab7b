//! What differs between a real and a simulated node.

use std::sync::Arc;

use futures::future::BoxFuture;
use ha_cluster::NodeId;

/// Switches a node off from outside.
pub trait Fence: Send + Sync + 'static {
    /// Resolves to `Ok` only when the node is certainly stopped, and stays so until somebody starts it anew. Dropped
    /// when it takes longer than [`crate::Config::timeout`], which proves nothing.
    fn fence(&self, node: &NodeId, address: &str) -> BoxFuture<'static, Result<(), String>>;
}

/// What differs between a real and a simulated node.
#[derive(Clone)]
pub struct Seams {
    /// Switches nodes off; `None` where nothing can.
    pub fence: Option<Arc<dyn Fence>>,
    /// Ends this process at once, with everything that it runs. Told why.
    pub end_process: Arc<dyn Fn(&str) + Send + Sync>,
}

/// The exit code of a process that ended itself because its service did not stop.
pub const EXIT_CODE_NOT_STOPPED: i32 = 70;

impl Default for Seams {
    /// No fence, and the end of the process.
    fn default() -> Self {
        Self { fence: None, end_process: Arc::new(|_| std::process::exit(EXIT_CODE_NOT_STOPPED)) }
    }
}
