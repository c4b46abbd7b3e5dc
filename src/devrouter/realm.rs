//! The sessions of a realm: dispatches what they ask for and queues what they are told.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use super::DevRouterConfig;
use super::broker::{Audience, Broker};
use super::dealer::{Dealer, Party};
use super::options::unsupported;
use crate::uri::Uri;
use crate::value::{Map, Value};
use crate::wamp::id::{MAX_ID, PublicationId, RequestId, RequestIds, SessionId};
use crate::wamp::message::{Message, Payload, code};
use crate::wamp::serializer::Serializer;

/// What a queued frame takes beside its bytes, so that many small ones count as well.
const FRAME_OVERHEAD_BYTES: usize = 128;

const AUTHROLE: &str = "anonymous";

/// A realm.
#[derive(Debug)]
pub(super) struct Realm {
    name: String,
    /// A std mutex: a request is handled whole under it and waits for nothing.
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    open_calls: usize,
    entries: usize,
}

#[derive(Debug)]
struct State {
    limits: Limits,
    sessions: HashMap<SessionId, Session>,
    broker: Broker,
    dealer: Dealer,
}

#[derive(Debug)]
struct Session {
    outbox: Outbox,
    authid: String,
    /// Whether it understands INTERRUPT.
    can_be_interrupted: bool,
    invocations: RequestIds,
}

/// A session that has just joined.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) session: SessionId,
}

/// How a client broke the protocol.
#[derive(Debug)]
pub(super) struct Violation(pub(super) String);

/// The way into a session's queue of frames. Bounded in bytes, not in frames: a burst of small
/// events is no reason to drop a session, a pile of large ones is.
#[derive(Debug, Clone)]
pub(super) struct Outbox {
    serializer: Serializer,
    max_message_bytes: usize,
    max_queued_bytes: usize,
    sender: mpsc::UnboundedSender<Queued>,
    queued_bytes: Arc<AtomicUsize>,
    overflow: Arc<Notify>,
}

/// A frame in a queue; counts towards the bound until it is taken out.
#[derive(Debug)]
pub(super) struct Queued {
    frame: Bytes,
    queued_bytes: Arc<AtomicUsize>,
}

impl Queued {
    /// Takes the frame out.
    pub(super) fn into_frame(self) -> Bytes {
        self.queued_bytes
            .fetch_sub(self.frame.len() + FRAME_OVERHEAD_BYTES, Ordering::Relaxed);
        self.frame
    }
}

impl Outbox {
    pub(super) fn new(
        serializer: Serializer,
        config: &DevRouterConfig,
    ) -> (Self, mpsc::UnboundedReceiver<Queued>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let outbox = Self {
            serializer,
            max_message_bytes: config.max_message_bytes,
            max_queued_bytes: config.max_queued_bytes,
            sender,
            queued_bytes: Arc::new(AtomicUsize::new(0)),
            overflow: Arc::new(Notify::new()),
        };
        (outbox, receiver)
    }

    /// Waits until the session has more to read than it may.
    pub(super) async fn overflowed(&self) {
        self.overflow.notified().await;
    }

    /// Writes a message for this session.
    ///
    /// # Errors
    ///
    /// Why the session cannot be sent this message, in words for whoever caused it.
    fn encode(&self, message: &Message) -> Result<Bytes, String> {
        let frame = self
            .serializer
            .encode(message)
            .map_err(|error| format!("{}: {error}", self.serializer.subprotocol()))?;
        if frame.len() > self.max_message_bytes {
            return Err(format!(
                "a message of {} bytes, but at most {} are allowed",
                frame.len(),
                self.max_message_bytes
            ));
        }
        Ok(frame)
    }

    fn push(&self, frame: Bytes) {
        let size = frame.len() + FRAME_OVERHEAD_BYTES;
        // Only grown under the realm's lock, so no two pushes can pass the check together.
        if self.queued_bytes.load(Ordering::Relaxed) + size > self.max_queued_bytes {
            self.overflow.notify_one();
            return;
        }
        self.queued_bytes.fetch_add(size, Ordering::Relaxed);
        let queued = Queued {
            frame,
            queued_bytes: Arc::clone(&self.queued_bytes),
        };
        // A session that is leaving no longer reads its queue, and its connection forgets it.
        drop(self.sender.send(queued));
    }
}

