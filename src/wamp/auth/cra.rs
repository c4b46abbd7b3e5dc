//! WAMP-CRA: proves that both sides know a secret without sending it.
//!
//! The router signs nothing, so this says nothing about who the router is.
//!
//! Reference: WAMP Advanced Profile, "Challenge Response Authentication".

use std::num::NonZeroU32;
use std::ops::RangeInclusive;

use data_encoding::BASE64;
use ring::{hmac, pbkdf2};

use crate::value::{Map, Value};
use crate::wamp::auth::{AuthError, Secret, cost, text_of};

/// What the specification takes where the challenge has a salt but no `iterations`.
const DEFAULT_ITERATIONS: u64 = 1000;
/// What the specification takes where the challenge has a salt but no `keylen`.
const DEFAULT_KEY_BYTES: u64 = 32;
/// Above this a challenge is an attempt to keep us busy: it would take seconds to answer. There is no
/// least: routers salt with 100, and the secret is in their configuration anyhow.
const ITERATIONS: RangeInclusive<u64> = 1..=10_000_000;
/// No router asks for more than 64.
const KEY_BYTES: RangeInclusive<u64> = 1..=1024;

pub(super) fn answer(secret: &Secret, extra: &Map) -> Result<String, AuthError> {
    let challenge = text_of(extra, "challenge")?;
    let secret = secret.reveal()?;
    // Routers without salting send the empty text or null as often as they leave the key out.
    let key = match extra.get("salt") {
        None | Some(Value::Null) => secret.as_ref().to_owned(),
        Some(Value::Text(salt)) if salt.is_empty() => secret.as_ref().to_owned(),
        Some(Value::Text(salt)) => {
            let iterations = cost(extra, "iterations", Some(DEFAULT_ITERATIONS), ITERATIONS)?;
            let key_bytes = cost(extra, "keylen", Some(DEFAULT_KEY_BYTES), KEY_BYTES)?;
            derive_key(&secret, salt, iterations, key_bytes.get() as usize)
        }
        Some(_) => return Err(AuthError::Challenge("salt")),
    };
    Ok(sign(&key, challenge))
}

/// Returns the key that salting makes of `secret`: base64 of PBKDF2 with HMAC-SHA256.
///
/// It is also what a router stores in place of the secret.
pub fn derive_key(secret: &str, salt: &str, iterations: NonZeroU32, key_bytes: usize) -> String {
    let mut key = vec![0; key_bytes];
    let (salt, secret) = (salt.as_bytes(), secret.as_bytes());
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        iterations,
        salt,
        secret,
        &mut key,
    );
    BASE64.encode(&key)
}

/// Returns the signature of `challenge` under `key`: base64 of HMAC-SHA256.
///
/// `key` is the secret, or what [`derive_key`] made of it.
pub fn sign(key: &str, challenge: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    BASE64.encode(hmac::sign(&key, challenge.as_bytes()).as_ref())
}

/// Returns whether `signature` is the one of `challenge` under `key`, in constant time.
pub fn verify(key: &str, challenge: &str, signature: &str) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    BASE64
        .decode(signature.as_bytes())
        .is_ok_and(|bytes| hmac::verify(&key, challenge.as_bytes(), &bytes).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extra(pairs: &[(&str, Value)]) -> Map {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect()
    }

    #[test]
    fn the_published_check_value_of_a_salted_key() {
        assert_eq!(
            derive_key("secret1", "salt123", NonZeroU32::new(100).unwrap(), 16),
            "prq7+YkJ1/KlW1X0YczMHw=="
        );
    }

    #[test]
    fn a_salted_challenge_is_signed_with_the_derived_key() {
        let signature = answer(
            &Secret::text("secret1"),
            &extra(&[
                ("challenge", "{\"nonce\": 1}".into()),
                ("salt", "salt123".into()),
                ("iterations", Value::I64(100)),
                ("keylen", Value::I64(16)),
            ]),
        )
        .unwrap();
        assert_eq!(
            signature,
            sign("prq7+YkJ1/KlW1X0YczMHw==", "{\"nonce\": 1}")
        );
    }

    #[test]
    fn without_a_salt_the_secret_is_the_key() {
        // RFC 4231, test case 2.
        let known = sign("Jefe", "what do ya want for nothing?");
        assert_eq!(
            data_encoding::HEXLOWER.encode(&BASE64.decode(known.as_bytes()).unwrap()),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        for salt in [None, Some(Value::Null), Some("".into())] {
            let mut extra = extra(&[("challenge", "what do ya want for nothing?".into())]);
            if let Some(salt) = salt {
                extra.insert("salt".to_owned(), salt);
            }
            assert_eq!(answer(&Secret::text("Jefe"), &extra).unwrap(), known);
        }
    }

    #[test]
    fn a_signature_verifies_under_its_own_key_only() {
        let signature = sign("k", "c");
        assert!(verify("k", "c", &signature));
        assert!(!verify("other", "c", &signature));
        assert!(!verify("k", "c", "not base64!"));
    }

    #[test]
    fn a_hostile_or_broken_challenge_is_refused() {
        let secret = Secret::text("s");
        assert!(answer(&secret, &Map::new()).is_err());
        for (name, value) in [
            ("iterations", Value::I64(0)),
            ("iterations", Value::I64(i64::MAX)),
            ("iterations", "many".into()),
            ("keylen", Value::I64(1 << 40)),
            ("salt", Value::I64(1)),
        ] {
            let mut extra = extra(&[("challenge", "c".into()), ("salt", "s".into())]);
            extra.insert(name.to_owned(), value);
            assert!(answer(&secret, &extra).is_err(), "{name}");
        }
    }
}
