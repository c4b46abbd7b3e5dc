//! How a session is opened: HELLO, perhaps CHALLENGE and AUTHENTICATE, WELCOME.
//!
//! Pure; `session.rs` sends and receives for it, has challenges answered, and sets the deadline.
//!
//! Reference: WAMP Basic Profile, "Sessions"; Advanced Profile, "Authentication".

use crate::uri::Uri;
use crate::value::{Map, Value};
use crate::wamp::auth::{Attempt, Auth, AuthError, Expected, Proof};
use crate::wamp::error::{SessionError, clipped, uris};
use crate::wamp::id::SessionId;
use crate::wamp::message::{Message, Payload, code};
use crate::wamp::session::state;

/// What the router told about itself and us in WELCOME.
#[derive(Debug, Clone, PartialEq)]
pub struct Welcome {
    /// The session's id at the router.
    pub session: SessionId,
    /// All that WELCOME holds, `roles` with the router's features among it.
    pub details: Map,
}

impl Welcome {
    /// Returns the router's name and version, if it tells.
    pub fn agent(&self) -> Option<&str> {
        self.text("agent")
    }

    /// Returns the realm that was joined, if the router tells.
    pub fn realm(&self) -> Option<&str> {
        self.text("realm")
    }

    /// Returns who we are to the router.
    pub fn authid(&self) -> Option<&str> {
        self.text("authid")
    }

    /// Returns the role whose rights we have.
    pub fn authrole(&self) -> Option<&str> {
        self.text("authrole")
    }

    /// Returns whether the dealer announced a feature.
    pub fn dealer_has(&self, feature: &str) -> bool {
        self.features("dealer").any(|name| name == feature)
    }

    /// Returns whether the broker announced a feature.
    pub fn broker_has(&self, feature: &str) -> bool {
        self.features("broker").any(|name| name == feature)
    }

    /// Returns the features that the router announced for a role, `dealer` or `broker`.
    pub fn features(&self, role: &str) -> impl Iterator<Item = &str> {
        let features = self
            .details
            .get("roles")
            .and_then(Value::as_map)
            .and_then(|roles| roles.get(role))
            .and_then(Value::as_map)
            .and_then(|role| role.get("features"))
            .and_then(Value::as_map);
        features
            .into_iter()
            .flatten()
            .filter(|(_, on)| on.as_bool() == Some(true))
            .map(|(name, _)| name.as_str())
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.details.get(key).and_then(Value::as_text)
    }
}

/// What follows from a message that came before WELCOME.
#[derive(Debug)]
pub(crate) enum Step {
    /// Answer this challenge and go on; it takes its time.
    Challenged(Challenge),
    /// The session is open.
    Joined(Welcome),
}

/// A challenge, and who can answer it.
#[derive(Debug)]
pub(crate) struct Challenge {
    attempt: Attempt,
    method: String,
    extra: Map,
}

impl Challenge {
    /// Works out the answer; see [`Attempt::answer`] for how long that takes.
    ///
    /// # Errors
    ///
    /// [`AuthError`].
    pub(crate) fn answer(self) -> Result<Proof, AuthError> {
        self.attempt.answer(&self.method, &self.extra)
    }
}

/// The opening of one session.
#[derive(Debug)]
pub(crate) struct Handshake<'a> {
    realm: &'a Uri,
    auth: &'a Auth,
    /// Until it is challenged: each answer costs us a key derivation, and a router gets one.
    attempt: Option<Attempt>,
    expected: Expected,
}

impl<'a> Handshake<'a> {
    /// Prepares to join.
    ///
    /// # Errors
    ///
    /// [`AuthError`] of a private key that cannot be had.
    pub(crate) fn new(realm: &'a Uri, auth: &'a Auth) -> Result<Self, AuthError> {
        let attempt = auth.begin()?;
        Ok(Self {
            realm,
            auth,
            expected: attempt.expected(),
            attempt: Some(attempt),
        })
    }

    /// Returns the first message.
    pub(crate) fn hello(&self) -> Message {
        let mut details = Map::new();
        details.insert("agent".to_owned(), agent().into());
        details.insert("roles".to_owned(), roles().into());
        let methods = vec![self.auth.method().into()];
        details.insert("authmethods".to_owned(), Value::List(methods));
        if let Some(authid) = self.auth.authid() {
            details.insert("authid".to_owned(), authid.into());
        }
        let extra = self.attempt.as_ref().map(Attempt::extra);
        if let Some(extra) = extra.filter(|extra| !extra.is_empty()) {
            details.insert("authextra".to_owned(), extra.into());
        }
        Message::Hello {
            realm: self.realm.to_string(),
            details,
        }
    }

