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
//! use wampgate::wamp::client::{Call, Client, RegisterOptions};
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
//!     .register(&procedure, RegisterOptions::default(), |invocation| async {
//!         Ok(invocation.payload)
//!     })
//!     .await?;
//! let payload = Payload::new(vec!["hello".into()], Map::new());
//! let result = client
//!     .call(Call::new(procedure, payload, Duration::from_secs(5)))
//!     .await?;
//! assert_eq!(result.payload.args(), ["hello".into()]);
//!
//! client.close(Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```

mod offers;
mod prepared;
mod progress;
mod requests;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::uri::Uri;
use crate::value::{Map, Value};
use crate::wamp::config::RouterConfig;
use crate::wamp::error::{CallError, SessionError};
use crate::wamp::id::{PublicationId, RequestId};
use crate::wamp::message::Payload;
use crate::wamp::options::CancelMode;
use crate::wamp::serializer::Serializer;
use crate::wamp::session::{self, Command, Control, DroppedMessages, Parts, Purpose, Shared};
use crate::wamp::transport::Transport;

pub use crate::wamp::session::{Event, Invocation, NoProgress, Welcome};
pub(crate) use offers::{Held, Inbox, Wanted};
pub use offers::{RegisterOptions, Registration, SubscribeOptions, Subscription};
pub(crate) use prepared::check_pattern;
pub(crate) use prepared::{Deadline, Prepared, call_result, publication};
pub use progress::{CallStep, ProgressLimits, ProgressiveCall};
use requests::failure;

/// A call of a procedure.
#[derive(Debug, Clone)]
pub struct Call {
    /// What is called.
    pub procedure: Uri,
    /// Options as [`CALL`](crate::wamp::options::CALL) knows them. A `timeout` (in milliseconds) shortens the deadline.
    pub options: Map,
    /// The arguments.
    pub payload: Payload,
    /// The deadline, from the moment the call is made. For a progressive call it begins anew with
    /// each result.
    pub timeout: Duration,
    /// Whom the call is made for; told to the router as `forward_for`.
    pub on_behalf_of: Option<Originator>,
    /// How the call is canceled at the router when it is given up, where the dealer can.
    pub cancel: CancelMode,
}

impl Call {
    /// Builds a call without options, made for ourselves and canceled by `killnowait`.
    pub fn new(procedure: Uri, payload: Payload, timeout: Duration) -> Self {
        Self {
            procedure,
            options: Map::new(),
            payload,
            timeout,
            on_behalf_of: None,
            cancel: CancelMode::default(),
        }
    }

    /// Returns the deadline that holds: `timeout`, or the option of that name if it is shorter. An
    /// option of 0 means no timeout, as in the specification.
    pub fn deadline(&self) -> Duration {
        match self.options.get("timeout").and_then(Value::as_u64) {
            Some(millis) if millis > 0 => self.timeout.min(Duration::from_millis(millis)),
            _ => self.timeout,
        }
    }
}

/// Whom a request is made for, when that is not our own session.
///
/// Written as the option `forward_for`, with our own session's id: a list of one. Crossbar.io shows
/// a callee these as the caller; it does so whoever says it, so a callee can trust it only where no
/// stranger may join the realm. Never filled in from what an HTTP client says of itself.
///
/// Reference: not in the specification; Crossbar.io and Autobahn have it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Originator {
    /// Who it is.
    pub authid: String,
    /// In which role.
    pub authrole: String,
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
    /// Whom the event is published for; told to the router as `forward_for`.
    pub on_behalf_of: Option<Originator>,
}

impl Publish {
    /// Builds a publication without options, made for ourselves.
    pub fn new(topic: Uri, payload: Payload, timeout: Duration) -> Self {
        Self {
            topic,
            options: Map::new(),
            payload,
            timeout,
            on_behalf_of: None,
        }
    }
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
    /// The [`SessionError`] of the address that stands first, or of the first that refuses us;
    /// without any address [`SessionError::NoAddress`].
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
    /// canceled at the router in the call's mode, where the dealer can. A late answer is dropped.
    ///
    /// Reference: WAMP Basic Profile, "Calling and Invocations"; Advanced Profile, "Call Canceling".
    pub async fn call(&self, call: Call) -> Result<CallResult, CallError> {
        let cancel = call.cancel;
        let prepared = Prepared::call(call, self.shared.config.uri_check)?;
        let purpose = Purpose::Call {
            cancel,
            progress: None,
        };
        match self
            .request(prepared.message, purpose, prepared.deadline)
            .await
        {
            Ok(answer) => call_result(answer),
            Err(unsent) => Err(failure(unsent)),
        }
    }

    /// Calls a procedure whose result may come in parts; see [`ProgressiveCall`].
    ///
    /// # Errors
    ///
    /// [`CallError::InvalidUri`] and [`CallError::InvalidOption`]; all else comes from the stream.
    ///
    /// Reference: WAMP Advanced Profile, "Progressive Call Results".
    pub fn call_progressive(
        &self,
        call: Call,
        limits: ProgressLimits,
    ) -> Result<ProgressiveCall, CallError> {
        let cancel = call.cancel;
        let check = self.shared.config.uri_check;
        let (prepared, gap) = Prepared::progressive_call(call, limits.total, check)?;
        let client = self.clone();
        Ok(ProgressiveCall::new(gap, limits, move |sink| {
            Box::pin(async move {
                let purpose = Purpose::Call {
                    cancel,
                    progress: Some(sink),
                };
                let answered = client.request(prepared.message, purpose, prepared.deadline);
                call_result(answered.await.map_err(failure)?)
            })
        }))
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

    /// Returns whether the router is late: with the answer to a ping, or in taking what it is sent.
    /// The session goes on, but another one is the better choice.
    pub fn is_suspect(&self) -> bool {
        self.shared.is_suspect.load(Ordering::Relaxed)
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

    /// Returns the name of the kind of transport: `websocket`, `rawsocket` or `memory`.
    pub fn transport(&self) -> &'static str {
        self.shared.transport
    }

    /// Returns the serializer that was agreed on.
    pub fn serializer(&self) -> Serializer {
        self.shared.serializer
    }
}
