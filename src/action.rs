//! Does what a route says: calls, publishes, or answers by itself.
//!
//! An action knows nothing of HTTP. It evaluates its templates, checks what it may not send, and
//! yields what `action.result` shows to the response's templates, or a [`Failure`], which they see
//! as `action.error`. Read `action/wamp_call.rs` next, `action/outgoing.rs` for what it shares with
//! a publish, `action/retry.rs` for what is tried again, and `action/traced.rs` for what is told of
//! it.

mod fixed;
mod failure;
mod outgoing;
mod retry;
mod traced;
mod wamp_call;
mod wamp_publish;

pub use failure::{Failure, Reach};

use crate::mops::{self, Context};
use crate::spec::{Action, Operation};
use crate::telemetry::traces::RequestTrace;
use crate::value::Map;
use crate::wamp::pool::Pools;

/// Why an action yielded nothing.
#[derive(Debug)]
pub enum ActionError {
    /// One of its templates failed: nothing has been sent, and `on_error` does not see it.
    Template(mops::Error),
    /// The action was tried and failed.
    Failed(Box<Failure>),
}

impl From<mops::Error> for ActionError {
    fn from(error: mops::Error) -> Self {
        Self::Template(error)
    }
}

impl From<Failure> for ActionError {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

/// The request that an action is for, as far as others are told of it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'r> {
    /// Its id.
    pub id: &'r str,
    /// Where in a trace it stands.
    pub trace: &'r RequestTrace,
}

/// A request that nobody knows and that is part of no trace.
impl Default for Request<'_> {
    fn default() -> Self {
        static UNTRACED: RequestTrace = RequestTrace::NONE;
        Self {
            id: "",
            trace: &UNTRACED,
        }
    }
}

/// Runs the operation's action and returns what `action.result` is.
///
/// # Errors
///
/// [`ActionError`].
///
/// # Cancel safety
///
/// Dropping the future cancels a call at the router. A publish that was written stays published.
pub async fn run(
    operation: &Operation,
    context: &Context<'_>,
    pools: &Pools,
    request: &Request<'_>,
) -> Result<Map, ActionError> {
    match &operation.action {
        Action::None => Ok(Map::new()),
        Action::WampCall(action) => {
            wamp_call::run(action, operation, context, pools, request).await
        }
        Action::WampPublish(action) => {
            wamp_publish::run(action, operation, context, pools, request).await
        }
        Action::Static { body, headers } => fixed::run(body, headers, context),
    }
}
