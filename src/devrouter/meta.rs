//! What the router tells about itself: the meta procedures and the meta events.
//!
//! They lie in `wamp.`, where nobody else may register or publish, and have no registrations: the
//! router answers such calls itself. A meta event is made only if somebody subscribes to it.
//!
//! Whoever may join may ask and may kill: there are no rights in this router.
//!
//! Reference: WAMP Advanced Profile, "Session Meta API", "Registration Meta API", "Subscriptions
//! Meta API".

use std::collections::HashSet;

use super::broker::Subscription;
use super::connection::Refusal;
use super::dealer::{Party, Registration, Turns};
use super::directory::{Directory, Entry, Kind, Parting};
use super::outbox::Dismissal;
use super::realm::{State, pattern};
use super::session::Session;
use crate::uri::{Match, Uri, UriCheck};
use crate::value::{Map, Value, time};
use crate::wamp::id::SessionId;
use crate::wamp::message::{Message, Payload};

/// What the meta API calls the entries of a directory.
pub(super) trait Described: Kind + Sized {
    const TOPICS: Topics;
    const NO_SUCH: &'static str;

    fn directory(state: &State) -> &Directory<Self>;

    /// Adds what is told about an entry of this kind only.
    fn describe(rule: &Self::Rule, details: &mut Map);
}

/// The meta events about an entry.
pub(super) struct Topics {
    create: &'static str,
    join: &'static str,
    part: &'static str,
    delete: &'static str,
}

impl Described for Registration {
    const TOPICS: Topics = Topics {
        create: "wamp.registration.on_create",
        join: "wamp.registration.on_register",
        part: "wamp.registration.on_unregister",
        delete: "wamp.registration.on_delete",
    };
    const NO_SUCH: &'static str = "wamp.error.no_such_registration";

    fn directory(state: &State) -> &Directory<Self> {
        &state.dealer.registrations
    }

    fn describe(turns: &Turns, details: &mut Map) {
        details.insert("invoke".to_owned(), Value::from(turns.invoke.name()));
    }
}

impl Described for Subscription {
    const TOPICS: Topics = Topics {
        create: "wamp.subscription.on_create",
        join: "wamp.subscription.on_subscribe",
        part: "wamp.subscription.on_unsubscribe",
        delete: "wamp.subscription.on_delete",
    };
    const NO_SUCH: &'static str = "wamp.error.no_such_subscription";

    fn directory(state: &State) -> &Directory<Self> {
        &state.broker.subscriptions
    }

    fn describe((): &(), _details: &mut Map) {}
}

impl State {
    /// Answers a call to a procedure of the router's own.
    pub(super) fn call_meta(&mut self, caller: Party, procedure: &str, payload: &Payload) {
        let arguments = Arguments(payload);
        let answer = match procedure {
            "wamp.session.count" => self.count_sessions(arguments),
            "wamp.session.list" => self.list_sessions(arguments),
            "wamp.session.get" => self.describe_session(arguments),
            "wamp.session.kill" => self.kill_one(caller.session, arguments),
            "wamp.session.kill_by_authid" => self.kill_by_authid(caller.session, arguments),
            "wamp.session.kill_by_authrole" => self.kill_by_authrole(caller.session, arguments),
            "wamp.session.kill_all" => self.kill_all(caller.session, arguments),
            "wamp.registration.list" => Ok(self.list_entries::<Registration>()),
            "wamp.registration.lookup" => self.look_up::<Registration>(arguments),
            "wamp.registration.match" => self.best_registration(arguments),
            "wamp.registration.get" => self.describe_entry::<Registration>(arguments),
            "wamp.registration.list_callees" => self.list_members::<Registration>(arguments),
            "wamp.registration.count_callees" => self.count_members::<Registration>(arguments),
            "wamp.subscription.list" => Ok(self.list_entries::<Subscription>()),
            "wamp.subscription.lookup" => self.look_up::<Subscription>(arguments),
            "wamp.subscription.match" => self.matching_subscriptions(arguments),
            "wamp.subscription.get" => self.describe_entry::<Subscription>(arguments),
            "wamp.subscription.list_subscribers" => self.list_members::<Subscription>(arguments),
            "wamp.subscription.count_subscribers" => self.count_members::<Subscription>(arguments),
            _ => return self.refuse_procedure(caller, procedure),
        };
        let sent = answer.and_then(|args| {
            let result = Message::Result {
                request: caller.request,
                details: Map::new(),
                payload: Payload::new(args, Map::new()),
            };
            // A list may be longer than a message.
            self.try_send(caller.session, &result)
        });
        if let Err((error, text)) = sent {
            self.refuse_call(caller, error, text);
        }
    }

