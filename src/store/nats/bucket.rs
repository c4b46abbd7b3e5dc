//! A bucket of JetStream KV, as a stream of entries that are read and written one by one.
//!
//! A bucket is a stream whose subjects are its keys; an entry is a message, its number is the
//! stream's sequence, and the newest of a key is what stands there. The few requests that this takes
//! are made here, and of each answer only what is needed is read. That keeps to servers of any
//! version: the client's own types for `create_key_value` do not understand what nats-server 2.9
//! answers. Every read is answered by the stream's leader, which knows all that was acknowledged;
//! the faster direct reads may come from a server that does not yet.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use data_encoding::BASE64;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::answer::{Acknowledged, Got, OPERATION, StreamInfo, is_deletion, read, time_ms};
use super::link::{Link, Trouble};

/// Longest wait for a read. Leaders answer within milliseconds.
const READ: Duration = Duration::from_secs(2);

/// Longest wait for the acknowledgement of a write: most of the servers have to have it.
const WRITE: Duration = Duration::from_secs(5);

/// How many entries are read at a time.
const AT_ONCE: usize = 16;

/// "stream not found"
const NO_STREAM: u64 = 10059;
/// "no message found"
const NO_MESSAGE: u64 = 10037;
/// "wrong last sequence: ..."
const WRONG_SEQUENCE: u64 = 10071;
/// "replicas > 1 not supported in non-clustered mode"
const NO_CLUSTER: u64 = 10074;
/// "stream name already in use with a different configuration"
const NAME_IN_USE: u64 = 10058;

/// A bucket, through one connection.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    link: Arc<Link>,
    name: String,
}

/// How a bucket is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Make {
    /// How many entries of each key are kept.
    pub(super) history: usize,
    /// How many servers keep each entry; none for three in a cluster, else one.
    pub(super) replicas: Option<usize>,
    /// For how long an entry is kept, in memory only; none for ever, on disk.
    pub(super) max_age: Option<Duration>,
}

/// What a bucket's stream tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct About {
    /// When it was made: another time, another stream.
    pub(super) created: String,
    /// The number of the newest entry; 0 before the first.
    pub(super) last: u64,
    /// How many keys have entries.
    pub(super) keys: u64,
    /// How many entries of each key are kept; none for no limit.
    pub(super) history: Option<u64>,
    /// Whether changes are published where [`Bucket::changes`] says.
    pub(super) tells_changes: bool,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its number.
    pub(super) sequence: u64,
    /// Its key.
    pub(super) key: String,
    /// Whether it deletes the key.
    pub(super) is_deletion: bool,
    /// What was written; empty where another program deleted the key.
    pub(super) payload: Bytes,
    /// When the server took it, in milliseconds since 1970.
    pub(super) time_ms: u64,
}

/// What the newest entries have to be, that one is written after. 0: there is none.
///
/// Of one key alone it is not enough: clusters before nats-server 2.9.21 compare that only before
/// they agree on the order, and take two writes that come at once (nats-io/nats-server#4320). The
/// number of the whole stream is compared by every server when the write's turn comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct After {
    /// The newest of the key.
    pub(super) key: u64,
    /// The newest of all keys; none where it does not matter.
    pub(super) all: Option<u64>,
}

impl Bucket {
    pub(super) fn new(link: Arc<Link>, name: String) -> Self {
        Self { link, name }
    }

    pub(super) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    fn stream(&self) -> String {
        format!("KV_{}", self.name)
    }

    fn subject(&self, key: &str) -> String {
        format!("$KV.{}.{key}", self.name)
    }

    /// Returns where the numbers of new entries are published. Not the subjects of the keys
    /// themselves: whoever listens there is taken for one who answers, and a write that nobody took
    /// would be silence instead of a refusal.
    pub(super) fn changes(&self) -> String {
        format!("wampgate.changes.{}.>", self.name)
    }

