//! Ticket authentication: the secret itself is the signature, so use it over TLS only.
//!
//! Reference: WAMP Advanced Profile, "Ticket-based Authentication".

use crate::wamp::auth::{AuthError, Secret};

pub(super) fn answer(secret: &Secret) -> Result<String, AuthError> {
    Ok(secret.reveal()?.as_ref().to_owned())
}