    /// Returns the message that answers a challenge.
    pub(crate) fn authenticate(&mut self, proof: Proof) -> Message {
        self.expected = proof.expected;
        Message::Authenticate {
            signature: proof.signature,
            extra: proof.extra,
        }
    }

    /// Takes in one message of the router.
    pub(crate) fn receive(&mut self, message: Message) -> Result<Step, SessionError> {
        match message {
            Message::Welcome { session, details } => {
                self.expected.check(&details)?;
                Ok(Step::Joined(Welcome { session, details }))
            }
            Message::Challenge { method, extra } => match self.attempt.take() {
                Some(attempt) => Ok(Step::Challenged(Challenge {
                    attempt,
                    method,
                    extra,
                })),
                None => Err(SessionError::OutOfPlace("a second CHALLENGE")),
            },
            Message::Abort {
                details,
                reason,
                payload,
            } => Err(state::aborted(&details, reason, &payload)),
            Message::Goodbye { reason, .. } => Err(SessionError::Goodbye {
                reason: clipped(reason),
            }),
            other => Err(SessionError::OutOfPlace(
                code::name(other.code()).unwrap_or("an unknown message"),
            )),
        }
    }

    /// Returns what to tell the router when we are the ones who give up.
    pub(crate) fn abort(error: &SessionError) -> Option<Message> {
        let reason = match error {
            SessionError::Auth(_) => "wamp.error.cannot_authenticate",
            SessionError::OutOfPlace(_) | SessionError::NotWamp(_) => uris::PROTOCOL_VIOLATION,
            SessionError::JoinTimeout(_) => uris::CANCELED,
            SessionError::NoAddress
            | SessionError::Connect { .. }
            | SessionError::Abort { .. }
            | SessionError::Goodbye { .. }
            | SessionError::Closed
            | SessionError::Transport(_)
            | SessionError::Dropped
            | SessionError::Unresponsive(_)
            | SessionError::Stalled(_)
            | SessionError::Panicked => return None,
        };
        Some(Message::Abort {
            details: Map::new(),
            reason: reason.to_owned(),
            payload: Payload::default(),
        })
    }
}

fn agent() -> String {
    format!("wampgate-{}", env!("CARGO_PKG_VERSION"))
}

