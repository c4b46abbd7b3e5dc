//! Requests that were checked and are ready to be queued, at whichever session.

use std::time::Duration;

use tokio::time::Instant;

use crate::uri::{Uri, UriCheck, UriPattern};
use crate::value::{Map, Value};
use crate::wamp::client::{Call, CallResult, Originator, Publish};
use crate::wamp::error::CallError;
use crate::wamp::id::{PublicationId, RequestId};
use crate::wamp::message::Message;
use crate::wamp::options;
use crate::wamp::session::{self, Answer, FORWARD_FOR};

/// Until the task fills it in.
pub(super) const UNSET: RequestId = RequestId(0);

/// Checks what a `Uri` does not promise by itself.
fn check_uri(uri: &Uri, check: UriCheck) -> Result<(), CallError> {
    match check {
        // A `Uri` is that by itself.
        UriCheck::Loose => Ok(()),
        UriCheck::Strict => match Uri::parse(uri.as_str(), check) {
            Ok(_) => Ok(()),
            Err(source) => Err(CallError::InvalidUri {
                uri: uri.to_string(),
                source,
            }),
        },
    }
}

/// Checks what a `UriPattern` does not promise by itself.
pub(crate) fn check_pattern(pattern: &UriPattern, check: UriCheck) -> Result<(), CallError> {
    match UriPattern::parse(pattern.as_str(), pattern.policy(), check) {
        Ok(_) => Ok(()),
        Err(source) => Err(CallError::InvalidUri {
            uri: pattern.to_string(),
            source,
        }),
    }
}

/// Says whom a request is made for. The session is filled in by whoever writes it.
fn forward_for(options: &mut Map, originator: Option<Originator>) {
    if let Some(Originator { authid, authrole }) = originator {
        let originator = Map::from([
            ("session".to_owned(), Value::Null),
            ("authid".to_owned(), authid.into()),
            ("authrole".to_owned(), authrole.into()),
        ]);
        let originators = vec![Value::Map(originator)];
        options.insert(FORWARD_FOR.to_owned(), Value::List(originators));
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
        let deadline = Deadline::after(call.deadline());
        let Call {
            procedure,
            mut options,
            payload,
            timeout: _,
            on_behalf_of,
            cancel: _,
        } = call;
        check_uri(&procedure, check)?;
        options::check(&options, options::CALL)?;
        // It is told to the dealer by whoever writes the call: how much is left is known there,
        // and whether the dealer understands it.
        options.shift_remove("timeout");
        forward_for(&mut options, on_behalf_of);
        Ok(Self {
            message: Message::Call {
                request: UNSET,
                options,
                procedure: procedure.to_string(),
                payload,
            },
            deadline,
        })
    }

    /// Returns the request, whose deadline is that of the whole, and the longest wait for each
    /// result.
    pub(crate) fn progressive_call(
        mut call: Call,
        total: Option<Duration>,
        check: UriCheck,
    ) -> Result<(Self, Duration), CallError> {
        options::check(&call.options, options::CALL)?;
        let gap = call.deadline();
        call.options.shift_remove("timeout");
        call.timeout = total.unwrap_or(Duration::MAX);
        let mut prepared = Self::call(call, check)?;
        if let Message::Call { options, .. } = &mut prepared.message {
            options.insert("receive_progress".to_owned(), Value::Bool(true));
        }
        Ok((prepared, gap))
    }

    /// Returns the request, and whether the broker is asked to acknowledge it.
    pub(crate) fn publish(publish: Publish, check: UriCheck) -> Result<(Self, bool), CallError> {
        let Publish {
            topic,
            mut options,
            payload,
            timeout,
            on_behalf_of,
        } = publish;
        check_uri(&topic, check)?;
        options::check(&options, options::PUBLISH)?;
        let acknowledge = options
            .entry("acknowledge".to_owned())
            .or_insert(Value::Bool(true))
            .as_bool()
            .unwrap_or(true);
        forward_for(&mut options, on_behalf_of);
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
