//! Long-lived sessions of one realm: who gets the next request, and how lost sessions come back.
//!
//! A request goes to one of the sessions with few in flight: `choice.rs`. When a session ends, what
//! it had not written yet moves to another one; what was written fails as
//! [`Disconnected`](CallError::Disconnected), because the callee may have run. Each session is kept
//! by a task of its own, which connects, lives as long as the session and waits before it tries
//! again: `keeper.rs`, `backoff.rs`. Subscriptions and registrations move with it: `offers.rs`. A
//! fault on one realm never touches another, because pools share nothing.
//!
//! What others go by: `status.rs` and `outcomes.rs` (how things are, what became of requests),
//! `budget.rs` (how many repeats a realm bears), `registrations.rs` (what its router has on offer).

mod backoff;
mod budget;
mod choice;
mod keeper;
mod offers;
mod outcomes;
mod registrations;
mod status;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::uri::Uri;
use crate::wamp::client::{
    self, Call, CallResult, Prepared, ProgressLimits, ProgressiveCall, Publish,
};
use crate::wamp::config::{PassOn, RouterConfig};
use crate::wamp::error::CallError;
use crate::wamp::id::PublicationId;
use crate::wamp::session::{Answer, Purpose, Unsent};

pub use budget::{RetryBudget, RetryCounts};
use keeper::Slot;
use offers::Ledger;
pub use offers::{OfferKind, OfferState, OfferStatus, PoolRegistration, PoolSubscription};
use outcomes::Counters;
pub use outcomes::Outcomes;
pub use registrations::{Registrations, RegistrationsState, RegistrationsStatus};
pub use status::{PoolState, PoolStatus, RouterSession, SessionState, SessionStatus};

/// The sessions of one realm. Cheap to clone; the sessions end with the last clone at the latest,
/// then without GOODBYE: [`Pool::drain`] is the orderly way.
#[derive(Debug, Clone)]
pub struct Pool {
    shared: Arc<Shared>,
    // The tasks hold `Shared` and not this, so that dropping the last pool ends them.
    keepers: Arc<JoinSet<()>>,
    /// Begun when somebody first asks.
    registrations: Arc<OnceLock<Registrations>>,
}

#[derive(Debug)]
struct Shared {
    realm: Uri,
    config: RouterConfig,
    slots: Vec<Slot>,
    /// Changes whenever a session becomes ready, and when draining begins.
    news: watch::Sender<()>,
    /// Once set, how long requests in flight may take to the end.
    draining: watch::Sender<Option<Duration>>,
    /// Keepers that have not ended.
    keepers: watch::Sender<usize>,
    retry_budget: RetryBudget,
    /// Why there was no session, the last time that it was told. For short sections.
    told: Mutex<Option<String>>,
    /// Subscriptions and registrations that are kept.
    offers: Ledger,
    calls: Counters,
    publishes: Counters,
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
            news: watch::Sender::new(()),
            draining: watch::Sender::new(None),
            keepers: watch::Sender::new(count),
            retry_budget: RetryBudget::default(),
            told: Mutex::default(),
            offers: Ledger::default(),
            calls: Counters::default(),
            publishes: Counters::default(),
        });
        let mut keepers = JoinSet::new();
        for index in 0..count {
            keepers.spawn(keeper::keep(shared.clone(), index));
        }
        Self {
            shared,
            keepers: Arc::new(keepers),
            registrations: Arc::default(),
        }
    }

    /// Returns the realm.
    pub fn realm(&self) -> &Uri {
        &self.shared.realm
    }

    /// Returns what the realm's router is to pass on of a request that ours are for.
    pub fn pass_on(&self) -> PassOn {
        self.shared.config.pass_on
    }

    /// Calls a procedure; see [`Client::call`](client::Client::call). Waits at most `connect_timeout`, and not beyond the
    /// call's own deadline, for a session when none is ready.
    ///
    /// # Errors
    ///
    /// See [`CallError`]; never [`CallError::NotSent`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the call up, as in [`Client::call`](client::Client::call).
    pub async fn call(
        &self,
        call: Call,
        connect_timeout: Duration,
    ) -> Result<CallResult, CallError> {
        let cancel = call.cancel;
        let prepared = Prepared::call(call, self.shared.config.uri_check)?;
        let purpose = || Purpose::Call {
            cancel,
            progress: None,
        };
        let calls = &self.shared.calls;
        let asking = calls.ask();
        let answered = self.request(prepared, connect_timeout, calls, purpose);
        asking.settle(answered.await.and_then(client::call_result))
    }

    /// Calls a procedure whose result may come in parts; see [`Client::call_progressive`](client::Client::call_progressive). The first
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
        Ok(ProgressiveCall::new(gap, limits, move |sink| {
            Box::pin(async move {
                let purpose = || Purpose::Call {
                    cancel,
                    progress: Some(sink.clone()),
                };
                let calls = &pool.shared.calls;
                let asking = calls.ask();
                let answered = pool.request(prepared, connect_timeout, calls, purpose);
                asking.settle(answered.await.and_then(client::call_result))
            })
        }))
    }

    /// Publishes an event; see [`Client::publish`](client::Client::publish). Waits for a session as [`Pool::call`] does.
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
        let purpose = || Purpose::Publish { acknowledge };
        let publishes = &self.shared.publishes;
        let asking = publishes.ask();
        let answered = self.request(prepared, connect_timeout, publishes, purpose);
        asking.settle(answered.await.and_then(client::publication))
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
        self.shared.session(limit).await.map(drop)
    }

    /// Returns whether somebody else holds a clone. Who makes a request holds one until it has its
    /// answer, so a pool that nobody can find any more and nobody else holds has nothing left to do.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.keepers) > 1
    }

    /// Returns what may be repeated of the realm's calls, for whoever repeats: the pool itself moves
    /// only what was not written to another session.
    pub fn retry_budget(&self) -> &RetryBudget {
        &self.shared.retry_budget
    }

    /// Returns the state of the pool and of each session.
    pub fn status(&self) -> PoolStatus {
        let registrations = self.registrations.get().map(Registrations::status);
        status::of(&self.shared, registrations)
    }

    /// Returns the procedures that are registered at the router, as a map that follows them. The
    /// first to ask begins it; it goes on as long as the pool.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn registrations(&self) -> Registrations {
        let begin = || Registrations::follow(self.shared.clone());
        self.registrations.get_or_init(begin).clone()
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
        counters: &Counters,
        purpose: impl Fn() -> Purpose,
    ) -> Result<Answer, CallError> {
        let Prepared {
            mut message,
            deadline,
        } = prepared;
        loop {
            let left = deadline.at.saturating_duration_since(Instant::now());
            let client = match self.shared.pick() {
                Some(client) => client,
                None => self.shared.session(connect_timeout.min(left)).await?,
            };
            match client.request(message, purpose(), deadline).await {
                Ok(answer) => return Ok(answer),
                Err(Unsent::Failed(error)) => return Err(error),
                // INVARIANT: a session that gives a request back is not picked again, so each turn
                // of this loop uses up a session or waits for one.
                Err(Unsent::Returned(returned, _)) => {
                    counters.moved();
                    message = *returned;
                }
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

    /// Puts `pool` in the place of its realm's, and returns that one; whoever gets it drains it.
    pub fn replace(&self, pool: Pool) -> Option<Pool> {
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        self.by_realm.insert(pool.realm().clone(), pool)
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
