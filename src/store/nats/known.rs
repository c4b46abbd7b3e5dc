//! What a gateway knows of its store, and whether what it finds is the same store.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bucket::Entry;
use super::meta::{Identity, Meta};
use super::names;
use crate::store::{Contents, Key, Record, Write, WriteError, record};

/// What is known of a store: all that a gateway keeps over a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// Which store it is; none before the first.
    pub(super) identity: Option<Identity>,
    /// The newest entry of each key, with those of deleted and of foreign keys.
    pub(super) heads: Arc<BTreeMap<String, Head>>,
    /// What is served.
    pub(super) contents: Contents,
}

/// The newest entry of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// Its number.
    pub(super) sequence: u64,
    /// What it is told by: another text, another fingerprint.
    pub(super) fingerprint: String,
    /// Whether it deletes the key.
    pub(super) is_deletion: bool,
}

/// What is found in a bucket.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The number of the newest entry.
    pub(super) newest: u64,
    /// The newest entry of each key.
    pub(super) entries: Vec<Entry>,
    /// The entry at [`Known::newest`]'s number, if there still is one.
    pub(super) at_newest: Option<Entry>,
}

/// What is to be done with what is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is what is known, or follows it, or nothing is known: take it.
    Take(Identity),
    /// There is no store and nothing is known: found one.
    Vacant,
    /// Another gateway is about to found one: wait for it.
    Claimed(String),
    /// It cannot be what is known: somebody has to confirm.
    Doubtful(String),
}

impl Head {
    pub(super) fn of(entry: &Entry) -> Self {
        Self {
            sequence: entry.sequence,
            fingerprint: fingerprint(&entry.payload),
            is_deletion: entry.is_deletion,
        }
    }
}

impl Found {
    /// Returns the entry `meta`.
    pub(super) fn meta(&self) -> Option<&Entry> {
        let mut entries = self.entries.iter();
        entries.find(|entry| entry.key == names::META && !entry.is_deletion)
    }
}

impl Known {
    /// Returns the key and number of the newest entry.
    pub(super) fn newest(&self) -> Option<(&str, &Head)> {
        let heads = self.heads.iter().map(|(key, head)| (key.as_str(), head));
        heads.max_by_key(|(_, head)| head.sequence)
    }

    /// Returns what revisions are more than sequences.
    pub(super) fn base(&self) -> u64 {
        self.identity.as_ref().map_or(0, |identity| identity.base)
    }

    /// Compares what is found with what is known.
    pub(super) fn judge(&self, found: &Found) -> Verdict {
        let holds_nothing = self.contents.records.is_empty();
        let meta = match found.meta().map(|entry| Meta::decode(&entry.payload)) {
            None if holds_nothing => return Verdict::Vacant,
            None if found.entries.is_empty() => {
                return Verdict::Doubtful("the store is empty".to_owned());
            }
            None => {
                let reason = "the store has lost its entry `meta`, or is another one";
                return Verdict::Doubtful(reason.to_owned());
            }
            Some(Err(reason)) => {
                return Verdict::Doubtful(format!("the entry `meta` cannot be read: {reason}"));
            }
            Some(Ok(meta)) => meta,
        };
        let claimed = || {
            format!(
                "gateway {} writes its contents",
                meta.claim.as_deref().unwrap_or("?")
            )
        };
        let Some(identity) = meta.identity.clone() else {
            return if holds_nothing {
                Verdict::Claimed(claimed())
            } else {
                Verdict::Doubtful(format!("the store is empty, and {}", claimed()))
            };
        };
        let Some(known) = self.identity.as_ref().filter(|_| !holds_nothing) else {
            return Verdict::Take(identity);
        };
        if identity.store == known.store {
            return match self.difference(found) {
                Some(reason) => Verdict::Doubtful(reason),
                None => Verdict::Take(identity),
            };
        }
        if identity.replaces.contains(&known.store) {
            return Verdict::Take(identity);
        }
        let reason = format!(
            "the bucket holds another store, {} of {}, than the one that is known, {}",
            identity.store, meta.author, known.store
        );
        Verdict::Doubtful(reason)
    }

    /// Returns why what is found under the same name cannot have come after what is known.
    fn difference(&self, found: &Found) -> Option<String> {
        let (newest_key, newest) = self.newest()?;
        if found.newest < newest.sequence {
            return Some(format!(
                "the store is older than what was seen: it ends at {}, {} was seen",
                found.newest, newest.sequence
            ));
        }
        let entries: BTreeMap<&str, &Entry> = found
            .entries
            .iter()
            .map(|entry| (entry.key.as_str(), entry))
            .collect();
        for (key, head) in &*self.heads {
            let Some(entry) = entries.get(key.as_str()) else {
                // The trace of a deletion may be removed; what stood there may not.
                if head.is_deletion {
                    continue;
                }
                return Some(format!("`{key}` is gone without having been deleted"));
            };
            if entry.sequence < head.sequence {
                return Some(format!("`{key}` is older than what was seen"));
            }
            if entry.sequence == head.sequence && Head::of(entry) != *head {
                return Some(format!("`{key}` is not what was seen under its number"));
            }
        }
        // A store that went back, and was written to since, has something else there. Nothing, where
        // so much was written that the oldest revisions had to go.
        let at_newest = found.at_newest.as_ref()?;
        let is_same = at_newest.key == newest_key && Head::of(at_newest) == *newest;
        (!is_same).then(|| format!("entry {} is not what was seen", newest.sequence))
    }

