//! SCRAM: proves that both sides know a password, each to the other, and shows it to neither.
//!
//! Two dialects are spoken, told apart by the name of the method. `wamp-scram` is the
//! specification's, and Bondy's. `scram` is that of Crossbar.io and Autobahn, which grew from a
//! draft: nothing stands for the missing channel binding in what is signed, names are not escaped,
//! and a key of Argon2 is its base64 text. What differs without contradiction is taken from both:
//! the names of Argon2, and where the router's signature stands in WELCOME.
//!
//! The nonce is 18 bytes long: 24 characters of base64 without padding. Some routers append their
//! part to the bytes, some to the text, and both begin with ours only at a multiple of three.
//!
//! A password is taken as it is written. The specification normalizes it by SASLprep, which changes
//! only what is not ASCII (decomposed letters, full-width forms, unusual spaces), and would cost four
//! crates of tables.
//! Channel binding is not offered: `tls-unique` does not exist in TLS 1.3.
//!
//! Reference: WAMP Advanced Profile, "Salted Challenge Response Authentication"; RFC 5802;
//! RFC 7677.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;

use argon2::{Algorithm, Argon2, Params, Version};
use data_encoding::{BASE64, BASE64_NOPAD};
use ring::{digest, hmac, pbkdf2};

use super::{
    AuthError, Expected, Proof, Secret, cost, random_bytes, refuse_channel_binding, text_of,
};
use crate::value::{Map, Value};
use crate::wamp::error::clipped;

/// Which SCRAM a router speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `wamp-scram`: the specification's.
    Specified,
    /// `scram`: that of Crossbar.io and Autobahn.
    Autobahn,
}

impl Dialect {
    /// Returns the name of the method as HELLO and CHALLENGE say it.
    pub fn method(self) -> &'static str {
        match self {
            Dialect::Specified => "wamp-scram",
            Dialect::Autobahn => "scram",
        }
    }
}

/// What a router may ask for: less would give it a hash of the password that is easily guessed from,
/// more would keep us busy. The lower bound is that of RFC 7677, "SCRAM-SHA-256"; the upper takes
/// seconds.
const PBKDF2_ITERATIONS: RangeInclusive<u64> = 4096..=10_000_000;

const ARGON2_ITERATIONS: RangeInclusive<u64> = 1..=1_000_000;
/// Up to 1 GiB.
const ARGON2_MEMORY_KIB: RangeInclusive<u64> = 8..=1 << 20;
/// Iterations times memory, which is what it takes: at least as long as the least of PBKDF2, at most
/// some seconds.
const ARGON2_WORK_KIB: RangeInclusive<u64> = 1 << 12..=1 << 24;

const KEY_BYTES: usize = digest::SHA256_OUTPUT_LEN;

/// One attempt to join: what was said in HELLO, and who says it.
#[derive(Debug)]
pub(super) struct Attempt {
    authid: String,
    secret: Secret,
    dialect: Dialect,
    nonce: String,
}

impl Attempt {
    pub(super) fn new(authid: &str, secret: &Secret, dialect: Dialect) -> Self {
        Self {
            authid: authid.to_owned(),
            secret: secret.clone(),
            dialect,
            nonce: BASE64.encode(&random_bytes::<18>()),
        }
    }

    /// Returns HELLO's `authextra`. Without `channel_binding`, which means none: null is not taken
    /// for that by every router.
    pub(super) fn extra(&self) -> Map {
        Map::from_iter([("nonce".to_owned(), Value::from(self.nonce.as_str()))])
    }

