//! The store of several gateways: a bucket of NATS JetStream KV.
//!
//! ```text
//! KV_<bucket>            $KV.<bucket>.spec.<id>   record as JSON: the last 20 of each document
//!                        $KV.<bucket>.realm.<id>  the number of a message is (nearly) the revision
//!                        $KV.<bucket>.meta        which store this is
//! KV_<bucket>_gateways   $KV.<bucket>_gateways.<id>  who shares it, in memory
//! ```
//!
//! Replication is NATS's. A write names the message that it replaces, so of two that were made
//! against the same revision one is refused by the stream's leader. What this gateway last saw it
//! also has on its own disk (`nats/snapshot.rs`): it serves that before NATS is reached
//! and for as long as NATS is away, and can tell a store that has lost something. Such a one is
//! held: nothing changes here until an administrator says which contents count.
//!
//! Read `nats/keeper.rs` next for the task that follows the bucket, `nats/known.rs` for what is
//! compared, `nats/write.rs` for what becomes of a write, `nats/confirm.rs` for the end of a hold;
//! `nats/bucket.rs` and `nats/link.rs` are all that speaks to NATS.

mod address;
mod answer;
mod bucket;
mod confirm;
mod keeper;
mod known;
mod link;
mod meta;
mod names;
mod presence;
mod saving;
mod snapshot;
mod write;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

pub use self::address::{Address, AddressError, Login};
use self::bucket::Bucket;
use self::keeper::{Keeper, history};
use self::known::Known;
use self::link::{Link, Trouble};
use self::snapshot::Snapshot;
use super::{
    Confirm, Contents, Gateway, Key, OpenError, ReadError, Record, State, Store, Write, WriteError,
};

/// Longest wait of a write, for a server that takes it and for its acknowledgement. An election of
/// a leader is over by then; an administrator still waits.
const WRITE: Duration = Duration::from_secs(10);

/// Longest wait for something that another task does.
const SETTLE: Duration = Duration::from_secs(5);

/// A store that several gateways share. See the module.
#[derive(Debug)]
pub struct Nats {
    shared: Arc<Shared>,
    snapshot: Arc<Snapshot>,
    commands: mpsc::Sender<keeper::Command>,
    gateway: watch::Sender<Option<Gateway>>,
    /// None when the store is closed. A lock of the standard library: nothing waits while it is
    /// held.
    tasks: Mutex<Option<JoinSet<()>>>,
}

/// What the tasks and the callers share.
struct Shared {
    address: Address,
    /// Whose claims are ours.
    instance: String,
    /// Changed by the keeper only. A lock of the standard library, held for copies.
    known: Mutex<Known>,
    contents: watch::Sender<Contents>,
    state: watch::Sender<State>,
    /// The connection, while there is one.
    link: watch::Sender<Option<Arc<Link>>>,
    /// The bucket, while it is the one that is known: a connection alone may lead to a store that
    /// has lost something, which must not take a write before that is noticed.
    compared: watch::Sender<Option<Bucket>>,
    /// Tells the keeper to look now.
    nudge: Notify,
}

impl Nats {
    /// Opens the snapshot, and begins to look for NATS; waits for nothing but the disk.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]: of the snapshot only, whether NATS is there or not.
    ///
    /// # Cancel safety
    ///
    /// When dropped, the snapshot is opened all the same, and closed.
    pub async fn open(address: Address) -> Result<Self, OpenError> {
        let (snapshot, known) = Snapshot::open(&address.snapshot).await?;
        let state = match &known.identity {
            Some(_) => State::Degraded {
                reason: "NATS is not reached yet".to_owned(),
            },
            None => State::Connecting,
        };
        let shared = Arc::new(Shared {
            address,
            instance: Uuid::now_v7().to_string(),
            contents: watch::Sender::new(known.contents.clone()),
            known: Mutex::new(known),
            state: watch::Sender::new(state),
            link: watch::Sender::new(None),
            compared: watch::Sender::new(None),
            nudge: Notify::new(),
        });
        let (commands, receiver) = mpsc::channel(1);
        let gateway = watch::Sender::new(None);
        let mut tasks = JoinSet::new();
        let snapshot = Arc::new(snapshot);
        tasks.spawn(Keeper::new(shared.clone(), snapshot.clone(), receiver).run());
        tasks.spawn(presence::run(shared.clone(), gateway.subscribe()));
        Ok(Self {
            shared,
            snapshot,
            commands,
            gateway,
            tasks: Mutex::new(Some(tasks)),
        })
    }
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a new state, and logs it where it is another one.
    fn set_state(&self, state: State) {
        let is_new = self.state.send_if_modified(|present| {
            let differs = *present != state;
            *present = state.clone();
            differs
        });
        if !is_new {
            return;
        }
        let address = &self.address;
        match state {
            State::Ready => tracing::info!("the store {address} is there"),
            State::Connecting => {}
            State::Degraded { reason } => {
                tracing::warn!("what was last seen of the store is served: {reason}");
            }
            State::Held { reason } => tracing::error!(
                "the store is held, and what was last seen of it is served until an \
                 administrator confirms which contents count: {reason}"
            ),
        }
    }

    /// Returns the bucket; waits for it where the connection was lost a moment ago.
    async fn bucket(&self, deadline: Instant) -> Result<Bucket, WriteError> {
        let (mut state, mut compared) = (self.state.subscribe(), self.compared.subscribe());
        let bucket = async {
            tokio::select! {
                biased;
                _ = state.wait_for(|state| *state != State::Ready) => None,
                Ok(bucket) = compared.wait_for(Option::is_some) => bucket.clone(),
            }
        };
        let bucket = timeout_at(deadline, bucket).await.ok().flatten();
        bucket.ok_or_else(|| unavailable(&self.state.borrow()))
    }