/// The roles that we can play, each with the features that we in fact support: routers act on them.
/// They are all announced although a session may use one only: some routers refuse a HELLO without
/// roles by closing the connection.
fn roles() -> Map {
    let roles = [
        (
            "caller",
            &[
                "caller_identification",
                "call_canceling",
                "call_timeout",
                "progressive_call_results",
            ][..],
        ),
        (
            "callee",
            &[
                "caller_identification",
                "call_canceling",
                "pattern_based_registration",
                "progressive_call_results",
                "registration_revocation",
                "shared_registration",
            ],
        ),
        (
            "publisher",
            &[
                "publisher_identification",
                "publisher_exclusion",
                "subscriber_blackwhite_listing",
            ],
        ),
        (
            "subscriber",
            &[
                "pattern_based_subscription",
                "publisher_identification",
                "subscription_revocation",
            ],
        ),
    ];
    roles
        .into_iter()
        .map(|(role, features)| {
            let features: Map = features
                .iter()
                .map(|feature| ((*feature).to_owned(), Value::Bool(true)))
                .collect();
            let role_details = Map::from([("features".to_owned(), Value::Map(features))]);
            (role.to_owned(), Value::Map(role_details))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uri::UriCheck;
    use crate::wamp::auth::{Secret, cra};

    fn realm() -> Uri {
        Uri::parse("com.example.realm", UriCheck::Loose).unwrap()
    }

    fn ticket() -> Auth {
        Auth::Ticket {
            authid: "bob".to_owned(),
            secret: Secret::text("t-1"),
        }
    }

    #[test]
    fn hello_offers_the_configured_method_and_all_roles() {
        let auth = ticket();
        let realm = realm();
        let Message::Hello { realm, details } = Handshake::new(&realm, &auth).unwrap().hello()
        else {
            panic!("not a HELLO");
        };
        assert_eq!(realm, "com.example.realm");
        assert_eq!(details["authmethods"], Value::List(vec!["ticket".into()]));
        assert_eq!(details["authid"], Value::from("bob"));
        let roles: Vec<_> = details["roles"].as_map().unwrap().keys().collect();
        assert_eq!(roles, ["caller", "callee", "publisher", "subscriber"]);
        assert!(
            details["agent"].as_text().unwrap().starts_with("wampgate-"),
            "{details:?}"
        );
    }

    #[test]
    fn an_anonymous_client_is_welcomed_at_once_and_keeps_what_it_is_told() {
        let (realm, auth) = (realm(), Auth::Anonymous);
        let details: Value = serde_json::from_str(
            r#"{"agent": "X-1", "authid": "anon-7", "authrole": "guest", "realm": "r",
                "roles": {"dealer": {"features": {"call_canceling": true, "call_timeout": false}},
                          "broker": {}}}"#,
        )
        .unwrap();
        let step = Handshake::new(&realm, &auth)
            .unwrap()
            .receive(Message::Welcome {
                session: SessionId(9),
                details: details.as_map().unwrap().clone(),
            });
        let Ok(Step::Joined(welcome)) = step else {
            panic!("{step:?}");
        };
        assert_eq!(welcome.session, SessionId(9));
        assert_eq!(welcome.agent(), Some("X-1"));
        assert_eq!(welcome.authid(), Some("anon-7"));
        assert_eq!(welcome.authrole(), Some("guest"));
        assert_eq!(welcome.realm(), Some("r"));
        assert!(welcome.dealer_has("call_canceling"));
        assert!(!welcome.dealer_has("call_timeout"));
        assert!(!welcome.broker_has("publisher_exclusion"));
    }

    #[test]
    fn a_challenge_is_answered_once() {
        let (realm, auth) = (realm(), ticket());
        let mut handshake = Handshake::new(&realm, &auth).unwrap();
        let challenge = || Message::Challenge {
            method: "ticket".to_owned(),
            extra: Map::new(),
        };
        let Ok(Step::Challenged(first)) = handshake.receive(challenge()) else {
            panic!("not challenged");
        };
        assert!(matches!(
            handshake.authenticate(first.answer().unwrap()),
            Message::Authenticate { signature, .. } if signature == "t-1"
        ));
        assert!(handshake.receive(challenge()).is_err());
    }

    #[test]
    fn a_challenge_of_wampcra_is_signed() {
        let realm = realm();
        let auth = Auth::WampCra {
            authid: "bob".to_owned(),
            secret: Secret::text("secret1"),
        };
        let mut handshake = Handshake::new(&realm, &auth).unwrap();
        let step = handshake.receive(Message::Challenge {
            method: "wampcra".to_owned(),
            extra: Map::from([("challenge".to_owned(), "c".into())]),
        });
        let Ok(Step::Challenged(challenge)) = step else {
            panic!("{step:?}");
        };
        let proof = challenge.answer().unwrap();
        assert!(cra::verify("secret1", "c", &proof.signature));
    }

    #[test]
    fn an_abort_is_kept_with_its_message_wherever_it_stands() {
        let (realm, auth) = (realm(), Auth::Anonymous);
        for (details, payload) in [
            (
                Map::from([("message".to_owned(), "no".into())]),
                Payload::default(),
            ),
            (Map::new(), Payload::new(vec!["no".into()], Map::new())),
        ] {
            let step = Handshake::new(&realm, &auth)
                .unwrap()
                .receive(Message::Abort {
                    details,
                    reason: "wamp.error.not_authorized".to_owned(),
                    payload,
                });
            let error = step.unwrap_err();
            assert!(error.is_refusal());
            assert_eq!(
                error.to_string(),
                "aborted by the router: wamp.error.not_authorized (no)"
            );
        }
    }

    #[test]
    fn anything_else_before_welcome_ends_it() {
        let (realm, auth) = (realm(), Auth::Anonymous);
        let error = Handshake::new(&realm, &auth)
            .unwrap()
            .receive(Message::Published {
                request: crate::wamp::id::RequestId(1),
                publication: crate::wamp::id::PublicationId(1),
            })
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the router sent PUBLISHED before WELCOME"
        );
        assert!(Handshake::abort(&error).is_some());
    }
}