    pub(super) fn answer(self, extra: &Map) -> Result<Proof, AuthError> {
        refuse_channel_binding(extra)?;
        let nonce = text_of(extra, "nonce")?;
        // A comma would let the router write other attributes into what we sign.
        let is_ours = nonce.len() > self.nonce.len() && nonce.starts_with(&self.nonce);
        if !is_ours || nonce.contains(',') {
            return Err(AuthError::Challenge("nonce"));
        }
        let salt_text = text_of(extra, "salt")?;
        let salt = BASE64.decode(salt_text.as_bytes());
        let salt = salt.map_err(|_| AuthError::Challenge("salt"))?;
        let password = self.secret.reveal()?;
        let (salted, iterations) = match text_of(extra, "kdf")? {
            "pbkdf2" => {
                let iterations = cost(extra, "iterations", None, PBKDF2_ITERATIONS)?;
                (with_pbkdf2(&password, &salt, iterations), iterations)
            }
            "argon2id13" | "argon2id-13" => {
                let iterations = cost(extra, "iterations", None, ARGON2_ITERATIONS)?;
                let memory_kib = cost(extra, "memory", None, ARGON2_MEMORY_KIB)?;
                let key = with_argon2(&password, &salt, iterations, memory_kib)?;
                let key = match self.dialect {
                    Dialect::Specified => key,
                    Dialect::Autobahn => BASE64_NOPAD.encode(&key).into_bytes(),
                };
                (key, iterations)
            }
            other => return Err(AuthError::Kdf(clipped(other.to_owned()))),
        };
        let (authid, binding) = match self.dialect {
            // The second is base64 of `n,,`: no channel binding.
            Dialect::Specified => (escaped(&self.authid), "biws"),
            Dialect::Autobahn => (self.authid, ""),
        };
        let message = format!(
            "n={authid},r={},r={nonce},s={salt_text},i={iterations},c={binding},r={nonce}",
            self.nonce
        );
        let (proof, signature) = sign(&salted, &message);
        Ok(Proof {
            signature: BASE64.encode(&proof),
            extra: Map::from_iter([("nonce".to_owned(), Value::from(nonce))]),
            expected: Expected::Signature(signature),
        })
    }
}

fn with_pbkdf2(password: &str, salt: &[u8], iterations: NonZeroU32) -> Vec<u8> {
    let mut key = vec![0; KEY_BYTES];
    let password = password.as_bytes();
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        iterations,
        salt,
        password,
        &mut key,
    );
    key
}

fn with_argon2(
    password: &str,
    salt: &[u8],
    iterations: NonZeroU32,
    memory_kib: NonZeroU32,
) -> Result<Vec<u8>, AuthError> {
    let (iterations, memory_kib) = (iterations.get(), memory_kib.get());
    let work = u64::from(iterations) * u64::from(memory_kib);
    if !ARGON2_WORK_KIB.contains(&work) {
        return Err(AuthError::Cost {
            what: "iterations * memory",
            asked: work,
            accepted: ARGON2_WORK_KIB,
        });
    }
    let params = Params::new(memory_kib, iterations, 1, Some(KEY_BYTES));
    // Its bounds are wider than ours.
    let params = params.map_err(|_| AuthError::Challenge("memory"))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut key = vec![0; KEY_BYTES];
    // All that can be wrong by now: it takes 8 bytes at least.
    argon2
        .hash_password_into(password.as_bytes(), salt, &mut key)
        .map_err(|_| AuthError::Challenge("salt"))?;
    Ok(key)
}

/// Returns the client's proof and the router's signature of what both have said.
fn sign(salted: &[u8], message: &str) -> (Vec<u8>, hmac::Tag) {
    let salted = hmac::Key::new(hmac::HMAC_SHA256, salted);
    let client_key = hmac::sign(&salted, b"Client Key");
    let server_key = hmac::sign(&salted, b"Server Key");
    let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
    let signature_by = |key: &[u8]| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        hmac::sign(&key, message.as_bytes())
    };
    let signature = signature_by(stored_key.as_ref());
    let pairs = client_key.as_ref().iter().zip(signature.as_ref());
    let proof = pairs.map(|(key, signature)| key ^ signature).collect();
    (proof, signature_by(server_key.as_ref()))
}

/// Reference: RFC 5802, "SCRAM Attributes".
fn escaped(authid: &str) -> String {
    authid.replace('=', "=3D").replace(',', "=2C")
}

