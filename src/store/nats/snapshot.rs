//! What a gateway last knew of its store, in a redb file of its own.
//!
//! ```text
//! meta      "format", "revision" -> number
//! identity  ()                   -> the store's identity as JSON
//! heads     key                  -> number, fingerprint, whether it is a deletion
//! records   key                  -> revision, record as JSON
//! ```
//!
//! With it a gateway serves before the store is reached, and tells a store that has lost something
//! from the one that it knew. It is written before what is new is served.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::task::spawn_blocking;

use super::known::{Head, Known};
use super::names;
use crate::store::file::{self, META, OpenError};
use crate::store::{Contents, Record};

/// The name of the file in its folder.
const FILE: &str = "snapshot.redb";

/// The format of the file; one of a later format is refused.
const FORMAT: u64 = 1;

/// The member of [`META`] with the revision of the contents.
const REVISION: &str = "revision";

const IDENTITY: TableDefinition<'_, (), &[u8]> = TableDefinition::new("identity");
const HEADS: TableDefinition<'_, &str, (u64, &str, bool)> = TableDefinition::new("heads");
const RECORDS: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("records");

/// The file. Whoever opens it is the only one.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// The file and what it holds; none when it is closed. A lock of the standard library: only
    /// threads that may block take it.
    file: Mutex<Option<(Database, Known)>>,
}

impl Snapshot {
    /// Opens the file in a folder, or makes both; returns what it holds.
    ///
    /// A file that is damaged is moved aside, with an error in the log, and a new one is made: it is
    /// a copy, and no reason for a gateway not to start.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub(super) async fn open(folder: &Path) -> Result<(Self, Known), OpenError> {
        let (path, reason) = match Self::open_file(folder).await {
            Err(OpenError::Damaged { path, reason }) => (path, reason),
            opened => return opened,
        };
        let aside = path.with_added_extension("damaged");
        tracing::error!(
            store.file = %path.display(),
            "the snapshot {} is damaged, and is moved to {}; nothing of it is served, and whether the \
             store has lost something cannot be told until it has been seen: {reason}",
            path.display(),
            aside.display()
        );
        tokio::fs::rename(&path, &aside)
            .await
            .map_err(|source| OpenError::Io { path, source })?;
        Self::open_file(folder).await
    }

    async fn open_file(folder: &Path) -> Result<(Self, Known), OpenError> {
        let folder = folder.to_owned();
        let path = folder.join(FILE);
        let named = path.clone();
        let open = spawn_blocking(move || {
            file::private_folder(&folder).map_err(|source| OpenError::Io {
                path: folder,
                source,
            })?;
            let database = file::open(&path, FORMAT)?;
            let known = load(&database).map_err(|error| OpenError::redb(&path, error))?;
            let snapshot = Self {
                file: Mutex::new(Some((database, known.clone()))),
            };
            Ok((snapshot, known))
        });
        // redb promises an error for a damaged file, but not that it never panics.
        open.await.unwrap_or_else(|panic| {
            Err(OpenError::Damaged {
                path: named,
                reason: panic.to_string(),
            })
        })
    }

    /// Makes the file hold what is known, by writing what differs. Blocks until it is on the disk.
    ///
    /// # Errors
    ///
    /// redb's; the file holds what it did.
    pub(super) fn save(&self, known: &Known) -> Result<(), redb::Error> {
        if let Some((database, saved)) = &mut *self.file()
            && saved != known
        {
            save(database, saved, known)?;
            saved.clone_from(known);
        }
        Ok(())
    }

    /// Closes the file, after what is being saved. Blocks.
    pub(super) fn close(&self) {
        if let Some((database, _)) = self.file().take()
            && let Err(error) = database.close()
        {
            tracing::warn!(
                "the snapshot does not close, and is checked at the next start: {error}"
            );
        }
    }

    /// Holds the file as a disk does that hangs.
    #[cfg(test)]
    pub(super) fn hold(&self) -> impl Drop + '_ {
        self.file()
    }

    fn file(&self) -> MutexGuard<'_, Option<(Database, Known)>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn save(database: &Database, saved: &Known, known: &Known) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert(REVISION, known.contents.revision)?;
        let mut identity = transaction.open_table(IDENTITY)?;
        if let Some(known) = &known.identity {
            let json = serde_json::to_vec(known).expect("texts and numbers are JSON");
            identity.insert((), json.as_slice())?;
        }
        let mut heads = transaction.open_table(HEADS)?;
        let (before, after) = (&*saved.heads, &*known.heads);
        for name in before.keys().filter(|name| !after.contains_key(*name)) {
            heads.remove(name.as_str())?;
        }
        for (name, head) in after
            .iter()
            .filter(|(name, head)| before.get(*name) != Some(head))
        {
            let value = (head.sequence, head.fingerprint.as_str(), head.is_deletion);
            heads.insert(name.as_str(), value)?;
        }
        let mut records = transaction.open_table(RECORDS)?;
        let (before, after) = (&*saved.contents.records, &*known.contents.records);
        for key in before.keys().filter(|key| !after.contains_key(key)) {
            records.remove(names::name(key).as_str())?;
        }
        for (key, record) in after
            .iter()
            .filter(|(key, record)| before.get(key) != Some(record))
        {
            let value = (record.revision, record.encode());
            records.insert(names::name(key).as_str(), (value.0, value.1.as_slice()))?;
        }
    }
    transaction.commit()?;
    Ok(())
}

