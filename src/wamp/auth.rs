//! Authentication as a client: what HELLO offers, how a CHALLENGE is answered, and whether the router
//! has proved itself in WELCOME.
//!
//! ```text
//! Auth (configuration) --begin--> Attempt --answer--> Proof --> Expected of WELCOME
//! ```
//!
//! Pure but for files with secrets and for nonces: nothing is sent from here. A secret never shows
//! in `Debug`, in an error or in a log. Each method has a file of its own below `auth/`;
//! `session/join.rs` is where they are used.

pub mod cra;
pub mod cryptosign;
pub mod scram;
mod ticket;

use std::fmt;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use crate::value::{Map, Value};
use crate::wamp::error::clipped;
use crate::wamp::serializer::EncodeError;
use cryptosign::PublicKey;
use scram::Dialect;

/// How a client proves who it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Auth {
    /// No proof (`anonymous`).
    #[default]
    Anonymous,
    /// A shared text, sent as it is (`ticket`).
    Ticket {
        /// Who the client says it is.
        authid: String,
        /// The ticket.
        secret: Secret,
    },
    /// A shared secret that never crosses the wire (`wampcra`).
    WampCra {
        /// Who the client says it is.
        authid: String,
        /// The secret, before any salting: the router's challenge says how it is salted.
        secret: Secret,
    },
    /// A password that never crosses the wire and that the router does not store; the router proves
    /// itself as well (`scram`, `wamp-scram`).
    Scram {
        /// Who the client says it is.
        authid: String,
        /// The password.
        secret: Secret,
        /// Which of the two the router speaks.
        dialect: Dialect,
    },
    /// A private key (`cryptosign`).
    Cryptosign {
        /// Who the client says it is; without, the router tells by the public key.
        authid: Option<String>,
        /// The seed of an Ed25519 key, as 64 hexadecimal digits.
        private_key: Secret,
        /// The keys of which the router must prove to have one. Without any, it need not.
        router_keys: Vec<PublicKey>,
    },
}

impl Auth {
    /// Returns the name of the method as HELLO and CHALLENGE say it.
    pub fn method(&self) -> &'static str {
        match self {
            Auth::Anonymous => "anonymous",
            Auth::Ticket { .. } => "ticket",
            Auth::WampCra { .. } => "wampcra",
            Auth::Scram { dialect, .. } => dialect.method(),
            Auth::Cryptosign { .. } => "cryptosign",
        }
    }

    /// Returns who the client says it is; where it does not, the router names it.
    pub fn authid(&self) -> Option<&str> {
        match self {
            Auth::Anonymous => None,
            Auth::Ticket { authid, .. }
            | Auth::WampCra { authid, .. }
            | Auth::Scram { authid, .. } => Some(authid),
            Auth::Cryptosign { authid, .. } => authid.as_deref(),
        }
    }

    /// Begins an attempt to join.
    ///
    /// The file of a private key is read here, as HELLO holds the public key: a file of one line is
    /// soon read, and sessions are joined seldom.
    ///
    /// # Errors
    ///
    /// [`AuthError::SecretFile`] and [`AuthError::PrivateKey`].
    pub(crate) fn begin(&self) -> Result<Attempt, AuthError> {
        let method = match self {
            Auth::Anonymous => Method::Anonymous,
            Auth::Ticket { secret, .. } => Method::Ticket(secret.clone()),
            Auth::WampCra { secret, .. } => Method::WampCra(secret.clone()),
            Auth::Scram {
                authid,
                secret,
                dialect,
            } => Method::Scram(scram::Attempt::new(authid, secret, *dialect)),
            Auth::Cryptosign {
                private_key,
                router_keys,
                ..
            } => Method::Cryptosign(cryptosign::Attempt::new(private_key, router_keys)?),
        };
        Ok(Attempt {
            name: self.method(),
            method,
        })
    }
}

/// One attempt to join.
#[derive(Debug)]
pub(crate) struct Attempt {
    name: &'static str,
    method: Method,
}

#[derive(Debug)]
enum Method {
    Anonymous,
    Ticket(Secret),
    WampCra(Secret),
    Scram(scram::Attempt),
    Cryptosign(cryptosign::Attempt),
}

impl Attempt {
    /// Returns HELLO's `authextra`; empty, it is left out.
    pub(crate) fn extra(&self) -> Map {
        match &self.method {
            Method::Anonymous | Method::Ticket(_) | Method::WampCra(_) => Map::new(),
            Method::Scram(attempt) => attempt.extra(),
            Method::Cryptosign(attempt) => attempt.extra(),
        }
    }

    /// Returns what WELCOME must hold as long as there was no challenge.
    pub(crate) fn expected(&self) -> Expected {
        match &self.method {
            Method::Scram(_) => Expected::Challenge,
            Method::Cryptosign(attempt) if attempt.asks() => Expected::Challenge,
            Method::Anonymous | Method::Ticket(_) | Method::WampCra(_) | Method::Cryptosign(_) => {
                Expected::Nothing
            }
        }
    }

