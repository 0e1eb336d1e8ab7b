//! Who holds which role: the machine on the cluster's log.
//!
//! A role is vacant, or one life of one node holds it. It leaves a holder in two ways only: the holder says that it
//! has stopped, or the leader has evidence that it cannot act. Only a vacant role is given to anybody. So that no two
//! hold it at once follows from this file and from the lease, whatever the controller decides.

mod apply;
mod command;
mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use ha_cluster::{Applied, Capture, Epoch, Machine, MachineId};
use tokio::sync::watch;

pub use command::{Ask, Cause, Command, End, Reply};
pub use state::{
    DECISIONS_MAX, Decision, Holder, Outcome, Phase, REQUEST_NAME_BYTES_MAX, REQUESTS_MAX, ROLES_MAX, RULE_BYTES_MAX,
    RULES_MAX, RequestId, Role, Standing, State,
};

/// First byte of an image.
const IMAGE_SCHEMA: u8 = 1;

/// The machine. Give it to the cluster at its start, then start the room itself.
#[derive(Debug)]
pub struct Roster {
    state: watch::Sender<Arc<State>>,
}

impl Default for Roster {
    fn default() -> Self {
        Self { state: watch::Sender::new(Arc::default()) }
    }
}

impl Roster {
    /// What the log says, to follow. As far as this node has applied it.
    pub fn watch(&self) -> watch::Receiver<Arc<State>> {
        self.state.subscribe()
    }
}

impl Machine for Roster {
    const ID: MachineId = MachineId(3);
    const NAME: &'static str = "the roster of roles";
    type Command = Command;
    type Reply = Reply;

    fn apply(&mut self, at: Applied, command: Command) -> Reply {
        let mut reply = Reply::Done(at.epoch);
        self.state.send_if_modified(|state| {
            let changed = Arc::make_mut(state);
            reply = changed.apply(at.epoch, command);
            matches!(reply, Reply::Done(_))
        });
        reply
    }

    fn capture(&self) -> Capture {
        let state = self.state.borrow().clone();
        Box::new(std::iter::once_with(move || {
            let mut image = vec![IMAGE_SCHEMA];
            // Plain maps with text keys: nothing in them can fail to be written into memory.
            if let Ok(text) = serde_json::to_vec(&*state) {
                image.extend(text);
            }
            image
        }))
    }

    fn restore(&mut self, image: &[u8]) -> Result<(), String> {
        let state = match image.split_first() {
            Some((&IMAGE_SCHEMA, text)) => serde_json::from_slice(text).map_err(|error| error.to_string())?,
            _ => return Err("it is not one that this version understands".to_owned()),
        };
        self.state.send_replace(Arc::new(state));
        Ok(())
    }

    /// Who runs what now cannot be had from the past: a role would be given away while somebody still runs it.
    fn replace(&mut self, _: Epoch, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
}
