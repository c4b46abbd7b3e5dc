//! Keeps one session of a pool: opens it, runs it, and opens it again when it is lost.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwapOption, Guard};
use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::wamp::client::Client;
use crate::wamp::error::{SessionError, chain, clipped};
use crate::wamp::pool::backoff::Backoff;
use crate::wamp::pool::{SessionState, Shared};
use crate::wamp::session::{self, DroppedMessages, Task};

/// The place of one session in its pool.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// The session while it lasts. Read for each request, so not behind the lock below.
    client: ArcSwapOption<Client>,
    /// For short sections: a field is set, or all is copied out.
    record: Mutex<Record>,
}

/// What is told about a slot.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    pub(super) state: SessionState,
    /// Since when it is in that state; none before it was in any.
    pub(super) since: Option<Instant>,
    pub(super) opened: u64,
    pub(super) last_error: Option<SessionError>,
    /// Of all sessions that have ended.
    pub(super) dropped: DroppedMessages,
}

impl Slot {
    /// Returns the session while it lasts. For a moment only: its end waits for nobody, but its
    /// memory does.
    pub(super) fn load(&self) -> Guard<Option<Arc<Client>>> {
        self.client.load()
    }

    pub(super) fn last_error(&self) -> Option<SessionError> {
        self.record().last_error
    }

    pub(super) fn record(&self) -> Record {
        self.record
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn note(&self, change: impl FnOnce(&mut Record)) {
        change(&mut self.record.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn enter(&self, state: SessionState) {
        self.note(|record| {
            record.state = state;
            record.since = Some(Instant::now());
        });
    }
}

/// Keeps the session of one slot until the pool is drained.
pub(super) async fn keep(pool: Arc<Shared>, index: usize) {
    let _ended = CountDown(&pool.keepers);
    let slot = &pool.slots[index];
    let mut draining = pool.draining.subscribe();
    let mut backoff = Backoff::new(pool.config.reconnect, fastrand::Rng::new());
    loop {
        let session = one_session(&pool, slot, &mut draining, &mut backoff);
        let error = match AssertUnwindSafe(session).catch_unwind().await {
            Ok(Some(error)) => error,
            Ok(None) => break,
            // What it held is gone with it, and whoever waited has been told. Without another try
            // the slot would stay empty until somebody restarts the program.
            Err(_) => {
                slot.client.store(None);
                SessionError::Panicked
            }
        };
        if draining.borrow().is_some() {
            break;
        }
        let wait = backoff.wait(error.is_refusal());
        tell(&pool, &error, wait);
        slot.enter(if error.is_refusal() {
            SessionState::Refused
        } else {
            SessionState::Waiting
        });
        slot.note(|record| record.last_error = Some(error));
        tokio::select! {
            () = sleep(wait) => {}
            _ = draining.wait_for(Option::is_some) => break,
        }
    }
    slot.enter(SessionState::Closed);
}

/// Opens a session, and lives it to its end. Returns what ended it, or nothing if the pool began to
/// drain before there was one.
async fn one_session(
    pool: &Shared,
    slot: &Slot,
    draining: &mut watch::Receiver<Option<Duration>>,
    backoff: &mut Backoff,
) -> Option<SessionError> {
    slot.enter(SessionState::Connecting);
    let opened = tokio::select! {
        opened = session::open_any(&pool.realm, &pool.config) => opened,
        _ = draining.wait_for(Option::is_some) => return None,
    };
    match opened {
        Ok((parts, task)) => {
            let began = Instant::now();
            let error = live(pool, slot, Client::new(parts), task, draining).await;
            backoff.lived(began.elapsed());
            Some(error)
        }
        Err(error) => Some(error),
    }
}

/// Offers a session to the pool as long as it lasts, and returns what ended it.
async fn live(
    pool: &Shared,
    slot: &Slot,
    client: Client,
    task: Task,
    draining: &mut watch::Receiver<Option<Duration>>,
) -> SessionError {
    tracing::info!(
        realm.uri = %pool.realm,
        session.id = %client.welcome().session,
        router.url = client.endpoint(),
        router.agent = client.welcome().agent().map(|agent| clipped(agent.to_owned())),
        "session ready"
    );
    slot.enter(SessionState::Ready);
    slot.note(|record| record.opened += 1);
    pool.told
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let client = Arc::new(client);
    slot.client.store(Some(client.clone()));
    pool.news.send_replace(());
    let mut running = std::pin::pin!(task.run());
    let error = tokio::select! {
        error = &mut running => error,
        within = drain_time(draining) => {
            slot.enter(SessionState::Draining);
            let (error, _) = tokio::join!(running, client.close(within));
            error
        }
    };
    slot.client.store(None);
    slot.note(|record| record.dropped += client.dropped_messages());
    error
}

async fn drain_time(draining: &mut watch::Receiver<Option<Duration>>) -> Duration {
    match draining.wait_for(Option::is_some).await {
        Ok(within) => within.unwrap_or_default(),
        // The pool is gone, and this task with it.
        Err(_) => Duration::ZERO,
    }
}

/// Says why there is no session: once for all sessions of the pool, then only when the reason
/// changes, or when there was one in between.
fn tell(pool: &Shared, error: &SessionError, wait: Duration) {
    let reason = chain(error);
    let mut told = pool.told.lock().unwrap_or_else(PoisonError::into_inner);
    let is_known = told.as_ref() == Some(&reason);
    let realm = &pool.realm;
    if is_known {
        tracing::debug!(realm.uri = %realm, ?wait, "no session yet: {reason}");
    } else {
        tracing::warn!(realm.uri = %realm, ?wait, "no session: {reason}");
        *told = Some(reason);
    }
}

struct CountDown<'a>(&'a watch::Sender<usize>);

impl Drop for CountDown<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
