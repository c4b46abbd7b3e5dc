//! What lasts beyond one request: a subscription, a registration.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use crate::uri::{Match, UriPattern};
use crate::value::{Map, Value};
use crate::wamp::client::Client;
use crate::wamp::client::prepared::{UNSET, check_pattern};
use crate::wamp::error::{ApplicationError, CallError};
use crate::wamp::id::{RegistrationId, SubscriptionId};
use crate::wamp::message::{Message, Payload};
use crate::wamp::options::Invoke;
use crate::wamp::session::{
    self, Answer, Control, Ended, Event, EventSink, Handler, Invocation, Offered, Purpose, lifetime,
};

/// How a topic is subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubscribeOptions {
    /// Whether the broker is asked for the event that it has kept for the topic. A broker that
    /// keeps none says so by nothing. If the session is subscribed to the topic already, its other
    /// subscribers may get that event again.
    ///
    /// Reference: WAMP Advanced Profile, "Event Retention".
    pub get_retained: bool,
}

/// How a procedure is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RegisterOptions {
    /// Whether others may register the same, and who is called then. All must say the same.
    pub invoke: Invoke,
    /// Whether the dealer is asked to tell who calls; it need not.
    ///
    /// Reference: WAMP Advanced Profile, "Caller Identification".
    pub disclose_caller: bool,
}

impl Client {
    /// Subscribes to a topic, or to all topics that a pattern covers; up to `queue` events wait for
    /// whoever reads them.
    ///
    /// Whether the broker knows patterns is told by
    /// [`Welcome::broker_has`](session::Welcome::broker_has)`("pattern_based_subscription")`: one
    /// that does not may take a pattern for a topic.
    ///
    /// # Errors
    ///
    /// See [`CallError`]. The router has the configured `connect_timeout` to answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future takes a subscription back that is made in the meantime.
    ///
    /// Reference: WAMP Basic Profile, "Subscribing and Unsubscribing"; Advanced Profile,
    /// "Pattern-based Subscription".
    pub async fn subscribe(
        &self,
        topic: impl Into<UriPattern>,
        options: SubscribeOptions,
        queue: usize,
    ) -> Result<Subscription, CallError> {
        let (inbox, events) = Inbox::new(queue);
        let dropped = inbox.dropped.clone();
        let wanted = Wanted::subscription(topic.into(), options, inbox);
        let held = wanted.establish(self).await?;
        Ok(Subscription {
            held,
            events,
            dropped,
        })
    }

    /// Offers a procedure, or all procedures that a pattern covers; `handler` runs for each call, up
    /// to the configured `max_in_flight` of all handlers of the session at once.
    ///
    /// A handler that panics is answered for with `wamp.error.runtime_error`. A handler whose call
    /// is interrupted is dropped where it stands, unless it watches [`Invocation::interrupted`].
    ///
    /// # Errors
    ///
    /// See [`CallError`]. The router has the configured `connect_timeout` to answer. A session offers
    /// a procedure once, also a shared one: a second time fails with
    /// `wamp.error.procedure_already_exists`, whatever the router says.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future takes a registration back that is made in the meantime.
    ///
    /// Reference: WAMP Basic Profile, "Registering and Unregistering"; Advanced Profile,
    /// "Pattern-based Registration", "Shared Registration".
    pub async fn register<F, R>(
        &self,
        procedure: impl Into<UriPattern>,
        options: RegisterOptions,
        handler: F,
    ) -> Result<Registration, CallError>
    where
        F: Fn(Invocation) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Payload, ApplicationError>> + Send + 'static,
    {
        let wanted = Wanted::registration(procedure.into(), options, handler);
        let held = wanted.establish(self).await?;
        Ok(Registration { held })
    }
}

/// A subscription: a stream of events. Dropping it leaves the topic.
#[derive(Debug)]
pub struct Subscription {
    held: Held,
    events: mpsc::Receiver<Event>,
    dropped: Arc<AtomicU64>,
}

impl Subscription {
    /// Waits for the next event. `None` is the end: of the session, or by the router's will;
    /// [`Client::closed`] tells which.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: an event is either returned or still to come.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Returns the broker's id of the subscription.
    pub fn id(&self) -> SubscriptionId {
        SubscriptionId(self.held.id)
    }

    /// Returns how many events were lost because the queue was full: the newest ones at that time.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Leaves the topic and waits for the broker's word that it is done.
    ///
    /// # Errors
    ///
    /// See [`CallError`]. No event comes any more, whatever the outcome.
    pub async fn unsubscribe(self) -> Result<(), CallError> {
        self.held.leave().await
    }
}

/// A registration. Dropping it withdraws the procedure; what runs of it goes on.
#[derive(Debug)]
#[must_use = "the procedure is withdrawn when this is dropped"]
pub struct Registration {
    held: Held,
}

impl Registration {
    /// Returns the dealer's id of the registration.
    pub fn id(&self) -> RegistrationId {
        RegistrationId(self.held.id)
    }

    /// Waits for the end: of the session, or by the router's will; [`Client::closed`] tells which.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn ended(&mut self) {
        self.held.ended().await;
    }

    /// Withdraws the procedure and waits for the dealer's word that it is done.
    ///
    /// # Errors
    ///
    /// See [`CallError`]. No call is taken any more, whatever the outcome.
    pub async fn unregister(self) -> Result<(), CallError> {
        self.held.leave().await
    }
}

/// Where the events of a subscription go, on whichever session it is.
#[derive(Debug, Clone)]
pub(crate) struct Inbox {
    key: u64,
    queue: mpsc::Sender<Event>,
    pub(crate) dropped: Arc<AtomicU64>,
}

