//! Cryptosign: proves with an Ed25519 key who the client is, and on demand who the router is.
//!
//! The router's proof is asked for where its keys are configured, and then it is not optional. It
//! says that whoever answers can reach a router with one of the keys; who stands in between is for
//! TLS to tell, since without channel binding nothing ties the proof to the connection. That is not
//! offered: `tls-unique` does not exist in TLS 1.3. Certificates are left out: they are anchored in
//! a public blockchain.
//!
//! Reference: WAMP Advanced Profile, "Cryptosign-based Authentication"; RFC 8032.

use std::fmt;
use std::str::FromStr;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use super::{AuthError, Expected, Proof, Secret, random_bytes, refuse_channel_binding, text_of};
use crate::value::{Map, Value};

const KEY_BYTES: usize = 32;
const CHALLENGE_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;

/// A public key of Ed25519; as text 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; KEY_BYTES]);

/// The text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 hexadecimal digits")]
pub struct NotAKey;

impl FromStr for PublicKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        bytes_of(text).map(Self).ok_or(NotAKey)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// Checks that a text is a private key: the 32 bytes of the seed as 64 hexadecimal digits.
///
/// # Errors
///
/// It is not.
pub fn check_private_key(text: &str) -> Result<(), NotAKey> {
    bytes_of::<KEY_BYTES>(text).map(|_| ()).ok_or(NotAKey)
}

/// One attempt to join: what was said in HELLO, and the key of who says it.
#[derive(Debug)]
pub(super) struct Attempt {
    pair: Ed25519KeyPair,
    /// What the router is to sign, and the keys of which it must have one.
    asked: Option<([u8; CHALLENGE_BYTES], Vec<PublicKey>)>,
}

impl Attempt {
    /// Reads the key.
    ///
    /// # Errors
    ///
    /// [`AuthError::SecretFile`] and [`AuthError::PrivateKey`].
    pub(super) fn new(private_key: &Secret, router_keys: &[PublicKey]) -> Result<Self, AuthError> {
        let text = private_key.reveal()?;
        let seed = bytes_of::<KEY_BYTES>(&text).ok_or(AuthError::PrivateKey)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed);
        Ok(Self {
            pair: pair.map_err(|_| AuthError::PrivateKey)?,
            asked: (!router_keys.is_empty()).then(|| (random_bytes(), router_keys.to_vec())),
        })
    }

    /// Returns HELLO's `authextra`.
    pub(super) fn extra(&self) -> Map {
        let hex = |bytes: &[u8]| Value::Text(HEXLOWER.encode(bytes));
        let public_key = self.pair.public_key().as_ref();
        let mut extra = Map::from_iter([("pubkey".to_owned(), hex(public_key))]);
        if let Some((challenge, _)) = &self.asked {
            extra.insert("challenge".to_owned(), hex(challenge));
        }
        extra
    }

    /// Returns whether the router has to prove who it is.
    pub(super) fn asks(&self) -> bool {
        self.asked.is_some()
    }

    pub(super) fn answer(self, extra: &Map) -> Result<Proof, AuthError> {
        refuse_channel_binding(extra)?;
        if let Some((challenge, keys)) = &self.asked
            && !is_proved(challenge, keys, extra)
        {
            return Err(AuthError::Router);
        }
        let challenge = bytes_of::<CHALLENGE_BYTES>(text_of(extra, "challenge")?);
        let challenge = challenge.ok_or(AuthError::Challenge("challenge"))?;
        let signed = [self.pair.sign(&challenge).as_ref(), &challenge[..]].concat();
        Ok(Proof {
            signature: HEXLOWER.encode(&signed),
            extra: Map::new(),
            expected: Expected::Nothing,
        })
    }
}

/// Returns whether the router has signed our challenge with one of its keys.
fn is_proved(challenge: &[u8; CHALLENGE_BYTES], keys: &[PublicKey], extra: &Map) -> bool {
    let text = |key: &str| extra.get(key).and_then(Value::as_text);
    let key = text("pubkey").and_then(|text| text.parse::<PublicKey>().ok());
    let signed = text("signature").and_then(bytes_of::<{ SIGNATURE_BYTES + CHALLENGE_BYTES }>);
    let (Some(key), Some(signed)) = (key, signed) else {
        return false;
    };
    let (signature, message) = signed.split_at(SIGNATURE_BYTES);
    let verifier = UnparsedPublicKey::new(&ED25519, key.0);
    keys.contains(&key) && message == challenge && verifier.verify(message, signature).is_ok()
}