/// Returns the router's signature as WELCOME has it, in either dialect.
pub(super) fn signature_in(welcome: &Map) -> Option<Vec<u8>> {
    let extra = welcome.get("authextra")?.as_map()?;
    let text = |key: &str| extra.get(key).and_then(Value::as_text);
    let verifier = text("verifier").or_else(|| text("scram_server_signature"))?;
    let verifier = verifier.strip_prefix("v=").unwrap_or(verifier);
    BASE64.decode(verifier.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(nonce: &str, authid: &str, dialect: Dialect) -> Attempt {
        Attempt {
            authid: authid.to_owned(),
            secret: Secret::text("pencil"),
            dialect,
            nonce: nonce.to_owned(),
        }
    }

    fn map(json: &str) -> Map {
        let value: Value = serde_json::from_str(json).unwrap();
        value.as_map().unwrap().clone()
    }

    /// What RFC 7677 shows, in "SCRAM-SHA-256 and SCRAM-SHA-256-PLUS".
    const RFC_7677: &str = r#"{"kdf": "pbkdf2", "iterations": 4096, "memory": null,
        "nonce": "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        "salt": "W22ZaJ0SNY7soEsUEjb6gQ=="}"#;

    fn example() -> Attempt {
        attempt("rOprNGfwEbeRWgbNEkqO", "user", Dialect::Specified)
    }

    #[test]
    fn the_example_of_rfc_7677() {
        let proof = example().answer(&map(RFC_7677)).unwrap();
        assert_eq!(
            proof.signature,
            "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(proof.extra["nonce"], map(RFC_7677)["nonce"]);
        let verifier = "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        for extra in [
            format!(r#"{{"verifier": "v={verifier}"}}"#),
            format!(r#"{{"verifier": "{verifier}"}}"#),
            format!(r#"{{"scram_server_signature": "{verifier}"}}"#),
        ] {
            let welcome = map(&format!(r#"{{"authextra": {extra}}}"#));
            proof.expected.check(&welcome).unwrap();
        }
        for welcome in [
            "{}",
            r#"{"authextra": null}"#,
            r#"{"authextra": {"verifier": null}}"#,
            r#"{"authextra": {"verifier": "v="}}"#,
            r#"{"authextra": {"verifier": "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5="}}"#,
        ] {
            let error = proof.expected.check(&map(welcome)).unwrap_err();
            assert!(matches!(error, AuthError::Router), "{welcome}");
        }
    }

    /// Made with argon2-cffi and with Autobahn's own client.
    #[test]
    fn argon2_in_both_dialects() {
        let salt: Vec<u8> = (0..16).collect();
        let [iterations, memory] = [3, 4096].map(|number| NonZeroU32::new(number).unwrap());
        let key = with_argon2("pencil", &salt, iterations, memory).unwrap();
        assert_eq!(
            data_encoding::HEXLOWER.encode(&key),
            "5cde3e5a855a8adb45048a0720d5fbacdf96c09f3a5ed996798cff94076e8be8"
        );
        let challenge = r#"{"kdf": "argon2id-13", "iterations": 3, "memory": 4096,
            "nonce": "AAAAAAAAAAAAAAAAAAAAAAAAAAECAwQFBgcICQoLDA0ODw==",
            "salt": "AAECAwQFBgcICQoLDA0ODw=="}"#;
        let nonce = "AAAAAAAAAAAAAAAAAAAAAAAA";
        let proof = attempt(nonce, "user", Dialect::Autobahn)
            .answer(&map(challenge))
            .unwrap();
        assert_eq!(
            proof.signature,
            "9pQF3S07SEkGNOO+V5g3EaY4BKC+YFoOywDJCWknIY0="
        );
        let welcome = r#"{"authextra":
            {"scram_server_signature": "giFEZQ47pdCW3bClvTTrHulse95Ow6VK0mKhL495b0g="}}"#;
        proof.expected.check(&map(welcome)).unwrap();

        let challenge = challenge.replace("argon2id-13", "argon2id13");
        let proof = attempt(nonce, "user", Dialect::Specified)
            .answer(&map(&challenge))
            .unwrap();
        assert!(proof.expected.check(&map(welcome)).is_err());
    }

    #[test]
    fn a_hostile_or_broken_challenge_is_refused() {
        for (key, value, message) in [
            (
                "nonce",
                r#""rOprNGfwEbeRWgbNEkqO""#,
                "the router's challenge has no usable `nonce`",
            ),
            (
                "nonce",
                r#""another, longer than the one that we said""#,
                "the router's challenge has no usable `nonce`",
            ),
            (
                "nonce",
                r#""rOprNGfwEbeRWgbNEkqO,i=1""#,
                "the router's challenge has no usable `nonce`",
            ),
            (
                "salt",
                r#""W22ZaJ0SNY7soEsUEjb6gQ""#,
                "the router's challenge has no usable `salt`",
            ),
            (
                "salt",
                "null",
                "the router's challenge has no usable `salt`",
            ),
            (
                "kdf",
                r#""scrypt""#,
                "the router asks for the key derivation `scrypt`, which is none of \
                 `pbkdf2` and `argon2id13`",
            ),
            (
                "iterations",
                "4095",
                "the router asks for `iterations` 4095; from 4096 to 10000000 are accepted",
            ),
            (
                "iterations",
                "10000001",
                "the router asks for `iterations` 10000001; from 4096 to 10000000 are accepted",
            ),
            (
                "iterations",
                "null",
                "the router's challenge has no usable `iterations`",
            ),
            (
                "channel_binding",
                r#""tls-unique""#,
                "the router asks for the channel binding `tls-unique`, which TLS 1.3 cannot give \
                 and wampgate does not do",
            ),
        ] {
            let mut challenge = map(RFC_7677);
            challenge.insert(key.to_owned(), serde_json::from_str(value).unwrap());
            let error = example().answer(&challenge).unwrap_err();
            assert_eq!(error.to_string(), message, "{key}: {value}");
        }
    }

    #[test]
    fn argon2_is_bounded_by_what_it_takes() {
        for (iterations, memory, what) in [
            (1, 1 << 21, "memory"),
            (1, 7, "memory"),
            (2_000_000, 8, "iterations"),
            (17, 1 << 20, "iterations * memory"),
            (1, 4095, "iterations * memory"),
        ] {
            let mut challenge = map(RFC_7677);
            challenge.insert("kdf".to_owned(), "argon2id13".into());
            challenge.insert("iterations".to_owned(), Value::I64(iterations));
            challenge.insert("memory".to_owned(), Value::I64(memory));
            let error = example().answer(&challenge).unwrap_err();
            assert!(
                matches!(&error, AuthError::Cost { what: found, .. } if *found == what),
                "{iterations} {memory}: {error}"
            );
        }
    }

    #[test]
    fn names_are_escaped_in_the_one_dialect() {
        assert_eq!(escaped("a=b,c"), "a=3Db=2Cc");
        let sign = |dialect| {
            let attempt = attempt("rOprNGfwEbeRWgbNEkqO", "a,b", dialect);
            attempt.answer(&map(RFC_7677)).unwrap().signature
        };
        assert_ne!(sign(Dialect::Specified), sign(Dialect::Autobahn));
    }

    #[test]
    fn each_attempt_has_a_nonce_of_its_own_that_may_be_appended_to() {
        let nonce = || {
            let attempt = Attempt::new("user", &Secret::text("pencil"), Dialect::Specified);
            attempt.extra()["nonce"].as_text().unwrap().to_owned()
        };
        let (one, other) = (nonce(), nonce());
        assert_ne!(one, other);
        let mut bytes = BASE64.decode(one.as_bytes()).unwrap();
        bytes.extend([1, 2, 3, 4]);
        assert!(BASE64.encode(&bytes).starts_with(&one));
    }
}
