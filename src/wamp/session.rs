//! One session with a router: opening it, and the one task that owns its connection.
//!
//! ```text
//! handles (client.rs) --Command--> queue --+
//!                                          v
//!                    task.rs, task/: the only one that reads and writes the connection
//!                      state.rs        requests and their answers (pure)
//!                      tombstones.rs   requests that were given up
//!                      subscribers.rs  who gets which event
//!                      callee.rs       registered procedures and what runs
//! ```
//!
//! No lock guards the connection. A handle checks what it can (URI, options), takes a permit and
//! queues a command; the task gathers what is queued into one write. Every request is settled
//! locally, by whichever comes first: its answer, its deadline, its caller going away, or the end
//! of the session.
//!
//! Read `state.rs` next for the rules, `task.rs` for the order in which things happen.

mod callee;
mod join;
mod outbox;
mod request;
mod state;
mod subscribers;
mod task;
mod tombstones;

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::uri::Uri;
use crate::wamp::auth::{AuthError, Proof};
use crate::wamp::config::{Endpoint, RouterConfig};
use crate::wamp::error::{CallError, SessionError};
use crate::wamp::serializer::{DecodeError, Reading, Serializer};
use crate::wamp::transport::{self, FrameReader, FrameWriter, Incoming, Transport, TransportError};

pub(crate) use callee::{Handler, Offered, handler};
pub use callee::{Invocation, NoProgress};
pub use join::Welcome;
use join::{Handshake, Step};
pub(crate) use request::{
    Command, Control, Ended, FORWARD_FOR, Part, ProgressSink, ProgressSource, Purpose, Reply,
    Unsent, lifetime, progress_queue,
};
pub(crate) use state::Answer;
pub use subscribers::Event;
pub(crate) use subscribers::EventSink;
pub(crate) use task::Task;

/// Longest wait for the transport's own good-bye. The session is over by then: nobody waits for it
/// but the task that has to end.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// What the handles of a session and its task share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) welcome: Welcome,
    pub(crate) endpoint: String,
    /// The kind of transport, by name.
    pub(crate) transport: &'static str,
    pub(crate) serializer: Serializer,
    pub(crate) config: RouterConfig,
    pub(crate) dropped: DropCounters,
    /// How many requests wait, in the queue or for their answer; with `CLOSED` no more are let in.
    /// One number: were it two, a request that is about to be refused could be counted when the
    /// task looks whether it has drained, and nothing would wake it again.
    requests: AtomicUsize,
    pub(crate) gauges: Gauges,
    /// Whether the router is late, as of the last heartbeat.
    pub(crate) is_suspect: AtomicBool,
    ended: watch::Sender<Option<SessionError>>,
}

/// Beyond any count of requests.
const CLOSED: usize = 1 << (usize::BITS - 1);

impl Shared {
    /// Lets one more request in.
    pub(crate) fn admit(self: &Arc<Self>) -> Result<Permit, Refused> {
        let limit = self.config.max_in_flight;
        let one_more = |requests| (requests < limit).then_some(requests + 1);
        match self
            .requests
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more)
        {
            Ok(_) => Ok(Permit(self.clone())),
            Err(requests) if requests & CLOSED != 0 => Err(Refused::Ended(self.end())),
            Err(_) => Err(Refused::Busy(CallError::Busy(limit))),
        }
    }

    /// Returns whether new requests are taken.
    pub(crate) fn is_accepting(&self) -> bool {
        self.requests.load(Ordering::SeqCst) & CLOSED == 0
    }

    /// Returns how many requests wait, in the queue or for their answer.
    pub(crate) fn in_flight(&self) -> usize {
        self.requests.load(Ordering::SeqCst) & !CLOSED
    }

    /// Waits for the end of the session.
    pub(crate) async fn ended(&self) -> SessionError {
        let mut ended = self.ended.subscribe();
        match ended.wait_for(Option::is_some).await {
            Ok(error) => error.clone().unwrap_or(SessionError::Closed),
            Err(_) => SessionError::Closed,
        }
    }

    /// Returns why no request is taken any more.
    pub(crate) fn end(&self) -> SessionError {
        self.ended.borrow().clone().unwrap_or(SessionError::Closed)
    }

    fn refuse_requests(&self) {
        self.requests.fetch_or(CLOSED, Ordering::SeqCst);
    }
}