    /// Tells that a session has come.
    pub(super) fn announce_session(&self, id: SessionId) {
        if let Some(session) = self.sessions.get(&id) {
            self.announce("wamp.session.on_join", || vec![details_of(id, session)]);
        }
    }

    /// Tells that a session is gone.
    pub(super) fn announce_departure(&self, id: SessionId, session: &Session) {
        self.announce("wamp.session.on_leave", || {
            let names = [&session.authid, &session.authrole];
            let [authid, authrole] = names.map(|name| Value::from(name.as_str()));
            vec![Value::from(id.0), authid, authrole]
        });
    }

    /// Tells that a session has attached itself to an entry, which may be new.
    pub(super) fn announce_joining<K: Described>(
        &self,
        session: SessionId,
        id: K::Id,
        is_new: bool,
    ) {
        let Some(entry) = K::directory(self).entry(id) else {
            return;
        };
        let session = Value::from(session.0);
        if is_new {
            self.announce(K::TOPICS.create, || {
                vec![session.clone(), entry_details(id, entry)]
            });
        }
        self.announce(K::TOPICS.join, || vec![session, Value::from(id.into())]);
    }

    /// Tells that a session has left an entry, which may be gone with it.
    pub(super) fn announce_parting<K: Described>(
        &self,
        session: SessionId,
        parting: Parting<K::Id>,
    ) {
        let args = || vec![Value::from(session.0), Value::from(parting.id.into())];
        self.announce(K::TOPICS.part, args);
        if parting.was_last {
            self.announce(K::TOPICS.delete, args);
        }
    }

    /// Returns the sessions whose role is in the list that the first argument may be.
    fn sessions_by_role(&self, arguments: Arguments<'_>) -> Result<Vec<SessionId>, Refusal> {
        let roles = match arguments.0.args().first() {
            None | Some(Value::Null) => return Ok(self.select(|_| true)),
            Some(roles) => roles.as_list(),
        };
        // A set, as there may be as many as a message holds, for as many sessions.
        let roles: Option<HashSet<&str>> =
            roles.and_then(|roles| roles.iter().map(Value::as_text).collect());
        let roles = roles.ok_or_else(|| invalid("argument 1 must be a list of roles"))?;
        Ok(self.select(|session| roles.contains(session.authrole.as_str())))
    }

    /// Returns sessions in the order of their ids, so that answers can be compared.
    fn select(&self, is_meant: impl Fn(&Session) -> bool) -> Vec<SessionId> {
        let sessions = self.sessions.iter();
        let mut ids: Vec<_> = sessions
            .filter(|(_, session)| is_meant(session))
            .map(|(id, _)| *id)
            .collect();
        ids.sort_unstable();
        ids
    }

    fn count_sessions(&self, arguments: Arguments<'_>) -> Result<Vec<Value>, Refusal> {
        Ok(vec![count(self.sessions_by_role(arguments)?.len())])
    }

    fn list_sessions(&self, arguments: Arguments<'_>) -> Result<Vec<Value>, Refusal> {
        Ok(vec![ids(self.sessions_by_role(arguments)?)])
    }

    fn describe_session(&self, arguments: Arguments<'_>) -> Result<Vec<Value>, Refusal> {
        let id = SessionId(arguments.id()?);
        let session = self.sessions.get(&id).ok_or_else(|| no_such_session(id))?;
        Ok(vec![details_of(id, session)])
    }

