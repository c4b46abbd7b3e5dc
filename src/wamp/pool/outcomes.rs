//! What became of a pool's requests, counted.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::wamp::error::CallError;

/// What became of requests of one kind, since the pool was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcomes {
    /// They brought a result.
    pub answered: u64,
    /// The callee or the router answered with an error.
    pub errors: u64,
    /// Their deadline passed.
    pub timeouts: u64,
    /// They were written, and then the session ended, or the answer was of no use.
    pub lost: u64,
    /// They were never written: no session, no room, too large, not to be encoded.
    pub unsent: u64,
    /// Whoever asked went away before the answer.
    pub abandoned: u64,
    /// How often one was not written when its session ended, and moved to another.
    pub moved: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    answered: AtomicU64,
    errors: AtomicU64,
    timeouts: AtomicU64,
    lost: AtomicU64,
    unsent: AtomicU64,
    abandoned: AtomicU64,
    moved: AtomicU64,
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    pub(super) fn snapshot(&self) -> Outcomes {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Outcomes {
            answered: read(&self.answered),
            errors: read(&self.errors),
            timeouts: read(&self.timeouts),
            lost: read(&self.lost),
            unsent: read(&self.unsent),
            abandoned: read(&self.abandoned),
            moved: read(&self.moved),
        }
    }

    pub(super) fn moved(&self) {
        add(&self.moved);
    }

    /// Counts one request, which ends by [`Asking::settle`] or by being dropped.
    pub(super) fn ask(&self) -> Asking<'_> {
        Asking(Some(self))
    }

    fn of(&self, error: &CallError) -> &AtomicU64 {
        match error {
            CallError::Application(_) => &self.errors,
            CallError::Timeout(_) => &self.timeouts,
            CallError::Disconnected(_) | CallError::Overrun(_) | CallError::Unreadable(_) => {
                &self.lost
            }
            CallError::NotSent(_)
            | CallError::NoSession { .. }
            | CallError::Busy(_)
            | CallError::TooLarge { .. }
            | CallError::InvalidUri { .. }
            | CallError::InvalidOption(_)
            | CallError::Encode(_) => &self.unsent,
        }
    }
}

/// A request under way.
pub(super) struct Asking<'a>(Option<&'a Counters>);

impl Asking<'_> {
    pub(super) fn settle<T>(mut self, outcome: Result<T, CallError>) -> Result<T, CallError> {
        if let Some(counters) = self.0.take() {
            add(match &outcome {
                Ok(_) => &counters.answered,
                Err(error) => counters.of(error),
            });
        }
        outcome
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(counters) = self.0 {
            add(&counters.abandoned);
        }
    }
}
