//! Subscriptions and registrations that outlive the sessions they are made on.
//!
//! Each is kept by a task of its own, which asks one session for it; when that session ends, or the
//! router takes it away, it asks the next. The task ends with the handle, and at the latest with the
//! pool.
//!
//! Why the next attempt sometimes waits: after a lost session another one is asked at once, because
//! a session that has ended cannot be asked again. After a refusal it waits long, as for a session
//! that is refused: only a person can change that. But `procedure_already_exists` is mostly our own
//! lost session, of which the router does not know yet that it is lost; it is asked again soon, and
//! then less and less often.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::uri::UriPattern;
use crate::wamp::client::{
    Event, Inbox, Invocation, RegisterOptions, SubscribeOptions, Wanted, check_pattern,
};
use crate::wamp::error::{ApplicationError, CallError, chain, clipped, uris};
use crate::wamp::id::SessionId;
use crate::wamp::message::Payload;
use crate::wamp::pool::backoff::Backoff;
use crate::wamp::pool::{Pool, Shared};

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfferKind {
    /// A subscription.
    Subscription,
    /// A registration.
    Registration,
}

impl OfferKind {
    /// Returns the name that status pages and metrics use.
    pub fn name(self) -> &'static str {
        match self {
            OfferKind::Subscription => "subscription",
            OfferKind::Registration => "registration",
        }
    }
}

/// Whether a subscription or registration is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OfferState {
    /// Not now: there is no session, or the router is being asked.
    #[default]
    Pending,
    /// It is.
    Established,
    /// Not now: the router has refused it. It is asked again, but seldom.
    Refused,
    /// It is over: the pool has been drained, or is gone.
    Ended,
}

impl OfferState {
    /// Returns the name that status pages and metrics use.
    pub fn name(self) -> &'static str {
        match self {
            OfferState::Pending => "pending",
            OfferState::Established => "established",
            OfferState::Refused => "refused",
            OfferState::Ended => "ended",
        }
    }
}

/// What a pool tells about one subscription or registration that it keeps.
#[derive(Debug, Clone)]
pub struct OfferStatus {
    /// Which of the two it is.
    pub kind: OfferKind,
    /// The topics or procedures.
    pub pattern: UriPattern,
    /// Whether it is in force.
    pub state: OfferState,
    /// How long it has been in this state.
    pub in_state_for: Duration,
    /// The session it is on.
    pub session: Option<SessionId>,
    /// How often it has been made.
    pub established: u64,
    /// Why it was not made, the last time that it was not.
    pub last_error: Option<String>,
}

impl Pool {
    /// Subscribes to a topic, or to all that a pattern covers, on whichever session there is, and
    /// keeps the subscription when that session is lost. Returns at once. Up to `queue` events wait
    /// for whoever reads them.
    ///
    /// What is published while there is no subscription is lost: [`PoolSubscription::gaps`] tells.
    /// With `get_retained` the event that the broker has kept comes anew after each gap. What this pool publishes itself may come back: a broker
    /// leaves out the one session that publishes, and a pool has several. Who does not want that
    /// cannot rely on `exclude_me`; who does want it sets `exclude_me` to false.
    ///
    /// # Errors
    ///
    /// [`CallError::InvalidUri`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn subscribe(
        &self,
        topic: impl Into<UriPattern>,
        options: SubscribeOptions,
        queue: usize,
    ) -> Result<PoolSubscription, CallError> {
        let (inbox, events) = Inbox::new(queue);
        let dropped = inbox.dropped.clone();
        let wanted = Wanted::subscription(topic.into(), options, inbox);
        Ok(PoolSubscription {
            offer: Offer::keep(&self.shared, OfferKind::Subscription, wanted)?,
            events,
            dropped,
        })
    }

    /// Offers a procedure, or all that a pattern covers, on whichever session there is, and keeps
    /// the registration when that session is lost; see [`Client::register`]. Returns at once.
    ///
    /// [`Client::register`]: crate::wamp::client::Client::register
    ///
    /// # Errors
    ///
    /// [`CallError::InvalidUri`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn register<F, R>(
        &self,
        procedure: impl Into<UriPattern>,
        options: RegisterOptions,
        handler: F,
    ) -> Result<PoolRegistration, CallError>
    where
        F: Fn(Invocation) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Payload, ApplicationError>> + Send + 'static,
    {
        let wanted = Wanted::registration(procedure.into(), options, handler);
        Ok(PoolRegistration {
            offer: Offer::keep(&self.shared, OfferKind::Registration, wanted)?,
        })
    }
}

