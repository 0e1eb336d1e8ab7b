//! Linearizable reads: many waiting readers share one confirmation, on whichever node they are.

use std::pin::pin;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::codec::get;
use super::engine::Engine;
use crate::machine::ReadError;
use crate::service;
use ha_net::Lane;

/// Readers that wait for a round; a further one waits for room.
const READERS_MAX: usize = 65_536;
/// How long one try at the leader may take before it is looked for anew.
const TRY_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause between tries.
const PAUSE: Duration = Duration::from_millis(5);

type Waiting = oneshot::Sender<Result<(), ReadError>>;

/// Where readers queue for the next round. Cheap to clone.
#[derive(Clone)]
pub(super) struct Readers(mpsc::Sender<Waiting>);

/// Serves one round after another.
pub(super) struct Rounds(mpsc::Receiver<Waiting>);

impl Readers {
    pub(super) fn new() -> (Self, Rounds) {
        let (sender, receiver) = mpsc::channel(READERS_MAX);
        (Self(sender), Rounds(receiver))
    }
}

impl Rounds {
    /// Ends when the engine does. Each round begins after every reader in it has asked.
    pub(super) async fn run(mut self, engine: Engine) {
        let mut stopped = pin!(engine.stopped());
        let mut waiting = Vec::new();
        let mut crowded = false;
        loop {
            // The engine that is held here holds the other end of the queue, which therefore never ends by itself.
            let asked = tokio::select! {
                asked = self.0.recv_many(&mut waiting, READERS_MAX) => asked,
                () = &mut stopped => 0,
            };
            if asked == 0 {
                return;
            }
            if crowded {
                // Those that the last round answered are about to ask again: one round for all of them.
                tokio::task::yield_now().await;
                while waiting.len() < READERS_MAX
                    && let Ok(reader) = self.0.try_recv()
                {
                    waiting.push(reader);
                }
            }
            crowded = waiting.len() > 1;
            let round = tokio::select! {
                round = engine.confirm_round() => round,
                () = &mut stopped => Err(ReadError::Stopped { reason: "the node is stopping".to_owned() }),
            };
            for reader in waiting.drain(..) {
                // A reader that gave up has dropped its end.
                let _ = reader.send(round.clone());
            }
            if matches!(round, Err(ReadError::Stopped { .. })) {
                return;
            }
        }
    }
}

impl Engine {
    /// Confirms, with a quorum that was asked after this call, that what is applied here holds every acknowledged
    /// write. Waits for a leader as long as the caller does.
    pub(crate) async fn confirm(&self) -> Result<(), ReadError> {
        let stopped = || ReadError::Stopped { reason: "the node is stopping".to_owned() };
        let (sender, receiver) = oneshot::channel();
        self.readers.0.send(sender).await.map_err(|_| stopped())?;
        receiver.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// As [`Self::confirm`], and gives up after a limit.
    pub(crate) async fn confirm_within(&self, limit: Duration) -> Result<(), ReadError> {
        let late = |_| Err(ReadError::NoQuorum { reason: format!("no answer within {limit:?}") });
        tokio::time::timeout(limit, self.confirm()).await.unwrap_or_else(late)
    }

    async fn confirm_round(&self) -> Result<(), ReadError> {
        let mut changes = self.changes();
        loop {
            let index = match self.leader() {
                (_, true) => self.read_index().await.ok(),
                (Some(leader), _) => {
                    let asked =
                        self.net.ask(&leader, Lane::Control, service::READ_INDEX, Default::default(), TRY_TIMEOUT);
                    let answer = tokio::select! {
                        answer = asked => answer.ok(),
                        () = self.deposed(&leader) => None,
                    };
                    answer.and_then(|answer| get::<u64>(&answer).ok())
                }
                (None, _) => None,
            };
            if let Some(index) = index {
                let stopped = |_| ReadError::Stopped { reason: "the node is stopping".to_owned() };
                return self.applied_index().wait_for(|applied| *applied >= index).await.map(drop).map_err(stopped);
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = changes.next() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machines;
    use crate::raft::engine_tests::Alone;

    #[tokio::test(start_paused = true)]
    async fn rounds_end_with_the_engine_also_when_nobody_reads() {
        let Alone { engine, .. } = Alone::start(Machines::new()).await;
        engine.confirm().await.unwrap();
        engine.stop().await;
        tokio::time::timeout(Duration::from_secs(60), engine.readers.0.closed()).await.expect("the rounds have ended");
        assert!(matches!(engine.confirm().await, Err(ReadError::Stopped { .. })));
    }
}