    /// Looks at the stream.
    ///
    /// # Errors
    ///
    /// See [`Trouble`].
    pub(super) async fn about(&self) -> Result<Option<About>, Trouble> {
        let info = match self.info(json!({})).await {
            Err(Trouble::Refused { code, .. }) if code == NO_STREAM => return Ok(None),
            info => info?,
        };
        Ok(Some(About {
            created: info.created,
            last: info.state.last_seq,
            keys: info.state.num_subjects,
            history: u64::try_from(info.config.max_msgs_per_subject).ok(),
            tells_changes: info.config.republish.is_some(),
        }))
    }

    async fn keys(&self) -> Result<Vec<String>, Trouble> {
        let prefix = self.subject("");
        let mut keys = Vec::new();
        loop {
            let request = json!({"subjects_filter": format!("{prefix}>"), "offset": keys.len()});
            let info = self.info(request).await?;
            let subjects = info.state.subjects.unwrap_or_default();
            let is_last = subjects.is_empty() || (keys.len() + subjects.len()) as u64 >= info.total;
            let subjects = subjects.into_keys();
            keys.extend(subjects.filter_map(|it| it.strip_prefix(&prefix).map(str::to_owned)));
            if is_last {
                return Ok(keys);
            }
        }
    }

    async fn info(&self, request: Value) -> Result<StreamInfo, Trouble> {
        let name = format!("STREAM.INFO.{}", self.stream());
        self.ask(&name, request).await
    }

    /// Makes the bucket, unless there is one of that name.
    ///
    /// # Errors
    ///
    /// See [`Trouble`].
    pub(super) async fn make(&self, make: Make) -> Result<(), Trouble> {
        match self.create(make, make.replicas.unwrap_or(3)).await {
            // Only one server: known for sure. In a cluster with servers away it is not made with
            // less copies than asked for, since nobody would add the others later.
            Err(Trouble::Refused { code, .. }) if code == NO_CLUSTER && make.replicas.is_none() => {
                self.create(make, 1).await
            }
            made => made,
        }
    }

    async fn create(&self, make: Make, replicas: usize) -> Result<(), Trouble> {
        let keys = self.subject(">");
        let mut request = json!({
            "name": self.stream(),
            "subjects": [keys],
            "retention": "limits",
            "storage": if make.max_age.is_some() { "memory" } else { "file" },
            "num_replicas": replicas,
            "max_msgs_per_subject": make.history,
            "max_age": make.max_age.map_or(0, |age| age.as_secs() * 1_000_000_000),
            "max_msgs": -1,
            "max_bytes": -1,
            "max_msg_size": -1,
            "max_consumers": -1,
            "discard": "new",
            "allow_direct": true,
            "allow_rollup_hdrs": true,
            "deny_delete": true,
        });
        if make.max_age.is_none() {
            request["republish"] = json!({
                "src": keys,
                "dest": self.changes(),
                "headers_only": true,
            });
        }
        let name = format!("STREAM.CREATE.{}", self.stream());
        match self.ask::<Value>(&name, request).await {
            // Another gateway, or an administrator, was faster.
            Err(Trouble::Refused { code, .. }) if code == NAME_IN_USE => Ok(()),
            made => made.map(drop),
        }
    }

    /// Returns the newest entry of a key.
    ///
    /// # Errors
    ///
    /// See [`Trouble`].
    pub(super) async fn newest(&self, key: &str) -> Result<Option<Entry>, Trouble> {
        let request = json!({"last_by_subj": self.subject(key)});
        self.get(request).await
    }

    /// Returns the newest entry of every key, also of those that are deleted.
    ///
    /// # Errors
    ///
    /// See [`Trouble`].
    pub(super) async fn all_newest(&self) -> Result<Vec<Entry>, Trouble> {
        let keys = self.keys().await?;
        let entries = keys.into_iter().map(|key| {
            let bucket = self.clone();
            async move { bucket.newest(&key).await }
        });
        let entries: Vec<_> = stream::iter(entries)
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(entries.into_iter().flatten().collect())
    }

