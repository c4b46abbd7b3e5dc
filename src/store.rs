//! What is kept of specs and realms: the texts as they were uploaded, who wrote them and when.
//!
//! One trait, [`Store`]. A store knows nothing of what a text means: every gateway compiles for
//! itself. It keeps the last [`REVISIONS`] revisions of each document, refuses a write that was made
//! against another revision than the present one, and shows its contents as a value that follows
//! every change, whoever made it. Nothing is ever deleted by itself.
//! Read `store/embedded.rs` next for the store of one gateway, `store/nats.rs` for that of several,
//! `store/record.rs` for what a record is as bytes.

pub mod embedded;
mod file;
pub mod nats;
pub mod record;
mod url;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub use file::{OpenError, private_folder};
use futures_util::future::BoxFuture;
use tokio::sync::watch;
pub use url::{Url, UrlError};

/// How many revisions of a document are kept, the present one included.
pub const REVISIONS: usize = 20;

/// The longest id of a document, in bytes: in every store, so that what fits into one does into all.
pub const MAX_ID_BYTES: usize = 512;

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A realm.
    Realm,
    /// An API spec.
    Spec,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 2] = [Kind::Realm, Kind::Spec];

    /// Returns the word for it: `realm` or `spec`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Realm => "realm",
            Kind::Spec => "spec",
        }
    }

    /// Returns the kind of that [name](Kind::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Which document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// What it is.
    pub kind: Kind,
    /// The `id` of a spec, the `uri` of a realm. Any text but the empty one, of at most
    /// [`MAX_ID_BYTES`].
    pub id: String,
}

/// One revision of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Which document.
    pub key: Key,
    /// Its number. Grows with every write to the store, so it is never used twice, not even for
    /// different documents.
    pub revision: u64,
    /// The text as it was uploaded; none where this revision deleted the document.
    pub text: Option<Arc<str>>,
    /// Who wrote it.
    pub author: String,
    /// When, in milliseconds since 1970 (UTC).
    pub time_ms: u64,
    /// SHA-256 of the text, in lower-case hexadecimal; empty for a deletion.
    pub hash: String,
}

/// The documents that are there at one moment. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// The number of the newest write that this shows; 0 before the first.
    pub revision: u64,
    /// The documents that are not deleted.
    pub records: Arc<BTreeMap<Key, Record>>,
}

impl Contents {
    /// Takes in a newer revision of a document.
    pub fn put(&mut self, record: Record) {
        self.revision = self.revision.max(record.revision);
        let records = Arc::make_mut(&mut self.records);
        if record.text.is_some() {
            records.insert(record.key.clone(), record);
        } else {
            records.remove(&record.key);
        }
    }
}

/// What a write expects to find; else it is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Whatever is there, also nothing.
    Anything,
    /// No such document.
    Nothing,
    /// Exactly this revision.
    Revision(u64),
}

/// A change of one document.
#[derive(Debug, Clone)]
pub struct Write {
    /// Which document.
    pub key: Key,
    /// Its new text; none deletes it.
    pub text: Option<Arc<str>>,
    /// What has to be there.
    pub expect: Expect,
    /// Who writes.
    pub author: String,
    /// When, in milliseconds since 1970 (UTC).
    pub time_ms: u64,
}

impl Key {
    /// Looks whether there is an id, and not too long a one.
    ///
    /// # Errors
    ///
    /// [`WriteError::Id`].
    pub fn check_id(&self) -> Result<(), WriteError> {
        match self.id.len() {
            1..=MAX_ID_BYTES => Ok(()),
            bytes => Err(WriteError::Id { bytes }),
        }
    }
}

impl Write {
    /// Looks at what the write expects, given the present revision; none where there is no such
    /// document.
    ///
    /// # Errors
    ///
    /// [`WriteError::Conflict`], also where it deletes what is not there.
    pub fn check_revision(&self, found: Option<u64>) -> Result<(), WriteError> {
        let is_met = match self.expect {
            Expect::Anything => self.text.is_some() || found.is_some(),
            Expect::Nothing => self.text.is_some() && found.is_none(),
            Expect::Revision(revision) => found == Some(revision),
        };
        if is_met {
            Ok(())
        } else {
            Err(WriteError::Conflict { found })
        }
    }
}

/// How a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It can be read and written.
    Ready,
    /// It has not been reached yet; [`Store::contents`] shows the last snapshot, if there is one.
    Connecting,
    /// It cannot be reached now: what was last seen is served, and nothing can be written.
    Degraded {
        /// Why, without secrets.
        reason: String,
    },
    /// It has come back with other contents than it can have: empty, older, or another one
    /// altogether. What was last seen is served until somebody [confirms](Store::confirm).
    Held {
        /// What is wrong with it.
        reason: String,
    },
}

