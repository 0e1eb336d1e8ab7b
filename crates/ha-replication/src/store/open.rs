//! Opens the file, and sets it aside when it cannot be trusted.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use ha_cluster::disk::{DirLock, Disk, File, LockError};
use redb::{Database, ReadableDatabase, StorageBackend};

use super::blocks::{self, CHANGES, REPLACED};
use super::direct::Direct;
use super::mirror::Mirror;
use super::{FILE, GRAVES, INDEX, RUNS, STATE, STATE_KEY, SUMS, Shelf, State, Store, StoreError, Tables, Writer};

/// How the name of a file ends that was set aside.
const SET_ASIDE: &str = ".damaged";

/// How the name of a file ends that says: the records are damaged, though that shows only when some are written.
const DISTRUSTED: &str = ".distrusted";

fn mark() -> String {
    format!("{FILE}{DISTRUSTED}")
}

impl Store {
    /// Opens the records in a directory; where there are none, they begin with the first batch. A file that is damaged is
    /// set aside, and the copy begins anew: what it held is fetched from the others.
    pub(crate) async fn open(
        disk: Arc<dyn Disk>,
        directory: PathBuf,
        cache_bytes: usize,
    ) -> Result<(Self, Writer), StoreError> {
        let store = Self { disk, directory, cache_bytes, tables: Arc::default(), buckets: Default::default() };
        let mut writer = Writer::closed(store.clone());
        if store.has(&mark()).await? {
            writer.lock().await?;
            if store.has(FILE).await? {
                store.set_aside("damage kept records from being written").await?;
            }
            store.trust_again().await.map_err(|error| store.fault(redb::Error::Io(error)))?;
        }
        if !store.has(FILE).await? {
            store.shelve(Shelf::Empty);
            return Ok((store, writer));
        }
        match writer.open().await {
            Err(StoreError::Damaged { what }) => {
                store.set_aside(&what).await?;
                writer.open().await?;
            }
            opened => opened?,
        }
        Ok((store, writer))
    }

    /// Whether there is a file of that name.
    async fn has(&self, file: &str) -> Result<bool, StoreError> {
        match self.disk.list(&self.directory).await {
            Ok(names) => Ok(names.iter().any(|name| name.as_os_str() == file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.fault(redb::Error::Io(error))),
        }
    }

    /// Takes the only right to use the directory.
    pub(super) async fn lock(&self) -> Result<DirLock, StoreError> {
        let io = |error| self.fault(redb::Error::Io(error));
        self.disk.create_dir_all(&self.directory).await.map_err(io)?;
        self.disk.lock_dir(&self.directory).map_err(|error| match error {
            LockError::Io(error) => io(error),
            _ => StoreError::InUse { directory: self.directory.clone() },
        })
    }

    async fn set_aside(&self, what: &str) -> Result<(), StoreError> {
        let mut name = format!("{FILE}{SET_ASIDE}");
        // What was set aside before may be all that there is of it.
        for number in 2.. {
            if !self.has(&name).await? {
                break;
            }
            name = format!("{FILE}{SET_ASIDE}.{number}");
        }
        let (path, aside) = (self.directory.join(FILE), self.directory.join(name));
        tracing::error!(
            file = %path.display(), aside = %aside.display(),
            "the records of this node cannot be trusted and are set aside; the other copies have them: {what}"
        );
        let io = |error| self.fault(redb::Error::Io(error));
        self.disk.rename(&path, &aside).await.map_err(io)?;
        self.disk.sync_dir(&self.directory).await.map_err(io)
    }

    /// Whoever opens the file next sets it aside: what reads it now finds nothing wrong until it writes.
    pub(super) async fn distrust(&self, what: &str) {
        let path = self.directory.join(mark());
        tracing::error!(
            mark = %path.display(),
            "the records of this node are damaged where they should be written: restart it, and they are set aside and \
             loaded from the other copies: {what}"
        );
        let marked = async {
            drop(self.disk.open(&path, true).await?);
            self.disk.sync_dir(&self.directory).await
        };
        if let Err(error) = marked.await {
            tracing::error!(mark = %path.display(), "that could not be marked: {error}");
        }
    }

    /// Takes that back.
    pub(super) async fn trust_again(&self) -> io::Result<()> {
        match self.disk.remove(&self.directory.join(mark())).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.disk.sync_dir(&self.directory).await,
        }
    }

