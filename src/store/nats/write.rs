//! A write: against what is known, and again where somebody else was faster or nobody was there.
//!
//! A write without an answer is looked for: it may be done, or be overtaken, after which it cannot be
//! done any more, since it names what it replaces. Only where nothing tells by the deadline is its
//! outcome unknown.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::bucket::After;
use super::keeper::history;
use super::known::{Known, fingerprint};
use super::link::Trouble;
use super::{SETTLE, Shared, WRITE, names, unavailable};
use crate::store::{Record, Write, WriteError};

/// How long until a server is asked again where none was responsible.
const AGAIN: Duration = Duration::from_millis(100);

/// What a message has of headers, at most: they count as part of it.
const HEADER_BYTES: usize = 256;

/// One attempt, which has no answer.
struct Open<'a> {
    name: &'a str,
    payload: Vec<u8>,
    /// The number of the entry that it replaces.
    expected: u64,
    deadline: Instant,
}

/// What became of an attempt without an answer.
enum Outcome {
    /// Done, under this number.
    Done(u64),
    /// Overtaken by another write: not done, and never will be.
    Overtaken,
    /// Nothing tells.
    Unknown,
}

impl Shared {
    /// Writes, or says why not: see [`Store::write`](crate::store::Store::write).
    pub(super) async fn write(&self, write: Write) -> Result<Record, WriteError> {
        write.key.check_id()?;
        let name = names::name(&write.key);
        let deadline = Instant::now() + WRITE;
        let mut record = Record::of(write.clone(), 0);
        let payload = record.encode();
        loop {
            let bucket = self.bucket(deadline).await?;
            let (expected, base, seen) = {
                let known = self.known();
                let expected = known.check(&write)?;
                (expected, known.base(), known.contents.revision)
            };
            let (size, limit) = (payload.len() + HEADER_BYTES, bucket.link().max_payload());
            if size > limit {
                return Err(WriteError::TooLarge {
                    size,
                    limit,
                    setting: "`max_payload` of the NATS servers",
                });
            }
            let is_deletion = write.text.is_none();
            let after = After {
                key: expected,
                all: Some(seen - base),
            };
            let written = bucket.append(&name, payload.clone(), is_deletion, after);
            let sequence = match written.await {
                Ok(Some(sequence)) => sequence,
                // Somebody else was faster, with this document or another: compared again with what
                // is there then.
                Ok(None) => {
                    let is_newer = |known: &Known| known.contents.revision > seen;
                    if !self.until(deadline, is_newer).await {
                        return Err(unavailable(&self.state.borrow()));
                    }
                    if Instant::now() >= deadline {
                        let reason = "others are faster again and again";
                        return Err(WriteError::Unavailable(reason.to_owned()));
                    }
                    continue;
                }
                Err(Trouble::Silent(reason)) => {
                    let open = Open {
                        name: &name,
                        payload: payload.clone(),
                        expected,
                        deadline,
                    };
                    match self.settle(open).await {
                        Outcome::Done(sequence) => sequence,
                        Outcome::Overtaken => continue,
                        Outcome::Unknown => return Err(WriteError::Unknown(reason.to_owned())),
                    }
                }
                Err(trouble @ (Trouble::Nobody | Trouble::Lost)) => {
                    let again = Instant::now() + AGAIN;
                    if again > deadline {
                        return Err(WriteError::Unavailable(trouble.to_string()));
                    }
                    sleep_until(again).await;
                    continue;
                }
                Err(trouble @ Trouble::Refused { .. }) => {
                    return Err(WriteError::Failed(trouble.to_string()));
                }
                Err(Trouble::Garbled(reason)) => return Err(WriteError::Unknown(reason)),
            };
            record.revision = base + sequence;
            // Numbers only grow: this is another stream than the one that was followed.
            if record.revision <= seen {
                let reason = "the bucket was made anew, and took the write before that was noticed";
                return Err(WriteError::Unknown(reason.to_owned()));
            }
            // It is done; that the keeper does not see it yet is no failure of the write.
            let is_shown = |known: &Known| known.contents.revision >= record.revision;
            self.until(Instant::now() + SETTLE, is_shown).await;
            return Ok(record);
        }
    }

    /// Waits until there is another entry than the one that was to be replaced, and looks whose.
    async fn settle(&self, open: Open<'_>) -> Outcome {
        let is_replaced = |known: &Known| {
            let head = known.heads.get(open.name);
            head.is_some_and(|head| head.sequence > open.expected)
        };
        if !self.until(open.deadline, is_replaced).await {
            return Outcome::Unknown;
        }
        let Ok(bucket) = self.bucket(open.deadline).await else {
            return Outcome::Unknown;
        };
        // It may also be done, and replaced by another since.
        let Ok(entries) = history(&bucket, open.name).await else {
            return Outcome::Unknown;
        };
        let ours = fingerprint(&open.payload);
        let ours = entries
            .iter()
            .find(|entry| entry.sequence > open.expected && fingerprint(&entry.payload) == ours);
        match ours {
            Some(entry) => Outcome::Done(entry.sequence),
            None => Outcome::Overtaken,
        }
    }
}
