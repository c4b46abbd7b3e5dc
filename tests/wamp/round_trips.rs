//! The law of the codecs: whatever is written comes back equal, through each serializer; and
//! whatever comes in, nothing panics.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use wampgate::value::{Map, Value};
use wampgate::wamp::id::{
    MAX_ID, PublicationId, RegistrationId, RequestId, SessionId, SubscriptionId,
};
use wampgate::wamp::message::{Message, Payload};
use wampgate::wamp::serializer::{Reading, Serializer};

proptest! {
    #[test]
    fn what_is_written_comes_back_equal(message in messages()) {
        for serializer in Serializer::ALL {
            let frame = serializer.encode(&message).unwrap();
            for reading in [Reading::Tolerant, Reading::Strict] {
                let again = serializer.decode(&frame, reading);
                prop_assert_eq!(again.as_ref(), Ok(&message), "{:?}", serializer);
            }
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in vec(any::<u8>(), 0..64)) {
        decode_all(&bytes);
        // Most random bytes fail at once; behind the head of a CALL they come further.
        for head in [&b"[48,1,{},\"a\","[..], &[0x95, 48, 1, 0x80, 0xa1, b'a'], &[0x85, 0x18, 48, 1, 0xa0, 0x61, b'a']] {
            decode_all(&[head, &bytes].concat());
        }
    }

    #[test]
    fn no_damage_to_a_frame_makes_a_decoder_panic(
        message in messages(),
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        for serializer in Serializer::ALL {
            let mut frame = serializer.encode(&message).unwrap().to_vec();
            let at = place.index(frame.len());
            frame[at] = byte;
            if cut {
                frame.truncate(at);
            }
            decode_all(&frame);
        }
    }
}

fn decode_all(bytes: &[u8]) {
    for serializer in Serializer::ALL {
        for reading in [Reading::Tolerant, Reading::Strict] {
            drop(serializer.decode(bytes, reading));
        }
    }
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(Value::from),
        texts().prop_map(Value::from),
        vec(any::<u8>(), 0..40).prop_map(|bytes| Value::from(Bytes::from(bytes))),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((texts(), inner), 0..6).prop_map(|members| Value::from(Map::from_iter(members))),
        ]
    })
}

/// Any text, but for the one that JSON reserves for binary.
fn texts() -> impl Strategy<Value = String> {
    any::<String>().prop_filter("stands for binary", |text| !text.starts_with('\0'))
}

fn maps() -> impl Strategy<Value = Map> {
    // A name that is no option of any message, so that its type is free.
    vec(
        (texts().prop_map(|name| format!("_{name}")), values()),
        0..4,
    )
    .prop_map(Map::from_iter)
}

fn payloads() -> impl Strategy<Value = Payload> {
    (vec(values(), 0..4), maps()).prop_map(|(args, kwargs)| Payload::new(args, kwargs))
}

fn uris() -> impl Strategy<Value = String> {
    "[a-zA-ZäöÜ0-9_:/-]{1,8}(\\.[a-z0-9_]{1,8}){0,3}"
}

fn ids() -> impl Strategy<Value = u64> {
    1..=MAX_ID
}

fn messages() -> impl Strategy<Value = Message> {
    (
        any::<prop::sample::Index>(),
        ids(),
        ids(),
        maps(),
        uris(),
        texts(),
        payloads(),
    )
        .prop_map(|(which, first, second, dict, uri, text, payload)| {
            let all = every_message(first, second, &dict, &uri, &text, &payload);
            all[which.index(all.len())].clone()
        })
}

fn every_message(
    first: u64,
    second: u64,
    dict: &Map,
    uri: &str,
    text: &str,
    payload: &Payload,
) -> Vec<Message> {
    let request = RequestId(first);
    let details = || dict.clone();
    let options = || dict.clone();
    let payload = || payload.clone();
    let uri = || uri.to_owned();
    let hello = Map::from_iter([(
        "roles".to_owned(),
        Value::Map(Map::from_iter([(
            "caller".to_owned(),
            Value::Map(Map::new()),
        )])),
    )]);
    vec![
        Message::Hello {
            realm: uri(),
            details: hello,
        },
        Message::Welcome {
            session: SessionId(first),
            details: details(),
        },
        Message::Abort {
            details: details(),
            reason: uri(),
            payload: payload(),
        },
        Message::Challenge {
            method: text.to_owned(),
            extra: details(),
        },
        Message::Authenticate {
            signature: text.to_owned(),
            extra: details(),
        },
        Message::Goodbye {
            details: details(),
            reason: uri(),
        },
        Message::Error {
            request_type: 48,
            request,
            details: details(),
            error: uri(),
            payload: payload(),
        },
        Message::Publish {
            request,
            options: options(),
            topic: uri(),
            payload: payload(),
        },
        Message::Published {
            request,
            publication: PublicationId(second),
        },
        Message::Subscribe {
            request,
            options: options(),
            topic: uri(),
        },
        Message::Subscribed {
            request,
            subscription: SubscriptionId(second),
        },
        Message::Unsubscribe {
            request,
            subscription: SubscriptionId(second),
        },
        Message::Unsubscribed {
            request,
            details: details(),
        },
        Message::Unsubscribed {
            request: RequestId(0),
            details: details(),
        },
        Message::Event {
            subscription: SubscriptionId(first),
            publication: PublicationId(second),
            details: details(),
            payload: payload(),
        },
        Message::Call {
            request,
            options: options(),
            procedure: uri(),
            payload: payload(),
        },
        Message::Cancel {
            request,
            options: options(),
        },
        Message::Result {
            request,
            details: details(),
            payload: payload(),
        },
        Message::Register {
            request,
            options: options(),
            procedure: uri(),
        },
        Message::Registered {
            request,
            registration: RegistrationId(second),
        },
        Message::Unregister {
            request,
            registration: RegistrationId(second),
        },
        Message::Unregistered {
            request,
            details: details(),
        },
        Message::Unregistered {
            request: RequestId(0),
            details: details(),
        },
        Message::Invocation {
            request,
            registration: RegistrationId(second),
            details: details(),
            payload: payload(),
        },
        Message::Interrupt {
            request,
            options: options(),
        },
        Message::Yield {
            request,
            options: options(),
            payload: payload(),
        },
        Message::EventReceived {
            publication: PublicationId(first),
        },
    ]
}

#[test]
fn every_message_survives_every_serializer_in_either_reading() {
    let dict = Map::from_iter([
        ("_number".to_owned(), Value::from(u64::MAX)),
        (
            "_binary".to_owned(),
            Value::from(Bytes::from_static(b"\0\xff")),
        ),
    ]);
    let payload = Payload::new(
        vec![Value::from(i64::MIN), Value::from(u64::MAX)],
        dict.clone(),
    );
    let all = every_message(1, MAX_ID, &dict, "com.example.x", "te\"xt", &payload);
    let codes: std::collections::BTreeSet<u64> = all.iter().map(Message::code).collect();
    assert_eq!(codes.len(), 25, "a message is missing here");
    for message in all {
        for serializer in Serializer::ALL {
            let frame = serializer.encode(&message).unwrap();
            for reading in [Reading::Tolerant, Reading::Strict] {
                assert_eq!(serializer.decode(&frame, reading).as_ref(), Ok(&message));
            }
        }
    }
}
