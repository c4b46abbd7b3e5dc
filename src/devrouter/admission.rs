//! Who may join a realm, and how they prove who they are.
//!
//! A realm without users lets anybody in. One with users asks whoever comes over a socket to be one
//! of them, by `ticket` or `wampcra`; connections within the process are trusted. Whether there is
//! a user of some name is not told: one that does not exist is challenged as another would be, and
//! fails as a wrong secret does.
//!
//! Reference: WAMP Advanced Profile, "Authentication Methods".

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use data_encoding::BASE64;

use super::connection::Refusal;
use super::time;
use crate::value::{Map, Value};
use crate::wamp::auth::{Secret, cra, random_bytes, same};
use crate::wamp::id::SessionId;
use crate::wamp::message::Message;

/// The role of those who prove nothing.
const ANONYMOUS: &str = "anonymous";

/// Somebody who may join a realm.
#[derive(Debug, Clone)]
pub struct User {
    /// The name. Its case does not matter: sessions have it in lower case.
    pub authid: String,
    /// The role that is told to those whom the user calls.
    pub role: String,
    /// What proves it: the ticket, or the secret of `wampcra`.
    pub secret: Secret,
    /// Whether the user may join; one who may not is treated as one that does not exist.
    pub is_enabled: bool,
}

/// Where a client comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// This process: trusted.
    InProcess,
    /// A socket.
    Network,
}

/// Who a session is.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    /// None for those who prove nothing: the session's id makes their name.
    pub(super) authid: Option<String>,
    pub(super) authrole: String,
    pub(super) authmethod: &'static str,
}

/// The users of a realm.
#[derive(Debug)]
pub(super) struct Users {
    all: Vec<User>,
    by_name: HashMap<String, usize>,
    /// Tells which user one that does not exist is treated as, always the same.
    decoys: RandomState,
}

/// What is to be done about a HELLO.
#[derive(Debug)]
pub(super) enum Admission {
    /// The client may come in.
    Granted(Identity),
    /// It has to prove who it is.
    Asked(Challenge),
}

/// A proof that a client was asked for.
#[derive(Debug)]
pub(super) struct Challenge {
    user: User,
    /// Whether the user exists and may join. If not, no proof is good enough.
    is_known: bool,
    method: Method,
}

#[derive(Debug)]
enum Method {
    Ticket,
    WampCra { challenge: String },
}

impl Users {
    pub(super) fn new(users: &[User]) -> Self {
        let mut all = users.to_vec();
        for user in &mut all {
            user.authid = fold(&user.authid);
        }
        let names = all.iter().map(|user| user.authid.clone());
        Self {
            by_name: names.zip(0..).collect(),
            all,
            decoys: RandomState::new(),
        }
    }

    /// Returns whether a session over a socket may go on, now that these are the users.
    pub(super) fn may_stay(&self, authid: &str) -> bool {
        let user = self.by_name.get(authid).map(|at| &self.all[*at]);
        self.all.is_empty() || user.is_some_and(|user| user.is_enabled)
    }

