//! The handle of a session: call, publish, subscribe, register.
//!
//! A [`Client`] is cheap to clone; all clones use one session, which ends with the last of them at
//! the latest. Whoever wants sessions that come back uses a [`Pool`](crate::wamp::pool::Pool), or
//! waits for [`Client::closed`] and connects again. [`Client::close`] is the orderly end; when the
//! last handle is just dropped, the connection is cut.
//!
//! ```
//! use std::time::Duration;
//! use wampgate::devrouter::{DevRouterConfig, Router};
//! use wampgate::uri::{Uri, UriCheck};
//! use wampgate::value::Map;
//! use wampgate::wamp::client::{Call, Client};
//! use wampgate::wamp::config::RouterConfig;
//! use wampgate::wamp::message::Payload;
//! use wampgate::wamp::serializer::Serializer;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let realm = Uri::parse("com.example.realm", UriCheck::Loose)?;
//! let procedure = Uri::parse("com.example.echo", UriCheck::Loose)?;
//! let router = Router::new(DevRouterConfig {
//!     realms: vec![realm.clone().into()],
//!     ..DevRouterConfig::default()
//! });
//! let transport = router.connect_in_process(Serializer::Msgpack);
//! let client = Client::join(transport, &realm, &RouterConfig::default()).await?;
//!
//! let _offer = client
//!     .register(&procedure, |invocation| async { Ok(invocation.payload) })
//!     .await?;
//! let result = client
//!     .call(Call {
//!         procedure,
//!         options: Map::new(),
//!         payload: Payload::new(vec!["hello".into()], Map::new()),
//!         timeout: Duration::from_secs(5),
//!     })
//!     .await?;
//! assert_eq!(result.payload.args(), ["hello".into()]);
//!
//! client.close(Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```

mod offers;
mod prepared;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use crate::uri::Uri;
use crate::value::Map;
use crate::wamp::config::RouterConfig;
use crate::wamp::error::{ApplicationError, CallError, SessionError};
use crate::wamp::id::{PublicationId, RequestId};
use crate::wamp::message::{Message, Payload};
use crate::wamp::serializer::Serializer;
use crate::wamp::session::{
    self, Answer, Command, Control, DroppedMessages, EventSink, Parts, Purpose, Refused, Reply,
    Shared, Unsent,
};
use crate::wamp::transport::Transport;

pub use crate::wamp::session::{Event, Invocation, Welcome};
pub use offers::{Registration, Subscription};
pub(crate) use prepared::{Deadline, Prepared, call_result, publication};
use prepared::{UNSET, check_uri};

/// A call of a procedure.
#[derive(Debug, Clone)]
pub struct Call {
    /// What is called.
    pub procedure: Uri,
    /// Options as [`CALL`](crate::wamp::options::CALL) knows them. A `timeout` (in milliseconds) shortens the deadline.
    pub options: Map,
    /// The arguments.
    pub payload: Payload,
    /// The deadline, from the moment the call is made.
    pub timeout: Duration,
}

/// The result of a call.
#[derive(Debug, Clone, PartialEq)]
pub struct CallResult {
    /// The call's id in its session.
    pub request: RequestId,
    /// What the dealer adds.
    pub details: Map,
    /// The result's arguments.
    pub payload: Payload,
}

/// A publication to a topic.
#[derive(Debug, Clone)]
pub struct Publish {
    /// Where to.
    pub topic: Uri,
    /// Options as [`PUBLISH`](crate::wamp::options::PUBLISH) knows them. `acknowledge` is true unless it is set: without
    /// it nobody learns that the broker refused.
    pub options: Map,
    /// The event's arguments.
    pub payload: Payload,
    /// How long to wait for the acknowledgement.
    pub timeout: Duration,
}

/// A session with a router.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    control: mpsc::UnboundedSender<Control>,
    /// The session's task, where nobody else owns it: it ends with the last handle.
    _task: Option<Arc<JoinSet<()>>>,
}

impl Client {
    /// Connects to the first address of `config` that answers, from a random start, and joins
    /// `realm`.
    ///
    /// # Errors
    ///
    /// The [`SessionError`] of the last address tried; without any address
    /// [`SessionError::NoAddress`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the connection.
    pub async fn connect(realm: &Uri, config: &RouterConfig) -> Result<Self, SessionError> {
        let (parts, task) = session::open_any(realm, config).await?;
        Ok(Self::with_task(parts, task))
    }

    /// Joins `realm` on a connection that is open already.
    ///
    /// # Errors
    ///
    /// See [`SessionError`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the connection.
    pub async fn join(
        transport: Transport,
        realm: &Uri,
        config: &RouterConfig,
    ) -> Result<Self, SessionError> {
        let deadline = session::after(config.connect_timeout);
        let name = "in process".to_owned();
        let (parts, task) = session::join(transport, name, realm, config, deadline).await?;
        Ok(Self::with_task(parts, task))
    }

