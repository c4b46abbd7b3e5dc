//! The store of one gateway: a redb file beside it, or memory.
//!
//! All that is not deleted is also held in memory, as [`Contents`]; the file is read when it is
//! opened, and for older revisions. What is in it is in `embedded/tables.rs`, how it is made and
//! opened in `file.rs`.
//!
//! One write is one transaction, synced to the disk before it is acknowledged. Writes run one after
//! another on threads that may block. A file that fails (a full disk, say) is opened anew before it
//! is used again, which also tells whether the last write was done.

mod tables;

use std::cell::Cell;
use std::fmt;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use redb::Database;
use redb::backends::InMemoryBackend;
use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use super::file::{self, OpenError};
use super::{Confirm, Contents, Gateway, Key, ReadError, Record, State, Store, Write, WriteError};

/// The longest text that is taken, in bytes: 4 MiB.
pub const MAX_TEXT_BYTES: usize = 4 << 20;

/// The name of the file in its folder.
const FILE: &str = "store.redb";

/// Most jobs that run or wait. Each may be a text of several MiB.
const QUEUE: u32 = 64;

/// Longest wait for a job, its wait in the queue included. A sync takes milliseconds; a disk that
/// needs longer than this hangs.
const DEADLINE: Duration = Duration::from_secs(10);

/// The store of one gateway. See the module.
#[derive(Debug)]
pub struct Embedded {
    shared: Arc<Shared>,
    /// A permit for each job that runs or waits; closed with the store.
    queue: Arc<Semaphore>,
    /// What this gateway tells of itself: there is no other one to tell it to.
    announced: Mutex<Option<Gateway>>,
}

/// What the jobs use, each on a thread that may block.
struct Shared {
    /// A lock of the standard library, held for a whole transaction: only threads that may block
    /// take it.
    medium: Mutex<Medium>,
    contents: watch::Sender<Contents>,
    state: watch::Sender<State>,
}

struct Medium {
    /// None after a failure, until it has been opened anew.
    database: Option<Database>,
    /// None when the store is closed.
    source: Option<Source>,
}

/// Opens the database, and reads what is there.
type Source = Box<dyn Fn() -> Result<(Database, Contents), OpenError> + Send>;

/// Why a job has no result.
enum Lost {
    /// It has not begun: too many wait, or the store is closed.
    Refused(&'static str),
    /// It has begun, and does not end.
    Late,
    /// It ended in a panic.
    Panicked,
}

impl Embedded {
    /// Opens the store in a folder, or makes both: the folder for this user only (0700), and in it
    /// the file `store.redb` (0600). All of the file is read.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    ///
    /// # Cancel safety
    ///
    /// When dropped, the store is opened all the same, and closed.
    pub async fn open(folder: &Path) -> Result<Self, OpenError> {
        let folder = folder.to_owned();
        let path = folder.join(FILE);
        let named = path.clone();
        let open = spawn_blocking(move || {
            file::private_folder(&folder).map_err(|source| OpenError::Io {
                path: folder,
                source,
            })?;
            Self::from_source(Box::new(move || {
                let database = file::open(&path, tables::FORMAT)?;
                let contents = tables::load(&database, &path)?;
                Ok((database, contents))
            }))
        });
        // redb promises an error for a damaged file, but not that it never panics.
        open.await.unwrap_or_else(|panic| {
            Err(OpenError::Damaged {
                path: named,
                reason: panic.to_string(),
            })
        })
    }

    /// Makes an empty store that is gone with the process.
    pub fn in_memory() -> Self {
        let is_made = Cell::new(false);
        let source = move || {
            let path = PathBuf::from("(in memory)");
            // It has failed, as memory does not, and what was in it is not to be forgotten quietly.
            if is_made.replace(true) {
                let reason = "memory is not opened twice".to_owned();
                return Err(OpenError::Damaged { path, reason });
            }
            let database = file::initialize(InMemoryBackend::new(), tables::FORMAT);
            let database = database.map_err(|error| OpenError::redb(&path, error))?;
            Ok((database, Contents::default()))
        };
        Self::from_source(Box::new(source)).expect("memory does not fail")
    }

    fn from_source(source: Source) -> Result<Self, OpenError> {
        let (database, contents) = source()?;
        let medium = Medium {
            database: Some(database),
            source: Some(source),
        };
        Ok(Self {
            shared: Arc::new(Shared {
                medium: Mutex::new(medium),
                contents: watch::Sender::new(contents),
                state: watch::Sender::new(State::Ready),
            }),
            queue: Arc::new(Semaphore::new(QUEUE as usize)),
            announced: Mutex::new(None),
        })
    }

    /// Runs a job on a thread that may block. One that has begun ends, also when this is dropped.
    async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Shared) -> T + Send + 'static,
    ) -> Result<T, Lost> {
        let deadline = Instant::now() + DEADLINE;
        let permit = match timeout_at(deadline, self.queue.clone().acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_closed)) => return Err(Lost::Refused("it is closed")),
            Err(_elapsed) => return Err(Lost::Refused("the disk is too slow")),
        };
        let shared = self.shared.clone();
        let job = spawn_blocking(move || {
            let result = job(&shared);
            // Given back when the job has ended, not when nobody waits for it any more.
            drop(permit);
            result
        });
        match timeout_at(deadline, job).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_panic)) => Err(Lost::Panicked),
            Err(_elapsed) => Err(Lost::Late),
        }
    }
}

const HANGS: &str = "the disk does not answer";
const PANICKED: &str = "the file cannot be used";

impl Store for Embedded {
    fn contents(&self) -> watch::Receiver<Contents> {
        self.shared.contents.subscribe()
    }

    fn state(&self) -> watch::Receiver<State> {
        self.shared.state.subscribe()
    }

