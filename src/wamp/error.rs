//! What can go wrong between us and a router, for those who ask and for those who watch.
//!
//! Two questions decide how these are cut: may the callee have run, and may the request be tried
//! again elsewhere. A caller sees a [`CallError`]; what ended a session is a [`SessionError`].

use std::sync::Arc;
use std::time::Duration;

use crate::uri::UriError;
use crate::value::{Map, Value};
use crate::wamp::auth::AuthError;
use crate::wamp::message::Payload;
use crate::wamp::options::OptionError;
use crate::wamp::serializer::{DecodeError, EncodeError};
use crate::wamp::transport::{ConnectError, TransportError};

/// Error URIs that this program itself says or looks at.
pub mod uris {
    /// The invocation was interrupted, or the call canceled.
    pub const CANCELED: &str = "wamp.error.canceled";
    /// The way to the callee was lost.
    pub const NETWORK_FAILURE: &str = "wamp.error.network_failure";
    /// Nobody has registered the procedure.
    pub const NO_SUCH_PROCEDURE: &str = "wamp.error.no_such_procedure";
    /// Those who have registered it may not be called by this caller.
    pub const NO_ELIGIBLE_CALLEE: &str = "wamp.error.no_eligible_callee";
    /// Those who have registered it cannot take the invocation now.
    pub const NO_AVAILABLE_CALLEE: &str = "wamp.error.no_available_callee";
    /// The callee cannot take the invocation now.
    pub const UNAVAILABLE: &str = "wamp.error.unavailable";
    /// No such registration, at this callee or at this dealer.
    pub const NO_SUCH_REGISTRATION: &str = "wamp.error.no_such_registration";
    /// Somebody else has registered the procedure, and does not share it.
    pub const PROCEDURE_ALREADY_EXISTS: &str = "wamp.error.procedure_already_exists";
    /// The callee failed in a way that it does not name.
    pub const RUNTIME_ERROR: &str = "wamp.error.runtime_error";
    /// What was to be sent is larger than the transport takes.
    pub const PAYLOAD_SIZE_EXCEEDED: &str = "wamp.error.payload_size_exceeded";
    /// The router has no such realm.
    pub const NO_SUCH_REALM: &str = "wamp.error.no_such_realm";
    /// Answers a GOODBYE.
    pub const GOODBYE_AND_OUT: &str = "wamp.close.goodbye_and_out";
    /// The reason of a GOODBYE that nobody asked for.
    pub const CLOSE_NORMAL: &str = "wamp.close.normal";
    /// Says that a peer broke the protocol.
    pub const PROTOCOL_VIOLATION: &str = "wamp.error.protocol_violation";
}