    /// Answers a CHALLENGE for `method` with `extra`.
    ///
    /// A secret in a file is read here, so a rotated one is picked up by the next join. Deriving a
    /// key takes as long as the router says, up to some seconds, and up to 1 GiB: not for a thread
    /// that others wait for.
    ///
    /// # Errors
    ///
    /// [`AuthError`] says what is wrong with the challenge or the secret; it never holds either.
    pub(crate) fn answer(self, method: &str, extra: &Map) -> Result<Proof, AuthError> {
        let other_method = || AuthError::OtherMethod {
            offered: self.name,
            asked: clipped(method.to_owned()),
        };
        if method != self.name {
            return Err(other_method());
        }
        match self.method {
            Method::Anonymous => Err(other_method()),
            Method::Ticket(secret) => ticket::answer(&secret).map(Proof::signature),
            Method::WampCra(secret) => cra::answer(&secret, extra).map(Proof::signature),
            Method::Scram(attempt) => attempt.answer(extra),
            Method::Cryptosign(attempt) => attempt.answer(extra),
        }
    }
}

/// What AUTHENTICATE holds, and what is to come of it.
#[derive(Debug)]
pub(crate) struct Proof {
    pub(crate) signature: String,
    pub(crate) extra: Map,
    pub(crate) expected: Expected,
}

impl Proof {
    /// A signature that the router answers with nothing of its own.
    fn signature(signature: String) -> Self {
        Self {
            signature,
            extra: Map::new(),
            expected: Expected::Nothing,
        }
    }
}

/// How the router has to prove itself.
#[derive(Debug)]
pub(crate) enum Expected {
    /// Not at all.
    Nothing,
    /// By a challenge, which has to come before WELCOME.
    Challenge,
    /// By a signature in WELCOME.
    Signature(hmac::Tag),
}

impl Expected {
    /// Checks a WELCOME.
    ///
    /// # Errors
    ///
    /// [`AuthError::Router`].
    pub(crate) fn check(&self, welcome: &Map) -> Result<(), AuthError> {
        let is_proved = match self {
            Expected::Nothing => true,
            Expected::Challenge => false,
            Expected::Signature(expected) => scram::signature_in(welcome)
                .is_some_and(|signature| same(expected.as_ref(), &signature)),
        };
        is_proved.then_some(()).ok_or(AuthError::Router)
    }
}

/// Refuses a challenge that is to be bound to the connection.
fn refuse_channel_binding(extra: &Map) -> Result<(), AuthError> {
    match extra.get("channel_binding") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Text(name)) if name.is_empty() => Ok(()),
        Some(Value::Text(name)) => Err(AuthError::ChannelBinding(clipped(name.clone()))),
        Some(_) => Err(AuthError::Challenge("channel_binding")),
    }
}

fn text_of<'a>(extra: &'a Map, key: &'static str) -> Result<&'a str, AuthError> {
    let text = extra.get(key).and_then(Value::as_text);
    text.ok_or(AuthError::Challenge(key))
}

/// Reads how much work a challenge asks for, within bounds of ours.
fn cost(
    extra: &Map,
    key: &'static str,
    default: Option<u64>,
    accepted: RangeInclusive<u64>,
) -> Result<NonZeroU32, AuthError> {
    let asked = match extra.get(key) {
        None | Some(Value::Null) => default,
        Some(value) => value.as_u64(),
    };
    let asked = asked.ok_or(AuthError::Challenge(key))?;
    let number = u32::try_from(asked).ok().and_then(NonZeroU32::new);
    number
        .filter(|_| accepted.contains(&asked))
        .ok_or(AuthError::Cost {
            what: key,
            asked,
            accepted,
        })
}

/// A secret text, or the file that holds it.
///
/// Comparing two secrets is for configuration (has it changed?), never for checking a proof.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Source);

#[derive(Clone, PartialEq, Eq)]
enum Source {
    Text(Arc<str>),
    File(PathBuf),
}

impl Secret {
    /// Keeps `text` as a secret.
    pub fn text(text: &str) -> Self {
        Self(Source::Text(text.into()))
    }

    /// Names a file that is read anew at each join; white space at its end is not part of the
    /// secret.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Source::File(path.into()))
    }

    /// Returns the file that holds it, if one does.
    pub fn path(&self) -> Option<&Path> {
        match &self.0 {
            Source::Text(_) => None,
            Source::File(path) => Some(path),
        }
    }

    /// Returns the secret itself; one in a file is read now.
    pub(crate) fn reveal(&self) -> Result<Arc<str>, AuthError> {
        match &self.0 {
            Source::Text(text) => Ok(text.clone()),
            Source::File(path) => std::fs::read_to_string(path)
                .map(|text| text.trim_end().into())
                .map_err(|source| AuthError::SecretFile {
                    path: path.clone(),
                    source: Arc::new(source),
                }),
        }
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Secret::text(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Text(_) => f.write_str("Secret(..)"),
            Source::File(path) => write!(f, "Secret(file {})", path.display()),
        }
    }
}

