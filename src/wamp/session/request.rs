//! What the handles of a session ask of its task.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::uri::Uri;
use crate::wamp::error::{CallError, SessionError};
use crate::wamp::id::{RegistrationId, SubscriptionId};
use crate::wamp::message::Message;
use crate::wamp::session::Permit;
use crate::wamp::session::callee::Handler;
use crate::wamp::session::state::{Answer, Kind};
use crate::wamp::session::subscribers::EventSink;

/// One request of a handle.
#[derive(Debug)]
pub(crate) struct Command {
    /// The message, but for its request id.
    pub(crate) message: Message,
    pub(crate) purpose: Purpose,
    /// Told to a dealer that announces call timeouts.
    pub(crate) deadline: Instant,
    /// Set when the message is written: the handle names its request by it.
    pub(crate) request: Arc<AtomicU64>,
    pub(crate) reply: Reply,
}

/// Where the answer to a request goes.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) sender: oneshot::Sender<Result<Answer, Unsent>>,
    pub(crate) permit: Permit,
}

impl Reply {
    /// Hands the answer over. Returns whether somebody still waits for it; if nobody does, that is
    /// no fault of anybody's.
    pub(super) fn settle(self, answer: Result<Answer, Unsent>) -> bool {
        // First the place: whoever gets the answer may ask again at once.
        drop(self.permit);
        self.sender.send(answer).is_ok()
    }
}

/// What a request is for.
pub(crate) enum Purpose {
    Call,
    Publish {
        acknowledge: bool,
    },
    Subscribe {
        topic: Uri,
        sink: EventSink,
    },
    Unsubscribe {
        subscription: SubscriptionId,
        key: u64,
    },
    Register {
        procedure: Uri,
        handler: Handler,
    },
    Unregister {
        registration: RegistrationId,
    },
}

impl Purpose {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Purpose::Call => Kind::Call,
            Purpose::Publish { .. } => Kind::Publish,
            Purpose::Subscribe { .. } => Kind::Subscribe,
            Purpose::Unsubscribe { .. } => Kind::Unsubscribe,
            Purpose::Register { .. } => Kind::Register,
            Purpose::Unregister { .. } => Kind::Unregister,
        }
    }
}

impl std::fmt::Debug for Purpose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.kind().fmt(f)
    }
}

/// Why a request got no answer.
#[derive(Debug)]
pub(crate) enum Unsent {
    /// It was not written; here it is again, for another session.
    Returned(Box<Message>, SessionError),
    /// It failed for good.
    Failed(CallError),
}

/// What a handle tells the task beside requests.
#[derive(Debug)]
pub(crate) enum Control {
    /// Nobody waits for this request any more.
    Abandon(Arc<AtomicU64>),
    /// A subscriber is gone.
    DropSubscriber(SubscriptionId, u64),
    /// A registration's handle is gone.
    DropRegistration(RegistrationId),
    /// Leave: take no requests, wait this long for those in flight, then say GOODBYE.
    Close(Duration),
}
