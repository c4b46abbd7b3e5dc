//! What is in the file.
//!
//! ```text
//! meta      "format", "revision" -> number
//! records   (kind, id, revision) -> record as JSON: the last 20 of each document
//! ```
//!
//! The newest record of a document is what stands there, so nothing is written twice and nothing can
//! disagree.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::store::file::{META, OpenError};
use crate::store::{Contents, Key, REVISIONS, Record};

/// The format of the file; one of a later format is refused.
pub(super) const FORMAT: u64 = 1;

/// The member of [`META`] with the number of the newest write.
const REVISION: &str = "revision";

const RECORDS: TableDefinition<'_, (&str, &str, u64), &[u8]> = TableDefinition::new("records");

/// Writes a record, and removes the revisions that are too old then. Synced when it returns.
pub(super) fn put(database: &Database, record: &Record) -> Result<(), redb::Error> {
    // Its durability is `Immediate` by default: the commit returns after the sync.
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert(REVISION, record.revision)?;
        let (kind, id) = (record.key.kind.name(), record.key.id.as_str());
        let mut records = transaction.open_table(RECORDS)?;
        records.insert((kind, id, record.revision), record.encode().as_slice())?;
        let all = records.range((kind, id, 0)..=(kind, id, u64::MAX))?;
        let mut old = Vec::new();
        for entry in all.rev().skip(REVISIONS) {
            old.push(entry?.0.value().2);
        }
        for revision in old {
            records.remove((kind, id, revision))?;
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Reads the revisions of a document, the newest first.
pub(super) fn revisions(database: &Database, key: &Key) -> Result<Vec<Record>, String> {
    let read = || -> Result<_, redb::Error> {
        let transaction = database.begin_read()?;
        let records = match transaction.open_table(RECORDS) {
            // Nothing has been written yet.
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            records => records?,
        };
        let (kind, id) = (key.kind.name(), key.id.as_str());
        let mut found = Vec::new();
        for entry in records.range((kind, id, 0)..=(kind, id, u64::MAX))?.rev() {
            let (key, value) = entry?;
            found.push(Record::decode(key.value().2, value.value()));
        }
        Ok(found)
    };
    let found = read().map_err(|error| error.to_string())?;
    let records = found.into_iter().collect::<Result<_, _>>();
    records.map_err(|error| error.to_string())
}

/// Reads what is there.
pub(super) fn load(database: &Database, path: &Path) -> Result<Contents, OpenError> {
    let damaged = |reason: String| OpenError::Damaged {
        path: path.to_owned(),
        reason,
    };
    let (revision, found) = newest(database).map_err(|error| OpenError::redb(path, error))?;
    let mut records = BTreeMap::new();
    for (kind, id, revision, bytes) in found {
        let record = Record::decode(revision, &bytes)
            .map_err(|error| damaged(format!("{kind} `{id}`: {error}")))?;
        if (record.key.kind.name(), &record.key.id) != (kind.as_str(), &id) {
            return Err(damaged(format!("{kind} `{id}` is another document's")));
        }
        if record.text.is_some() {
            records.insert(record.key.clone(), record);
        }
    }
    Ok(Contents {
        revision,
        records: Arc::new(records),
    })
}

/// The number of the newest write, and the newest record of each document: kind, id, revision and
/// bytes.
type Newest = (u64, Vec<(String, String, u64, Vec<u8>)>);

fn newest(database: &Database) -> Result<Newest, redb::Error> {
    let transaction = database.begin_read()?;
    let revision = transaction.open_table(META)?.get(REVISION)?;
    let Some(revision) = revision.map(|revision| revision.value()) else {
        // Nothing has been written yet.
        return Ok((0, Vec::new()));
    };
    let records = transaction.open_table(RECORDS)?;
    let mut found: Vec<(String, String, u64, Vec<u8>)> = Vec::new();
    // From the end, from document to document: older revisions are not read.
    while let Some(entry) = match found.last() {
        None => records.range::<(&str, &str, u64)>(..)?.next_back(),
        Some((kind, id, ..)) => records
            .range(..(kind.as_str(), id.as_str(), 0))?
            .next_back(),
    } {
        let (key, value) = entry?;
        let (kind, id, number) = key.value();
        if number > revision {
            let message = format!("revision {number} is newer than the newest, {revision}");
            return Err(redb::Error::Corrupted(message));
        }
        found.push((
            kind.to_owned(),
            id.to_owned(),
            number,
            value.value().to_vec(),
        ));
    }
    Ok((revision, found))
}