/// Why a challenge could not be answered.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuthError {
    /// The router asks for a method that HELLO did not offer.
    #[error("the router asks for `{asked}`, only `{offered}` was offered")]
    OtherMethod {
        /// The configured method.
        offered: &'static str,
        /// The method of the CHALLENGE.
        asked: String,
    },
    /// The challenge lacks something that its method needs, or holds it in another type.
    #[error("the router's challenge has no usable `{0}`")]
    Challenge(&'static str),
    /// The router asks for a proof that is bound to the connection.
    #[error(
        "the router asks for the channel binding `{0}`, which TLS 1.3 cannot give and wampgate does \
         not do"
    )]
    ChannelBinding(String),
    /// The router asks for a way to make a key of the password that we do not know.
    #[error(
        "the router asks for the key derivation `{0}`, which is none of `pbkdf2` and `argon2id13`"
    )]
    Kdf(String),
    /// The router asks for so little work that the password could be guessed from what it gets, or
    /// for so much that it would keep us busy.
    #[error(
        "the router asks for `{what}` {asked}; from {} to {} are accepted",
        accepted.start(),
        accepted.end()
    )]
    Cost {
        /// What is too little or too much.
        what: &'static str,
        /// How much it is.
        asked: u64,
        /// How much it may be.
        accepted: RangeInclusive<u64>,
    },
    /// What is configured as a private key is none.
    #[error("the private key is not 64 hexadecimal digits")]
    PrivateKey,
    /// The router did not prove that it is the right one, or did so wrongly.
    #[error("the router has not proved that it is the right one")]
    Router,
    /// The authid, or what proves it, cannot be written by the session's serializer.
    #[error("what is to be said to authenticate cannot be encoded")]
    Encode(#[from] EncodeError),
    /// The file that holds the secret cannot be read.
    #[error("cannot read the secret from {}", path.display())]
    SecretFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<std::io::Error>,
    },
}

/// Returns bytes that nobody can foresee: nonces and challenges.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the system has randomness, or no connection here would be safe");
    bytes
}

/// Returns whether two secrets are the same, in a time that does not tell where they differ.
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    // Of equal length for the comparison, whatever the lengths of the secrets are.
    let key = hmac::Key::new(hmac::HMAC_SHA256, &[]);
    let tag = hmac::sign(&key, one);
    hmac::verify(&key, other, tag.as_ref()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_the_same_or_not() {
        assert!(same(b"", b""));
        assert!(same(b"ticket", b"ticket"));
        for other in ["", "ticke", "ticket ", "ticket\0", "Ticket"] {
            assert!(!same(b"ticket", other.as_bytes()), "{other:?}");
        }
    }

    #[test]
    fn a_secret_never_shows() {
        let auth = Auth::WampCra {
            authid: "bob".to_owned(),
            secret: Secret::text("hunter2"),
        };
        assert!(!format!("{auth:?}").contains("hunter2"));
    }

    fn answer(auth: &Auth, method: &str) -> Result<String, AuthError> {
        let proof = auth.begin().unwrap().answer(method, &Map::new())?;
        Ok(proof.signature)
    }

    #[test]
    fn a_method_that_was_not_offered_is_refused() {
        let auth = Auth::Ticket {
            authid: "bob".to_owned(),
            secret: Secret::text("t"),
        };
        let error = answer(&auth, "wampcra").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the router asks for `wampcra`, only `ticket` was offered"
        );
        assert!(answer(&Auth::Anonymous, "anonymous").is_err());
    }

    #[test]
    fn a_secret_file_is_read_at_each_answer_without_its_last_newline() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ticket");
        let auth = Auth::Ticket {
            authid: "bob".to_owned(),
            secret: Secret::file(&path),
        };
        assert!(answer(&auth, "ticket").is_err());
        for ticket in ["one", "two"] {
            std::fs::write(&path, format!("{ticket}\n")).unwrap();
            assert_eq!(answer(&auth, "ticket").unwrap(), ticket);
        }
    }

    #[test]
    fn only_who_need_not_prove_anything_may_welcome_without_a_challenge() {
        let secret = Secret::text("a-secret");
        let authid = "bob".to_owned();
        let cryptosign = |router_keys: &[&str]| Auth::Cryptosign {
            authid: None,
            private_key: Secret::text(&"ab".repeat(32)),
            router_keys: router_keys.iter().map(|key| key.parse().unwrap()).collect(),
        };
        let key = "cd".repeat(32);
        for (auth, is_welcome) in [
            (Auth::Anonymous, true),
            (cryptosign(&[]), true),
            (cryptosign(&[&key]), false),
            (
                Auth::Scram {
                    authid,
                    secret,
                    dialect: Dialect::Specified,
                },
                false,
            ),
        ] {
            let expected = auth.begin().unwrap().expected();
            assert_eq!(expected.check(&Map::new()).is_ok(), is_welcome, "{auth:?}");
        }
    }
}