impl Realm {
    pub(super) fn new(name: &Uri, config: &DevRouterConfig) -> Self {
        let limits = Limits {
            open_calls: config.max_open_calls,
            entries: config.max_entries,
        };
        Self {
            name: name.to_string(),
            state: Mutex::new(State {
                limits,
                sessions: HashMap::new(),
                broker: Broker::default(),
                dealer: Dealer::default(),
            }),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Lets a session in and queues its WELCOME.
    pub(super) fn join(&self, hello: &Map, outbox: Outbox) -> Joined {
        let can_be_interrupted = ["roles", "callee", "features"]
            .iter()
            .try_fold(hello, |map, key| map.get(*key).and_then(Value::as_map))
            .and_then(|features| features.get("call_canceling"))
            .and_then(Value::as_bool)
            == Some(true);
        let mut state = self.state();
        let session = loop {
            let id = SessionId(fastrand::u64(1..=MAX_ID));
            if !state.sessions.contains_key(&id) {
                break id;
            }
        };
        let authid = format!("anonymous-{session}");
        let welcome = Message::Welcome {
            session,
            details: welcome_details(&self.name, &authid),
        };
        // WELCOME is text and flags only, so each serializer can carry it.
        if let Ok(frame) = outbox.encode(&welcome) {
            outbox.push(frame);
        }
        state.sessions.insert(
            session,
            Session {
                outbox,
                authid,
                can_be_interrupted,
                invocations: RequestIds::default(),
            },
        );
        Joined { session }
    }

    /// Forgets a session; those who waited for it or worked for it are told.
    pub(super) fn leave(&self, session: SessionId) {
        self.state().leave(session);
    }

    /// Does what a session asks for.
    ///
    /// # Errors
    ///
    /// [`Violation`] ends the session.
    pub(super) fn handle(&self, session: SessionId, message: Message) -> Result<(), Violation> {
        self.state().handle(session, message)
    }

    /// Answers a request whose URI is invalid.
    ///
    /// # Errors
    ///
    /// [`Violation`] if the message is no request.
    pub(super) fn refuse_uri(
        &self,
        session: SessionId,
        code: u64,
        request: Option<RequestId>,
        detail: String,
    ) -> Result<(), Violation> {
        match (code, request) {
            (code::CALL | code::REGISTER | code::SUBSCRIBE | code::PUBLISH, Some(request)) => {
                self.state()
                    .refuse(session, code, request, "wamp.error.invalid_uri", detail);
                Ok(())
            }
            (code::PUBLISH, None) => Ok(()),
            _ => Err(Violation(detail)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn welcome_details(realm: &str, authid: &str) -> Map {
    let features = |names: &[&str]| {
        let features = names
            .iter()
            .map(|name| ((*name).to_owned(), Value::Bool(true)));
        let features = Value::Map(features.collect());
        Value::Map(Map::from_iter([("features".to_owned(), features)]))
    };
    let broker = features(&[
        "publisher_exclusion",
        "publisher_identification",
        "subscriber_blackwhite_listing",
    ]);
    let dealer = features(&["call_canceling", "caller_identification"]);
    let roles = Map::from_iter([("broker".to_owned(), broker), ("dealer".to_owned(), dealer)]);
    let text = |text: &str| Value::Text(text.to_owned());
    Map::from_iter([
        ("realm".to_owned(), text(realm)),
        ("authid".to_owned(), text(authid)),
        ("authrole".to_owned(), text(AUTHROLE)),
        ("authmethod".to_owned(), text("anonymous")),
        ("authprovider".to_owned(), text("static")),
        (
            "agent".to_owned(),
            text(concat!("wampgate-devrouter/", env!("CARGO_PKG_VERSION"))),
        ),
        ("roles".to_owned(), Value::Map(roles)),
    ])
}

impl State {
    fn handle(&mut self, session: SessionId, message: Message) -> Result<(), Violation> {
        match message {
            Message::Call {
                request,
                options,
                procedure,
                payload,
            } => {
                let caller = Party { session, request };
                return self.call(caller, &options, &procedure, payload);
            }
            Message::Cancel { request, options } => {
                self.cancel(Party { session, request }, &options);
            }
            Message::Yield {
                request,
                options,
                payload,
            } => return self.answer(Party { session, request }, options, payload),
            Message::Error {
                request_type: code::INVOCATION,
                request,
                details,
                error,
                payload,
            } => self.fail(Party { session, request }, details, error, payload),
            Message::Register {
                request,
                options,
                procedure,
            } => self.register(session, request, &options, procedure),
            Message::Unregister {
                request,
                registration,
            } => {
                if self.dealer.unregister(session, registration) {
                    let details = Map::new();
                    self.send(session, &Message::Unregistered { request, details });
                } else {
                    let error = "wamp.error.no_such_registration";
                    let text = format!("you have no registration {registration}");
                    self.refuse(session, code::UNREGISTER, request, error, text);
                }
            }
            Message::Publish {
                request,
                options,
                topic,
                payload,
            } => self.publish(session, request, &options, &topic, payload),
            Message::Subscribe {
                request,
                options,
                topic,
            } => self.subscribe(session, request, &options, topic),
            Message::Unsubscribe {
                request,
                subscription,
            } => {
                if self.broker.unsubscribe(session, subscription) {
                    let details = Map::new();
                    self.send(session, &Message::Unsubscribed { request, details });
                } else {
                    let error = "wamp.error.no_such_subscription";
                    let text = format!("you have no subscription {subscription}");
                    self.refuse(session, code::UNSUBSCRIBE, request, error, text);
                }
            }
            other => {
                let name = code::name(other.code()).unwrap_or("message");
                return Err(Violation(format!("{name} is not expected here")));
            }
        }
        Ok(())
    }

    fn call(
        &mut self,
        caller: Party,
        options: &Map,
        procedure: &str,
        payload: Payload,
    ) -> Result<(), Violation> {
        if self.dealer.callee_of(caller).is_some() {
            let request = caller.request;
            return Err(Violation(format!("request {request} is open already")));
        }
        if let Some(option) = unsupported(code::CALL, options) {
            self.refuse_option(caller.session, code::CALL, caller.request, option);
            return Ok(());
        }
        let Some(registration) = self.dealer.registration(procedure) else {
            let text = format!("nobody has registered `{procedure}`");
            self.refuse_call(caller, "wamp.error.no_such_procedure", text);
            return Ok(());
        };
        if self.dealer.open_calls(caller.session) >= self.limits.open_calls {
            let text = format!("{} calls are open already", self.limits.open_calls);
            self.refuse_call(caller, "wamp.error.unavailable", text);
            return Ok(());
        }
        let mut details = Map::new();
        if registration.discloses_caller || is_set(options, "disclose_me") {
            let (session, authid) = (caller.session.0, self.authid(caller.session));
            details.insert("caller".to_owned(), Value::from(session));
            details.insert("caller_authid".to_owned(), authid);
            details.insert("caller_authrole".to_owned(), Value::from(AUTHROLE));
        }
        let Some(callee) = self.sessions.get_mut(&registration.callee) else {
            // A session's registrations leave with it, so this cannot be.
            let text = "the callee is gone".to_owned();
            self.refuse_call(caller, "wamp.error.no_eligible_callee", text);
            return Ok(());
        };
        let request = callee.invocations.next_id();
        let invocation = Message::Invocation {
            request,
            registration: registration.id,
            details,
            payload,
        };
        match callee.outbox.encode(&invocation) {
            Ok(frame) => {
                callee.outbox.push(frame);
                let session = registration.callee;
                self.dealer.open(caller, Party { session, request });
            }
            Err(text) => self.refuse_call(caller, "wamp.error.invalid_payload", text),
        }
        Ok(())
    }

    /// Reference: WAMP Advanced Profile, "Call Canceling".
    fn cancel(&mut self, caller: Party, options: &Map) {
        // Without a call: the answer and the CANCEL have crossed.
        let Some(callee) = self.dealer.callee_of(caller) else {
            return;
        };
        let mode = options.get("mode").and_then(Value::as_text);
        let can_be_interrupted = self
            .sessions
            .get(&callee.session)
            .is_some_and(|session| session.can_be_interrupted);
        let (interrupts, waits) = match mode {
            Some("skip") => (None, false),
            Some("kill") => (Some("kill"), can_be_interrupted),
            _ => (Some("killnowait"), false),
        };
        if let Some(mode) = interrupts {
            self.interrupt(callee, mode);
        }
        if !waits {
            self.dealer.finish(callee);
            let text = "the caller has canceled the call".to_owned();
            self.refuse_call(caller, "wamp.error.canceled", text);
        }
    }

    fn interrupt(&mut self, callee: Party, mode: &str) {
        let options = Map::from_iter([
            ("mode".to_owned(), Value::from(mode)),
            ("reason".to_owned(), Value::from("wamp.error.canceled")),
        ]);
        if self
            .sessions
            .get(&callee.session)
            .is_some_and(|session| session.can_be_interrupted)
        {
            let request = callee.request;
            self.send(callee.session, &Message::Interrupt { request, options });
        }
    }

    /// A callee has yielded.
    fn answer(
        &mut self,
        callee: Party,
        mut options: Map,
        payload: Payload,
    ) -> Result<(), Violation> {
        if is_set(&options, "progress") {
            return Err(Violation("progress that nobody asked for".to_owned()));
        }
        options.shift_remove("progress");
        // Without a call: it was canceled, or its caller is gone.
        let Some(caller) = self.dealer.finish(callee) else {
            return Ok(());
        };
        let result = Message::Result {
            request: caller.request,
            details: options,
            payload,
        };
        if let Err(text) = self.try_send(caller.session, &result) {
            self.refuse_call(caller, "wamp.error.invalid_payload", text);
        }
        Ok(())
    }

    /// A callee has failed.
    fn fail(&mut self, callee: Party, details: Map, error: String, payload: Payload) {
        let Some(caller) = self.dealer.finish(callee) else {
            return;
        };
        let message = Message::Error {
            request_type: code::CALL,
            request: caller.request,
            details,
            error,
            payload,
        };
        if let Err(text) = self.try_send(caller.session, &message) {
            self.refuse_call(caller, "wamp.error.invalid_payload", text);
        }
    }

    fn register(
        &mut self,
        session: SessionId,
        request: RequestId,
        options: &Map,
        procedure: String,
    ) {
        if let Some(option) = unsupported(code::REGISTER, options) {
            return self.refuse_option(session, code::REGISTER, request, option);
        }
        if procedure.starts_with("wamp.") {
            let text = "`wamp.` is the protocol's own".to_owned();
            return self.refuse(
                session,
                code::REGISTER,
                request,
                "wamp.error.invalid_uri",
                text,
            );
        }
        if self.dealer.count(session) >= self.limits.entries {
            let text = format!("you have {} registrations already", self.limits.entries);
            let error = "wamp.error.unavailable";
            return self.refuse(session, code::REGISTER, request, error, text);
        }
        let text = format!("`{procedure}` is registered already");
        let discloses_caller = is_set(options, "disclose_caller");
        match self.dealer.register(session, procedure, discloses_caller) {
            Some(registration) => self.send(
                session,
                &Message::Registered {
                    request,
                    registration,
                },
            ),
            None => {
                let error = "wamp.error.procedure_already_exists";
                self.refuse(session, code::REGISTER, request, error, text);
            }
        }
    }

    fn subscribe(&mut self, session: SessionId, request: RequestId, options: &Map, topic: String) {
        if let Some(option) = unsupported(code::SUBSCRIBE, options) {
            return self.refuse_option(session, code::SUBSCRIBE, request, option);
        }
        if self.broker.count(session) >= self.limits.entries {
            let text = format!("you have {} subscriptions already", self.limits.entries);
            let error = "wamp.error.unavailable";
            return self.refuse(session, code::SUBSCRIBE, request, error, text);
        }
        let subscription = self.broker.subscribe(session, topic);
        self.send(
            session,
            &Message::Subscribed {
                request,
                subscription,
            },
        );
    }

    fn publish(
        &mut self,
        session: SessionId,
        request: RequestId,
        options: &Map,
        topic: &str,
        payload: Payload,
    ) {
        let is_acknowledged = is_set(options, "acknowledge");
        let refused = if let Some(option) = unsupported(code::PUBLISH, options) {
            Some(("wamp.error.option_not_allowed", option_text(option)))
        } else if topic.starts_with("wamp.") {
            let text = "`wamp.` is the protocol's own".to_owned();
            Some(("wamp.error.invalid_uri", text))
        } else {
            None
        };
        if let Some((error, text)) = refused {
            // Who did not ask to be told is not told.
            if is_acknowledged {
                self.refuse(session, code::PUBLISH, request, error, text);
            }
            return;
        }
        let publication = PublicationId(fastrand::u64(1..=MAX_ID));
        self.deliver(session, publication, options, topic, payload);
        if is_acknowledged {
            self.send(
                session,
                &Message::Published {
                    request,
                    publication,
                },
            );
        }
    }

    fn deliver(
        &self,
        publisher: SessionId,
        publication: PublicationId,
        options: &Map,
        topic: &str,
        payload: Payload,
    ) {
        let Some((subscription, subscribers)) = self.broker.subscribers(topic) else {
            return;
        };
        let mut details = Map::new();
        if is_set(options, "disclose_me") {
            details.insert("publisher".to_owned(), Value::from(publisher.0));
            details.insert("publisher_authid".to_owned(), self.authid(publisher));
            details.insert("publisher_authrole".to_owned(), Value::from(AUTHROLE));
        }
        let event = Message::Event {
            subscription,
            publication,
            details,
            payload,
        };
        let audience = Audience::new(publisher, options);
        // The same bytes for all who share a serializer.
        let mut frames: [Option<(Serializer, Result<Bytes, String>)>; 3] = [const { None }; 3];
        for id in subscribers {
            let Some(subscriber) = self.sessions.get(&id) else {
                continue;
            };
            if !audience.admits(id, &subscriber.authid, AUTHROLE) {
                continue;
            }
            let outbox = &subscriber.outbox;
            let slot = frames
                .iter_mut()
                .find(|slot| slot.as_ref().is_none_or(|(of, _)| *of == outbox.serializer));
            let Some(slot) = slot else { continue };
            let (_, frame) = slot.get_or_insert_with(|| (outbox.serializer, outbox.encode(&event)));
            match frame {
                Ok(frame) => outbox.push(frame.clone()),
                Err(text) => tracing::debug!(
                    session.id = id.0,
                    "embedded router cannot deliver an event: {text}"
                ),
            }
        }
    }

    fn leave(&mut self, session: SessionId) {
        if self.sessions.remove(&session).is_none() {
            return;
        }
        self.broker.leave(session);
        let departure = self.dealer.leave(session);
        for caller in departure.unanswered {
            let text = "the callee is gone".to_owned();
            self.refuse_call(caller, "wamp.error.canceled", text);
        }
        for callee in departure.unwanted {
            self.interrupt(callee, "killnowait");
        }
    }

    fn authid(&self, session: SessionId) -> Value {
        self.sessions
            .get(&session)
            .map_or(Value::Null, |session| Value::from(session.authid.as_str()))
    }

    fn refuse_call(&self, caller: Party, error: &str, text: String) {
        self.refuse(caller.session, code::CALL, caller.request, error, text);
    }

    fn refuse_option(&self, session: SessionId, code: u64, request: RequestId, option: &str) {
        let error = "wamp.error.option_not_allowed";
        self.refuse(session, code, request, error, option_text(option));
    }

    /// Answers a request with ERROR and a text for people.
    fn refuse(
        &self,
        session: SessionId,
        request_type: u64,
        request: RequestId,
        error: &str,
        text: String,
    ) {
        self.send(
            session,
            &Message::Error {
                request_type,
                request,
                details: Map::new(),
                error: error.to_owned(),
                payload: Payload::new(vec![Value::Text(text)], Map::new()),
            },
        );
    }

    /// Queues a message of our own making, which each serializer can carry.
    fn send(&self, session: SessionId, message: &Message) {
        if let Err(text) = self.try_send(session, message) {
            tracing::debug!(
                session.id = session.0,
                "embedded router cannot send a message: {text}"
            );
        }
    }

    fn try_send(&self, session: SessionId, message: &Message) -> Result<(), String> {
        // Without a session: it has just left.
        if let Some(session) = self.sessions.get(&session) {
            session.outbox.push(session.outbox.encode(message)?);
        }
        Ok(())
    }
}

fn is_set(options: &Map, name: &str) -> bool {
    options.get(name).and_then(Value::as_bool) == Some(true)
}

fn option_text(option: &str) -> String {
    format!("the embedded router does not support the option `{option}`")
}