/// Why a request was not let in.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Too many wait.
    Busy(CallError),
    /// The session is over or about to be.
    Ended(SessionError),
}

/// One of the places for requests in flight; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Shared>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How much the task holds, as of its last turn.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    pending: AtomicUsize,
    tombstones: AtomicUsize,
}

impl Gauges {
    fn set(&self, pending: usize, tombstones: usize) {
        self.pending.store(pending, Ordering::Relaxed);
        self.tombstones.store(tombstones, Ordering::Relaxed);
    }

    /// Returns how many requests have been written and wait for their answer.
    pub(crate) fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }

    /// Returns how many requests have been given up whose answer may still come.
    pub(crate) fn tombstones(&self) -> usize {
        self.tombstones.load(Ordering::Relaxed)
    }
}

/// Counts what came in and was not delivered.
#[derive(Debug, Default)]
pub(crate) struct DropCounters {
    malformed: AtomicU64,
    late: AtomicU64,
    unsolicited: AtomicU64,
    events: AtomicU64,
}

impl DropCounters {
    fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> DroppedMessages {
        DroppedMessages {
            malformed: self.malformed.load(Ordering::Relaxed),
            late: self.late.load(Ordering::Relaxed),
            unsolicited: self.unsolicited.load(Ordering::Relaxed),
            events: self.events.load(Ordering::Relaxed),
        }
    }
}

/// What came in and was not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DroppedMessages {
    /// Messages of unknown codes, or that did not decode.
    pub malformed: u64,
    /// Answers to requests that had been given up.
    pub late: u64,
    /// Messages that have no place: answers to no request, progress that nobody asked for.
    pub unsolicited: u64,
    /// Events for a subscription that is gone or whose queue was full.
    pub events: u64,
}

impl std::ops::AddAssign for DroppedMessages {
    fn add_assign(&mut self, other: Self) {
        self.malformed += other.malformed;
        self.late += other.late;
        self.unsolicited += other.unsolicited;
        self.events += other.events;
    }
}

/// Opens a session at the first address that lets us in, from a random start.
///
/// # Errors
///
/// The error of the address that stands first; one that means a refusal goes before one that does
/// not. It does not depend on the start: whoever logs what changes would else log all the time.
pub(crate) async fn open_any(
    realm: &Uri,
    config: &RouterConfig,
) -> Result<(Parts, Task), SessionError> {
    let count = config.urls.len();
    let start = if count > 1 {
        fastrand::usize(..count)
    } else {
        0
    };
    let mut failures = Vec::with_capacity(count);
    for step in 0..count {
        let index = (start + step) % count;
        let endpoint = &config.urls[index];
        match open(endpoint, realm, config).await {
            Ok(opened) => return Ok(opened),
            Err(error) => {
                tracing::debug!(%endpoint, %error, "no session at this address");
                failures.push((!error.is_refusal(), index, error));
            }
        }
    }
    let first = failures
        .into_iter()
        .min_by_key(|&(is_fault, index, _)| (is_fault, index));
    Err(first.map_or(SessionError::NoAddress, |(_, _, error)| error))
}

/// Opens the connection and the session on it. The caller runs the task, and with it the session.
///
/// # Errors
///
/// [`SessionError`]; the whole takes at most the configured `connect_timeout`.
async fn open(
    endpoint: &Endpoint,
    realm: &Uri,
    config: &RouterConfig,
) -> Result<(Parts, Task), SessionError> {
    let limit = config.connect_timeout;
    let deadline = after(limit);
    let failed = |source| SessionError::Connect {
        endpoint: endpoint.to_string(),
        source: Arc::new(source),
    };
    let transport = match endpoint {
        Endpoint::Url(url) => transport::connect(url, config).await,
        Endpoint::InProcess { connect, .. } => timeout(limit, connect())
            .await
            .unwrap_or(Err(transport::ConnectError::Timeout(limit))),
    };
    let transport = transport.map_err(failed)?;
    join(transport, endpoint.to_string(), realm, config, deadline).await
}

/// Returns the instant after `wait`, which may be as long as a `Duration` can say.
pub(crate) fn after(wait: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    let now = Instant::now();
    now.checked_add(wait).unwrap_or_else(|| now + FAR)
}

/// What a handle needs.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) shared: Arc<Shared>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) control: mpsc::UnboundedSender<Control>,
}

