//! The callee's side of a session: registered procedures, and what runs of them.
//!
//! Each invocation is a task of its own, owned here: it ends with the session at the latest. At an
//! INTERRUPT the router is answered at once; a handler that watches [`Invocation::interrupted`] then
//! has a moment to clean up, another one is dropped where it stands.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::timeout;

use crate::uri::{Uri, UriCheck, UriPattern};
use crate::value::{Map, Value};
use crate::wamp::error::{ApplicationError, uris};
use crate::wamp::id::{RegistrationId, RequestId, SessionId};
use crate::wamp::message::{Message, Payload, code};
use crate::wamp::session::request::Alive;

/// How long an interrupted handler may go on that has asked to be told.
const INTERRUPT_GRACE: Duration = Duration::from_secs(5);

/// So many progressive results of all handlers of a session wait to be written; beyond it
/// [`Invocation::progress`] waits.
const MAX_WAITING_PARTS: usize = 32;

/// What answers the invocations of one registration.
pub(crate) type Handler = Arc<dyn Fn(Invocation) -> BoxFuture<'static, Outcome> + Send + Sync>;

/// What a handler makes of an invocation.
pub(crate) type Outcome = Result<Payload, ApplicationError>;

/// Makes a handler of an async function.
pub(crate) fn handler<F, R>(function: F) -> Handler
where
    F: Fn(Invocation) -> R + Send + Sync + 'static,
    R: Future<Output = Outcome> + Send + 'static,
{
    let function = Arc::new(function);
    // Called within the handler's own task: what panics there costs one invocation.
    Arc::new(move |invocation| {
        let function = function.clone();
        Box::pin(async move { function(invocation).await })
    })
}

/// One call of a registered procedure.
#[derive(Debug)]
pub struct Invocation {
    /// The procedure that was called. For a pattern it is what the dealer names in its details; the
    /// pattern's own text, if it names nothing.
    pub procedure: Arc<str>,
    /// All that the dealer adds.
    pub details: Map,
    /// The arguments.
    pub payload: Payload,
    request: RequestId,
    serial: u64,
    parts: mpsc::Sender<Part>,
    interrupt: Interrupt,
}

/// Why a progressive result was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoProgress {
    /// The caller did not ask for any: it gets the final result only.
    #[error("the caller takes no progressive results")]
    NotWanted,
    /// The caller wants no result any more.
    #[error("the call was interrupted")]
    Interrupted,
    /// The session is over.
    #[error("the session has ended")]
    Ended,
}

impl Invocation {
    /// Returns the caller's session, where the dealer discloses it.
    pub fn caller(&self) -> Option<SessionId> {
        self.details
            .get("caller")
            .and_then(Value::as_u64)
            .map(SessionId)
    }

    /// Returns who the caller is, where the dealer discloses it.
    pub fn caller_authid(&self) -> Option<&str> {
        self.details.get("caller_authid").and_then(Value::as_text)
    }

    /// Returns the caller's role, where the dealer discloses it.
    pub fn caller_authrole(&self) -> Option<&str> {
        self.details.get("caller_authrole").and_then(Value::as_text)
    }

    /// Returns whether the caller takes progressive results.
    pub fn wants_progress(&self) -> bool {
        self.details
            .get("receive_progress")
            .and_then(Value::as_bool)
            .unwrap_or_default()
    }

    /// Sends a part of the result; what the handler returns in the end is the last. Waits while the
    /// router takes less than the handlers of the session give.
    ///
    /// A part that cannot be sent (too large, not to be encoded) ends the invocation with an error
    /// and interrupts the handler: a result with a hole must not pass for a whole one.
    ///
    /// # Errors
    ///
    /// See [`NoProgress`]; the part is dropped then.
    ///
    /// # Cancel safety
    ///
    /// The part may be dropped with the future.
    ///
    /// Reference: WAMP Advanced Profile, "Progressive Call Results".
    pub async fn progress(&self, payload: Payload) -> Result<(), NoProgress> {
        if !self.wants_progress() {
            return Err(NoProgress::NotWanted);
        }
        let part = Part {
            request: self.request,
            serial: self.serial,
            payload,
        };
        let mut signal = self.interrupt.signal.clone();
        tokio::select! {
            biased;
            () = fired(&mut signal) => Err(NoProgress::Interrupted),
            sent = self.parts.send(part) => sent.map_err(|_| NoProgress::Ended),
        }
    }

    /// Waits until the caller no longer wants the result; for ever, if it always does.
    ///
    /// The router has been answered `wamp.error.canceled` by then. A handler that has called this
    /// is given 5 seconds to end by itself; what it returns is dropped.
    pub fn interrupted(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut signal = self.interrupt.signal.clone();
        self.interrupt.is_watched.store(true, Ordering::Relaxed);
        async move { fired(&mut signal).await }
    }
}

