use super::*;
use crate::value::{MAX_DEPTH, Map, Value};
use crate::wamp::message::Payload;

/// Reads `json` through every serializer and asserts that all agree.
fn decode(json: &str, reading: Reading) -> Result<Message, DecodeError> {
    let value = crate::value::json::from_json(json.as_bytes()).unwrap();
    let outcome = Serializer::Json.decode(json.as_bytes(), reading);
    let msgpack = rmp_serde::to_vec(&value).unwrap();
    assert_eq!(
        Serializer::Msgpack.decode(&msgpack, reading),
        outcome,
        "{json}"
    );
    let mut cbor = Vec::new();
    ciborium::into_writer(&value, &mut cbor).unwrap();
    assert_eq!(Serializer::Cbor.decode(&cbor, reading), outcome, "{json}");
    outcome
}

fn call(args: Vec<Value>) -> Message {
    Message::Call {
        request: RequestId(1),
        options: Map::new(),
        procedure: "a.b".to_owned(),
        payload: Payload::new(args, Map::new()),
    }
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::Null, |inner, _| Value::List(vec![inner]))
}

#[test]
fn empty_parts_of_a_payload_are_not_written() {
    let mut kwargs = Map::new();
    for (args, with_kwargs, expected) in [
        (vec![], false, r#"[50,7,{}]"#),
        (vec![Value::Null], false, r#"[50,7,{},[null]]"#),
        (vec![], true, r#"[50,7,{},[],{"a":1}]"#),
    ] {
        if with_kwargs {
            kwargs.insert("a".to_owned(), Value::I64(1));
        }
        let message = Message::Result {
            request: RequestId(7),
            details: Map::new(),
            payload: Payload::new(args, kwargs.clone()),
        };
        assert_eq!(Serializer::Json.encode(&message).unwrap(), expected);
    }
}

#[test]
fn a_client_takes_missing_null_and_empty_payloads_for_the_same() {
    for tail in [
        "",
        ",null",
        ",[]",
        ",{}",
        ",null,null",
        ",[],{}",
        ",[],[]",
        ",[],null",
    ] {
        let frame = format!("[50,7,{{}}{tail}]");
        let expected = Message::Result {
            request: RequestId(7),
            details: Map::new(),
            payload: Payload::default(),
        };
        assert_eq!(decode(&frame, Reading::Tolerant), Ok(expected), "{frame}");
    }
    assert!(decode("[50,7]", Reading::Tolerant).is_ok());
    assert!(decode("[50,7,null,[1],{},\"more\",1,2,3]", Reading::Tolerant).is_ok());
}

#[test]
fn a_client_takes_any_error_uri_and_a_payload_in_abort() {
    for (uri, expected) in [("103", "103"), ("null", "null"), ("\"a b\"", "a b")] {
        let frame = format!("[8,48,7,{{}},{uri}]");
        let Ok(Message::Error { error, .. }) = decode(&frame, Reading::Tolerant) else {
            panic!("{frame}");
        };
        assert_eq!(error, expected);
    }
    let Ok(Message::Abort { payload, .. }) =
        decode(r#"[3,{},"wamp.error.x",["why"],{}]"#, Reading::Tolerant)
    else {
        panic!("no ABORT");
    };
    assert_eq!(payload.args(), [Value::from("why")]);
}

#[test]
fn a_client_takes_revocations_and_ids_written_as_doubles() {
    let Ok(Message::Unregistered { request, details }) =
        decode(r#"[67,0,{"registration":5}]"#, Reading::Tolerant)
    else {
        panic!("no UNREGISTERED");
    };
    assert_eq!((request, details.len()), (RequestId(0), 1));
    let frame = [0x93, 17, 7, 0xcb, 0x43, 0x30, 0, 0, 0, 0, 0, 0]; // 2^52 as a double
    assert!(matches!(
        Serializer::Msgpack.decode(&frame, Reading::Tolerant),
        Ok(Message::Published { publication, .. }) if publication.0 == 1 << 52
    ));
    assert!(Serializer::Msgpack.decode(&frame, Reading::Strict).is_err());
}

#[test]
fn what_is_wrong_is_said_with_the_request_where_it_can_be_read() {
    let malformed = |code, request: Option<u64>, detail: &str| {
        Err(DecodeError::Malformed {
            code,
            request: request.map(RequestId),
            detail: detail.to_owned(),
        })
    };
    for reading in [Reading::Tolerant, Reading::Strict] {
        assert_eq!(
            decode("[999,1]", reading),
            Err(DecodeError::Unknown { code: 999 })
        );
        for frame in [
            "{}", "1", "\"x\"", "null", "[]", "[\"48\"]", "[-1]", "[[48]]",
        ] {
            let outcome = match frame {
                // What is no list is worded by each format.
                "{}" | "1" | "\"x\"" | "null" => Serializer::Json.decode(frame.as_bytes(), reading),
                _ => decode(frame, reading),
            };
            assert!(
                matches!(outcome, Err(DecodeError::NotAMessage { .. })),
                "{frame}: {outcome:?}"
            );
        }
        assert_eq!(
            decode("[50,7,{},5]", reading),
            malformed(50, Some(7), "args: found integer, expected a list")
        );
        assert_eq!(
            decode("[17,7,\"x\"]", reading),
            malformed(17, Some(7), "publication: found text, expected an id")
        );
    }
    // Read up to the fault: the request is known although the frame ends early.
    assert_eq!(
        Serializer::Json.decode(b"[50,7,{},[1,", Reading::Tolerant),
        malformed(
            50,
            Some(7),
            "EOF while parsing a value at line 1, column 12"
        )
    );
    let outcome = Serializer::Msgpack.decode(&[0x94, 50, 7, 0x80, 0x92, 1], Reading::Tolerant);
    assert!(
        matches!(
            outcome,
            Err(DecodeError::Malformed {
                code: 50,
                request: Some(RequestId(7)),
                ..
            })
        ),
        "{outcome:?}"
    );
    assert_eq!(
        Serializer::Cbor.decode(&[0x84, 0x18, 50, 7, 0xa0, 0x82, 1], Reading::Tolerant),
        malformed(50, Some(7), "ends too early")
    );
    assert_eq!(
        Serializer::Json.decode(b"[8,48,7,{},", Reading::Tolerant),
        malformed(8, Some(7), "EOF while parsing a value at line 1, column 11")
    );
}

#[test]
fn a_router_refuses_wrong_lengths_types_and_ids() {
    for (frame, detail) in [
        ("[48,1,{}]", "3 elements, expected 4 to 6"),
        ("[48,1,{},\"a\",[],{},1]", "7 elements, expected 4 to 6"),
        ("[48,1,{},\"a\",[],{},1,2,3]", "9 elements, expected 4 to 6"),
        ("[48,0,{},\"a\"]", "request: 0 is not in 1 to 2^53"),
        (
            "[48,9007199254740993,{},\"a\"]",
            "request: 9007199254740993 is not in 1 to 2^53",
        ),
        ("[48,-1,{},\"a\"]", "request: found integer, expected an id"),
        ("[48,\"1\",{},\"a\"]", "request: found text, expected an id"),
        ("[48,1,null,\"a\"]", "options: found null, expected a dict"),
        ("[48,1,[],\"a\"]", "options: found list, expected a dict"),
        ("[48,1,{},7]", "procedure: found integer, expected text"),
        ("[48,1,{},\"a\",null]", "args: found null, expected a list"),
        ("[48,1,{},\"a\",{}]", "args: found map, expected a list"),
        ("[48,1,{},\"a\",\"x\"]", "args: found text, expected a list"),
        (
            "[48,1,{},\"a\",[],[]]",
            "kwargs: found list, expected a dict",
        ),
        (
            "[48,1,{},\"a\",[],null]",
            "kwargs: found null, expected a dict",
        ),
        (
            "[48,1,{\"timeout\":\"1\"},\"a\"]",
            "timeout: expected an integer that is not negative",
        ),
        (
            "[48,1,{\"disclose_me\":null},\"a\"]",
            "disclose_me: expected true or false",
        ),
        (
            "[49,1,{\"mode\":\"soft\"}]",
            "mode: expected one of skip, kill, killnowait",
        ),
        ("[1,\"r\",{}]", "roles: missing"),
        (
            "[1,\"r\",{\"roles\":{}}]",
            "roles: expected a dict with at least one of caller, callee, publisher, subscriber, each a dict",
        ),
    ] {
        match decode(frame, Reading::Strict) {
            Err(DecodeError::Malformed { detail: found, .. }) => assert_eq!(found, detail),
            other => panic!("{frame}: {other:?}"),
        }
    }
}

#[test]
fn a_router_can_answer_a_request_whose_uri_is_invalid() {
    for frame in [
        r#"[48,9,{},"a b"]"#,
        r#"[48,9,{},""]"#,
        r#"[16,9,{"acknowledge":true},"com..x",[1]]"#,
        r#"[32,9,{},"com..x"]"#,
        r#"[32,9,{"match":"exact"},"com."]"#,
        r#"[64,9,{"match":"wildcard"},"com. .x"]"#,
    ] {
        match decode(frame, Reading::Strict) {
            Err(DecodeError::InvalidUri {
                request: Some(request),
                ..
            }) => {
                assert_eq!(request, RequestId(9));
            }
            other => panic!("{frame}: {other:?}"),
        }
    }
    assert!(matches!(
        decode(r#"[16,9,{},"com..x"]"#, Reading::Strict),
        Err(DecodeError::InvalidUri { request: None, .. })
    ));
    assert!(decode(r#"[32,9,{"match":"wildcard"},"com..x"]"#, Reading::Strict).is_ok());
    assert!(decode(r#"[32,9,{"match":"prefix"},"com."]"#, Reading::Strict).is_ok());
    // A fault of another kind goes first: the message as a whole cannot be trusted.
    assert!(matches!(
        decode(r#"[48,9,{},"a b",5]"#, Reading::Strict),
        Err(DecodeError::Malformed { .. })
    ));
}

#[test]
fn json_carries_binary_as_text_that_begins_with_u0000() {
    let message = call(vec![Value::Bytes(Bytes::from_static(b"\x10\xff"))]);
    let frame = Serializer::Json.encode(&message).unwrap();
    assert_eq!(frame, r#"[48,1,{},"a.b",["\u0000EP8="]]"#);
    assert_eq!(
        Serializer::Json.decode(&frame, Reading::Strict),
        Ok(message)
    );
    let no_base64 = br#"[48,1,{},"a.b",["\u0000?"]]"#;
    assert_eq!(
        Serializer::Json.decode(no_base64, Reading::Tolerant),
        Ok(call(vec![Value::from("\0?")]))
    );
    assert!(Serializer::Json.decode(no_base64, Reading::Strict).is_err());
}

#[test]
fn what_json_cannot_carry_is_refused_before_it_is_sent() {
    for (value, detail) in [
        (Value::F64(f64::NAN), "NaN is no JSON number"),
        (Value::F64(f64::INFINITY), "inf is no JSON number"),
        (
            Value::from("\0AAE="),
            "text that begins with U+0000 would be read as binary from JSON",
        ),
    ] {
        let message = call(vec![value]);
        let error = Serializer::Json.encode(&message).unwrap_err();
        assert_eq!(error.to_string(), detail);
        assert!(Serializer::Msgpack.encode(&message).is_ok());
        assert!(Serializer::Cbor.encode(&message).is_ok());
    }
}

#[test]
fn integers_beyond_64_bits_are_malformed_in_every_format() {
    let frames: [(Serializer, &[u8]); 3] = [
        (Serializer::Json, b"[50,7,{},[18446744073709551616]]"),
        (
            Serializer::Cbor,
            &[
                0x84, 0x18, 50, 7, 0xa0, 0x81, 0xc2, 0x49, 1, 0, 0, 0, 0, 0, 0, 0, 0,
            ],
        ),
        (
            Serializer::Cbor, // -2^64
            &[
                0x84, 0x18, 50, 7, 0xa0, 0x81, 0x3b, 255, 255, 255, 255, 255, 255, 255, 255,
            ],
        ),
    ];
    for (serializer, frame) in frames {
        match serializer.decode(frame, Reading::Tolerant) {
            Err(DecodeError::Malformed {
                code: 50,
                request: Some(RequestId(7)),
                detail,
            }) => {
                assert!(detail.contains("beyond 64 bits"), "{detail}");
            }
            other => panic!("{serializer:?}: {other:?}"),
        }
    }
}

/// As JavaScript writes 2^64 and others.
#[test]
fn json_may_hold_doubles_that_look_like_integers_beyond_64_bits() {
    let frame = b"[50,7,{},[18446744073709552000,-100000000000000000000]]";
    for reading in [Reading::Tolerant, Reading::Strict] {
        let Ok(Message::Result { payload, .. }) = Serializer::Json.decode(frame, reading) else {
            panic!("no RESULT");
        };
        let doubles = [18_446_744_073_709_551_616.0, -1e20].map(Value::F64);
        assert_eq!(payload.args(), doubles);
    }
}

#[test]
fn values_nest_up_to_the_common_depth_and_no_further() {
    for serializer in Serializer::ALL {
        let deepest = call(vec![nested(MAX_DEPTH)]);
        let frame = serializer.encode(&deepest).unwrap();
        assert_eq!(serializer.decode(&frame, Reading::Strict), Ok(deepest));
        let error = serializer
            .encode(&call(vec![nested(MAX_DEPTH + 1)]))
            .unwrap_err();
        assert_eq!(error.to_string(), "nested deeper than 128 levels");
    }
    let frames = [
        (Serializer::Json, vec![b'['; 1_000_000]),
        (Serializer::Json, b"{\"a\":".repeat(100_000)),
        (
            Serializer::Json,
            [&b"[48,1,{},\"a\","[..], &[b'['; 1_000_000]].concat(),
        ),
        // Beyond the last element that a message has, too.
        (
            Serializer::Json,
            [&b"[48,1,{},\"a\",1,1,1,"[..], &[b'['; 1_000_000]].concat(),
        ),
        (Serializer::Msgpack, vec![0x91; 1_000_000]),
        (
            Serializer::Msgpack,
            [&[0x98, 48, 1, 1, 1, 1, 1, 1][..], &[0x91; 1_000_000]].concat(),
        ),
        (Serializer::Cbor, vec![0x81; 1_000_000]),
        (Serializer::Cbor, vec![0x9f; 1_000_000]),
        (Serializer::Cbor, vec![0xc1; 1_000_000]),
        (
            Serializer::Cbor,
            [&[0x84, 0x18, 48][..], &[0xc1; 1_000_000]].concat(),
        ),
        (
            Serializer::Cbor,
            [&[0x84, 0x18, 48][..], &[0xa1; 1_000_000]].concat(),
        ),
    ];
    for (serializer, frame) in frames {
        assert!(serializer.decode(&frame, Reading::Tolerant).is_err());
    }
}

#[test]
fn a_declared_length_allocates_nothing() {
    let frames: [(Serializer, &[u8]); 10] = [
        (Serializer::Msgpack, &[0xdd, 0xff, 0xff, 0xff, 0xff]),
        (
            Serializer::Msgpack,
            &[0x92, 48, 0xdd, 0xff, 0xff, 0xff, 0xff],
        ),
        (
            Serializer::Msgpack,
            &[0x92, 48, 0xdf, 0xff, 0xff, 0xff, 0xff],
        ),
        (
            Serializer::Msgpack,
            &[0x92, 48, 0xdb, 0xff, 0xff, 0xff, 0xff],
        ),
        (
            Serializer::Msgpack,
            &[0x92, 48, 0xc6, 0xff, 0xff, 0xff, 0xff],
        ),
        (
            Serializer::Msgpack,
            &[0x92, 48, 0xc9, 0xff, 0xff, 0xff, 0xff, 1],
        ),
        (
            Serializer::Cbor,
            &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ),
        (
            Serializer::Cbor,
            &[
                0x82, 0x18, 48, 0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            ],
        ),
        (
            Serializer::Cbor,
            &[
                0x82, 0x18, 48, 0x7b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            ],
        ),
        (
            Serializer::Cbor,
            &[
                0x82, 0x18, 48, 0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            ],
        ),
    ];
    for (serializer, frame) in frames {
        assert!(
            serializer.decode(frame, Reading::Tolerant).is_err(),
            "{frame:x?}"
        );
    }
}

#[test]
fn bytes_after_a_message_are_refused() {
    let frames: [(Serializer, &[u8]); 4] = [
        (Serializer::Json, b"[17,7,1] x"),
        (Serializer::Msgpack, &[0x93, 17, 7, 1, 0]),
        (Serializer::Msgpack, &[0x93, 17, 7, 1, 0x92]),
        (Serializer::Cbor, &[0x83, 17, 7, 1, 0]),
    ];
    for (serializer, frame) in frames {
        assert!(matches!(
            serializer.decode(frame, Reading::Tolerant),
            Err(DecodeError::Malformed { code: 17, .. })
        ));
    }
    // CBOR's list without a declared length ends by its mark.
    assert!(
        Serializer::Cbor
            .decode(&[0x9f, 17, 7, 1, 0xff], Reading::Strict)
            .is_ok()
    );
}

#[test]
fn subprotocols_and_names_are_found_again() {
    for serializer in Serializer::ALL {
        assert_eq!(
            Serializer::from_subprotocol(serializer.subprotocol()),
            Some(serializer)
        );
        assert_eq!(Serializer::from_name(serializer.name()), Some(serializer));
    }
    assert_eq!(Serializer::from_subprotocol("wamp.2.flatbuffers"), None);
}
