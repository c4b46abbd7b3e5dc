//! The callee's side of a session: registered procedures, and what runs of them.
//!
//! Each invocation is a task of its own, owned here: it ends with the session at the latest. At an
//! INTERRUPT the router is answered at once; a handler that watches [`Invocation::interrupted`] then
//! has a moment to clean up, another one is dropped where it stands.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio::time::timeout;

use crate::uri::{Uri, UriCheck};
use crate::value::Map;
use crate::wamp::error::{ApplicationError, uris};
use crate::wamp::id::{RegistrationId, RequestId};
use crate::wamp::message::{Message, Payload, code};

/// How long an interrupted handler may go on that has asked to be told.
const INTERRUPT_GRACE: Duration = Duration::from_secs(5);

/// What answers the invocations of one procedure.
pub(crate) type Handler = Arc<dyn Fn(Invocation) -> BoxFuture<'static, Outcome> + Send + Sync>;

/// What a handler makes of an invocation.
pub(crate) type Outcome = Result<Payload, ApplicationError>;

/// Makes a handler of an async function.
pub(crate) fn handler<F, R>(function: F) -> Handler
where
    F: Fn(Invocation) -> R + Send + Sync + 'static,
    R: Future<Output = Outcome> + Send + 'static,
{
    Arc::new(move |invocation| Box::pin(function(invocation)))
}

/// One call of a registered procedure.
#[derive(Debug)]
pub struct Invocation {
    /// The procedure that was called.
    pub procedure: Uri,
    /// What the dealer adds: `caller`, `caller_authid`, ... where it discloses them.
    pub details: Map,
    /// The arguments.
    pub payload: Payload,
    interrupt: Interrupt,
}

impl Invocation {
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

/// The registrations of one session and what runs of them.
pub(super) struct Callee {
    registrations: HashMap<RegistrationId, (Uri, Handler)>,
    tasks: JoinSet<Outcome>,
    requests: HashMap<Id, RequestId>,
    interrupts: HashMap<RequestId, (Id, watch::Sender<bool>)>,
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
        Self {
            registrations: HashMap::new(),
            tasks: JoinSet::new(),
            requests: HashMap::new(),
            interrupts: HashMap::new(),
            max_running,
        }
    }

    pub(super) fn add(&mut self, id: RegistrationId, procedure: Uri, handler: Handler) {
        self.registrations.insert(id, (procedure, handler));
    }

    /// Forgets a registration; what runs of it goes on. Returns whether there was one.
    pub(super) fn remove(&mut self, id: RegistrationId) -> bool {
        self.registrations.remove(&id).is_some()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Starts a handler. Returns the answer if there is one already.
    pub(super) fn invoke(
        &mut self,
        request: RequestId,
        registration: RegistrationId,
        details: Map,
        payload: Payload,
    ) -> Option<Message> {
        let Some((procedure, handler)) = self.registrations.get(&registration) else {
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
        let invocation = Invocation {
            procedure: procedure.clone(),
            details,
            payload,
            interrupt: interrupt.clone(),
        };
        let running = run(handler(invocation), interrupt);
        let task = self.tasks.spawn(running).id();
        self.requests.insert(task, request);
        self.interrupts.insert(request, (task, fire));
        None
    }

    /// Interrupts a handler. Returns the answer, unless it is not running any more.
    pub(super) fn interrupt(&mut self, request: RequestId) -> Option<Message> {
        let (task, fire) = self.interrupts.remove(&request)?;
        self.requests.remove(&task);
        fire.send_replace(true);
        let error = ApplicationError::new(uris::CANCELED, Vec::new(), Map::new());
        Some(answer(request, Err(error)))
    }

    /// Waits for a handler to end; for ever while none runs. Returns its answer, unless it was
    /// interrupted and so has been answered for.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn next_answer(&mut self) -> Option<(RequestId, Message)> {
        let Some(ended) = self.tasks.join_next_with_id().await else {
            return std::future::pending().await;
        };
        let (task, outcome) = match ended {
            Ok((task, outcome)) => (task, outcome),
            // It panicked: nothing else ends a handler while the session lives.
            Err(error) => {
                let failure = ApplicationError::with_message(uris::RUNTIME_ERROR, "handler failed");
                (error.id(), Err(failure))
            }
        };
        let request = self.requests.remove(&task)?;
        self.interrupts.remove(&request);
        Some((request, answer(request, outcome)))
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
