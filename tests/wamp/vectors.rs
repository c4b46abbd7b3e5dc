//! The WAMP project's single-message vectors, read from a checkout of theirs beside ours.
//!
//! They carry a licence of their own, so they are not copied here; without the folder the tests say
//! that they did nothing.

use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use wampgate::value::json::from_json;
use wampgate::value::{Map, Value};
use wampgate::wamp::message::{Message, Payload};
use wampgate::wamp::serializer::{DecodeError, Reading, Serializer};

const FOLDER: &str = "../shared/wamp-vectors/singlemessage";

#[test]
fn every_byte_variant_decodes_to_its_attributes_and_encodes_back() {
    let mut variants = 0;
    let mut samples = 0;
    for (file, sample) in all_samples() {
        let Some(formats) = sample.get("serializers").and_then(Value::as_map) else {
            continue;
        };
        samples += 1;
        let expected = map(&sample, "expected_attributes");
        for serializer in Serializer::ALL {
            let all: Vec<Vec<u8>> = formats
                .get(serializer.name())
                .and_then(Value::as_list)
                .unwrap_or_default()
                .iter()
                .map(|variant| {
                    HEXLOWER
                        .decode(text(variant, "bytes_hex").as_bytes())
                        .unwrap()
                })
                .collect();
            for bytes in &all {
                variants += 1;
                let place = format!("{file}, {}: {}", serializer.name(), HEXLOWER.encode(bytes));
                for reading in [Reading::Tolerant, Reading::Strict] {
                    let message = serializer.decode(bytes, reading).expect(&place);
                    check_attributes(&message, expected, &place);
                    let encoded = serializer.encode(&message).expect(&place);
                    if !all.iter().any(|variant| encoded == *variant) {
                        let again = serializer.decode(&encoded, reading).expect(&place);
                        assert_eq!(again, message, "{place}");
                    }
                }
            }
        }
    }
    if folder().is_some() {
        assert_eq!((samples, variants), (35, 129));
    }
}

#[test]
fn strict_reading_accepts_and_refuses_as_the_validation_samples_say() {
    let (mut accepted, mut refused) = (0, 0);
    for (file, sample) in all_samples() {
        let Some(message) = sample.get("wmsg") else {
            continue;
        };
        let place = format!("{file}: {message}");
        let outcome = Serializer::Json.decode(message.to_string().as_bytes(), Reading::Strict);
        match sample.get("expected_error").and_then(Value::as_map) {
            None => {
                accepted += 1;
                assert!(outcome.is_ok(), "{place}: {outcome:?}");
            }
            Some(error) => {
                refused += 1;
                assert_eq!(text(error.get("type").unwrap(), ""), "protocol_violation");
                let Err(DecodeError::Malformed { detail, .. }) = outcome else {
                    panic!("{place}: {outcome:?}");
                };
                let word = error["contains"].as_text().unwrap();
                assert!(detail.contains(word), "{place}: {detail}");
            }
        }
        // A client takes all of them: it has no use for most details.
        let tolerant = Serializer::Json.decode(message.to_string().as_bytes(), Reading::Tolerant);
        assert!(tolerant.is_ok(), "{place}: {tolerant:?}");
    }
    if folder().is_some() {
        assert_eq!((accepted, refused), (39, 28));
    }
}

fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER);
    folder.is_dir().then_some(folder)
}

/// Every sample, with the name of its file.
fn all_samples() -> Vec<(String, Map)> {
    let Some(folder) = folder() else {
        eprintln!("skipped: there is no folder {FOLDER}");
        return Vec::new();
    };
    let mut samples = Vec::new();
    for part in ["basic", "advanced"] {
        for entry in std::fs::read_dir(folder.join(part)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let file = from_json(&std::fs::read(&path).unwrap()).unwrap();
            let list = file.as_map().unwrap()["samples"].as_list().unwrap();
            samples.extend(
                list.iter()
                    .map(|sample| (name.clone(), sample.as_map().unwrap().clone())),
            );
        }
    }
    samples
}

fn map<'a>(of: &'a Map, key: &str) -> &'a Map {
    of[key].as_map().unwrap()
}

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    match of {
        Value::Map(map) => map[key].as_text().unwrap(),
        other => other.as_text().unwrap(),
    }
}

fn check_attributes(message: &Message, expected: &Map, place: &str) {
    for (name, expected) in expected {
        let found = attribute(message, name).unwrap_or_else(|| panic!("{place}: {name}"));
        assert_eq!(found, *expected, "{place}: {name}");
    }
}

/// Ids and texts under the vectors' names for them, and the message's dict.
type Parts<'a> = (
    Vec<(&'static str, u64)>,
    Vec<(&'static str, &'a str)>,
    Option<&'a Map>,
);