    /// Has the keeper look, and waits until what is known is as it is waited for. False where it
    /// is not by the deadline.
    async fn until(&self, deadline: Instant, is_met: impl Fn(&Known) -> bool) -> bool {
        let mut contents = self.contents.subscribe();
        loop {
            contents.mark_unchanged();
            if is_met(&self.known()) {
                return true;
            }
            self.nudge.notify_one();
            if !matches!(timeout_at(deadline, contents.changed()).await, Ok(Ok(()))) {
                return is_met(&self.known());
            }
        }
    }

    async fn revisions(&self, key: &Key) -> Result<Vec<Record>, ReadError> {
        let bucket = self.bucket(Instant::now() + SETTLE).await;
        let bucket = bucket.map_err(|error| match error {
            WriteError::Unavailable(reason) => ReadError::Unavailable(reason),
            error => ReadError::Failed(error.to_string()),
        })?;
        let name = names::name(key);
        let entries = timeout(WRITE, history(&bucket, &name)).await;
        let entries = entries.unwrap_or(Err(Trouble::Silent("NATS does not answer in time")));
        let entries = entries.map_err(|trouble| ReadError::Unavailable(trouble.to_string()))?;
        let base = self.known().base();
        let records = entries.iter().rev().filter_map(|entry| {
            let revision = base + entry.sequence;
            let read = known::read(entry, key, revision);
            read.inspect_err(|reason| {
                tracing::warn!(
                    "revision {revision} of `{}` cannot be read: {reason}",
                    key.id
                );
            })
            .ok()
        });
        Ok(records.collect())
    }
}

/// Says why nothing can be written in a state, and what can be done.
fn unavailable(state: &State) -> WriteError {
    WriteError::Unavailable(match state {
        State::Ready => "the connection to NATS was lost, and is not back yet".to_owned(),
        State::Connecting => "NATS is not reached yet".to_owned(),
        State::Degraded { reason } => reason.clone(),
        State::Held { reason } => {
            format!(
                "it is held, and an administrator has to confirm which contents count: {reason}"
            )
        }
    })
}

const CLOSED: &str = "it is closed";

impl Store for Nats {
    fn contents(&self) -> watch::Receiver<Contents> {
        self.shared.contents.subscribe()
    }

    fn state(&self) -> watch::Receiver<State> {
        self.shared.state.subscribe()
    }

    fn write(&self, write: Write) -> BoxFuture<'_, Result<Record, WriteError>> {
        self.shared.write(write).boxed()
    }

    fn revisions<'s>(&'s self, key: &'s Key) -> BoxFuture<'s, Result<Vec<Record>, ReadError>> {
        self.shared.revisions(key).boxed()
    }

    fn confirm(&self, choice: Confirm, author: String) -> BoxFuture<'_, Result<(), WriteError>> {
        async move {
            let state = self.shared.state.borrow().clone();
            match state {
                State::Ready => return Ok(()),
                State::Held { .. } => {}
                state => return Err(unavailable(&state)),
            }
            let (sender, answer) = oneshot::channel();
            let command = (choice, author, sender);
            // The keeper may be lost in a connection that is dead.
            let sent = timeout(SETTLE, self.commands.send(command)).await;
            if !matches!(sent, Ok(Ok(()))) {
                return Err(unavailable(&self.shared.state.borrow()));
            }
            match timeout(confirm::DEADLINE + SETTLE, answer).await {
                Ok(Ok(done)) => done?,
                _ => return Err(WriteError::Unknown("the connection was lost".to_owned())),
            }
            let mut state = self.shared.state.subscribe();
            timeout(SETTLE, state.wait_for(|state| *state == State::Ready))
                .await
                .ok();
            Ok(())
        }
        .boxed()
    }

    fn announce(&self, gateway: Gateway) {
        self.gateway.send_replace(Some(gateway));
    }

    fn gateways(&self) -> BoxFuture<'_, Result<Vec<Gateway>, ReadError>> {
        async {
            let link = self.shared.link.borrow().clone();
            let Some(link) = link else {
                let state = self.shared.state.borrow().clone();
                let reason = state.reason().unwrap_or("NATS is not reached").to_owned();
                return Err(ReadError::Unavailable(reason));
            };
            let gateways = presence::list(&self.shared, link).await;
            gateways.map_err(|trouble| ReadError::Unavailable(trouble.to_string()))
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {
            let tasks = self
                .tasks
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            let Some(mut tasks) = tasks else {
                return;
            };
            tasks.shutdown().await;
            let reason = CLOSED.to_owned();
            self.shared.state.send_replace(State::Degraded { reason });
            self.shared.compared.send_replace(None);
            let link = self.shared.link.send_replace(None);
            let gateway = self.gateway.borrow().clone();
            if let (Some(link), Some(gateway)) = (link, gateway) {
                presence::leave(&self.shared, link, &gateway).await;
            }
            let snapshot = self.snapshot.clone();
            let closed = spawn_blocking(move || snapshot.close());
            timeout(SETTLE, closed).await.ok();
        }
        .boxed()
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("address", &self.address)
            .field("state", &*self.state.borrow())
            .finish_non_exhaustive()
    }
}
