//! A host without a node: it dials nodes and sends them bytes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ha_net::wire::Wire as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::network::Machine;
use super::{Name, SimWire, World};

/// How long the stranger waits for its victim to hang up.
const PATIENCE: Duration = Duration::from_secs(5);

/// How one visit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// The node closed the connection.
    Closed,
    /// The node still listened when the stranger lost its patience.
    StillOpen,
    /// Nobody answered.
    Unreachable,
}

/// The stranger, once it has come. Cheap to clone.
#[derive(Clone)]
pub struct Stranger {
    errands: mpsc::UnboundedSender<(Name, Vec<u8>)>,
    visits: Arc<Mutex<Vec<(Name, Visit)>>>,
}

impl Stranger {
    /// Dials a node, sends it bytes, and waits for what it does. Several visits go on at once.
    pub fn send(&self, to: Name, bytes: Vec<u8>) {
        // The host of the stranger is never stopped while the world lives.
        let _ = self.errands.send((to, bytes));
    }

    /// The visits that have ended.
    pub fn visits(&self) -> Vec<(Name, Visit)> {
        self.visits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl World {
    /// Brings the stranger into the world; once.
    pub fn invite_stranger(&mut self) -> Stranger {
        let (errands, receiver) = mpsc::unbounded_channel();
        let stranger = Stranger { errands, visits: Arc::default() };
        let wire = SimWire::new(Name::STRANGER, self.network.clone());
        let (visits, trace) = (stranger.visits.clone(), self.trace.clone());
        let receiver = Arc::new(Mutex::new(Some(receiver)));
        self.network.set_machine(Name::STRANGER, Machine::Up);
        self.sim.host(Name::STRANGER.to_string(), move || {
            let receiver = receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
            let (wire, visits, trace) = (wire.clone(), visits.clone(), trace.clone());
            async move {
                let Some(mut receiver) = receiver else { return Ok(()) };
                while let Some((to, bytes)) = receiver.recv().await {
                    let (wire, visits, trace) = (wire.clone(), visits.clone(), trace.clone());
                    tokio::spawn(async move {
                        let visit = visit(&wire, to, &bytes).await;
                        trace.line(Name::STRANGER, format_args!("sent {} bytes to {to}: {visit:?}", bytes.len()));
                        visits.lock().unwrap_or_else(PoisonError::into_inner).push((to, visit));
                    });
                }
                Ok(())
            }
        });
        stranger
    }
}

async fn visit(wire: &SimWire, to: Name, bytes: &[u8]) -> Visit {
    let address = to.address();
    let Ok(Ok(mut socket)) = tokio::time::timeout(PATIENCE, wire.dial(&address)).await else {
        return Visit::Unreachable;
    };
    let talk = async {
        // The node may hang up in the middle; reading shows that.
        let _ = socket.write_all(bytes).await;
        let mut answer = [0; 4096];
        while socket.read(&mut answer).await.is_ok_and(|read| read > 0) {}
    };
    match tokio::time::timeout(PATIENCE, talk).await {
        Ok(()) => Visit::Closed,
        Err(_) => Visit::StillOpen,
    }
}