/// A progressive result on its way to the session's task.
#[derive(Debug)]
struct Part {
    request: RequestId,
    /// The invocation's own number: a handler may go on after its invocation was answered for, and
    /// the request's number may name another one by then.
    serial: u64,
    payload: Payload,
}

#[derive(Debug, Clone)]
struct Interrupt {
    signal: watch::Receiver<bool>,
    is_watched: Arc<AtomicBool>,
}

async fn fired(signal: &mut watch::Receiver<bool>) {
    if signal.wait_for(|is_fired| *is_fired).await.is_err() {
        // Nobody can interrupt any more.
        std::future::pending::<()>().await;
    }
}

/// What is registered under one id.
pub(crate) struct Offered {
    pub(crate) pattern: UriPattern,
    pub(crate) handler: Handler,
    /// Dropped with the registration, whoever ends it: who waits for that holds the other end.
    pub(crate) _alive: Alive,
}

/// One invocation that was not answered yet.
#[derive(Debug)]
struct Running {
    task: Id,
    serial: u64,
    fire: watch::Sender<bool>,
}

/// What a handler has to say: a part of its result, or the answer.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) request: RequestId,
    pub(super) message: Message,
    pub(super) is_last: bool,
}

/// The registrations of one session and what runs of them.
pub(super) struct Callee {
    registrations: HashMap<RegistrationId, Offered>,
    tasks: JoinSet<Outcome>,
    requests: HashMap<Id, RequestId>,
    running: HashMap<RequestId, Running>,
    serials: u64,
    parts: mpsc::Receiver<Part>,
    /// Kept for the handlers to come, so `parts` never ends.
    part_sender: mpsc::Sender<Part>,
    /// What is to be written next: the parts of a result that were waiting when its last came.
    said: VecDeque<Said>,
    max_running: usize,
}

impl fmt::Debug for Callee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callee")
            .field("registrations", &self.registrations.len())
            .field("running", &self.tasks.len())
            .finish_non_exhaustive()
    }
}

impl Callee {
    pub(super) fn new(max_running: usize) -> Self {
        let (part_sender, parts) = mpsc::channel(MAX_WAITING_PARTS);
        Self {
            registrations: HashMap::new(),
            tasks: JoinSet::new(),
            requests: HashMap::new(),
            running: HashMap::new(),
            serials: 0,
            parts,
            part_sender,
            said: VecDeque::new(),
            max_running,
        }
    }

    /// Takes a registration in. Returns false, and drops it, if there is one by this id.
    pub(super) fn add(&mut self, id: RegistrationId, offered: Offered) -> bool {
        match self.registrations.entry(id) {
            Entry::Vacant(place) => {
                place.insert(offered);
                true
            }
            Entry::Occupied(_) => false,
        }
    }

    /// Forgets a registration; what runs of it goes on. Returns what it was for, if there was one.
    pub(super) fn remove(&mut self, id: RegistrationId) -> Option<UriPattern> {
        self.registrations
            .remove(&id)
            .map(|offered| offered.pattern)
    }

    pub(super) fn has(&self, id: RegistrationId) -> bool {
        self.registrations.contains_key(&id)
    }

    /// Returns what a registration is for.
    pub(super) fn pattern(&self, id: RegistrationId) -> Option<&UriPattern> {
        self.registrations.get(&id).map(|offered| &offered.pattern)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.tasks.is_empty() && self.said.is_empty()
    }

    /// Starts a handler. Returns the answer if there is one already.
    pub(super) fn invoke(
        &mut self,
        request: RequestId,
        registration: RegistrationId,
        details: Map,
        payload: Payload,
    ) -> Option<Message> {
        let Some(Offered {
            pattern, handler, ..
        }) = self.registrations.get(&registration)
        else {
            let error = ApplicationError::new(uris::NO_SUCH_REGISTRATION, Vec::new(), Map::new());
            return Some(answer(request, Err(error)));
        };
        if self.tasks.len() >= self.max_running {
            let error = ApplicationError::with_message(uris::UNAVAILABLE, "too many invocations");
            return Some(answer(request, Err(error)));
        }
        let (fire, signal) = watch::channel(false);
        let interrupt = Interrupt {
            signal,
            is_watched: Arc::default(),
        };
        self.serials += 1;
        let serial = self.serials;
        let invocation = Invocation {
            procedure: pattern.matched(details.get("procedure").and_then(Value::as_text)),
            details,
            payload,
            request,
            serial,
            parts: self.part_sender.clone(),
            interrupt: interrupt.clone(),
        };
        let running = run(handler(invocation), interrupt);
        let task = self.tasks.spawn(running).id();
        self.requests.insert(task, request);
        let running = Running { task, serial, fire };
        self.running.insert(request, running);
        None
    }