impl Inbox {
    pub(crate) fn new(queue: usize) -> (Self, mpsc::Receiver<Event>) {
        // Names a subscriber within this process.
        static KEYS: AtomicU64 = AtomicU64::new(0);
        let (queue, events) = mpsc::channel(queue.max(1));
        let inbox = Self {
            key: KEYS.fetch_add(1, Ordering::Relaxed),
            queue,
            dropped: Arc::default(),
        };
        (inbox, events)
    }
}

/// What is asked of a session; it may be asked of one after the other.
pub(crate) enum Wanted {
    Subscription {
        pattern: UriPattern,
        options: SubscribeOptions,
        inbox: Inbox,
    },
    Registration {
        pattern: UriPattern,
        options: RegisterOptions,
        handler: Handler,
    },
}

impl Wanted {
    pub(crate) fn subscription(
        pattern: UriPattern,
        options: SubscribeOptions,
        inbox: Inbox,
    ) -> Self {
        Wanted::Subscription {
            pattern,
            options,
            inbox,
        }
    }

    pub(crate) fn registration<F, R>(
        pattern: UriPattern,
        options: RegisterOptions,
        handler: F,
    ) -> Self
    where
        F: Fn(Invocation) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Payload, ApplicationError>> + Send + 'static,
    {
        Wanted::Registration {
            pattern,
            options,
            handler: session::handler(handler),
        }
    }

    pub(crate) fn pattern(&self) -> &UriPattern {
        match self {
            Wanted::Subscription { pattern, .. } | Wanted::Registration { pattern, .. } => pattern,
        }
    }

    /// Asks the router for it, by this session.
    pub(crate) async fn establish(&self, client: &Client) -> Result<Held, CallError> {
        check_pattern(self.pattern(), client.shared.config.uri_check)?;
        let (alive, ended) = lifetime();
        let (message, purpose) = match self {
            Wanted::Subscription {
                pattern,
                options,
                inbox,
            } => {
                let sink = EventSink {
                    key: inbox.key,
                    queue: inbox.queue.clone(),
                    dropped: inbox.dropped.clone(),
                    _alive: alive,
                };
                let message = Message::Subscribe {
                    request: UNSET,
                    options: options.for_pattern(pattern),
                    topic: pattern.to_string(),
                };
                let pattern = pattern.clone();
                (message, Purpose::Subscribe { pattern, sink })
            }
            Wanted::Registration {
                pattern,
                options,
                handler,
            } => {
                let offered = Offered {
                    pattern: pattern.clone(),
                    handler: handler.clone(),
                    _alive: alive,
                };
                let message = Message::Register {
                    request: UNSET,
                    options: options.for_pattern(pattern),
                    procedure: pattern.to_string(),
                };
                (message, Purpose::Register(offered))
            }
        };
        let (id, key) = match (client.plain_request(message, purpose).await?, self) {
            (Answer::Subscribed(id), Wanted::Subscription { inbox, .. }) => (id.0, Some(inbox.key)),
            (Answer::Registered(id), _) => (id.0, None),
            _ => unreachable!("the state machine pairs each request with its answer"),
        };
        Ok(Held {
            id,
            key,
            ended,
            client: client.clone(),
        })
    }
}

impl SubscribeOptions {
    fn for_pattern(self, pattern: &UriPattern) -> Map {
        let mut options = match_option(pattern);
        if self.get_retained {
            options.insert("get_retained".to_owned(), Value::Bool(true));
        }
        options
    }
}

impl RegisterOptions {
    fn for_pattern(self, pattern: &UriPattern) -> Map {
        let mut options = match_option(pattern);
        if self.invoke != Invoke::default() {
            options.insert("invoke".to_owned(), self.invoke.name().into());
        }
        if self.disclose_caller {
            options.insert("disclose_caller".to_owned(), Value::Bool(true));
        }
        options
    }
}

/// What is the default everywhere is not said: some routers know none of these options.
fn match_option(pattern: &UriPattern) -> Map {
    match pattern.policy() {
        Match::Exact => Map::new(),
        policy => Map::from([("match".to_owned(), policy.name().into())]),
    }
}

/// A subscription or registration of a session. Dropping it gives it up.
#[derive(Debug)]
pub(crate) struct Held {
    id: u64,
    /// The subscriber among those of a subscription; a registration has none.
    key: Option<u64>,
    ended: Ended,
    client: Client,
}

impl Held {
    /// Waits until the session has ended, or the router has taken it away.
    pub(crate) async fn ended(&mut self) {
        self.ended.wait().await;
    }

    /// Gives it up, and waits for the router's word.
    async fn leave(self) -> Result<(), CallError> {
        let request = UNSET;
        let (message, purpose) = match self.key {
            Some(key) => {
                let subscription = SubscriptionId(self.id);
                let message = Message::Unsubscribe {
                    request,
                    subscription,
                };
                (message, Purpose::Unsubscribe { subscription, key })
            }
            None => {
                let registration = RegistrationId(self.id);
                let message = Message::Unregister {
                    request,
                    registration,
                };
                (message, Purpose::Unregister { registration })
            }
        };
        self.client.plain_request(message, purpose).await?;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // If the task is gone, so is what it held; the same after `leave`.
        let gone = match self.key {
            Some(key) => Control::DropSubscriber(SubscriptionId(self.id), key),
            None => Control::DropRegistration(RegistrationId(self.id)),
        };
        drop(self.client.control.send(gone));
    }
}