    /// Decides about a HELLO: the first of the methods that the client offers and that will do.
    ///
    /// # Errors
    ///
    /// None will.
    pub(super) fn admit(
        &self,
        hello: &Map,
        origin: Origin,
        session: SessionId,
    ) -> Result<Admission, Refusal> {
        let offered = hello.get("authmethods").and_then(Value::as_list);
        let offered = offered.unwrap_or_default();
        let offers = |method: &str| offered.iter().any(|it| it.as_text() == Some(method));
        // Naming none means this one.
        let is_anonymous = offered.is_empty() || offers(ANONYMOUS);
        if is_anonymous && (self.all.is_empty() || origin == Origin::InProcess) {
            return Ok(Admission::Granted(Identity {
                authid: None,
                authrole: ANONYMOUS.to_owned(),
                authmethod: ANONYMOUS,
            }));
        }
        if self.all.is_empty() {
            return Err((
                "wamp.error.no_matching_auth_method",
                "this realm has no users: it knows only `anonymous`".to_owned(),
            ));
        }
        let is_ticket = offered.iter().find_map(|method| match method.as_text() {
            Some("ticket") => Some(true),
            Some("wampcra") => Some(false),
            _ => None,
        });
        let Some(is_ticket) = is_ticket else {
            return Err((
                "wamp.error.no_matching_auth_method",
                "this realm knows only `ticket` and `wampcra`".to_owned(),
            ));
        };
        let Some(authid) = hello.get("authid").and_then(Value::as_text) else {
            return Err((
                "wamp.error.authentication_required",
                "HELLO has no `authid`".to_owned(),
            ));
        };
        // Also that of one who does not exist, or else the case would tell.
        let authid = fold(authid);
        let known = self.by_name.get(&authid).copied();
        let at = known.unwrap_or_else(|| {
            usize::try_from(self.decoys.hash_one(&authid) % self.all.len() as u64)
                .expect("less than a length")
        });
        let mut user = self.all[at].clone();
        if known.is_none() {
            user.authid = authid;
        }
        let method = if is_ticket {
            Method::Ticket
        } else {
            let challenge = challenge_text(&user, session);
            Method::WampCra { challenge }
        };
        Ok(Admission::Asked(Challenge {
            user,
            is_known: known.is_some_and(|at| self.all[at].is_enabled),
            method,
        }))
    }
}

impl Challenge {
    /// Returns what is said to the client.
    pub(super) fn message(&self) -> Message {
        let extra = match &self.method {
            Method::Ticket => Map::new(),
            Method::WampCra { challenge } => {
                Map::from_iter([("challenge".to_owned(), Value::from(challenge.as_str()))])
            }
        };
        Message::Challenge {
            method: self.method.name().to_owned(),
            extra,
        }
    }

    /// Checks the client's answer.
    ///
    /// # Errors
    ///
    /// It proves nothing.
    pub(super) fn check(self, signature: &str) -> Result<Identity, Refusal> {
        let secret = self.user.secret.reveal().map_err(|error| {
            tracing::warn!("embedded router cannot check a proof: {error}");
            let text = "the credentials cannot be checked".to_owned();
            ("wamp.error.authentication_failed", text)
        })?;
        let is_proved = match &self.method {
            Method::Ticket => same(secret.as_bytes(), signature.as_bytes()),
            Method::WampCra { challenge } => cra::verify(&secret, challenge, signature),
        };
        if is_proved & self.is_known {
            Ok(Identity {
                authid: Some(self.user.authid),
                authrole: self.user.role,
                authmethod: self.method.name(),
            })
        } else {
            let text = "the credentials are wrong".to_owned();
            Err(("wamp.error.authentication_denied", text))
        }
    }
}

impl Method {
    fn name(&self) -> &'static str {
        match self {
            Method::Ticket => "ticket",
            Method::WampCra { .. } => "wampcra",
        }
    }
}

/// The text that a client signs, with the members that the specification asks for.
fn challenge_text(user: &User, session: SessionId) -> String {
    let text = |text: &str| Value::Text(text.to_owned());
    let members = [
        ("authid", text(&user.authid)),
        ("authrole", text(&user.role)),
        ("authmethod", text("wampcra")),
        ("authprovider", text(PROVIDER)),
        ("nonce", Value::Text(BASE64.encode(&random_bytes::<18>()))),
        ("timestamp", Value::Text(time::now())),
        ("session", Value::from(session.0)),
    ];
    let members = members.map(|(key, value)| (key.to_owned(), value));
    Value::Map(Map::from_iter(members)).to_string()
}

/// Who vouches for a session: the realm's own list.
pub(super) const PROVIDER: &str = "static";

fn fold(authid: &str) -> String {
    authid.to_lowercase()
}
