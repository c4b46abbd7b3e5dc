//! The end of a hold: an administrator says which contents count.
//!
//! Either way a new store is founded, which names those that it replaces, so that one confirmation
//! serves for every gateway that held the same. Its entry `meta` comes last: until then the others
//! see a store that they do not know, not a part of one that they would follow. Two who confirm at
//! once both begin by writing `meta` over the same entry, which only one of them can.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{TryStreamExt, stream};
use tokio::time::timeout;

use super::bucket::{After, Bucket, Entry};
use super::keeper::{CLAIM, Keeper};
use super::known::{Found, read};
use super::link::Trouble;
use super::meta::{Identity, Meta, MetaError};
use super::names;
use crate::store::{Confirm, Expect, Key, Record, State, Write, WriteError};

/// Longest wait for all of it, however many documents there are.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// How many documents are written at a time.
const AT_ONCE: usize = 16;

/// How often a document is written anew, where another gateway writes it too.
const TRIES: usize = 5;

/// The entry `meta` as it was found, and as it is written here then.
#[derive(Debug, Default)]
struct Present {
    identity: Option<Identity>,
    claim: Option<String>,
    /// Its number; 0 where there is none.
    sequence: u64,
    /// The number of the newest entry of all, which it is written after; none where that does not
    /// matter any more.
    newest: Option<u64>,
}

impl Keeper {
    /// Ends the hold. Whatever became of it, what is there is compared anew.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    pub(super) async fn confirm(
        &mut self,
        bucket: &Bucket,
        choice: Confirm,
        author: String,
    ) -> Result<(), WriteError> {
        let state = self.shared.state.borrow().clone();
        let State::Held { reason } = state else {
            return match state {
                State::Ready => Ok(()),
                state => Err(super::unavailable(&state)),
            };
        };
        let whose = match choice {
            Confirm::Store => "the store",
            Confirm::Gateway => "this gateway",
        };
        tracing::warn!("{author} confirms that the contents of {whose} count, though {reason}");
        let done = timeout(DEADLINE, self.replace(bucket, choice, &author)).await;
        self.compare_anew();
        done.unwrap_or_else(|_elapsed| Err(incomplete("it took too long")))
    }

    /// Founds the store that replaces what is known and what is found.
    async fn replace(
        &self,
        bucket: &Bucket,
        choice: Confirm,
        author: &str,
    ) -> Result<(), WriteError> {
        let found = self.before(bucket).await;
        let found = found.map_err(|trouble| WriteError::Unavailable(trouble.to_string()))?;
        let mut present = Present::of(&found)?;
        if let Some(other) = self.claimed_by_another(&present) {
            return Err(WriteError::Unavailable(format!(
                "gateway {other} writes its contents at the moment"
            )));
        }
        if choice == Confirm::Gateway {
            let claim = Meta {
                identity: present.identity.clone(),
                claim: Some(self.shared.instance.clone()),
                author: author.to_owned(),
            };
            present.write(bucket, &claim).await?;
            // The documents come between it and what ends it.
            present.newest = None;
            let written = self.write_contents(bucket, &found, author).await;
            written.map_err(|trouble| incomplete(&trouble.to_string()))?;
        }
        let identity = {
            let known = self.shared.known();
            let newest = known.newest().map_or(0, |(_, head)| head.sequence);
            let ours = known.identity.iter().map(|identity| (identity, newest));
            let newest = found.newest.max(present.sequence);
            let theirs = present.identity.iter().map(|identity| (identity, newest));
            Identity::found(ours.chain(theirs))
        };
        let next = Meta {
            identity: Some(identity),
            claim: None,
            author: author.to_owned(),
        };
        present.write(bucket, &next).await
    }

    /// Reads what is there now; makes the bucket where there is none.
    async fn before(&self, bucket: &Bucket) -> Result<Found, Trouble> {
        self.make(bucket).await?;
        let about = bucket.about().await?;
        self.find(bucket, about.as_ref()).await
    }

    /// Returns the other gateway that has begun to write its contents, unless that is so long ago
    /// that it cannot be at it any more.
    fn claimed_by_another<'p>(&self, present: &'p Present) -> Option<&'p str> {
        let other = present.claim.as_deref()?;
        let is_old = self.claim.is_some_and(|(sequence, since)| {
            sequence == present.sequence && since.elapsed() > CLAIM
        });
        (other != self.shared.instance && !is_old).then_some(other)
    }

    /// Makes the bucket hold the documents that this gateway serves, and no others.
    async fn write_contents(
        &self,
        bucket: &Bucket,
        found: &Found,
        author: &str,
    ) -> Result<(), Trouble> {
        let contents = self.shared.known().contents.clone();
        let mut there: BTreeMap<Key, &Entry> = found
            .entries
            .iter()
            .filter_map(|entry| Some((names::key(&entry.key)?, entry)))
            .collect();
        let mut writes = Vec::new();
        for (key, record) in &*contents.records {
            let entry = there.remove(key);
            let is_same = entry.is_some_and(|entry| {
                read(entry, key, record.revision).is_ok_and(|there| there == *record)
            });
            if !is_same {
                writes.push((Cow::Borrowed(record), entry));
            }
        }
        // The server's clock, as of the claim: this gateway's is not asked.
        let time_ms = bucket.newest(names::META).await?;
        let time_ms = time_ms.map_or(0, |entry| entry.time_ms);
        there.retain(|_, entry| !entry.is_deletion);
        for (key, entry) in there {
            let deletion = Write {
                key,
                text: None,
                expect: Expect::Anything,
                author: author.to_owned(),
                time_ms,
            };
            writes.push((Cow::Owned(Record::of(deletion, 0)), Some(entry)));
        }
        let writes = writes.into_iter().map(Ok);
        let done = stream::iter(writes)
            .try_for_each_concurrent(AT_ONCE, async |(record, entry)| {
                write_over(bucket, &record, entry).await
            });
        done.await
    }
}

