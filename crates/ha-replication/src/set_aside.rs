//! What a master had alone when another node took over, for a person to deal with.

use crate::loose::{Seat, Tail, TailApplied};
use crate::{Change, ReplicateError, Replication, TailError};

impl Replication {
    /// Changes that this node had alone when another one took over.
    pub async fn tails(&self) -> Result<Vec<Tail>, TailError> {
        let Some(seat) = &self.inner.seat else { return Ok(Vec::new()) };
        let mut tails = seat.tails.list().await?;
        tails.iter_mut().for_each(|tail| tail.is_growing = self.is_growing(&tail.name));
        Ok(tails)
    }

    /// The last state of each record of a tail.
    pub async fn tail(&self, name: &str) -> Result<Vec<Change>, TailError> {
        let read = self.seat_of(name)?.tails.read(name).await.map_err(|error| TailError::of(name, error))?;
        Ok(read.changes.into_iter().map(|(key, (_, data))| Change { key, data }).collect())
    }

    /// Makes the changes of a tail again, on the master: those of records that nobody has written since, or all. Then
    /// it is listed no more; its file stays, by another name. One that still grows is refused.
    pub async fn apply_tail(&self, name: &str, all: bool) -> Result<TailApplied, TailError> {
        let seat = self.seat_of(name)?;
        self.refuse_growing(name)?;
        let read = seat.tails.read(name).await.map_err(|error| TailError::of(name, error))?;
        let mut applied = TailApplied::default();
        for (key, (version, data)) in read.changes {
            let held = self.inner.copy.get(&key).map_err(ReplicateError::from)?;
            if !all && held.is_some_and(|held| held.version > version) {
                applied.skipped += 1;
                continue;
            }
            self.write(Change { key, data }).await?;
            applied.applied += 1;
        }
        self.done(seat, name, read.length).await?;
        Ok(applied)
    }

    /// Lists a tail no more; its file stays, by another name. One that still grows is refused.
    pub async fn drop_tail(&self, name: &str) -> Result<(), TailError> {
        let seat = self.seat_of(name)?;
        self.refuse_growing(name)?;
        let read = seat.tails.read(name).await.map_err(|error| TailError::of(name, error))?;
        self.done(seat, name, read.length).await
    }

    fn seat_of(&self, name: &str) -> Result<&Seat, TailError> {
        self.inner.seat.as_ref().ok_or_else(|| TailError::NoSuch { name: name.to_owned() })
    }

    async fn done(&self, seat: &Seat, name: &str, length: u64) -> Result<(), TailError> {
        if !seat.tails.done(name, length).await? {
            return Err(TailError::Growing { name: name.to_owned() });
        }
        seat.look().await;
        Ok(())
    }

    fn refuse_growing(&self, name: &str) -> Result<(), TailError> {
        if self.is_growing(name) { Err(TailError::Growing { name: name.to_owned() }) } else { Ok(()) }
    }

    /// Whether this node is still setting aside what it had alone at that epoch.
    fn is_growing(&self, name: &str) -> bool {
        let lost = self.inner.loose.as_ref().and_then(crate::loose::LooseCopy::lost);
        lost.is_some_and(|lost| lost.epoch.to_string() == name)
    }
}