    /// Opens the file itself.
    pub(super) async fn open_file(&self) -> Result<(Database, Option<Mirror>), StoreError> {
        let io = |error| self.fault(redb::Error::Io(error));
        let file: Arc<dyn File> = self.disk.open(&self.directory.join(FILE), true).await.map_err(io)?.into();
        if file.is_done_at_once() {
            let database = self.guarded(|| self.create(Direct::new(file)))?;
            self.sync_name().await?;
            return Ok((database, None));
        }
        let mirror = Mirror::of(file).await.map_err(io)?;
        let database = self.guarded(|| self.create(mirror.clone()))?;
        mirror.drain().await.map_err(io)?;
        self.sync_name().await?;
        Ok((database, Some(mirror)))
    }

    /// Makes the name of the file durable, also of one that is not new: whoever made it may have ended before.
    async fn sync_name(&self) -> Result<(), StoreError> {
        self.disk.sync_dir(&self.directory).await.map_err(|error| self.fault(redb::Error::Io(error)))
    }

    /// Opens or creates the database, with all tables.
    fn create(&self, backend: impl StorageBackend) -> Result<Database, StoreError> {
        let mut builder = Database::builder();
        builder.set_cache_size(self.cache_bytes);
        let database = builder.create_with_backend(backend).map_err(|error| self.fault(error))?;
        let present = {
            let reading = database.begin_read().map_err(|error| self.fault(error))?;
            reading.list_tables().map_err(|error| self.fault(error))?.count() > 0
        };
        if !present {
            let mut begun = database.begin_write().map_err(|error| self.fault(error))?;
            begun.set_quick_repair(true);
            begun.open_table(INDEX).map_err(|error| self.fault(error))?;
            begun.open_table(CHANGES).map_err(|error| self.fault(error))?;
            begun.open_table(REPLACED).map_err(|error| self.fault(error))?;
            begun.open_table(GRAVES).map_err(|error| self.fault(error))?;
            begun.open_table(RUNS).map_err(|error| self.fault(error))?;
            begun.open_table(SUMS).map_err(|error| self.fault(error))?;
            let state = State::default().encode()?;
            begun
                .open_table(STATE)
                .map_err(|error| self.fault(error))?
                .insert(STATE_KEY, &state[..])
                .map_err(|error| self.fault(error))?;
            begun.commit().map_err(|error| self.fault(error))?;
        }
        Ok(database)
    }

    /// Runs what may find damage that redb itself does not expect.
    pub(super) fn guarded<T>(&self, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            let what = panic.downcast_ref::<String>().cloned();
            let what = what.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            Err(StoreError::Damaged { what: what.unwrap_or_else(|| "the file cannot be read".to_owned()) })
        })
    }

    /// Lets readers see what was written.
    pub(super) fn publish(&self, database: &Database) -> Result<Arc<State>, StoreError> {
        let reading = database.begin_read().map_err(|error| self.fault(error))?;
        let missing = || StoreError::Damaged { what: "it says nothing of itself".to_owned() };
        let state = {
            let table = reading.open_table(STATE).map_err(|error| self.fault(error))?;
            let state = table.get(STATE_KEY).map_err(|error| self.fault(error))?.ok_or_else(missing)?;
            Arc::new(State::decode(state.value())?)
        };
        let tables = Tables {
            index: reading.open_table(INDEX).map_err(|error| self.fault(error))?,
            changes: blocks::Reading::open(&reading).map_err(|error| self.fault(error))?,
            runs: reading.open_table(RUNS).map_err(|error| self.fault(error))?,
            state: state.clone(),
        };
        self.shelve(Shelf::Open(Arc::new(tables)));
        Ok(state)
    }

    /// Readers are told that the file is closed.
    pub(super) fn close(&self) {
        self.shelve(Shelf::Closed);
    }
}