/// Returns the attribute that the vectors call `name`; nothing stands for an empty payload.
fn attribute(message: &Message, name: &str) -> Option<Value> {
    let payload = payload(message);
    match name {
        "message_type" => return Some(Value::from(message.code())),
        "args" => {
            let args = payload?.args();
            return Some(
                (!args.is_empty())
                    .then(|| args.to_vec())
                    .map_or(Value::Null, Value::List),
            );
        }
        "kwargs" => {
            let kwargs = payload?.kwargs();
            return Some(
                (!kwargs.is_empty())
                    .then(|| kwargs.clone())
                    .map_or(Value::Null, Value::Map),
            );
        }
        "payload" => {
            return Some(match payload?.sealed() {
                Some(Value::Bytes(bytes)) => Value::from(HEXLOWER.encode(bytes)),
                Some(other) => other.clone(),
                None => Value::Null,
            });
        }
        _ => {}
    }
    let (ids, texts, dict): Parts<'_> = match message {
        Message::Hello { realm, details } => (vec![], vec![("realm", realm)], Some(details)),
        Message::Welcome { session, details } => {
            (vec![("session_id", session.0)], vec![], Some(details))
        }
        Message::Abort {
            details, reason, ..
        }
        | Message::Goodbye { details, reason } => (vec![], vec![("reason", reason)], Some(details)),
        Message::Challenge { method, extra } => (vec![], vec![("method", method)], Some(extra)),
        Message::Authenticate { signature, extra } => {
            (vec![], vec![("signature", signature)], Some(extra))
        }
        Message::Error {
            request_type,
            request,
            details,
            error,
            ..
        } => (
            vec![("request_type", *request_type), ("request_id", request.0)],
            vec![("error", error)],
            Some(details),
        ),
        Message::Publish {
            request,
            options,
            topic,
            ..
        }
        | Message::Subscribe {
            request,
            options,
            topic,
        } => (
            vec![("request_id", request.0)],
            vec![("topic", topic)],
            Some(options),
        ),
        Message::Call {
            request,
            options,
            procedure,
            ..
        }
        | Message::Register {
            request,
            options,
            procedure,
        } => (
            vec![("request_id", request.0)],
            vec![("procedure", procedure)],
            Some(options),
        ),
        Message::Published {
            request,
            publication,
        } => (
            vec![("request_id", request.0), ("publication_id", publication.0)],
            vec![],
            None,
        ),
        Message::Subscribed {
            request,
            subscription,
        }
        | Message::Unsubscribe {
            request,
            subscription,
        } => (
            vec![
                ("request_id", request.0),
                ("subscription_id", subscription.0),
            ],
            vec![],
            None,
        ),
        Message::Registered {
            request,
            registration,
        }
        | Message::Unregister {
            request,
            registration,
        } => (
            vec![
                ("request_id", request.0),
                ("registration_id", registration.0),
            ],
            vec![],
            None,
        ),
        Message::Event {
            subscription,
            publication,
            details,
            ..
        } => (
            vec![
                ("subscription", subscription.0),
                ("publication", publication.0),
            ],
            vec![],
            Some(details),
        ),
        Message::Invocation {
            request,
            registration,
            details,
            ..
        } => (
            vec![
                ("request_id", request.0),
                ("registration_id", registration.0),
            ],
            vec![],
            Some(details),
        ),
        Message::Unsubscribed { request, details }
        | Message::Unregistered { request, details }
        | Message::Result {
            request, details, ..
        } => (vec![("request_id", request.0)], vec![], Some(details)),
        Message::Cancel { request, options }
        | Message::Interrupt { request, options }
        | Message::Yield {
            request, options, ..
        } => (vec![("request_id", request.0)], vec![], Some(options)),
        Message::EventReceived { publication } => {
            (vec![("publication_id", publication.0)], vec![], None)
        }
    };
    if let Some((_, id)) = ids.iter().find(|(key, _)| *key == name) {
        return Some(Value::from(*id));
    }
    if let Some((_, text)) = texts.iter().find(|(key, _)| *key == name) {
        return Some(Value::from(*text));
    }
    match name {
        "options" | "details" | "extra" => dict.cloned().map(Value::Map),
        within => dict?.get(within).cloned(),
    }
}

fn payload(message: &Message) -> Option<&Payload> {
    match message {
        Message::Abort { payload, .. }
        | Message::Error { payload, .. }
        | Message::Publish { payload, .. }
        | Message::Event { payload, .. }
        | Message::Call { payload, .. }
        | Message::Result { payload, .. }
        | Message::Invocation { payload, .. }
        | Message::Yield { payload, .. } => Some(payload),
        _ => None,
    }
}