    fn write(&self, write: Write) -> BoxFuture<'_, Result<Record, WriteError>> {
        async move {
            write.key.check_id()?;
            check_text(write.text.as_deref().unwrap_or_default())?;
            match self.run(move |shared| shared.write(write)).await {
                Ok(result) => result,
                Err(Lost::Refused(reason)) => Err(WriteError::Unavailable(reason.to_owned())),
                Err(Lost::Late) => Err(WriteError::Unknown(HANGS.to_owned())),
                Err(Lost::Panicked) => Err(WriteError::Unknown(PANICKED.to_owned())),
            }
        }
        .boxed()
    }

    fn revisions<'s>(&'s self, key: &'s Key) -> BoxFuture<'s, Result<Vec<Record>, ReadError>> {
        async move {
            let key = key.clone();
            match self.run(move |shared| shared.revisions(&key)).await {
                Ok(result) => result,
                Err(Lost::Refused(reason)) => Err(ReadError::Unavailable(reason.to_owned())),
                Err(Lost::Late) => Err(ReadError::Unavailable(HANGS.to_owned())),
                Err(Lost::Panicked) => Err(ReadError::Failed(PANICKED.to_owned())),
            }
        }
        .boxed()
    }

    fn confirm(&self, _: Confirm, _: String) -> BoxFuture<'_, Result<(), WriteError>> {
        // Nobody else writes to the file, so it is never held.
        async { Ok(()) }.boxed()
    }

    fn announce(&self, gateway: Gateway) {
        *lock(&self.announced) = Some(gateway);
    }

    fn gateways(&self) -> BoxFuture<'_, Result<Vec<Gateway>, ReadError>> {
        async { Ok(lock(&self.announced).iter().cloned().collect()) }.boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {
            // All permits: every job has ended. Those that come later wait behind this, and fail.
            let deadline = Instant::now() + DEADLINE;
            let all = timeout_at(deadline, self.queue.acquire_many(QUEUE)).await;
            self.queue.close();
            if !matches!(all, Ok(Ok(_))) {
                return;
            }
            let shared = self.shared.clone();
            let closed = timeout_at(deadline, spawn_blocking(move || shared.close())).await;
            if !matches!(closed, Ok(Ok(()))) {
                tracing::warn!("the store does not close; it is checked at the next start");
            }
        }
        .boxed()
    }
}

impl Shared {
    fn write(&self, write: Write) -> Result<Record, WriteError> {
        let mut medium = lock(&self.medium);
        let database = self.database(&mut medium);
        let database = database.map_err(WriteError::Unavailable)?;
        let contents = self.contents.borrow().clone();
        let found = contents.records.get(&write.key);
        if let Err(error) = write.check_revision(found.map(|record| record.revision)) {
            medium.database = Some(database);
            return Err(error);
        }
        let record = Record::of(write, contents.revision + 1);
        match tables::put(&database, &record) {
            Ok(()) => {
                medium.database = Some(database);
                self.contents
                    .send_modify(|contents| contents.put(record.clone()));
                Ok(record)
            }
            Err(error) => {
                drop(database);
                self.fail(&mut medium, &record, error.to_string())
            }
        }
    }

    /// After a failed write: opens the file anew and looks whether it was done after all.
    fn fail(
        &self,
        medium: &mut Medium,
        record: &Record,
        reason: String,
    ) -> Result<Record, WriteError> {
        self.state.send_replace(State::Degraded {
            reason: reason.clone(),
        });
        tracing::error!("the store failed: {reason}");
        match self.database(medium) {
            Ok(database) => {
                medium.database = Some(database);
                // Nobody else writes: either this is the newest write, or it was not done.
                if self.contents.borrow().revision == record.revision {
                    Ok(record.clone())
                } else {
                    Err(WriteError::Failed(reason))
                }
            }
            Err(_) => Err(WriteError::Unknown(reason)),
        }
    }

    fn revisions(&self, key: &Key) -> Result<Vec<Record>, ReadError> {
        let mut medium = lock(&self.medium);
        let database = self.database(&mut medium);
        let database = database.map_err(ReadError::Unavailable)?;
        let revisions = tables::revisions(&database, key);
        if revisions.is_ok() {
            medium.database = Some(database);
        }
        // Else it is opened anew, and so checked, at the next use.
        revisions.map_err(ReadError::Failed)
    }

    /// Takes the database out, opened anew after a failure. Whoever has had no trouble with it puts
    /// it back.
    fn database(&self, medium: &mut Medium) -> Result<Database, String> {
        if let Some(database) = medium.database.take() {
            return Ok(database);
        }
        let source = medium.source.as_ref().ok_or("it is closed")?;
        match source() {
            Ok((database, contents)) => {
                self.contents.send_if_modified(|present| {
                    let differs = *present != contents;
                    *present = contents;
                    differs
                });
                self.state.send_replace(State::Ready);
                Ok(database)
            }
            Err(error) => {
                let reason = error.to_string();
                self.state.send_replace(State::Degraded {
                    reason: reason.clone(),
                });
                Err(reason)
            }
        }
    }

    fn close(&self) {
        let Medium { database, .. } = mem::replace(
            &mut *lock(&self.medium),
            Medium {
                database: None,
                source: None,
            },
        );
        if let Some(Err(error)) = database.map(Database::close) {
            tracing::warn!("the store does not close, and is checked at the next start: {error}");
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("state", &*self.state.borrow())
            .finish_non_exhaustive()
    }
}

fn check_text(text: &str) -> Result<(), WriteError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(WriteError::TooLarge {
            size: text.len(),
            limit: MAX_TEXT_BYTES,
            setting: "fixed for a store in a file",
        });
    }
    Ok(())
}

/// A thread that panicked with the lock has taken the database out, and not put it back.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