/// Writes a record over whatever is there.
async fn write_over(
    bucket: &Bucket,
    record: &Record,
    found: Option<&Entry>,
) -> Result<(), Trouble> {
    let name = names::name(&record.key);
    let mut expected = found.map_or(0, |entry| entry.sequence);
    for _ in 0..TRIES {
        let after = After {
            key: expected,
            all: None,
        };
        let written = bucket.append(&name, record.encode(), record.text.is_none(), after);
        if written.await?.is_some() {
            return Ok(());
        }
        let entry = bucket.newest(&name).await?;
        expected = entry.map_or(0, |entry| entry.sequence);
    }
    Err(Trouble::Silent(
        "another gateway writes the same document again and again",
    ))
}

fn incomplete(reason: &str) -> WriteError {
    WriteError::Unknown(format!(
        "{reason}; the store may hold a part of it, and stays held until somebody confirms again"
    ))
}

impl Present {
    /// # Errors
    ///
    /// [`WriteError::Unavailable`] for an entry that a later version wrote.
    fn of(found: &Found) -> Result<Self, WriteError> {
        let newest = Some(found.newest);
        let mut entries = found.entries.iter();
        let Some(entry) = entries.find(|entry| entry.key == names::META) else {
            return Ok(Self {
                newest,
                ..Self::default()
            });
        };
        let sequence = entry.sequence;
        match Meta::decode(&entry.payload) {
            Ok(meta) if !entry.is_deletion => Ok(Self {
                identity: meta.identity,
                claim: meta.claim,
                sequence,
                newest,
            }),
            Err(MetaError::Newer(format)) => Err(WriteError::Unavailable(format!(
                "the entry `meta` of the bucket cannot be read: {}",
                MetaError::Newer(format)
            ))),
            // It tells nothing, but its number is what is compared.
            Ok(_) | Err(MetaError::Garbled(_)) => Ok(Self {
                sequence,
                newest,
                ..Self::default()
            }),
        }
    }

    /// Writes the entry in place of the one that was there.
    async fn write(&mut self, bucket: &Bucket, meta: &Meta) -> Result<(), WriteError> {
        let after = After {
            key: self.sequence,
            all: self.newest,
        };
        let written = bucket.append(names::META, meta.encode(), false, after);
        match written.await {
            Ok(Some(sequence)) => {
                self.sequence = sequence;
                Ok(())
            }
            Ok(None) => Err(WriteError::Unavailable(
                "somebody else has confirmed, or founded a store there, at the same moment"
                    .to_owned(),
            )),
            Err(trouble @ Trouble::Silent(_)) => Err(incomplete(&trouble.to_string())),
            Err(trouble) => Err(WriteError::Unavailable(trouble.to_string())),
        }
    }
}
