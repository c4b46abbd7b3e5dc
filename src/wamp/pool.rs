//! Long-lived sessions of one realm: who gets the next request, and how lost sessions come back.
//!
//! A request goes to the session with the fewest in flight. When a session ends, what it had not
//! written yet moves to another one; what was written fails as
//! [`Disconnected`](CallError::Disconnected), because the callee may have run. Each session is kept
//! by a task of its own, which connects, lives as long as the session and waits before it tries
//! again: `keeper.rs`. A fault on one realm never touches another, because pools share nothing.

mod backoff;
mod budget;
mod keeper;
mod status;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::uri::Uri;
use crate::wamp::client::{
    self, Call, CallResult, Client, Prepared, ProgressLimits, ProgressiveCall, Publish,
};
use crate::wamp::config::RouterConfig;
use crate::wamp::error::{CallError, SessionError};
use crate::wamp::id::PublicationId;
use crate::wamp::session::{self, Answer, ProgressSink, Purpose, Unsent};

pub use budget::{RetryBudget, RetryCounts};
use keeper::Slot;
pub use status::{PoolState, PoolStatus, RouterSession, SessionState, SessionStatus};

/// The sessions of one realm. Cheap to clone; the sessions end with the last clone at the latest,
/// then without GOODBYE: [`Pool::drain`] is the orderly way.
#[derive(Debug, Clone)]
pub struct Pool {
    shared: Arc<Shared>,
    // The keepers hold `Shared` and not this, so that dropping the last pool ends them.
    _keepers: Arc<JoinSet<()>>,
}

#[derive(Debug)]
struct Shared {
    realm: Uri,
    config: RouterConfig,
    slots: Vec<Slot>,
    /// Where the next search for a session begins, so that equals take turns.
    next: AtomicUsize,
    /// Changes whenever a session becomes ready, and when draining begins.
    news: watch::Sender<()>,
    /// Once set, how long requests in flight may take to the end.
    draining: watch::Sender<Option<Duration>>,
    /// Keepers that have not ended.
    keepers: watch::Sender<usize>,
    retry_budget: RetryBudget,
}

