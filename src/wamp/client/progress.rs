//! A call whose result comes in parts.

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until};

use crate::wamp::client::CallResult;
use crate::wamp::error::CallError;
use crate::wamp::session::{self, Part, ProgressSink, ProgressSource};

/// What a progressive call may take, beside the wait for each result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgressLimits {
    /// So many progressive results wait for their reader; at least 1. One more cancels the call.
    pub queue: usize,
    /// So many bytes of them, as they came in; the first always has room.
    pub queue_bytes: usize,
    /// The deadline of the whole. `None`: it may go on as long as results come.
    pub total: Option<Duration>,
}

impl Default for ProgressLimits {
    fn default() -> Self {
        Self {
            queue: 64,
            queue_bytes: 16 * 1024 * 1024,
            total: None,
        }
    }
}

/// What a progressive call brings.
#[derive(Debug, Clone, PartialEq)]
pub enum CallStep {
    /// A part of the result; more is to come.
    Progress(CallResult),
    /// The final result.
    Result(CallResult),
}

type Outcome = Result<CallResult, CallError>;

/// A call whose result comes in parts: a stream of progressive results, and at its end the final
/// result or the error.
///
/// The call is made by the first [`next`](Self::next). Its `timeout` runs from there to the first
/// result, and from each result to the one after it. A reader who is slower than the callee has the
/// room that [`ProgressLimits`] give; beyond it the call is canceled and ends, after what
/// has come, with [`CallError::Overrun`]. A callee that knows nothing of progress gives the final
/// result only.
///
/// Dropping it gives the call up as [`Client::call`](crate::wamp::client::Client::call) does.
pub struct ProgressiveCall {
    /// The call, until it is settled.
    call: Option<BoxFuture<'static, Outcome>>,
    parts: ProgressSource,
    gap: Duration,
    /// When the next result is due; none before the first poll.
    due: Option<Instant>,
    /// What is told when all parts have been.
    outcome: Option<Outcome>,
}

impl fmt::Debug for ProgressiveCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgressiveCall")
            .field("is_settled", &self.call.is_none())
            .field("waiting", &self.parts.queue.len())
            .finish_non_exhaustive()
    }
}

impl ProgressiveCall {
    /// Prepares a call that `make` makes, with where its progressive results go.
    pub(crate) fn new(
        gap: Duration,
        limits: ProgressLimits,
        make: impl FnOnce(ProgressSink) -> BoxFuture<'static, Outcome>,
    ) -> Self {
        let (sink, parts) = session::progress_queue(limits.queue, limits.queue_bytes);
        Self {
            call: Some(make(sink)),
            parts,
            gap,
            due: None,
            outcome: None,
        }
    }

    /// Waits for the next result. `None` follows the final result or the error.
    ///
    /// # Errors
    ///
    /// See [`CallError`]. It is the end: the call is settled or canceled.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a result is either returned or still to come.
    pub async fn next(&mut self) -> Option<Result<CallStep, CallError>> {
        if let Some(call) = &mut self.call {
            let due = *self.due.get_or_insert_with(|| session::after(self.gap));
            let outcome = tokio::select! {
                // First what has come: a reader who was away for long is told of it, and only of
                // what is missing then that it is late.
                biased;
                Some(part) = self.parts.queue.recv() => return Some(Ok(self.step(part))),
                outcome = call => outcome,
                () = sleep_until(due) => Err(CallError::Timeout(self.gap)),
            };
            self.call = None;
            self.outcome = Some(outcome);
        }
        // No more will come, but some may have come with the outcome.
        match self.parts.queue.try_recv() {
            Ok(part) => Some(Ok(self.step(part))),
            Err(_) => Some(self.outcome.take()?.map(CallStep::Result)),
        }
    }

    fn step(&mut self, part: Part) -> CallStep {
        self.parts.taken(&part);
        let Part {
            at,
            bytes: _,
            request,
            details,
            payload,
        } = part;
        self.due = at.checked_add(self.gap).or(self.due);
        CallStep::Progress(CallResult {
            request,
            details,
            payload,
        })
    }
}
