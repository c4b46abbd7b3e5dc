//! What a pool tells about itself: to readiness, to metrics, to whoever administers it.

use std::time::Duration;

use crate::uri::Uri;
use crate::wamp::error::SessionError;
use crate::wamp::pool::keeper::Slot;
use crate::wamp::pool::{OfferStatus, Outcomes, RegistrationsStatus, RetryCounts, Shared};
use crate::wamp::serializer::Serializer;
use crate::wamp::session::{DroppedMessages, Welcome};

/// The state of a pool.
#[derive(Debug, Clone)]
pub struct PoolStatus {
    /// The realm.
    pub realm: Uri,
    /// The state of the whole.
    pub state: PoolState,
    /// Each session, in a fixed order.
    pub sessions: Vec<SessionStatus>,
    /// What was repeated, by whoever uses the pool.
    pub retries: RetryCounts,
    /// The subscriptions and registrations that the pool keeps, the oldest first.
    pub offers: Vec<OfferStatus>,
    /// The map of procedures registered at the router, if somebody has asked for it.
    pub registrations: Option<RegistrationsStatus>,
    /// What became of the calls.
    pub calls: Outcomes,
    /// What became of the publications.
    pub publishes: Outcomes,
}

/// The state of a whole pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolState {
    /// All sessions are ready.
    Ready,
    /// Some are, or none is but some may still be.
    Degraded,
    /// None is.
    Down,
    /// It is being drained, or has been.
    Draining,
}

impl PoolState {
    /// Returns the name that status pages and metrics use.
    pub fn name(self) -> &'static str {
        match self {
            PoolState::Ready => "ready",
            PoolState::Degraded => "degraded",
            PoolState::Down => "down",
            PoolState::Draining => "draining",
        }
    }
}

/// The state of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SessionState {
    /// It is being opened.
    #[default]
    Connecting,
    /// It takes requests.
    Ready,
    /// It takes requests, but the router is late: another one is chosen if there is one.
    Suspect,
    /// It was lost, or could not be opened; it will be tried again soon.
    Waiting,
    /// The router does not want us (credentials, realm); it will be tried again, but slowly.
    Refused,
    /// It takes no requests and waits for those in flight.
    Draining,
    /// It is over for good.
    Closed,
}

impl SessionState {
    /// Returns the name that status pages and metrics use.
    pub fn name(self) -> &'static str {
        match self {
            SessionState::Connecting => "connecting",
            SessionState::Ready => "ready",
            SessionState::Suspect => "suspect",
            SessionState::Waiting => "waiting",
            SessionState::Refused => "refused",
            SessionState::Draining => "draining",
            SessionState::Closed => "closed",
        }
    }
}

/// One session of a pool.
#[derive(Debug, Clone)]
pub struct SessionStatus {
    /// What it is doing.
    pub state: SessionState,
    /// How long it has been doing that.
    pub in_state_for: Duration,
    /// How often it was opened.
    pub opened: u64,
    /// How often it was opened again after it was lost.
    pub reconnects: u64,
    /// Requests that wait, in the queue or for their answer.
    pub in_flight: usize,
    /// Those of them that have been written, as of the session's last turn.
    pub pending: usize,
    /// Requests that were given up and whose answer may still come, as of the session's last turn.
    /// Bounded: beyond 4096 the oldest is forgotten.
    pub tombstones: usize,
    /// Why it was lost or could not be opened, the last time.
    pub last_error: Option<SessionError>,
    /// What came in and was not delivered, since the pool was started.
    pub dropped: DroppedMessages,
    /// The session with the router, while there is one.
    pub router: Option<RouterSession>,
}

/// A session as its two ends agreed on it.
#[derive(Debug, Clone)]
pub struct RouterSession {
    /// Where the router was reached, without secrets.
    pub endpoint: String,
    /// The name of the kind of transport: `websocket`, `rawsocket` or `memory`.
    pub transport: &'static str,
    /// The serializer.
    pub serializer: Serializer,
    /// What the router told about itself and us: id, agent, features, ...
    pub welcome: Welcome,
}

pub(super) fn of(pool: &Shared, registrations: Option<RegistrationsStatus>) -> PoolStatus {
    let sessions: Vec<_> = pool.slots.iter().map(session).collect();
    let count = |state| {
        let matching = sessions.iter().filter(|session| session.state == state);
        matching.count()
    };
    let ready = count(SessionState::Ready);
    let state = if pool.draining.borrow().is_some() {
        PoolState::Draining
    } else if ready == sessions.len() {
        PoolState::Ready
    } else if ready + count(SessionState::Suspect) > 0 {
        PoolState::Degraded
    } else {
        PoolState::Down
    };
    PoolStatus {
        realm: pool.realm.clone(),
        state,
        sessions,
        retries: pool.retry_budget.counts(),
        offers: pool.offers.status(),
        registrations,
        calls: pool.calls.snapshot(),
        publishes: pool.publishes.snapshot(),
    }
}

fn session(slot: &Slot) -> SessionStatus {
    let record = slot.record();
    let client = slot.load();
    let client = client.as_ref();
    let mut dropped = record.dropped;
    if let Some(client) = client {
        dropped += client.dropped_messages();
    }
    let state = match client {
        // It has just ended, and its keeper has not noticed.
        Some(client) if record.state == SessionState::Ready && !client.is_open() => {
            SessionState::Waiting
        }
        Some(client) if record.state == SessionState::Ready && client.is_suspect() => {
            SessionState::Suspect
        }
        _ => record.state,
    };
    SessionStatus {
        state,
        in_state_for: record.since.map_or(Duration::ZERO, |since| since.elapsed()),
        opened: record.opened,
        reconnects: record.opened.saturating_sub(1),
        in_flight: client.map_or(0, |client| client.in_flight()),
        pending: client.map_or(0, |client| client.pending()),
        tombstones: client.map_or(0, |client| client.tombstones()),
        last_error: record.last_error,
        dropped,
        router: client.map(|client| RouterSession {
            endpoint: client.endpoint().to_owned(),
            transport: client.transport(),
            serializer: client.serializer(),
            welcome: client.welcome().clone(),
        }),
    }
}