    fn kill_one(
        &mut self,
        caller: SessionId,
        arguments: Arguments<'_>,
    ) -> Result<Vec<Value>, Refusal> {
        let dismissal = arguments.dismissal()?;
        let id = SessionId(arguments.id()?);
        if id == caller || !self.sessions.contains_key(&id) {
            return Err(no_such_session(id));
        }
        self.kill(id, &dismissal);
        self.leave(id);
        Ok(Vec::new())
    }

    fn kill_by_authid(
        &mut self,
        caller: SessionId,
        arguments: Arguments<'_>,
    ) -> Result<Vec<Value>, Refusal> {
        let authid = arguments.text()?;
        let dismissal = arguments.dismissal()?;
        let killed = self.kill_others(caller, &dismissal, |session| session.authid == authid);
        Ok(vec![ids(killed)])
    }

    fn kill_by_authrole(
        &mut self,
        caller: SessionId,
        arguments: Arguments<'_>,
    ) -> Result<Vec<Value>, Refusal> {
        let authrole = arguments.text()?;
        let dismissal = arguments.dismissal()?;
        let killed = self.kill_others(caller, &dismissal, |session| session.authrole == authrole);
        Ok(vec![count(killed.len())])
    }

    /// No session event tells of this, as the specification says; other events do.
    fn kill_all(
        &mut self,
        caller: SessionId,
        arguments: Arguments<'_>,
    ) -> Result<Vec<Value>, Refusal> {
        let dismissal = arguments.dismissal()?;
        let mut victims = self.select(|_| true);
        victims.retain(|id| *id != caller);
        for id in &victims {
            self.kill(*id, &dismissal);
            drop(self.forget(*id));
        }
        Ok(vec![count(victims.len())])
    }

    fn kill_others(
        &mut self,
        caller: SessionId,
        dismissal: &Dismissal,
        is_meant: impl Fn(&Session) -> bool,
    ) -> Vec<SessionId> {
        let mut victims = self.select(is_meant);
        victims.retain(|id| *id != caller);
        for id in &victims {
            self.kill(*id, dismissal);
        }
        for id in &victims {
            self.leave(*id);
        }
        victims
    }

    fn kill(&self, id: SessionId, dismissal: &Dismissal) {
        if let Some(session) = self.sessions.get(&id) {
            session.outbox.dismiss(dismissal.clone());
        }
    }

    fn list_entries<K: Described>(&self) -> Vec<Value> {
        let directory = K::directory(self);
        let lists = Match::ALL.map(|policy| {
            let entries = ids(directory.of_policy(policy));
            (policy.name().to_owned(), entries)
        });
        vec![Value::Map(Map::from_iter(lists))]
    }

    fn look_up<K: Described>(&self, arguments: Arguments<'_>) -> Result<Vec<Value>, Refusal> {
        let text = arguments.text()?;
        let options = match arguments.0.args().get(1) {
            None | Some(Value::Null) => &Map::new(),
            Some(Value::Map(options)) => options,
            Some(_) => return Err(invalid("argument 2 must be options")),
        };
        let pattern = pattern(options, text).map_err(|text| invalid(&text))?;
        let found = K::directory(self).id(pattern.policy(), pattern.as_str());
        Ok(vec![found.map_or(Value::Null, |id| Value::from(id.into()))])
    }

    fn best_registration(&self, arguments: Arguments<'_>) -> Result<Vec<Value>, Refusal> {
        let uri = arguments.uri()?;
        let best = self.dealer.registrations.covering(uri).next();
        Ok(vec![best.map_or(Value::Null, |id| Value::from(id.0))])
    }

    fn matching_subscriptions(&self, arguments: Arguments<'_>) -> Result<Vec<Value>, Refusal> {
        let uri = arguments.uri()?;
        let matching: Vec<_> = self.broker.subscriptions.covering(uri).collect();
        Ok(vec![if matching.is_empty() {
            Value::Null
        } else {
            ids(matching)
        }])
    }

    fn describe_entry<K: Described>(
        &self,
        arguments: Arguments<'_>,
    ) -> Result<Vec<Value>, Refusal> {
        let (id, entry) = self.entry::<K>(arguments)?;
        Ok(vec![entry_details(id, entry)])
    }