impl Pool {
    /// Begins to open the sessions of `realm`, and returns at once: whoever calls waits for the
    /// first session that is ready.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start(realm: Uri, config: RouterConfig) -> Self {
        let count = config.sessions.max(1);
        let shared = Arc::new(Shared {
            realm,
            config,
            slots: (0..count).map(|_| Slot::default()).collect(),
            next: AtomicUsize::new(0),
            news: watch::Sender::new(()),
            draining: watch::Sender::new(None),
            keepers: watch::Sender::new(count),
            retry_budget: RetryBudget::default(),
        });
        let mut keepers = JoinSet::new();
        for index in 0..count {
            keepers.spawn(keeper::keep(shared.clone(), index));
        }
        Self {
            shared,
            _keepers: Arc::new(keepers),
        }
    }

    /// Returns the realm.
    pub fn realm(&self) -> &Uri {
        &self.shared.realm
    }

    /// Calls a procedure; see [`Client::call`]. Waits at most `connect_timeout`, and not beyond the
    /// call's own deadline, for a session when none is ready.
    ///
    /// # Errors
    ///
    /// See [`CallError`]; never [`CallError::NotSent`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the call up, as in [`Client::call`].
    pub async fn call(
        &self,
        call: Call,
        connect_timeout: Duration,
    ) -> Result<CallResult, CallError> {
        let cancel = call.cancel;
        let prepared = Prepared::call(call, self.shared.config.uri_check)?;
        let answer = self
            .request(prepared, connect_timeout, || Purpose::Call {
                cancel,
                progress: None,
            })
            .await?;
        client::call_result(answer)
    }

    /// Calls a procedure whose result may come in parts; see [`Client::call_progressive`]. The first
    /// [`next`](ProgressiveCall::next) waits for a session as [`Pool::call`] does; it moves to
    /// another session only as long as it is not written.
    ///
    /// # Errors
    ///
    /// [`CallError::InvalidUri`] and [`CallError::InvalidOption`]; all else comes from the stream.
    pub fn call_progressive(
        &self,
        call: Call,
        limits: ProgressLimits,
        connect_timeout: Duration,
    ) -> Result<ProgressiveCall, CallError> {
        let cancel = call.cancel;
        let check = self.shared.config.uri_check;
        let (prepared, gap) = Prepared::progressive_call(call, limits.total, check)?;
        let connect_timeout = connect_timeout.min(gap);
        let pool = self.clone();
        Ok(ProgressiveCall::new(gap, limits.queue, move |queue| {
            Box::pin(async move {
                let purpose = || Purpose::Call {
                    cancel,
                    progress: Some(ProgressSink(queue.clone())),
                };
                let answer = pool.request(prepared, connect_timeout, purpose).await?;
                client::call_result(answer)
            })
        }))
    }

    /// Publishes an event; see [`Client::publish`]. Waits for a session as [`Pool::call`] does.
    ///
    /// # Errors
    ///
    /// See [`CallError`]; never [`CallError::NotSent`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not take a publication back that is written already.
    pub async fn publish(
        &self,
        publish: Publish,
        connect_timeout: Duration,
    ) -> Result<Option<PublicationId>, CallError> {
        let (prepared, acknowledge) = Prepared::publish(publish, self.shared.config.uri_check)?;
        let answer = self
            .request(prepared, connect_timeout, || Purpose::Publish {
                acknowledge,
            })
            .await?;
        client::publication(answer)
    }

    /// Waits up to `limit` until a session is ready.
    ///
    /// # Errors
    ///
    /// [`CallError::NoSession`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn ready(&self, limit: Duration) -> Result<(), CallError> {
        self.client(limit).await.map(drop)
    }

    /// Returns what may be repeated of the realm's calls, for whoever repeats: the pool itself moves
    /// only what was not written to another session.
    pub fn retry_budget(&self) -> &RetryBudget {
        &self.shared.retry_budget
    }

    /// Returns the state of the pool and of each session.
    pub fn status(&self) -> PoolStatus {
        status::of(&self.shared)
    }

    /// Ends all sessions in good order: no new requests, up to `within` for those in flight, then
    /// GOODBYE. Sessions that are just being opened are given up. Returns when all have ended.
    ///
    /// # Cancel safety
    ///
    /// Draining goes on when the future is dropped.
    pub async fn drain(&self, within: Duration) {
        self.shared.draining.send_if_modified(|draining| {
            let is_first = draining.is_none();
            draining.get_or_insert(within);
            is_first
        });
        self.shared.news.send_replace(());
        let mut keepers = self.shared.keepers.subscribe();
        // The sender lives in `shared`, so this waits for nothing but the count.
        drop(keepers.wait_for(|count| *count == 0).await);
    }

    async fn request(
        &self,
        prepared: Prepared,
        connect_timeout: Duration,
        purpose: impl Fn() -> Purpose,
    ) -> Result<Answer, CallError> {
        let Prepared {
            mut message,
            deadline,
        } = prepared;
        loop {
            let left = deadline.at.saturating_duration_since(Instant::now());
            let client = match self.pick() {
                Some(client) => client,
                None => self.client(connect_timeout.min(left)).await?,
            };
            match client.request(message, purpose(), deadline).await {
                Ok(answer) => return Ok(answer),
                Err(Unsent::Failed(error)) => return Err(error),
                // INVARIANT: a session that gives a request back is not picked again, so each turn
                // of this loop uses up a session or waits for one.
                Err(Unsent::Returned(returned, _)) => message = *returned,
            }
        }
    }

    /// Returns the ready session with the fewest requests in flight.
    fn pick(&self) -> Option<Arc<Client>> {
        let slots = &self.shared.slots;
        let start = self.shared.next.fetch_add(1, Ordering::Relaxed) % slots.len();
        slots[start..]
            .iter()
            .chain(&slots[..start])
            .filter_map(Slot::client)
            .filter(|client| client.is_open())
            .min_by_key(|client| client.in_flight())
    }

    async fn client(&self, limit: Duration) -> Result<Arc<Client>, CallError> {
        let began = Instant::now();
        let until = session::after(limit);
        // Before looking: a session that becomes ready in between is then news.
        let mut news = self.shared.news.subscribe();
        loop {
            if let Some(client) = self.pick() {
                return Ok(client);
            }
            let is_draining = self.shared.draining.borrow().is_some();
            if is_draining || timeout_at(until, news.changed()).await.is_err() {
                return Err(CallError::NoSession {
                    waited: began.elapsed(),
                    cause: if is_draining {
                        Some(SessionError::Closed)
                    } else {
                        self.shared.slots.iter().find_map(Slot::last_error)
                    },
                });
            }
        }
    }
}

/// The pools of all realms, each found by its realm's URI. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Pools {
    by_realm: Arc<DashMap<Uri, Pool>>,
    /// Held while pools are added: two realms of one name would keep two pools alive.
    adding: Arc<Mutex<()>>,
}

impl Pools {
    /// Starts the pool of `realm`, or returns the one there is.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start(&self, realm: &Uri, config: RouterConfig) -> Pool {
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = self.get(realm.as_str()) {
            return pool;
        }
        let pool = Pool::start(realm.clone(), config);
        self.by_realm.insert(realm.clone(), pool.clone());
        pool
    }

    /// Returns the pool of `realm`.
    pub fn get(&self, realm: &str) -> Option<Pool> {
        self.by_realm.get(realm).map(|pool| pool.clone())
    }

    /// Takes the pool of `realm` out; whoever gets it drains it.
    pub fn remove(&self, realm: &str) -> Option<Pool> {
        self.by_realm.remove(realm).map(|(_, pool)| pool)
    }

    /// Returns the state of every pool, by realm.
    pub fn status(&self) -> Vec<PoolStatus> {
        let mut all: Vec<_> = self.by_realm.iter().map(|pool| pool.status()).collect();
        all.sort_by(|a, b| a.realm.cmp(&b.realm));
        all
    }

    /// Drains all pools at once; see [`Pool::drain`].
    pub async fn drain(&self, within: Duration) {
        let pools: Vec<Pool> = self.by_realm.iter().map(|pool| pool.clone()).collect();
        futures_util::future::join_all(pools.iter().map(|pool| pool.drain(within))).await;
    }
}
