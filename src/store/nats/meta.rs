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

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The format that is written. An entry of a later one is left alone.
const FORMAT: u64 = 1;

/// How many replaced stores are named.
const MAX_REPLACED: usize = 64;

/// By how much revisions jump where a store replaces another: more than some gateway may have seen
/// that the confirming one has not.
const MARGIN: u64 = 1000;

/// The largest base that is believed: no store comes to it, and revisions are sums with it.
const MAX_BASE: u64 = 1 << 53;

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

/// Why bytes are no such entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum MetaError {
    /// A later version of the program wrote it.
    #[error("format {0}, of a later version of wampgate")]
    Newer(u64),
    /// No version did.
    #[error("{0}")]
    Garbled(String),
}

#[derive(Serialize)]
struct Stored<'m> {
    format: u64,
    #[serde(flatten)]
    identity: Option<&'m Identity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claim: Option<&'m str>,
    author: &'m str,
}

#[derive(Deserialize)]
struct Versioned {
    format: u64,
}

/// What is beside the identity.
#[derive(Deserialize)]
struct Beside {
    store: Option<IgnoredAny>,
    claim: Option<String>,
    #[serde(default)]
    author: String,
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
            identity: self.identity.as_ref(),
            claim: self.claim.as_deref(),
            author: &self.author,
        };
        serde_json::to_vec(&stored).expect("texts and numbers are JSON")
    }

    /// Reads it from bytes.
    ///
    /// # Errors
    ///
    /// See [`MetaError`].
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, MetaError> {
        let wrong = |error: serde_json::Error| MetaError::Garbled(error.to_string());
        let Versioned { format } = serde_json::from_slice(bytes).map_err(wrong)?;
        if format > FORMAT {
            return Err(MetaError::Newer(format));
        }
        let beside: Beside = serde_json::from_slice(bytes).map_err(wrong)?;
        // Not flattened: what is no identity would be none, and the bucket be founded anew.
        let identity: Option<Identity> = match beside.store {
            Some(IgnoredAny) => Some(serde_json::from_slice(bytes).map_err(wrong)?),
            None => None,
        };
        if identity.as_ref().is_some_and(|it| it.base > MAX_BASE) {
            return Err(MetaError::Garbled("no store has such a `base`".to_owned()));
        }
        Ok(Self {
            identity,
            claim: beside.claim,
            author: beside.author,
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
        let newer = Meta::decode(br#"{"format":2,"store":1}"#);
        assert_eq!(newer, Err(MetaError::Newer(2)));
        for garbled in [
            "",
            "{}",
            r#"{"format":1,"store":"x"}"#,
            r#"{"format":1,"store":"x","base":-1,"replaces":[]}"#,
            r#"{"format":1,"store":"x","base":18446744073709551615,"replaces":[]}"#,
            r#"{"format":1,"claim":1}"#,
        ] {
            let found = Meta::decode(garbled.as_bytes());
            assert!(matches!(found, Err(MetaError::Garbled(_))), "{found:?}");
        }
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
