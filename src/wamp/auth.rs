//! Authentication as a client: what HELLO offers and how a CHALLENGE is answered.
//!
//! Pure: a challenge goes in, a signature comes out; nothing is sent from here. A secret never
//! shows in `Debug`, in an error or in a log. Each method has a file of its own below `auth/`;
//! `session/join.rs` is where they are used.

pub mod cra;
mod ticket;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use crate::value::Map;
use crate::wamp::serializer::EncodeError;

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
}

impl Auth {
    /// Returns the name of the method as HELLO and CHALLENGE say it.
    pub fn method(&self) -> &'static str {
        match self {
            Auth::Anonymous => "anonymous",
            Auth::Ticket { .. } => "ticket",
            Auth::WampCra { .. } => "wampcra",
        }
    }

    /// Returns who the client says it is; the router names an anonymous client itself.
    pub fn authid(&self) -> Option<&str> {
        match self {
            Auth::Anonymous => None,
            Auth::Ticket { authid, .. } | Auth::WampCra { authid, .. } => Some(authid),
        }
    }

    /// Returns the signature that answers a CHALLENGE for `method` with `extra`.
    ///
    /// A secret in a file is read here, so a rotated one is picked up by the next join. The file
    /// is read while the caller waits: it is one line, and sessions are joined seldom.
    ///
    /// # Errors
    ///
    /// [`AuthError`] says what is wrong with the challenge or the secret; it never holds either.
    pub fn answer(&self, method: &str, extra: &Map) -> Result<String, AuthError> {
        if method != self.method() {
            return Err(AuthError::OtherMethod {
                offered: self.method(),
                asked: method.to_owned(),
            });
        }
        match self {
            Auth::Anonymous => Err(AuthError::OtherMethod {
                offered: self.method(),
                asked: method.to_owned(),
            }),
            Auth::Ticket { secret, .. } => ticket::answer(secret),
            Auth::WampCra { secret, .. } => cra::answer(secret, extra),
        }
    }
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

/// Returns whether two texts are the same, in a time that does not tell where they differ.
pub(crate) fn same_text(one: &str, other: &str) -> bool {
    // Of equal length for the comparison, whatever the lengths of the texts are.
    let key = hmac::Key::new(hmac::HMAC_SHA256, &[]);
    let tag = hmac::sign(&key, one.as_bytes());
    hmac::verify(&key, other.as_bytes(), tag.as_ref()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_the_same_or_not() {
        assert!(same_text("", ""));
        assert!(same_text("ticket", "ticket"));
        for other in ["", "ticke", "ticket ", "ticket\0", "Ticket"] {
            assert!(!same_text("ticket", other), "{other:?}");
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

    #[test]
    fn a_method_that_was_not_offered_is_refused() {
        let auth = Auth::Ticket {
            authid: "bob".to_owned(),
            secret: Secret::text("t"),
        };
        let error = auth.answer("wampcra", &Map::new()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the router asks for `wampcra`, only `ticket` was offered"
        );
        assert!(Auth::Anonymous.answer("anonymous", &Map::new()).is_err());
    }

    #[test]
    fn a_secret_file_is_read_at_each_answer_without_its_last_newline() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ticket");
        let auth = Auth::Ticket {
            authid: "bob".to_owned(),
            secret: Secret::file(&path),
        };
        assert!(auth.answer("ticket", &Map::new()).is_err());
        for ticket in ["one", "two"] {
            std::fs::write(&path, format!("{ticket}\n")).unwrap();
            assert_eq!(auth.answer("ticket", &Map::new()).unwrap(), ticket);
        }
    }
}