/// Why a request (a call, a publish, a subscription, a registration) brought no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The peer answered ERROR: the callee, or the router on its own. Not a fault of ours.
    #[error("answered with {}", .0.uri)]
    Application(Box<ApplicationError>),
    /// No answer within the deadline (given). Canceled at the router where it can; a late answer
    /// is dropped. The callee may have run.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// There is an answer, but not one that can be read. The callee has run.
    #[error("the answer cannot be read")]
    Unreadable(#[source] DecodeError),
    /// Progressive results came faster than they were taken: so many (given) waited already. The
    /// call has been canceled as after [`Timeout`](Self::Timeout).
    #[error("progressive results come faster than they are taken: {0} wait already")]
    Overrun(usize),
    /// The session ended after the request was written. The callee may have run: repeat only what
    /// is idempotent.
    #[error("session lost before the answer")]
    Disconnected(#[source] SessionError),
    /// The session ended before the request was written. Nobody saw it: it may go to another
    /// session. A pool does that by itself, so its callers do not meet this.
    #[error("session ended before the request was sent")]
    NotSent(#[source] SessionError),
    /// No session was ready in time. Nobody saw the request. Holds why the last one failed.
    #[error("no session was ready within {:?}", to_millis(*.waited))]
    NoSession {
        /// How long was waited.
        waited: Duration,
        /// Why there is no session, where that is known.
        #[source]
        cause: Option<SessionError>,
    },
    /// As many requests as allowed (given, for one session) wait for their answer. Nobody saw this
    /// one.
    #[error("{0} requests are waiting already")]
    Busy(usize),
    /// The encoded message exceeds the limit. It was not written.
    #[error("a message of {bytes} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// What it takes.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// A procedure or topic that may not be sent: some routers end the session over one.
    #[error("`{uri}` is not a URI that may be sent")]
    InvalidUri {
        /// The text.
        uri: String,
        /// What is wrong with it.
        #[source]
        source: UriError,
    },
    /// An option that may not be sent, for the same reason.
    #[error(transparent)]
    InvalidOption(#[from] OptionError),
    /// The payload holds what the session's serializer cannot carry. It was not written.
    #[error("the message cannot be encoded")]
    Encode(#[source] EncodeError),
}

impl CallError {
    /// Returns whether nobody but us has seen the request, so that it may be repeated whatever it
    /// does.
    pub fn was_not_sent(&self) -> bool {
        match self {
            CallError::NotSent(_)
            | CallError::NoSession { .. }
            | CallError::Busy(_)
            | CallError::TooLarge { .. }
            | CallError::InvalidUri { .. }
            | CallError::InvalidOption(_)
            | CallError::Encode(_) => true,
            CallError::Application(_)
            | CallError::Timeout(_)
            | CallError::Unreadable(_)
            | CallError::Overrun(_)
            | CallError::Disconnected(_) => false,
        }
    }
}

/// An ERROR: what a callee raises, what a caller is answered.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ApplicationError {
    /// The error's URI. As it came: some routers send what is no URI.
    pub uri: String,
    /// What the router adds; a callee's own are mostly dropped on the way.
    pub details: Map,
    /// Its arguments.
    pub payload: Payload,
}

impl ApplicationError {
    /// Builds an error with arguments.
    pub fn new(uri: &str, args: Vec<Value>, kwargs: Map) -> Self {
        Self {
            uri: uri.to_owned(),
            details: Map::new(),
            payload: Payload::new(args, kwargs),
        }
    }

    /// Builds an error whose only argument is a message for people.
    pub fn with_message(uri: &str, message: &str) -> Self {
        Self::new(uri, vec![message.into()], Map::new())
    }
}

/// Why a session was not opened, or ended. Cheap to clone: everyone who waited gets one.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SessionError {
    /// No address is configured.
    #[error("no address of a router is configured")]
    NoAddress,
    /// No connection to the router.
    #[error("cannot connect to {endpoint}")]
    Connect {
        /// Where, without secrets.
        endpoint: String,
        /// Why.
        #[source]
        source: Arc<ConnectError>,
    },
    /// There is a connection, but no session within the time given.
    #[error("the router did not answer HELLO within {0:?}")]
    JoinTimeout(Duration),
    /// The router refused the session, or aborted it later.
    #[error("aborted by the router: {reason}{}", suffix(.message))]
    Abort {
        /// The reason's URI, as it came.
        reason: String,
        /// What the router adds for people.
        message: Option<String>,
    },
    /// The router's challenge could not be answered.
    #[error("cannot authenticate")]
    Auth(#[from] AuthError),
    /// The router sent GOODBYE.
    #[error("ended by the router: {reason}")]
    Goodbye {
        /// The reason's URI, as it came.
        reason: String,
    },
    /// We ended the session.
    #[error("closed")]
    Closed,
    /// The connection broke.
    #[error("{0}")]
    Transport(#[source] Arc<TransportError>),
    /// The connection ended without GOODBYE.
    #[error("connection ended without GOODBYE")]
    Dropped,
    /// A frame that holds no WAMP message at all.
    #[error("the router does not speak WAMP")]
    NotWamp(#[source] Arc<DecodeError>),
    /// A message that has no place in the opening of a session.
    #[error("the router sent {0} before WELCOME")]
    OutOfPlace(&'static str),
    /// Pings went without an answer.
    #[error("{0} pings without an answer")]
    Unresponsive(u32),
    /// The router takes no data any more, or takes much less than it asks for.
    #[error("the router does not read what it is sent, for {0:?} now")]
    Stalled(Duration),
    /// A fault of our own. What it was went to standard error.
    #[error("a fault in the gateway itself")]
    Panicked,
}

impl SessionError {
    /// Returns whether the router does not want us (credentials, realm), so that trying again soon
    /// is of no use.
    pub fn is_refusal(&self) -> bool {
        match self {
            SessionError::Auth(_) => true,
            SessionError::Abort { reason, .. } => is_refusal_reason(reason),
            SessionError::NoAddress
            | SessionError::Connect { .. }
            | SessionError::JoinTimeout(_)
            | SessionError::Goodbye { .. }
            | SessionError::Closed
            | SessionError::Transport(_)
            | SessionError::Dropped
            | SessionError::NotWamp(_)
            | SessionError::OutOfPlace(_)
            | SessionError::Unresponsive(_)
            | SessionError::Stalled(_)
            | SessionError::Panicked => false,
        }
    }
}

/// Routers do not agree on the URIs for failed authentication, only on its being in their names
/// (`not_authorized`, `authentication_failed`, `no_auth_method`, ...).
fn is_refusal_reason(reason: &str) -> bool {
    reason == uris::NO_SUCH_REALM
        || reason == "wamp.error.no_such_role"
        || reason == "wamp.error.no_such_principal"
        || reason.contains("auth")
}

/// Returns an error with all its causes in one line, for logs and status pages.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some errors already say their cause.
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// Returns the beginning of a text that a router chose: it may be as long as a message, and goes
/// into logs and status pages.
pub(crate) fn clipped(mut text: String) -> String {
    const MAX_CHARS: usize = 200;
    if let Some((end, _)) = text.char_indices().nth(MAX_CHARS) {
        text.truncate(end);
        text.push('\u{2026}');
    }
    text
}

fn suffix(message: &Option<String>) -> String {
    match message {
        Some(message) => format!(" ({message})"),
        None => String::new(),
    }
}

/// Drops what is noise to a reader: `8.001777322s` is `8.001s`.
fn to_millis(measured: Duration) -> Duration {
    Duration::from_millis(u64::try_from(measured.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_from_a_fault() {
        let abort = |reason: &str| SessionError::Abort {
            reason: reason.to_owned(),
            message: None,
        };
        for reason in [
            "wamp.error.no_such_realm",
            "wamp.error.not_authorized",
            "wamp.error.authentication_failed",
            "wamp.error.no_matching_auth_method",
        ] {
            assert!(abort(reason).is_refusal(), "{reason}");
        }
        for reason in ["wamp.close.system_shutdown", "com.kick"] {
            assert!(!abort(reason).is_refusal(), "{reason}");
        }
        assert!(!SessionError::Dropped.is_refusal());
    }

    #[test]
    fn a_long_text_of_a_router_is_clipped_between_characters() {
        assert_eq!(clipped("ü".repeat(200)), "ü".repeat(200));
        assert_eq!(clipped("ü".repeat(201)), format!("{}…", "ü".repeat(200)));
    }

    #[test]
    fn an_abort_shows_its_message() {
        let error = SessionError::Abort {
            reason: "wamp.error.not_authorized".to_owned(),
            message: Some("wrong ticket".to_owned()),
        };
        assert_eq!(
            error.to_string(),
            "aborted by the router: wamp.error.not_authorized (wrong ticket)"
        );
    }
}
