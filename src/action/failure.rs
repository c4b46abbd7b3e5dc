//! What `action.error` shows: a callee's error, or a failure of our own in the same shape.
//!
//! Reference: `api-spec.md`, "Status of an error".

use std::time::Duration;

use indexmap::IndexMap;

use crate::value::{Map, Value};
use crate::wamp::error::CallError;

/// A deadline of ours passed.
const TIMEOUT: &str = "bondy.error.timeout";
/// No session, a full pool, or an answer that cannot be encoded.
const BAD_GATEWAY: &str = "bondy.error.bad_gateway";
/// We canceled the call.
const CANCELED: &str = "wamp.error.canceled";
/// The session was lost while the call was out, or its answer cannot be read.
const NETWORK_FAILURE: &str = "wamp.error.network_failure";
/// A URI that may not be sent.
const INVALID_URI: &str = "wamp.error.invalid_uri";
/// An option or argument that may not be sent.
const INVALID_ARGUMENT: &str = "wamp.error.invalid_argument";

/// A message beyond what the router takes.
const PAYLOAD_SIZE_EXCEEDED: &str = "wamp.error.payload_size_exceeded";

/// An action that was tried and failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The error URI, a callee's or one of ours.
    pub error_uri: String,
    /// The callee's `details`; empty for our own.
    pub details: Map,
    /// The callee's positional arguments; empty for our own.
    pub args: Vec<Value>,
    /// The callee's named arguments; `message` and `description` for our own.
    pub kwargs: Map,
    /// Whether the gateway itself says so: then `kwargs` may be shown where no template decides.
    pub own: bool,
}

/// How far an action that failed has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The callee or the router answered with an error.
    Answered,
    /// Its deadline passed.
    Timeout,
    /// It was sent, and then the session ended, or the answer was of no use.
    Lost,
    /// It was not sent.
    Unsent,
}

impl Failure {
    /// Returns how far the action has got.
    pub fn reach(&self) -> Reach {
        match &*self.error_uri {
            _ if !self.own => Reach::Answered,
            TIMEOUT => Reach::Timeout,
            NETWORK_FAILURE | CANCELED => Reach::Lost,
            _ => Reach::Unsent,
        }
    }

    /// Builds a failure of the gateway's own.
    pub fn own(error_uri: &str, message: &str, description: impl Into<String>) -> Self {
        let kwargs = Map::from_iter([
            ("message".to_owned(), Value::from(message)),
            ("description".to_owned(), Value::from(description.into())),
        ]);
        Self {
            error_uri: error_uri.to_owned(),
            details: Map::new(),
            args: Vec::new(),
            kwargs,
            own: true,
        }
    }

    /// A URI that may not be sent.
    pub fn invalid_uri(description: impl Into<String>) -> Self {
        Self::own(INVALID_URI, "The URI is not a valid WAMP URI.", description)
    }

    /// An option or argument that may not be sent.
    pub fn invalid_argument(description: impl Into<String>) -> Self {
        Self::own(
            INVALID_ARGUMENT,
            "An argument or option is invalid.",
            description,
        )
    }

    /// The deadline passed.
    pub fn timeout(deadline: Duration) -> Self {
        Self::own(
            TIMEOUT,
            "The service did not answer in time.",
            format!("There was no answer within {} ms.", deadline.as_millis()),
        )
    }

    /// No session, a full pool, or an answer that cannot be encoded.
    pub fn bad_gateway(description: impl Into<String>) -> Self {
        Self::own(
            BAD_GATEWAY,
            "The service cannot be reached at the moment.",
            description,
        )
    }

    /// The session was lost while the call was out.
    pub fn network_failure() -> Self {
        Self::own(
            NETWORK_FAILURE,
            "The connection to the service was lost.",
            "The connection was lost before the answer came; the call may have been executed.",
        )
    }

    /// What a call or publish that failed shows.
    pub(super) fn from_call(error: CallError) -> Self {
        match error {
            CallError::Application(error) => {
                let (args, kwargs) = error.payload.into_parts();
                Self {
                    error_uri: error.uri,
                    details: error.details,
                    args,
                    kwargs,
                    own: false,
                }
            }
            CallError::Timeout(deadline) => Self::timeout(deadline),
            CallError::Overrun(_) => Self::own(
                CANCELED,
                "The call was canceled.",
                "Its progressive results came faster than they were read.",
            ),
            CallError::Disconnected(_) => Self::network_failure(),
            CallError::Unreadable(_) => Self::own(
                NETWORK_FAILURE,
                "The answer of the service cannot be read.",
                "The call has been executed, but its answer is not one that can be passed on.",
            ),
            CallError::NotSent(_) | CallError::NoSession { .. } => {
                Self::bad_gateway("There is no session with the router.")
            }
            CallError::Busy(_) => Self::bad_gateway("Too many calls wait for the router already."),
            CallError::TooLarge { bytes, limit } => Self::own(
                PAYLOAD_SIZE_EXCEEDED,
                "The message is larger than the router takes.",
                format!("The message would have {bytes} bytes, the limit is {limit}."),
            ),
            CallError::InvalidUri { source, .. } => Self::invalid_uri(source.to_string()),
            CallError::InvalidOption(error) => Self::invalid_argument(error.to_string()),
            CallError::Encode(error) => {
                Self::invalid_argument(format!("The arguments cannot be sent: {error}."))
            }
        }
    }

    /// Returns the status by the table, where no template decides.
    pub fn status(&self, status_codes: &IndexMap<String, u16>) -> u16 {
        status_codes.get(&self.error_uri).copied().unwrap_or(500)
    }

    /// Returns what the context's `action` shows: `error`, with everything of it inside.
    ///
    /// A callee's details and arguments, which may be large, move there; what is left still words
    /// a problem.
    pub fn take_action(&mut self, status_codes: &IndexMap<String, u16>) -> Value {
        let kwargs = if self.own {
            self.kwargs.clone()
        } else {
            std::mem::take(&mut self.kwargs)
        };
        let error = Map::from_iter([
            ("error_uri".to_owned(), self.error_uri.as_str().into()),
            (
                "details".to_owned(),
                std::mem::take(&mut self.details).into(),
            ),
            ("args".to_owned(), std::mem::take(&mut self.args).into()),
            ("kwargs".to_owned(), kwargs.into()),
            (
                "status_code".to_owned(),
                i64::from(self.status(status_codes)).into(),
            ),
        ]);
        Map::from_iter([("error".to_owned(), error.into())]).into()
    }
}