    /// Interrupts a handler. Returns the answer, unless it is not running any more.
    pub(super) fn interrupt(&mut self, request: RequestId) -> Option<Message> {
        self.stop(request).then(|| {
            let error = ApplicationError::new(uris::CANCELED, Vec::new(), Map::new());
            answer(request, Err(error))
        })
    }

    /// Stops a handler that somebody else answers for, and drops what it had still to say. Returns
    /// whether it was running.
    fn stop(&mut self, request: RequestId) -> bool {
        let Some(running) = self.running.remove(&request) else {
            return false;
        };
        self.requests.remove(&running.task);
        running.fire.send_replace(true);
        self.said.retain(|said| said.request != request);
        true
    }

    /// Ends an invocation one of whose parts cannot be sent.
    pub(super) fn give_up(&mut self, request: RequestId) {
        if !self.stop(request) {
            // It has ended by itself, and its last words wait behind the part.
            self.said.retain(|said| said.request != request);
        }
    }

    /// Waits for what a handler has to say; for ever while none runs.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn next(&mut self) -> Said {
        loop {
            if let Some(said) = self.said.pop_front() {
                return said;
            }
            tokio::select! {
                Some(part) = self.parts.recv() => self.take(part),
                Some(ended) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => {
                    // What it said before it ended waits among these, and goes first.
                    for _ in 0..self.parts.len() {
                        if let Ok(part) = self.parts.try_recv() {
                            self.take(part);
                        }
                    }
                    self.finish(ended);
                }
            }
        }
    }

    fn take(&mut self, part: Part) {
        let Part {
            request,
            serial,
            payload,
        } = part;
        if self
            .running
            .get(&request)
            .is_some_and(|running| running.serial == serial)
        {
            let options = Map::from([("progress".to_owned(), Value::Bool(true))]);
            self.said.push_back(Said {
                request,
                message: Message::Yield {
                    request,
                    options,
                    payload,
                },
                is_last: false,
            });
        }
    }

    /// Takes in that a handler has ended. One that was interrupted has been answered for.
    fn finish(&mut self, ended: Result<(Id, Outcome), JoinError>) {
        let (task, outcome) = match ended {
            Ok(ended) => ended,
            // It panicked: nothing else ends a handler while the session lives.
            Err(error) => {
                let failure = ApplicationError::with_message(uris::RUNTIME_ERROR, "handler failed");
                (error.id(), Err(failure))
            }
        };
        if let Some(request) = self.requests.remove(&task) {
            self.running.remove(&request);
            self.said.push_back(Said {
                request,
                message: answer(request, outcome),
                is_last: true,
            });
        }
    }

    /// Ends all handlers, and waits for them as long as `limit`: one that never awaits anything
    /// cannot be ended.
    pub(super) async fn end(&mut self, limit: Duration) {
        self.registrations.clear();
        if timeout(limit, self.tasks.shutdown()).await.is_err() {
            tracing::warn!("a handler goes on after the end of its session");
        }
    }
}

async fn run(mut handler: BoxFuture<'static, Outcome>, mut interrupt: Interrupt) -> Outcome {
    tokio::select! {
        biased;
        outcome = &mut handler => outcome,
        () = fired(&mut interrupt.signal) => {
            if interrupt.is_watched.load(Ordering::Relaxed) {
                match timeout(INTERRUPT_GRACE, handler).await {
                    Ok(outcome) => return outcome,
                    Err(_) => tracing::warn!("a handler did not end after an interrupt"),
                }
            }
            Err(ApplicationError::new(uris::CANCELED, Vec::new(), Map::new()))
        }
    }
}

/// Returns the YIELD or ERROR for an outcome.
pub(super) fn answer(request: RequestId, outcome: Outcome) -> Message {
    match outcome {
        Ok(payload) => Message::Yield {
            request,
            options: Map::new(),
            payload,
        },
        Err(error) => {
            // A router may end the session over a bad URI here as anywhere.
            let uri = match Uri::parse(&error.uri, UriCheck::Loose) {
                Ok(_) => error.uri,
                Err(_) => uris::RUNTIME_ERROR.to_owned(),
            };
            Message::Error {
                request_type: code::INVOCATION,
                request,
                details: Map::new(),
                error: uri,
                payload: error.payload,
            }
        }
    }
}