/// A subscription that a pool keeps: a stream of events. Dropping it leaves the topic.
#[derive(Debug)]
pub struct PoolSubscription {
    offer: Offer,
    events: mpsc::Receiver<Event>,
    dropped: Arc<AtomicU64>,
}

impl PoolSubscription {
    /// Waits for the next event. `None` is the end of the pool.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: an event is either returned or still to come.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Returns how many events were lost because the queue was full: the newest ones at that time.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Returns how often the subscription has been made again after it was lost. Whenever this
    /// grows, events may be missing.
    pub fn gaps(&self) -> u64 {
        self.offer.established().saturating_sub(1)
    }

    /// Waits up to `within` until the subscription is in force. Returns whether it is.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn ready(&self, within: Duration) -> bool {
        self.offer.ready(within).await
    }

    /// Returns whether the subscription is in force, and why not.
    pub fn status(&self) -> OfferStatus {
        self.offer.record.status()
    }
}

/// A registration that a pool keeps. Dropping it withdraws the procedure; what runs of it goes on.
#[derive(Debug)]
#[must_use = "the procedure is withdrawn when this is dropped"]
pub struct PoolRegistration {
    offer: Offer,
}

impl PoolRegistration {
    /// Waits up to `within` until the registration is in force. Returns whether it is.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn ready(&self, within: Duration) -> bool {
        self.offer.ready(within).await
    }

    /// Returns whether the registration is in force, and why not.
    pub fn status(&self) -> OfferStatus {
        self.offer.record.status()
    }
}

/// All that a pool keeps, for its status. Each is here as long as its handle lives.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// For short sections: one is put in, or out, or all are shown.
    records: Mutex<Records>,
}

#[derive(Debug, Default)]
struct Records {
    last: u64,
    by_number: BTreeMap<u64, Arc<Record>>,
}

impl Ledger {
    fn with<T>(&self, work: impl FnOnce(&mut Records) -> T) -> T {
        work(&mut self.records.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the state of each, the oldest first.
    pub(super) fn status(&self) -> Vec<OfferStatus> {
        self.with(|records| {
            let all = records.by_number.values();
            all.map(|record| record.status()).collect()
        })
    }
}

/// What is known of one that is kept.
#[derive(Debug)]
struct Record {
    kind: OfferKind,
    pattern: UriPattern,
    standing: watch::Sender<Standing>,
}

#[derive(Debug, Clone)]
struct Standing {
    state: OfferState,
    since: Instant,
    session: Option<SessionId>,
    established: u64,
    last_error: Option<String>,
}

impl Record {
    fn status(&self) -> OfferStatus {
        let standing = self.standing.borrow().clone();
        OfferStatus {
            kind: self.kind,
            pattern: self.pattern.clone(),
            state: standing.state,
            in_state_for: standing.since.elapsed(),
            session: standing.session,
            established: standing.established,
            last_error: standing.last_error,
        }
    }

    fn enter(&self, state: OfferState, session: Option<SessionId>) {
        self.standing.send_modify(|standing| {
            if standing.state != state {
                standing.since = Instant::now();
            }
            standing.state = state;
            standing.session = session;
            standing.established += u64::from(state == OfferState::Established);
        });
    }
}

/// The handle's part of one that is kept.
struct Offer {
    pool: Arc<Shared>,
    number: u64,
    record: Arc<Record>,
    /// The task that keeps it. It holds what is held of the router, so that ends with it.
    _keeper: JoinSet<()>,
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.record.fmt(f)
    }
}

impl Offer {
    fn keep(pool: &Arc<Shared>, kind: OfferKind, wanted: Wanted) -> Result<Self, CallError> {
        check_pattern(wanted.pattern(), pool.config.uri_check)?;
        let record = Arc::new(Record {
            kind,
            pattern: wanted.pattern().clone(),
            standing: watch::Sender::new(Standing {
                state: OfferState::default(),
                since: Instant::now(),
                session: None,
                established: 0,
                last_error: None,
            }),
        });
        let number = pool.offers.with(|records| {
            records.last += 1;
            records.by_number.insert(records.last, record.clone());
            records.last
        });
        let mut keeper = JoinSet::new();
        keeper.spawn(keep(pool.clone(), record.clone(), wanted));
        Ok(Self {
            pool: pool.clone(),
            number,
            record,
            _keeper: keeper,
        })
    }

