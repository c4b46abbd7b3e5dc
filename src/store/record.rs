//! A record as bytes, the same in every store.
//!
//! ```json
//! {"format":1,"kind":"spec","id":"com.example.market","text":"{...}","author":"admin","time_ms":1795280400000,"hash":"9f86d0..."}
//! ```
//!
//! JSON, so that a store can be looked into with its own tools. The revision is not in it: it is the
//! store's to give. A record says which document it is of, so that it can be told when a store hands
//! out the wrong one, and its hash is compared whenever it is read.

use std::borrow::Cow;

use data_encoding::HEXLOWER;
use ring::digest;
use serde::{Deserialize, Serialize};

use super::{Key, Kind, Record, Write};

/// The format that is written. A record of a later one is refused.
const FORMAT: u64 = 1;

/// Why bytes are no record.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// A later version of the program wrote it.
    #[error("format {found}, of a later version of wampgate; this one knows up to {FORMAT}")]
    Newer {
        /// The format.
        found: u64,
    },
    /// It is not JSON, or something is missing in it.
    #[error("not a record: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It is of a kind that does not exist.
    #[error("not a record: there is no kind `{0}`")]
    Kind(String),
    /// The text is not the one that was written.
    #[error("the text is not the one that was written: its hash differs")]
    Hash,
}

#[derive(Deserialize)]
struct Versioned {
    format: u64,
}

#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    format: u64,
    kind: Cow<'a, str>,
    id: Cow<'a, str>,
    text: Option<Cow<'a, str>>,
    author: Cow<'a, str>,
    time_ms: u64,
    hash: Cow<'a, str>,
}

impl Record {
    /// Returns what a write leaves, under the revision that the store gives it.
    pub fn of(write: Write, revision: u64) -> Self {
        let hash = write.text.as_deref().map(hash).unwrap_or_default();
        Self {
            key: write.key,
            revision,
            text: write.text,
            author: write.author,
            time_ms: write.time_ms,
            hash,
        }
    }

    /// Writes it as bytes, without its revision.
    pub fn encode(&self) -> Vec<u8> {
        let stored = Stored {
            format: FORMAT,
            kind: self.key.kind.name().into(),
            id: self.key.id.as_str().into(),
            text: self.text.as_deref().map(Cow::from),
            author: self.author.as_str().into(),
            time_ms: self.time_ms,
            hash: self.hash.as_str().into(),
        };
        serde_json::to_vec(&stored).expect("texts and numbers are JSON")
    }

    /// Reads it from bytes.
    ///
    /// # Errors
    ///
    /// See [`DecodeError`].
    pub fn decode(revision: u64, bytes: &[u8]) -> Result<Self, DecodeError> {
        let Versioned { format } = serde_json::from_slice(bytes)?;
        if format > FORMAT {
            return Err(DecodeError::Newer { found: format });
        }
        let stored: Stored<'_> = serde_json::from_slice(bytes)?;
        if stored.hash != stored.text.as_deref().map(hash).unwrap_or_default() {
            return Err(DecodeError::Hash);
        }
        let Some(kind) = Kind::from_name(&stored.kind) else {
            return Err(DecodeError::Kind(stored.kind.into_owned()));
        };
        let id = stored.id.into_owned();
        Ok(Self {
            key: Key { kind, id },
            revision,
            text: stored.text.map(|text| text.as_ref().into()),
            author: stored.author.into_owned(),
            time_ms: stored.time_ms,
            hash: stored.hash.into_owned(),
        })
    }
}

/// Returns the hash of a text, as records have it: SHA-256 in lower-case hexadecimal.
pub fn hash(text: impl AsRef<[u8]>) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, text.as_ref()).as_ref())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn record(text: Option<&str>) -> Record {
        let write = Write {
            key: Key {
                kind: Kind::Spec,
                id: "a/ü\0\"".to_owned(),
            },
            text: text.map(Arc::from),
            expect: super::super::Expect::Anything,
            author: "ann".to_owned(),
            time_ms: u64::MAX,
        };
        Record::of(write, 7)
    }

    #[test]
    fn what_is_written_reads_back() {
        for text in [None, Some(""), Some("{\"id\": \"\u{1F980}\\n\"}\r\n\0")] {
            let record = record(text);
            assert_eq!(Record::decode(7, &record.encode()).unwrap(), record);
        }
    }

    #[test]
    fn the_hash_is_the_one_of_sha256sum_and_a_deletion_has_none() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(record(Some("abc")).hash, abc);
        assert_eq!(record(None).hash, "");
    }

    #[test]
    fn what_is_no_record_is_refused_with_the_reason() {
        let check = |from: &str, to: &str, expected: &str| {
            let text = String::from_utf8(record(Some("abc")).encode()).unwrap();
            assert!(text.contains(from), "{text}");
            let error = Record::decode(7, text.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        };
        check("\"format\":1", "\"format\":2", "a later version");
        check("\"abc\"", "\"abd\"", "its hash differs");
        check("\"abc\"", "null", "its hash differs");
        check("\"spec\"", "\"user\"", "no kind `user`");
        check("\"author\"", "\"writer\"", "missing field `author`");
        check("{", "", "not a record");
    }
}