/// Opens a session on a connection.
pub(crate) async fn join(
    transport: Transport,
    endpoint: String,
    realm: &Uri,
    config: &RouterConfig,
    deadline: Instant,
) -> Result<(Parts, Task), SessionError> {
    let (kind, serializer) = (transport.name(), transport.serializer());
    let (mut reader, mut writer) = transport.split();
    let handshake = match Handshake::new(realm, &config.auth) {
        Ok(handshake) => handshake,
        Err(error) => {
            // Nothing was said, so there is nothing to abort.
            take_leave(&mut writer, serializer, None).await;
            return Err(error.into());
        }
    };
    let greeting = greet(&mut reader, &mut writer, serializer, handshake);
    let greeted = timeout_at(deadline, greeting)
        .await
        .unwrap_or(Err(SessionError::JoinTimeout(config.connect_timeout)));
    let welcome = match greeted {
        Ok(welcome) => welcome,
        Err(error) => {
            take_leave(&mut writer, serializer, Handshake::abort(&error)).await;
            return Err(error);
        }
    };
    let (commands, queue) = mpsc::channel(config.max_in_flight.max(1));
    // Unbounded, yet bounded by what it is about: each request in flight, each subscription and
    // each registration sends one message at most.
    let (control, control_queue) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared {
        welcome,
        endpoint,
        transport: kind,
        serializer,
        config: config.clone(),
        dropped: DropCounters::default(),
        requests: AtomicUsize::new(0),
        gauges: Gauges::default(),
        is_suspect: AtomicBool::new(false),
        ended: watch::Sender::new(None),
    });
    let task = Task::new(shared.clone(), reader, writer, queue, control_queue);
    let parts = Parts {
        shared,
        commands,
        control,
    };
    Ok((parts, task))
}

async fn greet(
    reader: &mut FrameReader,
    writer: &mut FrameWriter,
    serializer: Serializer,
    mut handshake: Handshake<'_>,
) -> Result<Welcome, SessionError> {
    let mut out = Some(handshake.hello());
    loop {
        if let Some(message) = out.take() {
            let frame = serializer.encode(&message).map_err(AuthError::from)?;
            writer.feed(frame).map_err(lost)?;
            writer.flush().await.map_err(lost)?;
        }
        let frame = match reader.next().await {
            Some(Ok(Incoming::Message(frame))) => frame,
            Some(Ok(Incoming::Ping | Incoming::Pong)) => continue,
            Some(Err(error)) => return Err(lost(error)),
            None => return Err(SessionError::Dropped),
        };
        let message = match serializer.decode(&frame, Reading::Tolerant) {
            Ok(message) => message,
            Err(error @ DecodeError::NotAMessage { .. }) => {
                return Err(SessionError::NotWamp(Arc::new(error)));
            }
            Err(error) => {
                tracing::debug!(%error, "dropped a message before WELCOME");
                continue;
            }
        };
        match handshake.receive(message)? {
            Step::Joined(welcome) => return Ok(welcome),
            Step::Challenged(challenge) => {
                let proof = answer(challenge).await?;
                out = Some(handshake.authenticate(proof));
            }
        }
    }
}

/// Answers a challenge on a thread that nobody else waits for: deriving a key may take seconds, and
/// a GiB of memory.
///
/// Dropped at its deadline, the work goes on to its end, so only so many are done at once.
async fn answer(challenge: join::Challenge) -> Result<Proof, SessionError> {
    static AT_WORK: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Arc::new(Semaphore::new(cores))
    });
    // Nobody closes the semaphore.
    let permit = AT_WORK.clone().acquire_owned().await;
    let work = move || {
        let proof = challenge.answer();
        drop(permit);
        proof
    };
    // It panicked, or the runtime ends.
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|_| SessionError::Panicked)??)
}

/// Says a last message, if there is one, and closes the connection; does not wait long for either.
async fn take_leave(
    writer: &mut FrameWriter,
    serializer: Serializer,
    message: Option<crate::wamp::message::Message>,
) {
    let leave = async {
        if let Some(message) = message
            && let Ok(frame) = serializer.encode(&message)
        {
            writer.feed(frame)?;
        }
        writer.close().await
    };
    // The session is over: how well the connection ends changes nothing for anybody.
    if let Ok(Err(error)) = timeout(CLOSE_WAIT, leave).await {
        tracing::trace!(%error, "the connection ended while it was being closed");
    }
}

fn lost(error: TransportError) -> SessionError {
    SessionError::Transport(Arc::new(error))
}
