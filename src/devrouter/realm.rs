//! The sessions of a realm: dispatches what they ask for and queues what they are told.
//!
//! `calls.rs` and `events.rs` hold what is done about each request.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::admission::{Identity, PROVIDER, Users};
use super::broker::Broker;
use super::dealer::{Dealer, Party};
use super::outbox::Outbox;
use super::{DevRouterConfig, RealmConfig};
use crate::value::{Map, Value};
use crate::wamp::id::{MAX_ID, RequestId, RequestIds, SessionId};
use crate::wamp::message::{Message, Payload, code};

/// A realm.
#[derive(Debug)]
pub(super) struct Realm {
    name: String,
    users: Users,
    /// A std mutex: a request is handled whole under it and waits for nothing.
    state: Mutex<State>,
}

/// How much one session may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) open_calls: usize,
    pub(super) entries: usize,
}

/// What a realm knows, under its lock.
#[derive(Debug)]
pub(super) struct State {
    pub(super) limits: Limits,
    pub(super) sessions: HashMap<SessionId, Session>,
    pub(super) broker: Broker,
    pub(super) dealer: Dealer,
}

/// A session that has joined.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) outbox: Outbox,
    pub(super) authid: String,
    pub(super) authrole: String,
    /// Whether it understands INTERRUPT.
    pub(super) can_be_interrupted: bool,
    pub(super) invocations: RequestIds,
}

/// How a client broke the protocol.
#[derive(Debug)]
pub(super) struct Violation(pub(super) String);

impl Realm {
    pub(super) fn new(realm: &RealmConfig, config: &DevRouterConfig) -> Self {
        let limits = Limits {
            open_calls: config.max_open_calls,
            entries: config.max_entries,
        };
        Self {
            name: realm.uri.to_string(),
            users: Users::new(&realm.users),
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

    pub(super) fn users(&self) -> &Users {
        &self.users
    }

    /// Chooses the id of a session that is about to join.
    pub(super) fn free_id(&self) -> SessionId {
        self.state().free_id()
    }

    /// Lets a session in and queues its WELCOME.
    pub(super) fn join(
        &self,
        id: SessionId,
        identity: Identity,
        hello: &Map,
        outbox: Outbox,
    ) -> SessionId {
        let can_be_interrupted = ["roles", "callee", "features"]
            .iter()
            .try_fold(hello, |map, key| map.get(*key).and_then(Value::as_map))
            .and_then(|features| features.get("call_canceling"))
            .and_then(Value::as_bool)
            == Some(true);
        let mut state = self.state();
        // As good as never: another session has taken it while this one proved who it is.
        let session = if state.sessions.contains_key(&id) {
            state.free_id()
        } else {
            id
        };
        let authid = identity
            .authid
            .unwrap_or_else(|| format!("anonymous-{session}"));
        let authrole = identity.authrole;
        let welcome = Message::Welcome {
            session,
            details: welcome_details(&self.name, &authid, &authrole, identity.authmethod),
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
                authrole,
                can_be_interrupted,
                invocations: RequestIds::default(),
            },
        );
        session
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

fn welcome_details(realm: &str, authid: &str, authrole: &str, authmethod: &str) -> Map {
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
        ("authrole".to_owned(), text(authrole)),
        ("authmethod".to_owned(), text(authmethod)),
        ("authprovider".to_owned(), text(PROVIDER)),
        (
            "agent".to_owned(),
            text(concat!("wampgate-devrouter/", env!("CARGO_PKG_VERSION"))),
        ),
        ("roles".to_owned(), Value::Map(roles)),
    ])
}

impl State {
    fn free_id(&self) -> SessionId {
        loop {
            let id = SessionId(fastrand::u64(1..=MAX_ID));
            if !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }

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
            } => self.unregister(session, request, registration),
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
            } => self.unsubscribe(session, request, subscription),
            other => {
                let name = code::name(other.code()).unwrap_or("message");
                return Err(Violation(format!("{name} is not expected here")));
            }
        }
        Ok(())
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

    /// Tells who a session is, under the names that begin with `party`.
    pub(super) fn disclose(&self, session: SessionId, party: &str, details: &mut Map) {
        details.insert(party.to_owned(), Value::from(session.0));
        if let Some(session) = self.sessions.get(&session) {
            let (authid, authrole) = (session.authid.as_str(), session.authrole.as_str());
            details.insert(format!("{party}_authid"), Value::from(authid));
            details.insert(format!("{party}_authrole"), Value::from(authrole));
        }
    }

    pub(super) fn refuse_call(&self, caller: Party, error: &str, text: String) {
        self.refuse(caller.session, code::CALL, caller.request, error, text);
    }

    pub(super) fn refuse_option(
        &self,
        session: SessionId,
        code: u64,
        request: RequestId,
        option: &str,
    ) {
        let error = "wamp.error.option_not_allowed";
        self.refuse(session, code, request, error, option_text(option));
    }

    /// Answers a request with ERROR and a text for people.
    pub(super) fn refuse(
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
    pub(super) fn send(&self, session: SessionId, message: &Message) {
        if let Err(text) = self.try_send(session, message) {
            tracing::debug!(
                session.id = session.0,
                "embedded router cannot send a message: {text}"
            );
        }
    }

    pub(super) fn try_send(&self, session: SessionId, message: &Message) -> Result<(), String> {
        // Without a session: it has just left.
        if let Some(session) = self.sessions.get(&session) {
            session.outbox.push(session.outbox.encode(message)?);
        }
        Ok(())
    }
}

pub(super) fn option_text(option: &str) -> String {
    format!("the embedded router does not support the option `{option}`")
}
