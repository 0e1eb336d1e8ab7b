//! The worker that takes changes to the store, one batch after the other.

use crate::copy::Copy;
use crate::memory::Layer;
use crate::store::{Batch, Hole, State, StoreError, Writer};
use crate::work::{Fill, Work};

/// Graves of deleted records that are kept, so that copies and subscribers that were away can be told.
const GRAVES_MAX: u64 = 100_000;

/// Takes changes to the store. Runs where waiting for the disk is allowed.
pub(crate) struct Keeper {
    copy: Copy,
    writer: Writer,
}

impl Keeper {
    pub(crate) fn new(copy: Copy, writer: Writer) -> Self {
        Self { copy, writer }
    }

    /// Writes until the copy is stopped and everything is written, or nothing can be.
    pub(crate) async fn run(mut self) {
        loop {
            match self.copy.work().await {
                Work::Layer(layer) => match self.write(&layer).await {
                    Ok(()) => self.copy.stored(layer.position.index, layer.place),
                    Err(error) => {
                        self.show_last_good().await;
                        if !self.copy.failed(error).await {
                            break;
                        }
                    }
                },
                Work::Fill(fill) => self.fill(fill).await,
                Work::Stop => break,
            }
        }
        self.writer.close().await;
        self.copy.end();
    }

    async fn write(&mut self, layer: &Layer) -> Result<(), StoreError> {
        let may_be_old = self.copy.hole().is_some();
        let (graves_max, horizon) = graves(layer.agreed.horizon, self.copy.is_loose());
        let batch = Batch { changes: layer.by_key(), may_be_old, anew: false, graves_max, horizon };
        self.writer
            .write(batch, |state| {
                if layer.jumped {
                    jump(state, layer.position.epoch);
                }
                state.position = layer.position;
                state.place = state.place.max(layer.place);
                state.stamp = state.stamp.max(layer.stamp);
                state.agreed = layer.agreed.clone();
            })
            .await?;
        self.copy.mended();
        Ok(())
    }

    async fn fill(&mut self, fill: Fill) {
        let Fill { changes, upto, last, hole_upto, floor, anew, wipes, loaded, rewound, restamped, done } = fill;
        let (graves_max, horizon) = graves(0, self.copy.is_loose());
        let changes = changes.iter().collect();
        let batch = Batch { changes, may_be_old: true, anew: anew || wipes.is_some(), graves_max, horizon };
        let copy = &self.copy;
        let written = self.writer.write(batch, |state| {
            state.floor = state.floor.max(floor);
            if let Some(horizon) = wipes {
                state.began_at = horizon;
                state.loaded = false;
            } else if loaded {
                state.loaded = true;
            } else if let Some(epoch) = rewound {
                state.rewound = state.rewound.max(epoch);
            } else if restamped {
                state.stamp = copy.memory().stamp();
            } else if anew {
                let upto = state.hole.map_or(0, |hole| hole.upto).max(state.position.epoch);
                state.hole = Some(Hole { after: 0, after_tie: 0, upto, anew: true });
            } else if last && state.hole.is_some_and(|hole| hole.upto == hole_upto) {
                state.hole = None;
            } else if let Some(hole) = &mut state.hole {
                (hole.after, hole.after_tie) = upto;
            }
        });
        let written = written.await.map(drop);
        let failed = written.clone().err();
        // Whoever fetched may have gone; what is written is written.
        let _ = done.send(written);
        if let Some(error) = failed {
            self.open_again(error).await;
        }
    }

    /// A failed write has closed the file. What it holds can still be read while the disk takes nothing; and if not, the
    /// next write opens it.
    async fn show_last_good(&mut self) {
        if let Err(error) = self.writer.open().await {
            tracing::debug!("the records are not readable either: {error}");
        }
    }

    /// After a failure nothing may come that would be written, and the node would stay in trouble: it is over when the
    /// file can be opened.
    async fn open_again(&mut self, mut error: StoreError) {
        self.show_last_good().await;
        while self.copy.failed(error).await {
            match self.writer.open().await {
                Ok(()) => return self.copy.mended(),
                Err(again) => error = again,
            }
        }
    }
}

/// A snapshot took the copy past changes.
fn jump(state: &mut State, upto: u64) {
    let after = state.position.epoch;
    // A copy that never held anything has nothing that could have been deleted since.
    let begins = Hole { after, after_tie: if after == 0 { 0 } else { u64::MAX }, upto, anew: after == 0 };
    // What the log brought since the hole began may be deleted in what is missing now: it is not as if it were empty.
    let hole = state.hole.map_or(begins, |hole| Hole { anew: false, ..hole });
    state.hole = Some(Hole { upto: upto.max(hole.upto), ..hole });
}

/// How many graves are kept: on the ordered path, the newest; without a leader, those above the horizon.
fn graves(horizon: u64, is_loose: bool) -> (u64, u64) {
    if is_loose { (u64::MAX, horizon) } else { (GRAVES_MAX, 0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_leader_a_grave_goes_by_its_stamp_alone() {
        assert_eq!(graves(0, true), (u64::MAX, 0), "nobody has said yet what all have seen");
        assert_eq!(graves(9, true), (u64::MAX, 9));
        assert_eq!(graves(0, false), (GRAVES_MAX, 0));
    }

    #[test]
    fn a_second_snapshot_does_not_take_the_copy_for_an_empty_one() {
        let mut state = State::default();
        jump(&mut state, 5);
        assert_eq!(state.hole, Some(Hole { after: 0, after_tie: 0, upto: 5, anew: true }));
        jump(&mut state, 9);
        let hole = Some(Hole { after: 0, after_tie: 0, upto: 9, anew: false });
        assert_eq!(state.hole, hole, "the log has brought records since, of which some may be deleted meanwhile");
    }
}
