//! Which store a bucket holds: its entry `meta`.
//!
//! ```json
//! {"format":1,"store":"0193...","base":0,"replaces":[],"author":"admin"}
//! ```
//!
//! The first gateway that finds a bucket without one founds the store. A bucket that was emptied, or
//! brought back from an old backup, thereby has no identity or another history, and no gateway takes
//! it for the one that it knows. A confirmation founds a new store that names those it replaces;
//! whoever knows one of these follows.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The format that is written. An entry of a later one is left alone.
const FORMAT: u64 = 1;

/// How many replaced stores are named.
const MAX_REPLACED: usize = 64;

/// By how much revisions jump where a store replaces another: more than some gateway may have seen
/// that the confirming one has not.
const MARGIN: u64 = 1000;

/// Which store somebody knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// Its id.
    pub(super) store: String,
    /// What its revisions are more than sequences of the stream: revisions grow also where a store
    /// replaces another, whose stream may have begun anew.
    pub(super) base: u64,
    /// The stores that it replaces, the latest last.
    pub(super) replaces: Vec<String>,
}

/// The entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meta {
    /// The store; none where a confirmation has begun on a bucket without one.
    pub(super) identity: Option<Identity>,
    /// The gateway that writes its contents at the moment, which then founds the next store.
    pub(super) claim: Option<String>,
    /// Who founded it, or confirmed.
    pub(super) author: String,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u64,
    #[serde(flatten)]
    identity: Option<Identity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    claim: Option<String>,
    #[serde(default)]
    author: String,
}

#[derive(Deserialize)]
struct Versioned {
    format: u64,
}

impl Identity {
    /// Founds a store after those that are known, if any: it replaces them all.
    pub(super) fn found<'a>(known: impl IntoIterator<Item = (&'a Identity, u64)>) -> Self {
        let mut base = 0;
        let mut replaces = Vec::new();
        for (identity, newest) in known {
            base = base.max(identity.base + newest + MARGIN);
            for store in identity.replaces.iter().chain([&identity.store]) {
                replaces.retain(|it| it != store);
                replaces.push(store.clone());
            }
        }
        replaces.drain(..replaces.len().saturating_sub(MAX_REPLACED));
        Self {
            store: Uuid::now_v7().to_string(),
            base,
            replaces,
        }
    }
}

impl Meta {
    /// Writes it as bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let stored = Stored {
            format: FORMAT,
            identity: self.identity.clone(),
            claim: self.claim.clone(),
            author: self.author.clone(),
        };
        serde_json::to_vec(&stored).expect("texts and numbers are JSON")
    }

    /// Reads it from bytes.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let wrong = |error: serde_json::Error| error.to_string();
        let Versioned { format } = serde_json::from_slice(bytes).map_err(wrong)?;
        if format > FORMAT {
            return Err(format!("format {format}, of a later version of wampgate"));
        }
        let stored: Stored = serde_json::from_slice(bytes).map_err(wrong)?;
        Ok(Self {
            identity: stored.identity,
            claim: stored.claim,
            author: stored.author,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let identity = Identity::found([]);
        for (identity, claim) in [(Some(identity), None), (None, Some("g".to_owned()))] {
            let author = "ann".to_owned();
            let meta = Meta {
                identity,
                claim,
                author,
            };
            assert_eq!(Meta::decode(&meta.encode()).as_ref(), Ok(&meta));
        }
        assert!(Meta::decode(b"{}").is_err());
        let newer = Meta::decode(br#"{"format":2}"#).unwrap_err();
        assert!(newer.contains("later version"), "{newer}");
    }

    #[test]
    fn a_store_replaces_what_it_is_founded_after_and_counts_on() {
        let first = Identity::found([]);
        assert_eq!((first.base, first.replaces.len()), (0, 0));
        let second = Identity::found([(&first, 50)]);
        let other = Identity::found([]);
        let third = Identity::found([(&second, 7), (&other, 3)]);
        assert_eq!(second.base, 1050);
        assert_eq!(third.base, 2057);
        assert_eq!(
            third.replaces,
            [&first.store, &second.store, &other.store].map(Clone::clone)
        );
    }
}
