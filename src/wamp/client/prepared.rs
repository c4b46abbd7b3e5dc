//! Requests that were checked and are ready to be queued, at whichever session.

use std::time::Duration;

use tokio::time::Instant;

use crate::uri::{Uri, UriCheck};
use crate::value::Value;
use crate::wamp::client::{Call, CallResult, Publish};
use crate::wamp::error::CallError;
use crate::wamp::id::{PublicationId, RequestId};
use crate::wamp::message::Message;
use crate::wamp::options;
use crate::wamp::session::{self, Answer};

/// Until the task fills it in.
pub(super) const UNSET: RequestId = RequestId(0);

/// Checks what a `Uri` does not promise by itself.
pub(super) fn check_uri(uri: &Uri, check: UriCheck) -> Result<(), CallError> {
    match check {
        // A `Uri` is that by itself.
        UriCheck::Loose => Ok(()),
        UriCheck::Strict => {
            Uri::parse(uri.as_str(), check).map_err(|source| CallError::InvalidUri {
                uri: uri.to_string(),
                source,
            })?;
            Ok(())
        }
    }
}

/// When to give up, and how long that was from the start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) given: Duration,
}

impl Deadline {
    pub(crate) fn after(given: Duration) -> Self {
        Self {
            at: session::after(given),
            given,
        }
    }
}

/// A request that was checked.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) message: Message,
    pub(crate) deadline: Deadline,
}

impl Prepared {
    pub(crate) fn call(call: Call, check: UriCheck) -> Result<Self, CallError> {
        let Call {
            procedure,
            mut options,
            payload,
            mut timeout,
        } = call;
        check_uri(&procedure, check)?;
        options::check(&options, options::CALL)?;
        // It is told to the dealer by whoever writes the call: how much is left is known there,
        // and whether the dealer understands it. 0 means "no timeout" in the specification.
        if let Some(limit) = options
            .shift_remove("timeout")
            .as_ref()
            .and_then(Value::as_u64)
            && limit > 0
        {
            timeout = timeout.min(Duration::from_millis(limit));
        }
        Ok(Self {
            message: Message::Call {
                request: UNSET,
                options,
                procedure: procedure.to_string(),
                payload,
            },
            deadline: Deadline::after(timeout),
        })
    }

    /// Returns the request, and whether the broker is asked to acknowledge it.
    pub(crate) fn publish(publish: Publish, check: UriCheck) -> Result<(Self, bool), CallError> {
        let Publish {
            topic,
            mut options,
            payload,
            timeout,
        } = publish;
        check_uri(&topic, check)?;
        options::check(&options, options::PUBLISH)?;
        let acknowledge = options
            .entry("acknowledge".to_owned())
            .or_insert(Value::Bool(true))
            .as_bool()
            .unwrap_or(true);
        let prepared = Self {
            message: Message::Publish {
                request: UNSET,
                options,
                topic: topic.to_string(),
                payload,
            },
            deadline: Deadline::after(timeout),
        };
        Ok((prepared, acknowledge))
    }
}

pub(crate) fn call_result(answer: Answer) -> Result<CallResult, CallError> {
    match answer {
        Answer::Result {
            request,
            details,
            payload,
        } => Ok(CallResult {
            request,
            details,
            payload,
        }),
        Answer::Error(error) => Err(CallError::Application(error)),
        _ => unreachable!("the state machine pairs CALL with RESULT"),
    }
}

pub(crate) fn publication(answer: Answer) -> Result<Option<PublicationId>, CallError> {
    match answer {
        Answer::Published(id) => Ok(Some(id)),
        Answer::Unacknowledged => Ok(None),
        Answer::Error(error) => Err(CallError::Application(error)),
        _ => unreachable!("the state machine pairs PUBLISH with PUBLISHED"),
    }
}
