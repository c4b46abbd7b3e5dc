//! Which session gets the next request.
//!
//! Why two at random and not the least of all: with several gateways on one router, or many threads
//! in one, all would choose the same idle session in the same moment. Of two random ones the better
//! is nearly as good as the best of all, and costs the same however many there are.

use std::sync::Arc;

use tokio::time::{Duration, Instant, timeout_at};

use crate::wamp::client::Client;
use crate::wamp::error::{CallError, SessionError};
use crate::wamp::pool::Shared;
use crate::wamp::pool::keeper::Slot;
use crate::wamp::session;

impl Shared {
    /// Returns the session for the next request: of two random ones that are well, the one with
    /// fewer requests in flight. Where they have no room, or there are none, the best of all.
    pub(super) fn pick(&self) -> Option<Arc<Client>> {
        let count = self.slots.len();
        if count > 1 {
            let first = fastrand::usize(..count);
            let second = (first + fastrand::usize(1..count)) % count;
            let [first, second] = [first, second].map(|index| self.slots[index].load());
            let room = |client: Option<&Arc<Client>>| {
                let client = client.filter(|client| client.is_open() && !client.is_suspect())?;
                Some(client.in_flight()).filter(|&count| count < self.config.max_in_flight)
            };
            match (room(first.as_ref()), room(second.as_ref())) {
                (Some(one), Some(other)) if other < one => return second.clone(),
                (Some(_), _) => return first.clone(),
                (None, Some(_)) => return second.clone(),
                (None, None) => {}
            }
        }
        self.slots
            .iter()
            .filter_map(|slot| slot.load().clone())
            .filter(|client| client.is_open())
            .min_by_key(|client| (client.is_suspect(), client.in_flight()))
    }

    /// Waits up to `limit` for a session.
    ///
    /// # Errors
    ///
    /// [`CallError::NoSession`], at once when the pool is being drained.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn session(&self, limit: Duration) -> Result<Arc<Client>, CallError> {
        let began = Instant::now();
        let until = session::after(limit);
        // Before looking: a session that becomes ready in between is then news.
        let mut news = self.news.subscribe();
        loop {
            // Some sessions may not have heard of it yet; what is begun now would only be cut off.
            let is_draining = self.draining.borrow().is_some();
            if !is_draining && let Some(client) = self.pick() {
                return Ok(client);
            }
            if is_draining || timeout_at(until, news.changed()).await.is_err() {
                return Err(CallError::NoSession {
                    waited: began.elapsed(),
                    cause: if is_draining {
                        Some(SessionError::Closed)
                    } else {
                        self.slots.iter().find_map(Slot::last_error)
                    },
                });
            }
        }
    }
}