    fn established(&self) -> u64 {
        self.record.standing.borrow().established
    }

    async fn ready(&self, within: Duration) -> bool {
        let mut standing = self.record.standing.subscribe();
        let is_ready = standing.wait_for(|standing| standing.state == OfferState::Established);
        matches!(timeout(within, is_ready).await, Ok(Ok(_)))
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        let number = self.number;
        drop(
            self.pool
                .offers
                .with(|records| records.by_number.remove(&number)),
        );
    }
}

/// Keeps one subscription or registration until the pool is drained or gone.
async fn keep(pool: Arc<Shared>, record: Arc<Record>, wanted: Wanted) {
    let mut backoff = Backoff::new(pool.config.reconnect, fastrand::Rng::new());
    let mut gone = pool.keepers.subscribe();
    tokio::select! {
        () = ask_again_and_again(&pool, &record, &wanted, &mut backoff) => {}
        // The pool may also be dropped, and then nothing else tells that no session will come.
        _ = gone.wait_for(|keepers| *keepers == 0) => {}
    }
    record.enter(OfferState::Ended, None);
}

async fn ask_again_and_again(
    pool: &Shared,
    record: &Record,
    wanted: &Wanted,
    backoff: &mut Backoff,
) {
    let mut draining = pool.draining.subscribe();
    let mut told = None;
    // An error means that the pool is being drained.
    while let Ok(client) = pool.session(Duration::MAX).await {
        let wait = match wanted.establish(&client).await {
            Ok(mut held) => {
                let began = Instant::now();
                match told.take() {
                    Some(_) => {
                        tracing::info!(realm.uri = %pool.realm, "{} is in force", record.name());
                    }
                    None => {
                        tracing::debug!(realm.uri = %pool.realm, "{} is in force", record.name());
                    }
                }
                record.enter(OfferState::Established, Some(client.welcome().session));
                tokio::select! {
                    () = held.ended() => {}
                    // Who leaves takes no new calls. Events it takes to the end.
                    _ = draining.wait_for(Option::is_some),
                        if record.kind == OfferKind::Registration => {}
                }
                record.enter(OfferState::Pending, None);
                backoff.lived(began.elapsed());
                if !client.is_open() {
                    continue;
                }
                // The router took it away: that may be so again.
                backoff.wait(false)
            }
            Err(error) => {
                let is_refusal = is_refusal(&error);
                let wait = backoff.wait(is_refusal);
                record.tell(pool, &error, wait, &mut told);
                if is_refusal {
                    record.enter(OfferState::Refused, None);
                }
                wait
            }
        };
        tokio::select! {
            () = sleep(wait) => {}
            _ = draining.wait_for(Option::is_some) => return,
        }
    }
}

/// Returns whether the router does not want it, so that asking again soon is of no use.
fn is_refusal(error: &CallError) -> bool {
    match error {
        CallError::Application(error) => error.uri != uris::PROCEDURE_ALREADY_EXISTS,
        CallError::TooLarge { .. }
        | CallError::InvalidUri { .. }
        | CallError::InvalidOption(_)
        | CallError::Encode(_) => true,
        CallError::Timeout(_)
        | CallError::Overrun(_)
        | CallError::Unreadable(_)
        | CallError::Disconnected(_)
        | CallError::NotSent(_)
        | CallError::NoSession { .. }
        | CallError::Busy(_) => false,
    }
}

impl Record {
    fn name(&self) -> String {
        format!("the {} of {}", self.kind.name(), self.pattern)
    }

    /// Says once why it is not in force, and then only when the reason changes, or when it was in
    /// force in between.
    fn tell(&self, pool: &Shared, error: &CallError, wait: Duration, told: &mut Option<String>) {
        let reason = clipped(chain(error));
        self.standing
            .send_modify(|standing| standing.last_error = Some(reason.clone()));
        let (realm, name) = (&pool.realm, self.name());
        // Of a lost session its keeper tells.
        let is_told = matches!(
            error,
            CallError::Disconnected(_) | CallError::NotSent(_) | CallError::NoSession { .. }
        );
        if is_told || told.as_ref() == Some(&reason) {
            tracing::debug!(realm.uri = %realm, ?wait, "{name} is not in force yet: {reason}");
        } else {
            tracing::warn!(realm.uri = %realm, ?wait, "{name} is not in force: {reason}");
            *told = Some(reason);
        }
    }
}