    fn with_task(parts: Parts, task: session::Task) -> Self {
        let mut owner = JoinSet::new();
        owner.spawn(async move {
            let end = task.run().await;
            tracing::debug!(%end, "session ended");
        });
        Self {
            _task: Some(Arc::new(owner)),
            ..Self::new(parts)
        }
    }

    /// Builds a handle for a session whose task somebody else runs.
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts {
            shared,
            commands,
            control,
        } = parts;
        Self {
            shared,
            commands,
            control,
            _task: None,
        }
    }

    /// Calls a procedure and waits for its final result; progressive results are dropped.
    ///
    /// The deadline runs from here to the decoded RESULT. Everything is checked before anything is
    /// written: a bad call never costs the session.
    ///
    /// # Errors
    ///
    /// [`CallError::Application`] passes the callee's ERROR on unchanged; see [`CallError`] for the
    /// rest.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the call up: what is not written yet never is, and what is gets
    /// canceled at the router with mode `killnowait`, where the dealer can. A late answer is
    /// dropped.
    ///
    /// Reference: WAMP Basic Profile, "Calling and Invocations"; Advanced Profile, "Call Canceling".
    pub async fn call(&self, call: Call) -> Result<CallResult, CallError> {
        let prepared = Prepared::call(call, self.shared.config.uri_check)?;
        match self
            .request(prepared.message, Purpose::Call, prepared.deadline)
            .await
        {
            Ok(answer) => call_result(answer),
            Err(unsent) => Err(failure(unsent)),
        }
    }

    /// Publishes an event and waits until the broker has it. Returns the publication's id; none if
    /// the option `acknowledge` is false, and then the event is only on its way.
    ///
    /// # Errors
    ///
    /// [`CallError::Application`] for the broker's refusal; see [`CallError`] for the rest.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not take a publication back that is written already.
    ///
    /// Reference: WAMP Basic Profile, "Publishing and Events".
    pub async fn publish(&self, publish: Publish) -> Result<Option<PublicationId>, CallError> {
        let (prepared, acknowledge) = Prepared::publish(publish, self.shared.config.uri_check)?;
        let purpose = Purpose::Publish { acknowledge };
        match self
            .request(prepared.message, purpose, prepared.deadline)
            .await
        {
            Ok(answer) => publication(answer),
            Err(unsent) => Err(failure(unsent)),
        }
    }

    /// Subscribes to exactly `topic`; up to `queue` events wait for whoever reads them.
    ///
    /// # Errors
    ///
    /// See [`CallError`]. The router has the configured `connect_timeout` to answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future takes a subscription back that is made in the meantime.
    ///
    /// Reference: WAMP Basic Profile, "Subscribing and Unsubscribing".
    pub async fn subscribe(&self, topic: &Uri, queue: usize) -> Result<Subscription, CallError> {
        check_uri(topic, self.shared.config.uri_check)?;
        let (sender, events) = mpsc::channel(queue.max(1));
        let dropped = Arc::<AtomicU64>::default();
        let key = next_key();
        let purpose = Purpose::Subscribe {
            topic: topic.clone(),
            sink: EventSink {
                key,
                queue: sender,
                dropped: dropped.clone(),
            },
        };
        let message = Message::Subscribe {
            request: UNSET,
            options: Map::new(),
            topic: topic.to_string(),
        };
        let Answer::Subscribed(id) = self.plain_request(message, purpose).await? else {
            unreachable!("the state machine pairs SUBSCRIBE with SUBSCRIBED");
        };
        Ok(Subscription {
            id,
            key,
            events,
            dropped,
            client: self.clone(),
        })
    }

    /// Offers exactly `procedure`; `handler` runs for each call of it, up to the configured
    /// `max_in_flight` of all handlers of the session at once.
    ///
    /// A handler that panics is answered for with `wamp.error.runtime_error`. A handler whose call
    /// is interrupted is dropped where it stands, unless it watches [`Invocation::interrupted`].
    ///
    /// # Errors
    ///
    /// See [`CallError`]. The router has the configured `connect_timeout` to answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future takes a registration back that is made in the meantime.
    ///
    /// Reference: WAMP Basic Profile, "Registering and Unregistering".
    pub async fn register<F, R>(
        &self,
        procedure: &Uri,
        handler: F,
    ) -> Result<Registration, CallError>
    where
        F: Fn(Invocation) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Payload, ApplicationError>> + Send + 'static,
    {
        check_uri(procedure, self.shared.config.uri_check)?;
        let purpose = Purpose::Register {
            procedure: procedure.clone(),
            handler: session::handler(handler),
        };
        let message = Message::Register {
            request: UNSET,
            options: Map::new(),
            procedure: procedure.to_string(),
        };
        let Answer::Registered(id) = self.plain_request(message, purpose).await? else {
            unreachable!("the state machine pairs REGISTER with REGISTERED");
        };
        Ok(Registration {
            id,
            client: self.clone(),
        })
    }

    /// Returns what the router told about itself and us.
    pub fn welcome(&self) -> &Welcome {
        &self.shared.welcome
    }

    /// Returns how many requests wait, in the queue or for their answer.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight()
    }

    /// Returns how many requests have been written and wait for their answer.
    pub fn pending(&self) -> usize {
        self.shared.gauges.pending()
    }

    /// Returns how many requests have been given up whose answer may still come.
    pub fn tombstones(&self) -> usize {
        self.shared.gauges.tombstones()
    }

    /// Returns whether the session takes requests.
    pub fn is_open(&self) -> bool {
        self.shared.is_accepting()
    }

    /// Returns what came in and was not delivered.
    pub fn dropped_messages(&self) -> DroppedMessages {
        self.shared.dropped.snapshot()
    }

    /// Leaves: takes no more requests, waits up to `within` for those in flight and for running
    /// handlers, says GOODBYE, waits a moment for the router's, and closes the connection.
    /// Returns what ended the session; [`SessionError::Closed`] if it was this.
    pub async fn close(&self, within: Duration) -> SessionError {
        // If the task is gone, the session is over already.
        drop(self.control.send(Control::Close(within)));
        self.closed().await
    }

    /// Waits for the end of the session and returns what ended it.
    pub async fn closed(&self) -> SessionError {
        self.shared.ended().await
    }

    /// Returns where the router was reached, without secrets.
    pub fn endpoint(&self) -> &str {
        &self.shared.endpoint
    }

    /// Returns the serializer that was agreed on.
    pub fn serializer(&self) -> Serializer {
        self.shared.serializer
    }

    async fn plain_request(&self, message: Message, purpose: Purpose) -> Result<Answer, CallError> {
        let deadline = Deadline::after(self.shared.config.connect_timeout);
        match self.request(message, purpose, deadline).await {
            Ok(Answer::Error(error)) => Err(CallError::Application(error)),
            Ok(answer) => Ok(answer),
            Err(unsent) => Err(failure(unsent)),
        }
    }

    /// Queues a request and waits until it is settled.
    pub(crate) async fn request(
        &self,
        message: Message,
        purpose: Purpose,
        deadline: Deadline,
    ) -> Result<Answer, Unsent> {
        let permit = match self.shared.admit() {
            Ok(permit) => permit,
            Err(Refused::Busy(error)) => return Err(Unsent::Failed(error)),
            Err(Refused::Ended(error)) => return Err(Unsent::Returned(Box::new(message), error)),
        };
        let (sender, answer) = oneshot::channel();
        let request = Arc::new(AtomicU64::new(0));
        let command = Command {
            message,
            purpose,
            deadline: deadline.at,
            request: request.clone(),
            reply: Reply { sender, permit },
        };
        if let Err(refused) = self.commands.try_send(command) {
            return Err(match refused {
                // The queue has a place for each permit.
                mpsc::error::TrySendError::Full(_) => {
                    Unsent::Failed(CallError::Busy(self.shared.config.max_in_flight))
                }
                mpsc::error::TrySendError::Closed(command) => {
                    Unsent::Returned(Box::new(command.message), self.shared.end())
                }
            });
        }
        let mut guard = AbandonOnDrop {
            request: Some(request),
            control: &self.control,
        };
        match timeout_at(deadline.at, answer).await {
            Ok(answered) => {
                guard.request = None;
                // The task was dropped with all it held, the message too.
                answered.unwrap_or_else(|_| {
                    Err(Unsent::Failed(CallError::Disconnected(self.shared.end())))
                })
            }
            Err(_) => Err(Unsent::Failed(CallError::Timeout(deadline.given))),
        }
    }
}

/// Names a subscriber within this process.
fn next_key() -> u64 {
    static KEYS: AtomicU64 = AtomicU64::new(0);
    KEYS.fetch_add(1, Ordering::Relaxed)
}

fn failure(unsent: Unsent) -> CallError {
    match unsent {
        Unsent::Failed(error) => error,
        Unsent::Returned(_, error) => CallError::NotSent(error),
    }
}

/// Tells the task that nobody waits for a request any more.
struct AbandonOnDrop<'a> {
    request: Option<Arc<AtomicU64>>,
    control: &'a mpsc::UnboundedSender<Control>,
}

impl Drop for AbandonOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(request) = self.request.take() {
            // If the task is gone, so is the request.
            drop(self.control.send(Control::Abandon(request)));
        }
    }
}