    /// Returns the entry of that number.
    ///
    /// # Errors
    ///
    /// See [`Trouble`].
    pub(super) async fn at(&self, sequence: u64) -> Result<Option<Entry>, Trouble> {
        self.get(json!({"seq": sequence})).await
    }

    /// Returns the first entry from that number on; of any key, or of one.
    ///
    /// # Errors
    ///
    /// See [`Trouble`].
    pub(super) async fn next(
        &self,
        sequence: u64,
        key: Option<&str>,
    ) -> Result<Option<Entry>, Trouble> {
        let subject = self.subject(key.unwrap_or(">"));
        let request = json!({"seq": sequence, "next_by_subj": subject});
        self.get(request).await
    }

    async fn get(&self, request: Value) -> Result<Option<Entry>, Trouble> {
        let name = format!("STREAM.MSG.GET.{}", self.stream());
        let Got { message } = match self.ask(&name, request).await {
            Err(Trouble::Refused { code, .. }) if code == NO_MESSAGE => return Ok(None),
            got => got?,
        };
        let decode = |text: String| {
            let bytes = BASE64.decode(text.as_bytes());
            bytes.map_err(|error| Trouble::Garbled(error.to_string()))
        };
        let headers = decode(message.hdrs)?;
        let key = message.subject.strip_prefix(&self.subject(""));
        let key = key.ok_or_else(|| Trouble::Garbled(format!("subject {}", message.subject)))?;
        Ok(Some(Entry {
            sequence: message.seq,
            key: key.to_owned(),
            is_deletion: is_deletion(&String::from_utf8_lossy(&headers)),
            payload: decode(message.data)?.into(),
            time_ms: time_ms(&message.time).unwrap_or_default(),
        }))
    }

    /// Writes an entry if what it is to be written `after` is the newest, and returns its number;
    /// none if something else is.
    ///
    /// # Errors
    ///
    /// See [`Trouble`]: after [`Trouble::Silent`] it may be written, or be written later.
    pub(super) async fn append(
        &self,
        key: &str,
        payload: Vec<u8>,
        is_deletion: bool,
        after: After,
    ) -> Result<Option<u64>, Trouble> {
        let mut headers = HeaderMap::new();
        let newest = after.key.to_string();
        headers.insert("Nats-Expected-Last-Subject-Sequence", newest.as_str());
        if let Some(newest) = after.all {
            headers.insert("Nats-Expected-Last-Sequence", newest.to_string());
        }
        if is_deletion {
            headers.insert(OPERATION, "DEL");
        }
        let (link, subject) = (&self.link, self.subject(key));
        let answer = link
            .request(subject, headers, payload.into(), WRITE)
            .await?;
        match read::<Acknowledged>(&answer.payload) {
            Ok(done) if done.stream == self.stream() => Ok(Some(done.seq)),
            Ok(done) => Err(Trouble::Garbled(format!(
                "the stream {} took what was for {}",
                done.stream,
                self.stream()
            ))),
            Err(Trouble::Refused { code, .. }) if code == WRONG_SEQUENCE => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    /// Writes an entry whatever is there.
    ///
    /// # Errors
    ///
    /// See [`Trouble`].
    pub(super) async fn put(
        &self,
        key: &str,
        payload: Vec<u8>,
        is_deletion: bool,
    ) -> Result<(), Trouble> {
        let mut headers = HeaderMap::new();
        if is_deletion {
            headers.insert(OPERATION, "DEL");
        }
        let (link, subject) = (&self.link, self.subject(key));
        let answer = link.request(subject, headers, payload.into(), READ).await?;
        read::<Acknowledged>(&answer.payload).map(drop)
    }

    async fn ask<T: DeserializeOwned>(&self, name: &str, request: Value) -> Result<T, Trouble> {
        let subject = format!("$JS.API.{name}");
        let payload = Bytes::from(request.to_string());
        let answer = self.link.request(subject, HeaderMap::new(), payload, READ);
        read(&answer.await?.payload)
    }
}
