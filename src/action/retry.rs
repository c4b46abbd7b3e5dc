//! Which failures are tried again, how often and how long.
//!
//! One question decides: may the callee have run? What certainly reached none is repeated whatever
//! the operation does; what may have is repeated only where the spec says that it may run twice
//! (`idempotent`), and a publish never is, since nobody can tell two events of one cause from two.
//!
//! Nothing is repeated at once. The waits double and are drawn from the upper half of their range:
//! whatever fails together comes back spread out, and not before anything can have changed. They
//! end with `retries`, with `retry_timeout`, with the deadline of the whole, or with the budget of
//! the realm ([`RetryBudget`](crate::wamp::pool::RetryBudget)), whichever is first; what the last
//! attempt met is the outcome.
//!
//! Reference: `api-spec.md`, "Operation object"; `wamp.md`, "Rules that follow for our client".

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::wamp::error::{ApplicationError, CallError, SessionError, chain, uris};
use crate::wamp::pool::Pool;

/// The longest wait before the first repeat; each later one may be twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// How a call or publish is repeated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retry {
    /// Most repeats.
    pub(super) retries: u32,
    /// Longest wait between attempts, in all.
    pub(super) retry_timeout: Duration,
    /// Whether it may run twice.
    pub(super) may_run_twice: bool,
}

/// How long one attempt may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Longest wait for the answer.
    pub(super) timeout: Duration,
    /// Longest wait for a session that is ready.
    pub(super) connect_timeout: Duration,
}

/// What an error says about the callee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// No callee has run, and the next time one may.
    Nobody,
    /// One may have run, wholly or in part.
    Perhaps,
    /// It ran, or it will never run: there is nothing to be gained.
    Final,
}

impl Retry {
    /// Sends `request` with `send` until it succeeds or may not be repeated. `limits` hold for the
    /// whole: each attempt gets what is left of them, and is told how many there were before.
    ///
    /// # Errors
    ///
    /// What the last attempt met.
    pub(super) async fn run<R, T, F>(
        self,
        request: R,
        limits: Limits,
        pool: &Pool,
        send: impl Fn(R, Limits, u32) -> F,
    ) -> Result<T, CallError>
    where
        R: Clone,
        F: Future<Output = Result<T, CallError>>,
    {
        let budget = pool.retry_budget();
        budget.count_call();
        let began = Instant::now();
        let left = || limits.timeout.saturating_sub(began.elapsed());
        // One deadline for the whole, whichever attempt it ends.
        let of_the_whole = |error| match error {
            CallError::Timeout(_) => CallError::Timeout(limits.timeout),
            other => other,
        };
        let mut this = limits;
        let mut patience = self.retry_timeout;
        for number in 0..self.retries {
            let error = match send(request.clone(), this, number).await {
                Ok(answer) => return Ok(answer),
                Err(error) => of_the_whole(error),
            };
            // Waiting for a session is waiting too; the first attempt has `connect_timeout` for it.
            if number > 0
                && let CallError::NoSession { waited, .. } = &error
            {
                patience = patience.saturating_sub(*waited);
            }
            let wait = jittered(number, fastrand::f64()).min(patience);
            if !self.repeats(&error) || wait.is_zero() || wait >= left() {
                return Err(error);
            }
            let (realm, cause) = (pool.realm(), chain(&error));
            if !budget.take() {
                tracing::debug!(realm.uri = %realm, cause, "not repeated: the budget is used up");
                return Err(error);
            }
            tracing::debug!(realm.uri = %realm, cause, ?wait, "repeated after a wait");
            sleep(wait).await;
            patience -= wait;
            this = Limits {
                timeout: left(),
                connect_timeout: limits.connect_timeout.min(patience),
            };
        }
        send(request, this, self.retries)
            .await
            .map_err(of_the_whole)
    }

    fn repeats(self, error: &CallError) -> bool {
        match reach(error) {
            Reach::Nobody => true,
            Reach::Perhaps => self.may_run_twice,
            Reach::Final => false,
        }
    }
}

/// Returns the wait before repeat `number`, counted from 0; `random` is from 0 up to 1.
fn jittered(number: u32, random: f64) -> Duration {
    let factor = 1_u32.checked_shl(number).unwrap_or(u32::MAX);
    let ceiling = FIRST_WAIT.saturating_mul(factor);
    ceiling.mul_f64(0.5 + random / 2.0)
}

