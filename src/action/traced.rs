//! What the other side is told of a request, and what its trace says of each attempt.
//!
//! WAMP has no place of its own for either, so they are custom attributes of the options:
//! `_traceparent`, `_tracestate` and `_request_id`. Routers may pass them on to callees and
//! subscribers, and those that do not know how drop them; one that takes offence is told nothing
//! (`pass_on` of its realm).
//!
//! Each attempt has a span of its own: what was tried in vain took its time too, and what a callee
//! does is below the attempt that reached it.
//!
//! Reference: WAMP Basic Profile, "Extensibility"; W3C Trace Context, Level 1.

use super::Request;
use crate::telemetry::traces::AttemptSpan;
use crate::value::Map;
use crate::wamp::config::PassOn;
use crate::wamp::error::CallError;

/// The trace, and the span that the callee's own is below: as the HTTP header of this name.
const TRACEPARENT: &str = "_traceparent";
/// What tracing systems keep for themselves: as the HTTP header of this name.
const TRACESTATE: &str = "_tracestate";
/// The id that the client has in `x-request-id`, and our log in each line.
const REQUEST_ID: &str = "_request_id";

/// Tells an attempt's options what the realm's router is to pass on.
pub(super) fn tell(options: &mut Map, pass_on: PassOn, request: &Request<'_>, span: &AttemptSpan) {
    if pass_on.request_id {
        options.insert(REQUEST_ID.to_owned(), request.id.into());
    }
    if pass_on.trace_context
        && let Some((parent, state)) = span.context()
    {
        options.insert(TRACEPARENT.to_owned(), parent.to_string().into());
        if let Some(state) = state {
            options.insert(TRACESTATE.to_owned(), state.into());
        }
    }
}

/// Ends an attempt's span as the attempt ended.
pub(super) fn end<T>(span: AttemptSpan, outcome: &Result<T, CallError>) {
    match outcome {
        Ok(_) => span.succeeded(),
        Err(CallError::Application(error)) => span.answered(&error.uri),
        Err(CallError::Timeout(_)) => span.failed("timeout"),
        Err(CallError::Unreadable(_)) => span.failed("unreadable"),
        Err(CallError::Overrun(_)) => span.failed("overrun"),
        Err(CallError::Disconnected(_)) => span.failed("disconnected"),
        Err(CallError::NotSent(_) | CallError::NoSession { .. }) => span.failed("no_session"),
        Err(CallError::Busy(_)) => span.failed("busy"),
        Err(
            CallError::TooLarge { .. }
            | CallError::InvalidUri { .. }
            | CallError::InvalidOption(_)
            | CallError::Encode(_),
        ) => span.failed("invalid"),
    }
}