fn load(database: &Database) -> Result<Known, redb::Error> {
    let transaction = database.begin_read()?;
    let revision = transaction.open_table(META)?.get(REVISION)?;
    let Some(revision) = revision.map(|revision| revision.value()) else {
        // Nothing has been saved yet.
        return Ok(Known::default());
    };
    let identity = transaction.open_table(IDENTITY)?.get(())?;
    let identity = identity.map(|json| serde_json::from_slice(json.value()));
    let identity = identity.transpose().map_err(corrupted)?;
    let mut heads = BTreeMap::new();
    for entry in transaction.open_table(HEADS)?.iter()? {
        let (name, value) = entry?;
        let (sequence, fingerprint, is_deletion) = value.value();
        let head = Head {
            sequence,
            fingerprint: fingerprint.to_owned(),
            is_deletion,
        };
        heads.insert(name.value().to_owned(), head);
    }
    let mut records = BTreeMap::new();
    for entry in transaction.open_table(RECORDS)?.iter()? {
        let (_, value) = entry?;
        let (revision, json) = value.value();
        let record = Record::decode(revision, json).map_err(corrupted)?;
        records.insert(record.key.clone(), record);
    }
    Ok(Known {
        identity,
        heads: Arc::new(heads),
        contents: Contents {
            revision,
            records: Arc::new(records),
        },
    })
}

fn corrupted(error: impl std::fmt::Display) -> redb::Error {
    redb::Error::Corrupted(error.to_string())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store::nats::bucket::Entry;
    use crate::store::nats::meta::Identity;
    use crate::store::{Expect, Key, Kind, Write};

    fn entry(sequence: u64, id: &str, text: Option<&str>) -> Entry {
        let key = Key {
            kind: Kind::Spec,
            id: id.to_owned(),
        };
        let write = Write {
            key: key.clone(),
            text: text.map(Into::into),
            expect: Expect::Anything,
            author: "ann".to_owned(),
            time_ms: 1,
        };
        Entry {
            sequence,
            key: names::name(&key),
            is_deletion: text.is_none(),
            payload: Bytes::from(Record::of(write, 0).encode()),
            time_ms: 2,
        }
    }

    #[tokio::test]
    async fn what_was_saved_is_there_when_it_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let (snapshot, mut known) = Snapshot::open(folder.path()).await.unwrap();
        assert_eq!(known, Known::default());
        known.identity = Some(Identity::found([]));
        let entries = [
            entry(2, "a", Some("1")),
            entry(3, "b", Some("1")),
            entry(4, "a", Some("2")),
            entry(5, "b", None),
            entry(6, "c", Some("1")),
        ];
        for entry in &entries {
            known.put(entry).unwrap();
            snapshot.save(&known).unwrap();
        }
        assert_eq!(known.contents.records.len(), 2);
        snapshot.close();
        // Nothing is saved any more, and that is no failure.
        snapshot.save(&Known::default()).unwrap();

        let (snapshot, again) = Snapshot::open(folder.path()).await.unwrap();
        assert_eq!(again, known);
        // Another store in its place.
        let next = Known {
            identity: Some(Identity::found([])),
            ..Known::default()
        };
        snapshot.save(&next).unwrap();
        let second = Snapshot::open(folder.path()).await;
        assert!(matches!(second, Err(OpenError::InUse { .. })), "{second:?}");
        snapshot.close();
        assert_eq!(Snapshot::open(folder.path()).await.unwrap().1, next);
    }

    #[tokio::test]
    async fn a_damaged_file_is_moved_aside_and_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let identity = Some(Identity::found([]));
        let next = Known {
            identity,
            ..Known::default()
        };
        // No file of redb, twice; and one whose contents are none of ours.
        for _ in 0..2 {
            std::fs::write(&path, "not a snapshot").unwrap();
            let (snapshot, known) = Snapshot::open(folder.path()).await.unwrap();
            assert_eq!(known, Known::default());
            let aside = folder.path().join("snapshot.redb.damaged");
            assert_eq!(std::fs::read(aside).unwrap(), b"not a snapshot");
            snapshot.save(&next).unwrap();
            snapshot.close();
        }
        let database = file::open(&path, FORMAT).unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let mut identity = transaction.open_table(IDENTITY).unwrap();
            identity.insert((), b"{}".as_slice()).unwrap();
        }
        transaction.commit().unwrap();
        drop(database);
        let (snapshot, known) = Snapshot::open(folder.path()).await.unwrap();
        assert_eq!(known, Known::default());
        snapshot.save(&next).unwrap();
        snapshot.close();
        assert_eq!(Snapshot::open(folder.path()).await.unwrap().1, next);
    }
}