    fn list_members<K: Described>(&self, arguments: Arguments<'_>) -> Result<Vec<Value>, Refusal> {
        let (_, entry) = self.entry::<K>(arguments)?;
        Ok(vec![ids(entry.members.keys().copied())])
    }

    fn count_members<K: Described>(&self, arguments: Arguments<'_>) -> Result<Vec<Value>, Refusal> {
        let (_, entry) = self.entry::<K>(arguments)?;
        Ok(vec![count(entry.members.len())])
    }

    fn entry<K: Described>(&self, arguments: Arguments<'_>) -> Result<(K::Id, &Entry<K>), Refusal> {
        let number = arguments.id()?;
        let id = K::Id::from(number);
        match K::directory(self).entry(id) {
            Some(entry) => Ok((id, entry)),
            None => Err((K::NO_SUCH, format!("there is none of id {number}"))),
        }
    }
}

/// The arguments of a call.
#[derive(Clone, Copy)]
struct Arguments<'a>(&'a Payload);

impl<'a> Arguments<'a> {
    /// The first argument, an id.
    fn id(self) -> Result<u64, Refusal> {
        let id = self.0.args().first().and_then(Value::as_u64);
        id.ok_or_else(|| invalid("argument 1 must be an id"))
    }

    /// The first argument, a text.
    fn text(self) -> Result<&'a str, Refusal> {
        let text = self.0.args().first().and_then(Value::as_text);
        text.ok_or_else(|| invalid("argument 1 must be text"))
    }

    /// The first argument, a URI.
    fn uri(self) -> Result<&'a str, Refusal> {
        let text = self.text()?;
        match Uri::parse(text, UriCheck::Loose) {
            Ok(_) => Ok(text),
            Err(error) => Err(invalid(&format!("argument 1: {error}"))),
        }
    }

    /// What is said to whom is killed.
    fn dismissal(self) -> Result<Dismissal, Refusal> {
        let reason = match self.0.kwargs().get("reason") {
            None | Some(Value::Null) => "wamp.close.killed",
            Some(reason) => reason
                .as_text()
                .filter(|text| Uri::parse(text, UriCheck::Loose).is_ok())
                .ok_or_else(|| {
                    let text = "`reason` must be a URI".to_owned();
                    ("wamp.error.invalid_uri", text)
                })?,
        };
        let message = match self.0.kwargs().get("message") {
            None | Some(Value::Null) => None,
            Some(Value::Text(message)) => Some(message.clone()),
            Some(_) => return Err(invalid("`message` must be text")),
        };
        Ok(Dismissal::Killed {
            reason: reason.to_owned(),
            message,
        })
    }
}

fn invalid(text: &str) -> Refusal {
    ("wamp.error.invalid_argument", text.to_owned())
}

fn no_such_session(id: SessionId) -> Refusal {
    let text = format!("there is no other session {id}");
    ("wamp.error.no_such_session", text)
}

fn details_of(id: SessionId, session: &Session) -> Value {
    let mut details = Map::from_iter([("session".to_owned(), Value::from(id.0))]);
    session.describe(&mut details);
    Value::Map(details)
}

fn entry_details<K: Described>(id: K::Id, entry: &Entry<K>) -> Value {
    let mut details = Map::from_iter([
        ("id".to_owned(), Value::from(id.into())),
        (
            "created".to_owned(),
            Value::from(time::show(entry.created).as_str()),
        ),
        ("uri".to_owned(), Value::from(entry.pattern.as_str())),
        (
            "match".to_owned(),
            Value::from(entry.pattern.policy().name()),
        ),
    ]);
    K::describe(&entry.rule, &mut details);
    Value::Map(details)
}

fn ids<I: Into<u64>>(ids: impl IntoIterator<Item = I>) -> Value {
    let ids = ids.into_iter().map(|id| Value::from(id.into()));
    Value::List(ids.collect())
}

fn count(count: usize) -> Value {
    Value::from(u64::try_from(count).unwrap_or(u64::MAX))
}