fn reach(error: &CallError) -> Reach {
    match error {
        // The pool is being drained: there will be no session any more.
        CallError::NoSession {
            cause: Some(SessionError::Closed),
            ..
        } => Reach::Final,
        CallError::NoSession { .. } | CallError::NotSent(_) | CallError::Busy(_) => Reach::Nobody,
        CallError::Disconnected(_) => Reach::Perhaps,
        CallError::Application(error) => answered(error),
        // The deadline is that of all attempts; and what answered has run, and would again.
        CallError::Timeout(_) | CallError::Unreadable(_) | CallError::Overrun(_) => Reach::Final,
        // They would be refused again.
        CallError::TooLarge { .. }
        | CallError::InvalidUri { .. }
        | CallError::InvalidOption(_)
        | CallError::Encode(_) => Reach::Final,
    }
}

/// Tells the few errors that a dealer says by itself about a missing callee from those of callees,
/// which are answers. `wamp.` is reserved for the protocol, so a callee has no business to use
/// these names; where the router names the callee that the error came from (Crossbar.io does), one
/// that does (most often by passing on what a call of its own met) is found out. Elsewhere it is not,
/// and nothing in the message could tell: `docs/spec-format.md` warns of it.
///
/// Reference: WAMP Basic Profile, "URIs", "Predefined URIs"; Advanced Profile, "Call Re-Routing".
fn answered(error: &ApplicationError) -> Reach {
    if error.details.contains_key("callee") {
        return Reach::Final;
    }
    match &*error.uri {
        uris::NO_SUCH_PROCEDURE | uris::NO_ELIGIBLE_CALLEE | uris::NO_AVAILABLE_CALLEE => {
            Reach::Nobody
        }
        // The callee went away with the call, or the way to it did. We ourselves cancel only what
        // nobody waits for any more.
        uris::CANCELED | uris::NETWORK_FAILURE => Reach::Perhaps,
        _ => Reach::Final,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Map, Value};

    #[test]
    fn a_wait_doubles_and_is_from_the_upper_half() {
        let millis = |number, random| jittered(number, random).as_millis();
        assert_eq!(millis(0, 0.0), 50);
        assert_eq!(millis(0, 1.0), 100);
        assert_eq!(millis(3, 0.0), 400);
        assert_eq!(millis(3, 1.0), 800);
        assert!(millis(99, 1.0) > 1_000_000);
    }

    #[test]
    fn only_what_reached_nobody_is_repeated_for_any_operation() {
        let answered = |uri: &str| reach(&CallError::Application(Box::new(error(uri))));
        for uri in [
            "wamp.error.no_such_procedure",
            "wamp.error.no_eligible_callee",
            "wamp.error.no_available_callee",
        ] {
            assert_eq!(answered(uri), Reach::Nobody, "{uri}");
        }
        for uri in ["wamp.error.canceled", "wamp.error.network_failure"] {
            assert_eq!(answered(uri), Reach::Perhaps, "{uri}");
        }
        for uri in [
            "com.example.error.sold_out",
            "wamp.error.runtime_error",
            "wamp.error.timeout",
            "wamp.error.not_authorized",
            "wamp.error.unavailable",
        ] {
            assert_eq!(answered(uri), Reach::Final, "{uri}");
        }
        let busy = CallError::Busy(1);
        assert_eq!(reach(&busy), Reach::Nobody);
        let lost = CallError::Disconnected(SessionError::Dropped);
        assert_eq!(reach(&lost), Reach::Perhaps);
        let no_session = |cause| CallError::NoSession {
            waited: Duration::ZERO,
            cause,
        };
        assert_eq!(reach(&no_session(None)), Reach::Nobody);
        assert_eq!(reach(&no_session(Some(SessionError::Closed))), Reach::Final);
        assert_eq!(reach(&CallError::Timeout(Duration::ZERO)), Reach::Final);
    }

    #[test]
    fn an_error_that_names_its_callee_is_that_callees_answer() {
        let mut error = error("wamp.error.no_such_procedure");
        error
            .details
            .insert("callee".to_owned(), Value::from(7_u64));
        let error = CallError::Application(Box::new(error));
        assert_eq!(reach(&error), Reach::Final);
    }

    fn error(uri: &str) -> ApplicationError {
        ApplicationError::new(uri, Vec::new(), Map::new())
    }
}
