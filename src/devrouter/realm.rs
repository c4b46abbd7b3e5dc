//! The sessions of a realm: dispatches what they ask for and queues what they are told.
//!
//! `calls.rs` and `events.rs` hold what is done about each request.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::admission::{Identity, Origin, User, Users};
use super::broker::{Broker, Subscription};
use super::connection::Refusal;
use super::dealer::{Dealer, Party, Registration};
use super::directory::Directory;
use super::options::{originator, unsupported};
use super::outbox::{Dismissal, Outbox};
use super::retained::Retained;
use super::session::{Features, Session};
use super::{DevRouterConfig, RealmConfig};
use crate::uri::{Match, UriCheck, UriPattern};
use crate::value::{Map, Value};
use crate::wamp::id::{MAX_ID, RequestId, RequestIds, SessionId};
use crate::wamp::message::{Message, Payload, code};
use crate::wamp::options::CancelMode;

/// What the names of the protocol's own begin with.
pub(super) const RESERVED: &str = "wamp.";

/// The longest name that is kept, of a realm, a registration or a subscription: their number is
/// bounded, and so is what they take.
pub(super) const MAX_URI_BYTES: usize = 4096;

/// A realm.
#[derive(Debug)]
pub(super) struct Realm {
    name: String,
    users: ArcSwap<Users>,
    /// Whether it is configured; else a client has named it, and it goes when nobody is in it.
    is_configured: AtomicBool,
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
    /// Nobody can join any more.
    is_closed: bool,
    pub(super) sessions: HashMap<SessionId, Session>,
    pub(super) broker: Broker,
    pub(super) dealer: Dealer,
}

/// How a client broke the protocol.
#[derive(Debug)]
pub(super) struct Violation(pub(super) String);