    /// Takes what is found in place of what is known. Of documents whose newest entry cannot be read,
    /// what is known of them stays. Returns those of which nothing is.
    pub(super) fn take(&mut self, identity: Identity, found: &Found) -> Vec<Key> {
        let mut next = Known {
            identity: Some(identity),
            ..Known::default()
        };
        let mut unread = Vec::new();
        for entry in &found.entries {
            if let Err(key) = next.put(entry) {
                match self.contents.records.get(&key) {
                    Some(record) => next.contents.put(record.clone()),
                    None => unread.push(key),
                }
            }
        }
        next.contents.revision = next.base() + found.newest;
        *self = next;
        unread
    }

    /// Follows the entry `meta` to the store that it tells of. False where that is none that
    /// continues the known one.
    pub(super) fn follow(&mut self, entry: &Entry) -> bool {
        let meta = (!entry.is_deletion).then(|| Meta::decode(&entry.payload).ok());
        let Some(Some(Meta {
            identity: Some(next),
            ..
        })) = meta
        else {
            return false;
        };
        let Some(known) = &self.identity else {
            return false;
        };
        if next.store != known.store && !next.replaces.contains(&known.store) {
            return false;
        }
        let (before, after) = (known.base, next.base);
        let records = Arc::make_mut(&mut self.contents.records);
        for record in records.values_mut() {
            record.revision = record.revision + after - before;
        }
        self.contents.revision = self.contents.revision + after - before;
        self.identity = Some(next);
        true
    }

    /// Takes in a newer entry. One that cannot be read is reported, and what stood there stays.
    ///
    /// # Errors
    ///
    /// The document whose record cannot be read.
    pub(super) fn put(&mut self, entry: &Entry) -> Result<(), Key> {
        let head = Head::of(entry);
        Arc::make_mut(&mut self.heads).insert(entry.key.clone(), head);
        let revision = self.base() + entry.sequence;
        self.contents.revision = self.contents.revision.max(revision);
        let Some(key) = names::key(&entry.key) else {
            return Ok(());
        };
        match read(entry, &key, revision) {
            Ok(record) => {
                self.contents.put(record);
                Ok(())
            }
            Err(reason) => {
                tracing::error!(
                    store.key = entry.key,
                    store.revision = revision,
                    "revision {revision} of {} `{}` cannot be read, so the one before it stays: \
                     {reason}",
                    key.kind.name(),
                    key.id
                );
                Err(key)
            }
        }
    }

    /// Looks at what a write expects.
    ///
    /// Returns the number of the newest entry of its key, which the store is to compare.
    ///
    /// # Errors
    ///
    /// [`WriteError::Conflict`], and [`WriteError::Failed`] where it would write over something that
    /// cannot be read, unless it names it.
    pub(super) fn check(&self, write: &Write) -> Result<u64, WriteError> {
        let Some(head) = self.heads.get(&names::name(&write.key)) else {
            return write.check_revision(None).map(|()| 0);
        };
        let revision = self.base() + head.sequence;
        write.check_revision((!head.is_deletion).then_some(revision))?;
        let present = self.contents.records.get(&write.key);
        let is_read = present.is_some_and(|record| record.revision == revision);
        let names_it = write.expect == crate::store::Expect::Revision(revision);
        if head.is_deletion || is_read || names_it {
            Ok(head.sequence)
        } else {
            Err(WriteError::Failed(format!(
                "revision {revision} was written by a later version of wampgate; name it to \
                 replace it"
            )))
        }
    }
}

/// Returns what bytes are told by.
pub(super) fn fingerprint(payload: &[u8]) -> String {
    record::hash(payload)
}

/// Reads the record of a document from an entry.
pub(super) fn read(entry: &Entry, key: &Key, revision: u64) -> Result<Record, String> {
    // A tool of NATS deleted it, and leaves nothing behind.
    if entry.is_deletion && entry.payload.is_empty() {
        return Ok(Record {
            key: key.clone(),
            revision,
            text: None,
            author: "a tool of NATS".to_owned(),
            time_ms: entry.time_ms,
            hash: String::new(),
        });
    }
    let record = Record::decode(revision, &entry.payload).map_err(|error| error.to_string())?;
    if record.key != *key {
        return Err(format!(
            "it is one of {} `{}`",
            record.key.kind.name(),
            record.key.id
        ));
    }
    if record.text.is_none() != entry.is_deletion {
        return Err("its text and its header disagree whether it is a deletion".to_owned());
    }
    Ok(record)
}

#[cfg(test)]
mod tests;
