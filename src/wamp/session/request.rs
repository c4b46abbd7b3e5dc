//! What the handles of a session ask of its task.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::uri::UriPattern;
use crate::value::Map;
use crate::wamp::error::{CallError, SessionError};
use crate::wamp::id::{RegistrationId, RequestId, SubscriptionId};
use crate::wamp::message::{Message, Payload};
use crate::wamp::options::CancelMode;
use crate::wamp::session::Permit;
use crate::wamp::session::callee::Offered;
use crate::wamp::session::state::{Answer, Kind};
use crate::wamp::session::subscribers::EventSink;

/// The option by which a request says whom it is made for.
pub(crate) const FORWARD_FOR: &str = "forward_for";

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
    Call {
        /// How it is canceled when it is given up.
        cancel: CancelMode,
        /// Where progressive results go; without it they are dropped.
        progress: Option<ProgressSink>,
    },
    Publish {
        acknowledge: bool,
    },
    Subscribe {
        pattern: UriPattern,
        sink: EventSink,
    },
    Unsubscribe {
        subscription: SubscriptionId,
        key: u64,
    },
    Register(Offered),
    Unregister {
        registration: RegistrationId,
    },
}

impl Purpose {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Purpose::Call { progress: None, .. } => Kind::Call,
            Purpose::Call {
                progress: Some(_), ..
            } => Kind::ProgressiveCall,
            Purpose::Publish { .. } => Kind::Publish,
            Purpose::Subscribe { .. } => Kind::Subscribe,
            Purpose::Unsubscribe { .. } => Kind::Unsubscribe,
            Purpose::Register(_) => Kind::Register,
            Purpose::Unregister { .. } => Kind::Unregister,
        }
    }
}

impl Purpose {
    /// Returns how the request is canceled when it is given up.
    pub(crate) fn cancel_mode(&self) -> CancelMode {
        match self {
            Purpose::Call { cancel, .. } => *cancel,
            Purpose::Publish { .. }
            | Purpose::Subscribe { .. }
            | Purpose::Unsubscribe { .. }
            | Purpose::Register(_)
            | Purpose::Unregister { .. } => CancelMode::default(),
        }
    }

    /// Returns the key of whoever subscribes.
    pub(crate) fn subscriber(&self) -> Option<u64> {
        match self {
            Purpose::Subscribe { sink, .. } => Some(sink.key),
            Purpose::Call { .. }
            | Purpose::Publish { .. }
            | Purpose::Unsubscribe { .. }
            | Purpose::Register(_)
            | Purpose::Unregister { .. } => None,
        }
    }
}

/// The sending end of a call's queue of progressive results, bounded in number and in bytes.
#[derive(Debug, Clone)]
pub(crate) struct ProgressSink {
    queue: mpsc::Sender<Part>,
    /// Of those that wait, as they came in.
    waiting_bytes: Arc<AtomicUsize>,
    max_bytes: usize,
}

/// The receiving end.
#[derive(Debug)]
pub(crate) struct ProgressSource {
    pub(crate) queue: mpsc::Receiver<Part>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// A progressive result.
#[derive(Debug)]
pub(crate) struct Part {
    /// When it came: the next is due so long after it.
    pub(crate) at: Instant,
    pub(crate) bytes: usize,
    pub(crate) request: RequestId,
    pub(crate) details: Map,
    pub(crate) payload: Payload,
}

/// What became of a progressive result.
pub(super) enum Given {
    Taken,
    /// There is no room: so many wait.
    Full(usize),
    /// The reader is gone.
    Gone,
}

/// Builds a queue for `parts` parts (at least one), and beyond the first no more than `max_bytes`.
pub(crate) fn progress_queue(parts: usize, max_bytes: usize) -> (ProgressSink, ProgressSource) {
    let (queue, source) = mpsc::channel(parts.max(1));
    let waiting_bytes = Arc::<AtomicUsize>::default();
    let sink = ProgressSink {
        queue,
        waiting_bytes: waiting_bytes.clone(),
        max_bytes,
    };
    let source = ProgressSource {
        queue: source,
        waiting_bytes,
    };
    (sink, source)
}

impl ProgressSink {
    pub(super) fn give(&self, part: Part) -> Given {
        let count = || self.queue.max_capacity() - self.queue.capacity();
        let bytes = part.bytes;
        let before = self.waiting_bytes.load(Ordering::Relaxed);
        if before > 0 && before + bytes > self.max_bytes {
            return Given::Full(count());
        }
        // Before it is there: who takes it out takes it off.
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        match self.queue.try_send(part) {
            Ok(()) => Given::Taken,
            Err(TrySendError::Full(_)) => Given::Full(count()),
            Err(TrySendError::Closed(_)) => Given::Gone,
        }
    }
}

impl ProgressSource {
    /// A part was taken out.
    pub(crate) fn taken(&self, part: &Part) {
        self.waiting_bytes.fetch_sub(part.bytes, Ordering::Relaxed);
    }
}

/// Held by a session as long as a subscription or registration lasts there.
#[derive(Debug)]
pub(crate) struct Alive {
    _sender: oneshot::Sender<Infallible>,
}

/// Waits for the end of a subscription or registration.
#[derive(Debug)]
pub(crate) struct Ended(oneshot::Receiver<Infallible>);

/// Joins the two.
pub(crate) fn lifetime() -> (Alive, Ended) {
    let (sender, receiver) = oneshot::channel();
    (Alive { _sender: sender }, Ended(receiver))
}

impl Ended {
    /// # Cancel safety
    ///
    /// Cancel safe; may be called again.
    pub(crate) async fn wait(&mut self) {
        if !self.0.is_terminated() {
            // Nothing is ever sent: an answer is the sender's being dropped.
            drop((&mut self.0).await);
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
    Abandon(Arc<AtomicU64>, CancelMode),
    /// A subscriber is gone.
    DropSubscriber(SubscriptionId, u64),
    /// A registration's handle is gone.
    DropRegistration(RegistrationId),
    /// Leave: take no requests, wait this long for those in flight, then say GOODBYE.
    Close(Duration),
}