impl Realm {
    pub(super) fn new(realm: &RealmConfig, is_configured: bool, config: &DevRouterConfig) -> Self {
        let limits = Limits {
            open_calls: config.max_open_calls,
            entries: config.max_entries,
        };
        Self {
            name: realm.uri.to_string(),
            users: ArcSwap::from_pointee(Users::new(&realm.users)),
            is_configured: AtomicBool::new(is_configured),
            state: Mutex::new(State {
                limits,
                is_closed: false,
                sessions: HashMap::new(),
                broker: Broker {
                    subscriptions: Directory::default(),
                    retained: Retained::new(config),
                },
                dealer: Dealer::default(),
            }),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn users(&self) -> Arc<Users> {
        self.users.load_full()
    }

    pub(super) fn is_configured(&self) -> bool {
        self.is_configured.load(Ordering::Relaxed)
    }

    /// Makes it a configured realm with these users. Sessions over sockets that could not join any
    /// more have to go.
    pub(super) fn configure(&self, users: &[User]) {
        self.is_configured.store(true, Ordering::Relaxed);
        let users = Arc::new(Users::new(users));
        // Before those who are in are looked at, or else one could slip in between.
        self.users.store(Arc::clone(&users));
        self.dismiss(
            "wamp.close.normal",
            "you may not join this realm any more",
            |session| !session.is_trusted && !users.may_stay(&session.authid),
        );
    }

    /// Ends every session; nobody can join any more.
    pub(super) fn close(&self) {
        self.state().is_closed = true;
        self.dismiss("wamp.close.close_realm", "the realm is gone", |_| true);
    }

    fn dismiss(&self, reason: &str, message: &str, is_meant: impl Fn(&Session) -> bool) {
        let dismissal = Dismissal::Killed {
            reason: reason.to_owned(),
            message: Some(message.to_owned()),
        };
        for session in self.state().sessions.values().filter(|it| is_meant(it)) {
            session.outbox.dismiss(dismissal.clone());
        }
    }

    /// Chooses the id of a session that is about to join.
    pub(super) fn free_id(&self) -> SessionId {
        self.state().free_id()
    }

    /// Lets a session in and queues its WELCOME.
    ///
    /// # Errors
    ///
    /// It cannot take one: a client may say that it takes very little.
    pub(super) fn join(
        &self,
        id: SessionId,
        identity: Identity,
        origin: Origin,
        hello: &Map,
        outbox: Outbox,
    ) -> Result<SessionId, Refusal> {
        let mut state = self.state();
        if state.is_closed {
            let text = format!("there is no realm `{}`", self.name);
            return Err(("wamp.error.no_such_realm", text));
        }
        // As good as never: another session has taken it while this one proved who it is.
        let session = if state.sessions.contains_key(&id) {
            state.free_id()
        } else {
            id
        };
        let authid = identity
            .authid
            .unwrap_or_else(|| format!("anonymous-{session}"));
        let member = Session {
            outbox,
            authid,
            authrole: identity.authrole,
            authmethod: identity.authmethod,
            is_trusted: origin == Origin::InProcess,
            features: Features::announced(hello),
            invocations: RequestIds::default(),
        };
        let welcome = Message::Welcome {
            session,
            details: member.welcome(&self.name),
        };
        member.outbox.push(member.outbox.encode(&welcome)?);
        state.sessions.insert(session, member);
        state.announce_session(session);
        Ok(session)
    }

    /// Forgets a session; those who waited for it or worked for it are told.
    pub(super) fn leave(&self, session: SessionId) {
        self.state().leave(session);
    }

    /// Does what a session asks for, and returns when it is to be asked to [`expire`](Self::expire)
    /// the calls of the session.
    ///
    /// # Errors
    ///
    /// [`Violation`] ends the session.
    pub(super) fn handle(
        &self,
        session: SessionId,
        message: Message,
    ) -> Result<Option<Instant>, Violation> {
        let mut state = self.state();
        // Without a session: it was killed, and its connection has not noticed yet.
        if state.sessions.contains_key(&session) {
            state.handle(session, message)?;
        }
        Ok(state.dealer.next_deadline(session))
    }

    /// Ends the calls of a session that have taken too long, and returns when to look again.
    pub(super) fn expire(&self, session: SessionId) -> Option<Instant> {
        let mut state = self.state();
        state.expire(session);
        state.dealer.next_deadline(session)
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
    ) -> Result<Option<Instant>, Violation> {
        let state = self.state();
        match (code, request) {
            (code::CALL | code::REGISTER | code::SUBSCRIBE | code::PUBLISH, Some(request)) => {
                state.refuse(session, code, request, "wamp.error.invalid_uri", detail);
            }
            (code::PUBLISH, None) => {}
            _ => return Err(Violation(detail)),
        }
        Ok(state.dealer.next_deadline(session))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the pattern of a subscription or a registration.
///
/// # Errors
///
/// What is wrong with it.
pub(super) fn pattern(options: &Map, text: &str) -> Result<UriPattern, String> {
    // Another name is refused when the message is read.
    let policy = options.get("match").and_then(Value::as_text);
    let policy = policy.and_then(Match::from_name).unwrap_or_default();
    if text.len() > MAX_URI_BYTES {
        let length = text.len();
        return Err(format!(
            "{length} bytes, but at most {MAX_URI_BYTES} are kept"
        ));
    }
    UriPattern::parse(text, policy, UriCheck::Loose).map_err(|error| error.to_string())
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
            } => self.register(session, request, &options, &procedure),
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
            } => self.subscribe(session, request, &options, &topic),
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

    /// Forgets a session, and tells those who want to know.
    pub(super) fn leave(&mut self, id: SessionId) {
        if let Some(session) = self.forget(id) {
            self.announce_departure(id, &session);
        }
    }

    /// Forgets a session with all that it had.
    pub(super) fn forget(&mut self, id: SessionId) -> Option<Session> {
        let session = self.sessions.remove(&id)?;
        let unsubscribed = self.broker.subscriptions.leave(id);
        let departure = self.dealer.leave(id);
        for caller in departure.unanswered {
            let text = "the callee is gone".to_owned();
            self.refuse_call(caller, "wamp.error.canceled", text);
        }
        for callee in departure.unwanted {
            self.interrupt(callee, CancelMode::KillNoWait, "wamp.error.canceled");
        }
        for parting in departure.withdrawn {
            self.announce_parting::<Registration>(id, parting);
        }
        for parting in unsubscribed {
            self.announce_parting::<Subscription>(id, parting);
        }
        Some(session)
    }

    /// Tells under the names that begin with `party` from whom a request comes: whom it is made
    /// for, if it says so, or else the session, if that `is_wanted`.
    pub(super) fn disclose(
        &self,
        session: SessionId,
        options: &Map,
        is_wanted: bool,
        party: &str,
        details: &mut Map,
    ) {
        let [id, authid, authrole] = if let Some(originator) = originator(options) {
            ["session", "authid", "authrole"]
                .map(|name| originator.get(name).cloned().unwrap_or_default())
        } else if is_wanted && let Some(member) = self.sessions.get(&session) {
            let [authid, authrole] = [&member.authid, &member.authrole];
            [
                Value::from(session.0),
                Value::from(authid.as_str()),
                Value::from(authrole.as_str()),
            ]
        } else {
            return;
        };
        details.insert(party.to_owned(), id);
        details.insert(format!("{party}_authid"), authid);
        details.insert(format!("{party}_authrole"), authrole);
    }

    /// Returns the first option of a session's request that asks for what this router does not do.
    pub(super) fn unsupported<'a>(
        &self,
        session: SessionId,
        code: u64,
        options: &'a Map,
    ) -> Option<&'a str> {
        let member = self.sessions.get(&session);
        unsupported(code, options, member.is_some_and(|it| it.is_trusted))
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
        let refusal = |payload| Message::Error {
            request_type,
            request,
            details: Map::new(),
            error: error.to_owned(),
            payload,
        };
        let full = refusal(Payload::new(vec![Value::Text(text)], Map::new()));
        // The text may name what is as long as a message; without an answer the peer would wait.
        if self.try_send(session, &full).is_err() {
            self.send(session, &refusal(Payload::default()));
        }
    }

    /// Queues a message of our own making, which each serializer can carry.
    pub(super) fn send(&self, session: SessionId, message: &Message) {
        if let Err((_, text)) = self.try_send(session, message) {
            tracing::debug!(
                session.id = session.0,
                "embedded router cannot send a message: {text}"
            );
        }
    }

    pub(super) fn try_send(&self, session: SessionId, message: &Message) -> Result<(), Refusal> {
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

#[cfg(test)]
mod tests;