fn bytes_of<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let bytes = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok()?;
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the specification's vectors those without a channel: private key, challenge, signature.
    const VECTORS: [(&str, &str, &str); 3] = [
        (
            "4d57d97a68f555696620a6d849c0ce582568518d729eb753dc7c732de2804510",
            "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "b32675b221f08593213737bef8240e7c15228b07028e19595294678c90d11c0c\
             ae80a357331bfc5cc9fb71081464e6e75013517c2cf067ad566a6b7b728e5d03\
             ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        ),
        (
            "d511fe78e23934b3dadb52fcd022974b80bd92bccc7c5cf404e46cc0a8a2f5cd",
            "b26c1f87c13fc1da14997f1b5a71995dff8fbe0a62fae8473c7bdbd05bfb607d",
            "d4209ad10d5aff6bfbc009d7e924795de138a63515efc7afc6b01b7fe5201372\
             190374886a70207b042294af5bd64ce725cd8dceb344e6d11c09d1aaaf4d660f\
             b26c1f87c13fc1da14997f1b5a71995dff8fbe0a62fae8473c7bdbd05bfb607d",
        ),
        (
            "6e1fde9cf9e2359a87420b65a87dc0c66136e66945196ba2475990d8a0c3a25b",
            "b05e6b8ad4d69abf74aa3be3c0ee40ae07d66e1895b9ab09285a2f1192d562d2",
            "7beb282184baadd08f166f16dd683b39cab53816ed81e6955def951cb2ddad1e\
             c184e206746fd82bda075af03711d3d5658fc84a76196b0fa8d1ebc92ef9f30b\
             b05e6b8ad4d69abf74aa3be3c0ee40ae07d66e1895b9ab09285a2f1192d562d2",
        ),
    ];

    fn attempt(private_key: &str, router_keys: &[PublicKey]) -> Result<Attempt, AuthError> {
        Attempt::new(&Secret::text(private_key), router_keys)
    }

    fn texts<const N: usize>(members: [(&str, &str); N]) -> Map {
        let members = members.map(|(key, text)| (key.to_owned(), Value::from(text)));
        Map::from_iter(members)
    }

    #[test]
    fn the_vectors_of_the_specification() {
        for (private_key, challenge, signature) in VECTORS {
            let attempt = attempt(private_key, &[]).unwrap();
            let mut extra = texts([("challenge", challenge)]);
            extra.insert("channel_binding".to_owned(), Value::Null);
            assert_eq!(attempt.answer(&extra).unwrap().signature, signature);
        }
    }

    #[test]
    fn the_public_key_goes_along() {
        // RFC 8032, "Test Vectors for Ed25519", test 1.
        let attempt = attempt(
            "9D61B19DEFFD5A60BA844AF492EC2CC44449C5697B326919703BAC031CAE7F60",
            &[],
        );
        let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert_eq!(attempt.unwrap().extra(), texts([("pubkey", key)]));
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_shown() {
        for text in [
            "",
            "5",
            "xyz",
            &"ab".repeat(31),
            &"ab".repeat(33),
            &"äb".repeat(32),
        ] {
            let error = attempt(text, &[]).unwrap_err();
            assert_eq!(
                error.to_string(),
                "the private key is not 64 hexadecimal digits"
            );
            assert!(check_private_key(text).is_err(), "{text}");
            assert!(text.parse::<PublicKey>().is_err(), "{text}");
        }
        let (private_key, ..) = VECTORS[0];
        let shown = format!("{:?}", attempt(private_key, &[]).unwrap());
        assert!(!shown.contains(private_key), "{shown}");
    }

    #[test]
    fn a_challenge_that_is_none_and_a_channel_binding_are_refused() {
        let (private_key, challenge, _) = VECTORS[0];
        let cases = [
            (
                texts([]),
                "the router's challenge has no usable `challenge`",
            ),
            (
                texts([("challenge", &challenge[2..])]),
                "the router's challenge has no usable `challenge`",
            ),
            (
                texts([("challenge", challenge), ("channel_binding", "tls-unique")]),
                "the router asks for the channel binding `tls-unique`, which TLS 1.3 cannot give \
                 and wampgate does not do",
            ),
        ];
        for (extra, message) in cases {
            let error = attempt(private_key, &[])
                .unwrap()
                .answer(&extra)
                .unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn a_router_proves_that_it_has_one_of_its_keys() {
        let (private_key, challenge, _) = VECTORS[0];
        let router = |private_key| {
            let seed = bytes_of::<KEY_BYTES>(private_key).unwrap();
            Ed25519KeyPair::from_seed_unchecked(&seed).unwrap()
        };
        let (right, wrong) = (router(VECTORS[1].0), router(VECTORS[2].0));
        let public = |pair: &Ed25519KeyPair| {
            let key = pair.public_key().as_ref().try_into().unwrap();
            PublicKey(key)
        };
        let keys = [PublicKey([1; KEY_BYTES]), public(&right)];
        // Who signs, whose key is told, whether it is what we asked for: is it believed?
        for (signer, told, is_ours, is_believed) in [
            (&right, &right, true, true),
            (&wrong, &right, true, false),
            (&wrong, &wrong, true, false),
            (&right, &right, false, false),
        ] {
            let attempt = attempt(private_key, &keys).unwrap();
            assert!(attempt.asks());
            let asked = attempt.extra()["challenge"].as_text().unwrap().to_owned();
            let mut message: [u8; CHALLENGE_BYTES] = bytes_of(&asked).unwrap();
            if !is_ours {
                message[0] ^= 1;
            }
            let signed = [signer.sign(&message).as_ref(), &message[..]].concat();
            let extra = texts([
                ("challenge", challenge),
                ("pubkey", &public(told).to_string()),
                ("signature", &HEXLOWER.encode(&signed)),
            ]);
            match attempt.answer(&extra) {
                Ok(_) => assert!(is_believed),
                Err(error) => assert!(!is_believed && matches!(error, AuthError::Router)),
            }
        }
        let silent = attempt(private_key, &keys).unwrap();
        let error = silent
            .answer(&texts([("challenge", challenge)]))
            .unwrap_err();
        assert!(matches!(error, AuthError::Router));
    }
}
