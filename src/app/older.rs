//! Earlier revisions of stored documents, for those whose present text does not load while nothing
//! older is known: at a start, or when two writes came at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::store::{Contents, Key, Record, Store};

/// Longest wait for the store. Without an answer the document is not served for now.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the store has said, by document, with the revision that it was asked for.
#[derive(Debug, Default)]
pub(super) struct Older {
    known: BTreeMap<Key, (u64, Vec<Record>)>,
    /// What it could not tell the last time that it was asked.
    lacking: BTreeSet<Key>,
}

impl Older {
    /// Returns whether the store could not tell something that it was asked: it is worth to ask again.
    pub(super) fn is_lacking(&self) -> bool {
        !self.lacking.is_empty()
    }

    /// Returns what is known of documents that have not changed since; forgets the rest.
    pub(super) fn known(&mut self, stored: &Contents) -> BTreeMap<Key, Vec<Record>> {
        self.known.retain(|key, (revision, _)| {
            let record = stored.records.get(key);
            record.is_some_and(|record| record.revision == *revision)
        });
        let known = self.known.iter();
        known
            .map(|(key, (_, records))| (key.clone(), records.clone()))
            .collect()
    }

    /// Asks the store for what is not known yet, and returns whether there is more now. What it
    /// cannot tell is told once.
    pub(super) async fn look_up(&mut self, store: &dyn Store, wants: &[(Key, u64)]) -> bool {
        let unknown = wants
            .iter()
            .filter(|(key, _)| !self.known.contains_key(key));
        let asked = unknown.map(async |(key, revision)| {
            let answer = timeout(PATIENCE, store.revisions(key)).await;
            (key.clone(), *revision, answer)
        });
        let mut has_more = false;
        let mut lacking = BTreeSet::new();
        for (key, revision, answer) in join_all(asked).await {
            let failure = match answer {
                Ok(Ok(records)) => {
                    has_more |= records.iter().any(|record| record.revision < revision);
                    self.known.insert(key, (revision, records));
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer in time".to_owned(),
            };
            if !self.lacking.contains(&key) {
                tracing::warn!("no earlier revisions of {}: {failure}", key.id);
            }
            lacking.insert(key);
        }
        self.lacking = lacking;
        has_more
    }
}