impl State {
    /// Returns the name that status pages and metrics use.
    pub fn name(&self) -> &'static str {
        match self {
            State::Ready => "ready",
            State::Connecting => "connecting",
            State::Degraded { .. } => "degraded",
            State::Held { .. } => "held",
        }
    }

    /// Returns why it is not ready, where that is known.
    pub fn reason(&self) -> Option<&str> {
        match self {
            State::Ready | State::Connecting => None,
            State::Degraded { reason } | State::Held { reason } => Some(reason),
        }
    }
}

/// Which contents count, where a store is [held](State::Held).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirm {
    /// Those of the store: what the gateways served besides is gone.
    Store,
    /// Those that this gateway serves: they are written to the store.
    Gateway,
}

/// A gateway that uses a store, as it tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Its id, chosen anew at each start.
    pub id: String,
    /// The version of the program.
    pub version: String,
    /// The revision of the store that it serves.
    pub revision: u64,
    /// How it is: `ready`, `degraded`, `draining`, ...
    pub state: String,
    /// When it said so, in milliseconds since 1970 (UTC).
    pub time_ms: u64,
}

/// Why a write was not done, or may not have been.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Something else is there than expected: somebody else was faster.
    #[error("the present revision is {}", Present(found))]
    Conflict {
        /// The present revision; none if there is no such document.
        found: Option<u64>,
    },
    /// The id is empty or too long; nothing was written.
    #[error("an id has 1 to {MAX_ID_BYTES} bytes, not {bytes}")]
    Id {
        /// How long it is.
        bytes: usize,
    },
    /// The document is larger than the store takes; nothing was written.
    #[error("the document takes {size} bytes in the store, which takes {limit} ({setting})")]
    TooLarge {
        /// What it takes in the store, with what is kept beside the text.
        size: usize,
        /// The store's limit.
        limit: usize,
        /// Where that limit is set.
        setting: &'static str,
    },
    /// The store takes no writes now; nothing was written.
    #[error("the store takes no writes now: {0}")]
    Unavailable(String),
    /// The store did not answer in time. The write may be done, now or later: look before writing
    /// again.
    #[error("the store did not say whether it was written: {0}")]
    Unknown(String),
    /// The store failed; nothing was written.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store cannot be reached now.
    #[error("the store cannot be read now: {0}")]
    Unavailable(String),
    /// The store failed.
    #[error("the store failed: {0}")]
    Failed(String),
}

struct Present<'a>(&'a Option<u64>);

impl fmt::Display for Present<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(revision) => write!(f, "{revision}"),
            None => f.write_str("none"),
        }
    }
}

/// Opens the store that a URL names.
///
/// # Errors
///
/// See [`OpenError`].
///
/// # Cancel safety
///
/// When dropped, the store is opened all the same, and closed.
pub async fn open(url: &Url) -> Result<Arc<dyn Store>, OpenError> {
    match url {
        Url::File(folder) => Ok(Arc::new(embedded::Embedded::open(folder).await?)),
        Url::Nats(address) => Ok(Arc::new(nats::Nats::open(address.clone()).await?)),
    }
}

/// Keeps documents. All waits have a deadline of the store's own.
pub trait Store: fmt::Debug + Send + Sync {
    /// Returns what is there, as a value that follows every change: own writes, and those of other
    /// gateways.
    fn contents(&self) -> watch::Receiver<Contents>;

    /// Returns how the store is, as a value that follows.
    fn state(&self) -> watch::Receiver<State>;

    /// Writes or deletes a document, and returns what stands there now. Once it has returned, the
    /// write survives the end of the process, and [`Store::contents`] shows it.
    ///
    /// # Errors
    ///
    /// See [`WriteError`]. To delete what is not there is a [`WriteError::Conflict`].
    ///
    /// # Cancel safety
    ///
    /// When dropped, the write may or may not be done.
    fn write(&self, write: Write) -> BoxFuture<'_, Result<Record, WriteError>>;

    /// Returns the last [`REVISIONS`] revisions of a document, the newest first; also of one that is
    /// deleted. Empty if it never was there.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    fn revisions<'s>(&'s self, key: &'s Key) -> BoxFuture<'s, Result<Vec<Record>, ReadError>>;

    /// Ends a [hold](State::Held); does nothing where there is none.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    fn confirm(&self, choice: Confirm, author: String) -> BoxFuture<'_, Result<(), WriteError>>;

    /// Tells the others, if there are others, how this gateway is.
    fn announce(&self, gateway: Gateway);

    /// Returns the gateways that share the store and are alive, this one included, by id.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    fn gateways(&self) -> BoxFuture<'_, Result<Vec<Gateway>, ReadError>>;

    /// Ends the store's tasks, in order. Later writes are [`WriteError::Unavailable`].
    fn close(&self) -> BoxFuture<'_, ()>;
}
