//! The embedded router, by what its clients say and hear.

use std::time::Duration;

use bytes::Bytes;
use wampgate::devrouter::{DevRouterConfig, Router};
use wampgate::value::{Map, Value};
use wampgate::wamp::id::RequestId;
use wampgate::wamp::message::{Message, Payload};
use wampgate::wamp::serializer::Serializer;
use wampgate::wamp::transport::{self, ConnectError};

use crate::peer::{HELLO, PATIENCE, Peer, config, router, uri};

async fn pair(router: &Router) -> (Peer, Peer) {
    (
        Peer::join(router, Serializer::Json).await,
        Peer::join(router, Serializer::Json).await,
    )
}

#[tokio::test]
async fn a_call_reaches_its_callee_and_the_answer_its_caller() {
    let router = router();
    let (mut caller, mut callee) = pair(&router).await;
    callee.asks(r#"[64,1,{},"a.add"]"#, "[65,1,1]").await;
    caller
        .tell(r#"[48,1,{"_trace":"x"},"a.add",[1,2],{"k":null}]"#)
        .await;
    callee.hears(r#"[68,1,1,{},[1,2],{"k":null}]"#).await;
    callee.tell(r#"[70,1,{"_by":"me"},[3],{"more":[]}]"#).await;
    caller.hears(r#"[50,1,{"_by":"me"},[3],{"more":[]}]"#).await;

    // Empty payloads, and the callee's own request ids.
    caller.tell(r#"[48,2,{},"a.add"]"#).await;
    callee.hears("[68,2,1,{}]").await;
    callee.tell("[70,2,{}]").await;
    caller.hears("[50,2,{}]").await;
}

#[tokio::test]
async fn an_application_error_keeps_its_uri_details_and_payload() {
    let router = router();
    let (mut caller, mut callee) = pair(&router).await;
    callee.asks(r#"[64,1,{},"a.fail"]"#, "[65,1,1]").await;
    caller.tell(r#"[48,1,{},"a.fail"]"#).await;
    callee.hears("[68,1,1,{}]").await;
    callee
        .tell(r#"[8,68,1,{"x":1},"com.example.error.no",["why",7],{"code":9}]"#)
        .await;
    caller
        .hears(r#"[8,48,1,{"x":1},"com.example.error.no",["why",7],{"code":9}]"#)
        .await;
}

#[tokio::test]
async fn a_caller_is_disclosed_when_it_or_the_callee_wants_it() {
    let router = router();
    let (mut caller, mut callee) = pair(&router).await;
    callee.asks(r#"[64,1,{},"a.who"]"#, "[65,1,1]").await;
    callee
        .asks(r#"[64,2,{"disclose_caller":true},"a.always"]"#, "[65,2,2]")
        .await;
    let id = caller.session;
    let disclosed = format!(
        r#"{{"caller":{id},"caller_authid":"anonymous-{id}","caller_authrole":"anonymous"}}"#
    );
    caller.tell(r#"[48,1,{"disclose_me":true},"a.who"]"#).await;
    callee.hears(&format!("[68,1,1,{disclosed}]")).await;
    caller.tell(r#"[48,2,{"disclose_me":false},"a.who"]"#).await;
    callee.hears("[68,2,1,{}]").await;
    caller.tell(r#"[48,3,{},"a.always"]"#).await;
    callee.hears(&format!("[68,3,2,{disclosed}]")).await;
}

#[tokio::test]
async fn requests_that_cannot_be_served_are_refused_by_name() {
    let router = router();
    let (mut peer, mut other) = pair(&router).await;
    other.asks(r#"[64,1,{},"a.taken"]"#, "[65,1,1]").await;
    for (question, answer) in [
        (
            r#"[48,1,{},"a.none"]"#,
            r#"[8,48,1,{},"wamp.error.no_such_procedure",["nobody has registered `a.none`"]]"#,
        ),
        (
            r#"[64,2,{},"a.taken"]"#,
            r#"[8,64,2,{},"wamp.error.procedure_already_exists",["`a.taken` is registered already"]]"#,
        ),
        (
            r#"[64,3,{},"wamp.mine"]"#,
            r#"[8,64,3,{},"wamp.error.invalid_uri",["`wamp.` is the protocol's own"]]"#,
        ),
        (
            r#"[66,4,1]"#,
            r#"[8,66,4,{},"wamp.error.no_such_registration",["you have no registration 1"]]"#,
        ),
        (
            r#"[16,5,{"acknowledge":true},"wamp.mine"]"#,
            r#"[8,16,5,{},"wamp.error.invalid_uri",["`wamp.` is the protocol's own"]]"#,
        ),
    ] {
        peer.asks(question, answer).await;
    }
    // Without acknowledgement there is none, not even of a refusal.
    peer.tell(r#"[16,6,{},"wamp.mine"]"#).await;
    peer.tell(r#"[16,7,{"retain":true},"a.topic"]"#).await;
    peer.hears_nothing_more().await;
}

#[tokio::test]
async fn options_that_it_does_not_serve_are_refused_and_their_defaults_pass() {
    let router = router();
    let mut peer = Peer::join(&router, Serializer::Json).await;
    for (request, option) in [
        (r#"[64,1,{"match":"prefix"},"a.b"]"#, "match"),
        (r#"[64,1,{"match":"wildcard"},"a..b"]"#, "match"),
        (r#"[64,1,{"invoke":"roundrobin"},"a.b"]"#, "invoke"),
        (r#"[64,1,{"concurrency":4},"a.b"]"#, "concurrency"),
        (
            r#"[64,1,{"force_reregister":true},"a.b"]"#,
            "force_reregister",
        ),
        (r#"[32,1,{"match":"prefix"},"a.b"]"#, "match"),
        (r#"[32,1,{"get_retained":true},"a.b"]"#, "get_retained"),
        (
            r#"[48,1,{"receive_progress":true},"a.b"]"#,
            "receive_progress",
        ),
        (r#"[48,1,{"progress":true},"a.b"]"#, "progress"),
        (r#"[48,1,{"timeout":500},"a.b"]"#, "timeout"),
        (r#"[48,1,{"rkey":"x"},"a.b"]"#, "rkey"),
        (r#"[48,1,{"ppt_scheme":"x"},"a.b"]"#, "ppt_scheme"),
        (r#"[48,1,{"enc_algo":"cryptobox"},"a.b","x"]"#, "enc_algo"),
        (r#"[48,1,{"forward_for":[]},"a.b"]"#, "forward_for"),
        (
            r#"[16,1,{"acknowledge":true,"retain":true},"a.b"]"#,
            "retain",
        ),
    ] {
        let code = &request[1..3];
        let answer = format!(
            r#"[8,{code},1,{{}},"wamp.error.option_not_allowed",["the embedded router does not support the option `{option}`"]]"#
        );
        peer.asks(request, &answer).await;
    }
    for (request, answer) in [
        (
            r#"[64,2,{"match":"exact","invoke":"single","force_reregister":false,"_x":1},"a.b"]"#,
            "[65,2,1]",
        ),
        (
            r#"[32,3,{"match":"exact","get_retained":false,"x":1},"a.b"]"#,
            "[33,3,1]",
        ),
        (
            r#"[48,4,{"receive_progress":false,"timeout":0},"a.b"]"#,
            "[68,1,1,{}]",
        ),
    ] {
        peer.asks(request, answer).await;
    }
}

#[tokio::test]
async fn events_reach_subscribers_and_are_acknowledged_on_request() {
    let router = router();
    let (mut publisher, mut subscriber) = pair(&router).await;
    subscriber.asks(r#"[32,1,{},"a.topic"]"#, "[33,1,1]").await;
    publisher.asks(r#"[32,1,{},"a.topic"]"#, "[33,1,1]").await;

    publisher
        .tell(r#"[16,2,{"acknowledge":true},"a.topic",[1],{"k":2}]"#)
        .await;
    let Some(Message::Published {
        request,
        publication,
    }) = publisher.hear().await
    else {
        panic!("no PUBLISHED");
    };
    assert_eq!(request, RequestId(2));
    subscriber
        .hears(&format!(r#"[36,1,{publication},{{}},[1],{{"k":2}}]"#))
        .await;
    // The publisher is a subscriber too, and left out unless it says otherwise.
    publisher.hears_nothing_more().await;
    publisher
        .tell(r#"[16,3,{"exclude_me":false,"disclose_me":true},"a.topic"]"#)
        .await;
    for peer in [&mut publisher, &mut subscriber] {
        let Some(Message::Event { details, .. }) = peer.hear().await else {
            panic!("no EVENT");
        };
        assert_eq!(details.len(), 3);
        assert_eq!(details["publisher_authrole"], Value::from("anonymous"));
    }
    let id = subscriber.session;
    publisher
        .tell(&format!(r#"[16,4,{{"exclude":[{id}]}},"a.topic"]"#))
        .await;
    subscriber.hears_nothing_more().await;
    subscriber.asks("[34,5,1]", "[35,5]").await;
    publisher.tell(r#"[16,6,{},"a.topic"]"#).await;
    publisher.hears_nothing_more().await;
    subscriber.hears_nothing_more().await;
}

#[tokio::test]
async fn each_mode_of_cancel_does_as_the_specification_says() {
    const CANCELED: &str = r#""wamp.error.canceled",["the caller has canceled the call"]]"#;
    let router = router();
    let (mut caller, mut callee) = pair(&router).await;
    callee.asks(r#"[64,1,{},"a.slow"]"#, "[65,1,1]").await;

    // killnowait, which is also the default: the callee is stopped, the caller does not wait.
    for (request, mode) in [(1, r#"{"mode":"killnowait"}"#), (2, "{}")] {
        caller
            .tell(&format!(r#"[48,{request},{{}},"a.slow"]"#))
            .await;
        callee.hears(&format!("[68,{request},1,{{}}]")).await;
        caller
            .asks(
                &format!("[49,{request},{mode}]"),
                &format!("[8,48,{request},{{}},{CANCELED}"),
            )
            .await;
        callee
            .hears(&format!(
                r#"[69,{request},{{"mode":"killnowait","reason":"wamp.error.canceled"}}]"#
            ))
            .await;
        // Late answers of either kind harm nobody.
        callee.tell(&format!("[70,{request},{{}},[1]]")).await;
        callee
            .tell(&format!(r#"[8,68,{request},{{}},"wamp.error.canceled"]"#))
            .await;
    }

    // kill: the caller waits for what the callee makes of it.
    caller.tell(r#"[48,3,{},"a.slow"]"#).await;
    callee.hears("[68,3,1,{}]").await;
    caller.tell(r#"[49,3,{"mode":"kill"}]"#).await;
    callee
        .hears(r#"[69,3,{"mode":"kill","reason":"wamp.error.canceled"}]"#)
        .await;
    caller.hears_nothing_more().await;
    callee
        .tell(r#"[8,68,3,{},"wamp.error.canceled",["stopped"]]"#)
        .await;
    caller
        .hears(r#"[8,48,3,{},"wamp.error.canceled",["stopped"]]"#)
        .await;

    // skip: the callee never hears of it.
    caller.tell(r#"[48,4,{},"a.slow"]"#).await;
    callee.hears("[68,4,1,{}]").await;
    caller
        .asks(
            r#"[49,4,{"mode":"skip"}]"#,
            &format!("[8,48,4,{{}},{CANCELED}"),
        )
        .await;
    callee.hears_nothing_more().await;

    // A CANCEL that crossed with the answer.
    caller.tell(r#"[49,4,{"mode":"kill"}]"#).await;
    caller.tell("[49,99,{}]").await;
    caller.hears_nothing_more().await;
    callee.hears_nothing_more().await;
}

#[tokio::test]
async fn a_callee_that_cannot_be_interrupted_is_let_run_and_not_waited_for() {
    let router = router();
    let mut caller = Peer::join(&router, Serializer::Json).await;
    let mut callee = Peer::new(router.connect_in_process(Serializer::Json));
    callee
        .tell(r#"[1,"com.example.test",{"roles":{"callee":{}}}]"#)
        .await;
    assert!(matches!(callee.hear().await, Some(Message::Welcome { .. })));
    callee.asks(r#"[64,1,{},"a.slow"]"#, "[65,1,1]").await;
    for (request, mode) in [(1, "kill"), (2, "killnowait"), (3, "skip")] {
        caller
            .tell(&format!(r#"[48,{request},{{}},"a.slow"]"#))
            .await;
        callee.hears(&format!("[68,{request},1,{{}}]")).await;
        caller
            .asks(
                &format!(r#"[49,{request},{{"mode":"{mode}"}}]"#),
                &format!(
                    r#"[8,48,{request},{{}},"wamp.error.canceled",["the caller has canceled the call"]]"#
                ),
            )
            .await;
        callee.hears_nothing_more().await;
    }
}

#[tokio::test]
async fn who_vanishes_is_neither_waited_for_nor_worked_for() {
    let router = router();
    let listening = router.listen("127.0.0.1:0").await.unwrap();
    let mut caller = Peer::dial(&listening.url(), Serializer::Json).await;
    let mut callee = Peer::dial(&listening.url(), Serializer::Msgpack).await;
    callee.asks(r#"[64,1,{},"a.slow"]"#, "[65,1,1]").await;
    callee.asks(r#"[32,2,{},"a.topic"]"#, "[33,2,1]").await;
    caller.tell(r#"[48,1,{},"a.slow"]"#).await;
    callee.hears("[68,1,1,{}]").await;
    callee.vanish();
    caller
        .hears(r#"[8,48,1,{},"wamp.error.canceled",["the callee is gone"]]"#)
        .await;
    caller
        .asks(
            r#"[48,2,{},"a.slow"]"#,
            r#"[8,48,2,{},"wamp.error.no_such_procedure",["nobody has registered `a.slow`"]]"#,
        )
        .await;

    let mut callee = Peer::dial(&listening.url(), Serializer::Cbor).await;
    callee.asks(r#"[64,1,{},"a.slow"]"#, "[65,1,2]").await;
    caller.tell(r#"[48,3,{},"a.slow"]"#).await;
    callee.hears("[68,1,2,{}]").await;
    caller.vanish();
    callee
        .hears(r#"[69,1,{"mode":"killnowait","reason":"wamp.error.canceled"}]"#)
        .await;
}

#[tokio::test]
async fn integers_and_binary_survive_any_two_serializers() {
    let router = router();
    let listening = router.listen("127.0.0.1:0").await.unwrap();
    let payload = Payload::new(
        vec![
            Value::from(u64::MAX),
            Value::from(i64::MIN),
            Value::from(9_007_199_254_740_993_u64),
            Value::from(Bytes::from_static(b"\0\xff\x80")),
            Value::from(0.1),
        ],
        Map::from_iter([("bytes".to_owned(), Value::from(Bytes::new()))]),
    );
    for ours in Serializer::ALL {
        for theirs in Serializer::ALL {
            let mut caller = Peer::dial(&listening.url(), ours).await;
            let mut callee = Peer::join(&router, theirs).await;
            callee.tell(r#"[64,1,{},"a.echo"]"#).await;
            assert!(matches!(
                callee.hear().await,
                Some(Message::Registered { .. })
            ));
            caller
                .send(&Message::Call {
                    request: RequestId(1),
                    options: Map::new(),
                    procedure: "a.echo".to_owned(),
                    payload: payload.clone(),
                })
                .await;
            let Some(Message::Invocation {
                request,
                payload: heard,
                ..
            }) = callee.hear().await
            else {
                panic!("no INVOCATION");
            };
            assert_eq!(heard, payload, "{ours:?} to {theirs:?}");
            callee
                .send(&Message::Yield {
                    request,
                    options: Map::new(),
                    payload: heard,
                })
                .await;
            let Some(Message::Result { payload: heard, .. }) = caller.hear().await else {
                panic!("no RESULT");
            };
            assert_eq!(heard, payload, "{theirs:?} to {ours:?}");
            // So that the next callee can have the name.
            callee
                .asks(
                    r#"[6,{},"wamp.close.normal"]"#,
                    r#"[6,{},"wamp.close.goodbye_and_out"]"#,
                )
                .await;
        }
    }
}

#[tokio::test]
async fn what_a_receivers_serializer_cannot_carry_becomes_an_error() {
    let router = router();
    let mut json = Peer::join(&router, Serializer::Json).await;
    let mut msgpack = Peer::join(&router, Serializer::Msgpack).await;
    let nan = Payload::new(vec![Value::F64(f64::NAN)], Map::new());
    json.asks(r#"[64,1,{},"a.json"]"#, "[65,1,1]").await;
    msgpack
        .send(&Message::Call {
            request: RequestId(1),
            options: Map::new(),
            procedure: "a.json".to_owned(),
            payload: nan.clone(),
        })
        .await;
    const REFUSED: &str = r#""wamp.error.invalid_payload",["wamp.2.json: NaN is no JSON number"]]"#;
    msgpack.hears(&format!("[8,48,1,{{}},{REFUSED}")).await;

    msgpack.asks(r#"[64,2,{},"a.msgpack"]"#, "[65,2,2]").await;
    json.tell(r#"[48,2,{},"a.msgpack"]"#).await;
    msgpack.hears("[68,1,2,{}]").await;
    msgpack
        .send(&Message::Yield {
            request: RequestId(1),
            options: Map::new(),
            payload: nan,
        })
        .await;
    json.hears(&format!("[8,48,2,{{}},{REFUSED}")).await;
}

/// What a session says after joining, and what it hears; then the connection ends.
const VIOLATIONS: &[(&str, &str)] = &[
    (
        "",
        "not a WAMP message: EOF while parsing a value at line 1, column 1",
    ),
    (
        "hello",
        "not a WAMP message: expected value at line 1, column 1",
    ),
    (
        "{}",
        "not a WAMP message: invalid type: map, expected a list at line 1, column 2",
    ),
    ("[]", "not a WAMP message: an empty list"),
    (
        "[\"48\"]",
        "not a WAMP message: begins with text instead of a message code",
    ),
    ("[4711,1]", "unknown message code 4711"),
    ("[48,1,{}]", "malformed CALL: 3 elements, expected 4 to 6"),
    (
        "[48,0,{},\"a\"]",
        "malformed CALL: request: 0 is not in 1 to 2^53",
    ),
    (
        "[48,1,{},7]",
        "malformed CALL: procedure: found integer, expected text",
    ),
    (
        "[48,1,{},\"a\",null]",
        "malformed CALL: args: found null, expected a list",
    ),
    (
        "[48,1,{},\"a\",[],null]",
        "malformed CALL: kwargs: found null, expected a dict",
    ),
    (
        "[48,1,{},\"a\",[18446744073709551616]]",
        "malformed CALL: an integer beyond 64 bits at line 1, column 15",
    ),
    (
        "[48,1,{\"timeout\":-1},\"a\"]",
        "malformed CALL: timeout: expected an integer that is not negative",
    ),
    (
        "[49,1,{\"mode\":\"soft\"}]",
        "malformed CANCEL: mode: expected one of skip, kill, killnowait",
    ),
    (
        "[16,1,{\"acknowledge\":1},\"a\"]",
        "malformed PUBLISH: acknowledge: expected true or false",
    ),
    (
        "[32,1,{\"match\":\"best\"},\"a\"]",
        "malformed SUBSCRIBE: match: expected one of exact, prefix, wildcard",
    ),
    (
        "[8,68,1,{},\"no uri\"]",
        "error: ' ' is not allowed at character 3",
    ),
    ("[8,48,1,{},\"a.b\"]", "ERROR is not expected here"),
    ("[50,1,{}]", "RESULT is not expected here"),
    ("[68,1,1,{}]", "INVOCATION is not expected here"),
    ("[5,\"x\",{}]", "AUTHENTICATE is not expected here"),
    (
        "[70,1,{\"progress\":true}]",
        "progress that nobody asked for",
    ),
    (
        "[1,\"com.example.test\",{\"roles\":{\"caller\":{}}}]",
        "HELLO is not expected here",
    ),
];

#[tokio::test]
async fn who_breaks_the_protocol_is_told_how_and_left() {
    let router = router();
    let listening = router.listen("127.0.0.1:0").await.unwrap();
    for (frame, text) in VIOLATIONS {
        for over_socket in [false, true] {
            let mut peer = if over_socket {
                Peer::dial(&listening.url(), Serializer::Json).await
            } else {
                Peer::join(&router, Serializer::Json).await
            };
            peer.send_raw(*frame).await;
            match peer.hear().await {
                Some(Message::Abort {
                    details, reason, ..
                }) => {
                    assert_eq!(reason, "wamp.error.protocol_violation", "{frame}");
                    assert_eq!(details["message"], Value::from(*text), "{frame}");
                }
                other => panic!("{frame}: {other:?}"),
            }
            assert!(peer.hear().await.is_none(), "{frame}");
        }
    }
}

#[tokio::test]
async fn a_message_that_is_too_long_ends_the_session_with_a_reason() {
    let router = Router::new(DevRouterConfig {
        max_message_bytes: 1000,
        ..config()
    });
    let listening = router.listen("127.0.0.1:0").await.unwrap();
    let mut peer = Peer::dial(&listening.url(), Serializer::Json).await;
    peer.send_raw(vec![b' '; 1001]).await;
    peer.hears(
        r#"[3,{"message":"message of 1001 bytes, but at most 1000 are allowed"},"wamp.error.protocol_violation"]"#,
    )
    .await;

    // An answer that grows too long on its way is an error for the caller, and nobody's end.
    let mut caller = Peer::join(&router, Serializer::Json).await;
    let mut callee = Peer::join(&router, Serializer::Msgpack).await;
    callee.asks(r#"[64,1,{},"a.b"]"#, "[65,1,1]").await;
    caller.tell(r#"[48,1,{},"a.b"]"#).await;
    callee.hears("[68,1,1,{}]").await;
    callee
        .send(&Message::Yield {
            request: RequestId(1),
            options: Map::new(),
            payload: Payload::new(vec![Value::from(Bytes::from(vec![0; 900]))], Map::new()),
        })
        .await;
    caller
        .hears(r#"[8,48,1,{},"wamp.error.invalid_payload",["a message of 1220 bytes, but at most 1000 are allowed"]]"#)
        .await;
    callee.hears_nothing_more().await;
}

#[tokio::test]
async fn a_request_with_an_invalid_uri_is_answered_and_the_session_stays() {
    let router = router();
    let mut peer = Peer::join(&router, Serializer::Json).await;
    for (frame, code, detail) in [
        (
            "[48,1,{},\"a b\"]",
            48,
            "procedure: ' ' is not allowed at character 2",
        ),
        ("[48,1,{},\"\"]", 48, "procedure: component 1 is empty"),
        ("[64,1,{},\"a..b\"]", 64, "procedure: component 2 is empty"),
        ("[32,1,{},\"a.\"]", 32, "topic: component 2 is empty"),
        (
            "[16,1,{\"acknowledge\":true},\"a#b\"]",
            16,
            "topic: '#' is not allowed at character 2",
        ),
    ] {
        peer.send_raw(frame).await;
        peer.hears(&format!(
            r#"[8,{code},1,{{}},"wamp.error.invalid_uri",["{detail}"]]"#
        ))
        .await;
    }
    peer.send_raw("[16,2,{},\"a#b\"]").await;
    peer.hears_nothing_more().await;
}

#[tokio::test]
async fn a_call_that_is_open_cannot_be_opened_again() {
    let router = router();
    let (mut caller, mut callee) = pair(&router).await;
    callee.asks(r#"[64,1,{},"a.slow"]"#, "[65,1,1]").await;
    caller.tell(r#"[48,1,{},"a.slow"]"#).await;
    callee.hears("[68,1,1,{}]").await;
    caller
        .asks(
            r#"[48,1,{},"a.slow"]"#,
            r#"[3,{"message":"request 1 is open already"},"wamp.error.protocol_violation"]"#,
        )
        .await;
    callee
        .hears(r#"[69,1,{"mode":"killnowait","reason":"wamp.error.canceled"}]"#)
        .await;
}

#[tokio::test]
async fn joining_is_refused_with_a_reason() {
    let router = router();
    for (hello, reason) in [
        (
            r#"[1,"com.example.other",{"roles":{"caller":{}}}]"#,
            "wamp.error.no_such_realm",
        ),
        (
            r#"[1,"com example",{"roles":{"caller":{}}}]"#,
            "wamp.error.invalid_uri",
        ),
        (
            r#"[1,"com.example.test",{"roles":{}}]"#,
            "wamp.error.protocol_violation",
        ),
        (
            r#"[1,"com.example.test",{"roles":{"caller":{}},"authmethods":["ticket"]}]"#,
            "wamp.error.no_matching_auth_method",
        ),
        (r#"[48,1,{},"a.b"]"#, "wamp.error.protocol_violation"),
        ("?", "wamp.error.protocol_violation"),
    ] {
        let mut peer = Peer::new(router.connect_in_process(Serializer::Json));
        peer.send_raw(hello).await;
        match peer.hear().await {
            Some(Message::Abort { reason: found, .. }) => assert_eq!(found, reason, "{hello}"),
            other => panic!("{hello}: {other:?}"),
        }
        assert!(peer.hear().await.is_none());
    }
}

#[tokio::test]
async fn welcome_announces_what_it_does_and_no_more() {
    let router = router();
    let mut peer = Peer::new(router.connect_in_process(Serializer::Json));
    peer.tell(HELLO).await;
    let Some(Message::Welcome { session, details }) = peer.hear().await else {
        panic!("no WELCOME");
    };
    assert!((1..=1 << 53).contains(&session.0));
    assert_eq!(details["realm"], Value::from("com.example.test"));
    assert_eq!(details["authrole"], Value::from("anonymous"));
    assert_eq!(
        details["roles"].to_string(),
        r#"{"broker":{"features":{"publisher_exclusion":true,"publisher_identification":true,"subscriber_blackwhite_listing":true}},"dealer":{"features":{"call_canceling":true,"caller_identification":true}}}"#
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_without_a_word_is_not_waited_for() {
    let router = router();
    let mut peer = Peer::new(router.connect_in_process(Serializer::Json));
    let begin = tokio::time::Instant::now();
    peer.hears(r#"[3,{"message":"no HELLO in time"},"wamp.error.protocol_violation"]"#)
        .await;
    assert_eq!(
        begin.elapsed(),
        DevRouterConfig::default().handshake_timeout
    );
}

#[tokio::test]
async fn realms_are_apart_and_come_to_be_only_where_allowed() {
    let router = Router::new(DevRouterConfig {
        creates_realms: true,
        max_realms: 2,
        ..config()
    });
    let mut here = Peer::join(&router, Serializer::Json).await;
    here.asks(r#"[64,1,{},"a.b"]"#, "[65,1,1]").await;
    let mut there = Peer::new(router.connect_in_process(Serializer::Json));
    there
        .tell(r#"[1,"com.example.new",{"roles":{"caller":{}}}]"#)
        .await;
    assert!(matches!(there.hear().await, Some(Message::Welcome { .. })));
    there
        .asks(
            r#"[48,1,{},"a.b"]"#,
            r#"[8,48,1,{},"wamp.error.no_such_procedure",["nobody has registered `a.b`"]]"#,
        )
        .await;
    let mut beyond = Peer::new(router.connect_in_process(Serializer::Json));
    beyond
        .asks(
            r#"[1,"com.example.third",{"roles":{"caller":{}}}]"#,
            r#"[3,{"message":"there is no realm `com.example.third`"},"wamp.error.no_such_realm"]"#,
        )
        .await;
}

#[tokio::test]
async fn a_session_that_does_not_read_is_dropped_and_the_others_go_on() {
    let router = Router::new(DevRouterConfig {
        max_queued_bytes: 8 << 20,
        ..config()
    });
    let listening = router.listen("127.0.0.1:0").await.unwrap();
    let mut slow = Peer::dial(&listening.url(), Serializer::Json).await;
    let mut quick = Peer::join(&router, Serializer::Msgpack).await;
    let mut publisher = Peer::join(&router, Serializer::Msgpack).await;
    slow.asks(r#"[32,1,{},"a.flood"]"#, "[33,1,1]").await;
    slow.asks(r#"[64,2,{},"a.slow"]"#, "[65,2,1]").await;
    quick.asks(r#"[32,1,{},"a.flood"]"#, "[33,1,1]").await;

    // The socket's buffers take some; then the queue grows to its bound.
    let text = "x".repeat(1 << 20);
    let mut heard = 0;
    for request in 1..=200 {
        publisher
            .send(&Message::Publish {
                request: RequestId(request),
                options: Map::new(),
                topic: "a.flood".to_owned(),
                payload: Payload::new(vec![Value::from(text.as_str())], Map::new()),
            })
            .await;
        let Some(Message::Event { .. }) = quick.hear().await else {
            panic!("no EVENT");
        };
        heard += 1;
    }
    assert_eq!(heard, 200);
    // Its procedure is gone with it.
    publisher
        .asks(
            r#"[48,201,{},"a.slow"]"#,
            r#"[8,48,201,{},"wamp.error.no_such_procedure",["nobody has registered `a.slow`"]]"#,
        )
        .await;
    drop(slow);
}

#[tokio::test]
async fn open_calls_and_entries_of_a_session_are_bounded() {
    let router = Router::new(DevRouterConfig {
        max_open_calls: 1,
        max_entries: 1,
        ..config()
    });
    let mut peer = Peer::join(&router, Serializer::Json).await;
    peer.asks(r#"[64,1,{},"a.b"]"#, "[65,1,1]").await;
    peer.asks(r#"[48,2,{},"a.b"]"#, "[68,1,1,{}]").await;
    peer.asks(
        r#"[48,3,{},"a.b"]"#,
        r#"[8,48,3,{},"wamp.error.unavailable",["1 calls are open already"]]"#,
    )
    .await;
    peer.asks(
        r#"[64,4,{},"a.c"]"#,
        r#"[8,64,4,{},"wamp.error.unavailable",["you have 1 registrations already"]]"#,
    )
    .await;
    peer.asks(r#"[32,5,{},"a.t"]"#, "[33,5,1]").await;
    peer.asks(
        r#"[32,6,{},"a.u"]"#,
        r#"[8,32,6,{},"wamp.error.unavailable",["you have 1 subscriptions already"]]"#,
    )
    .await;
}

#[tokio::test]
async fn shutdown_says_goodbye_and_waits_for_the_answer() {
    let router = router();
    let listening = router.listen("127.0.0.1:0").await.unwrap();
    let peers = [
        Peer::dial(&listening.url(), Serializer::Json).await,
        Peer::join(&router, Serializer::Cbor).await,
    ];
    let polite = async {
        for peer in peers {
            peer.takes_leave().await;
        }
    };
    tokio::join!(router.shutdown(), polite);
    let refused = transport::connect(&listening.url(), &Serializer::ALL, 1024, PATIENCE).await;
    assert!(matches!(refused, Err(ConnectError::Unreachable(_))));
}

#[tokio::test(start_paused = true)]
async fn shutdown_does_not_wait_for_ever() {
    let router = router();
    let _silent = Peer::join(&router, Serializer::Json).await;
    let begin = tokio::time::Instant::now();
    router.shutdown().await;
    assert!(begin.elapsed() <= Duration::from_secs(5));
    let mut late = Peer::new(router.connect_in_process(Serializer::Json));
    assert!(late.hear().await.is_none());
}

#[tokio::test]
async fn kill_drops_everything_without_a_word_and_the_port_is_free_again() {
    let router = router();
    let listening = router.listen("127.0.0.1:0").await.unwrap();
    let mut over_socket = Peer::dial(&listening.url(), Serializer::Json).await;
    let mut in_process = Peer::join(&router, Serializer::Json).await;
    router.kill().await;
    assert!(over_socket.hear().await.is_none());
    assert!(in_process.hear().await.is_none());
    let again = crate::peer::router();
    let listening = again.listen(listening.local_addr).await.unwrap();
    Peer::dial(&listening.url(), Serializer::Json)
        .await
        .vanish();
}

#[tokio::test]
async fn connections_are_bounded() {
    let router = Router::new(DevRouterConfig {
        max_connections: 1,
        realms: vec![uri("com.example.test").into()],
        ..DevRouterConfig::default()
    });
    let first = Peer::join(&router, Serializer::Json).await;
    let mut second = Peer::new(router.connect_in_process(Serializer::Json));
    assert!(second.hear().await.is_none());
    drop(first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_every_answer_reaches_whoever_asked() {
    const CALLERS: u64 = 8;
    const CALLS: u64 = 500;
    let router = router();
    let listening = router.listen("127.0.0.1:0").await.unwrap();
    let mut callee = Peer::dial(&listening.url(), Serializer::Msgpack).await;
    callee.asks(r#"[64,1,{},"a.echo"]"#, "[65,1,1]").await;

    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        // Two at a time and the later one first, so that answers overtake each other.
        for _ in 0..CALLERS * CALLS / 2 {
            let mut pair = Vec::new();
            for _ in 0..2 {
                let Some(Message::Invocation {
                    request, payload, ..
                }) = callee.hear().await
                else {
                    panic!("no INVOCATION");
                };
                pair.push((request, payload));
            }
            for (request, payload) in pair.into_iter().rev() {
                let options = Map::new();
                callee
                    .send(&Message::Yield {
                        request,
                        options,
                        payload,
                    })
                    .await;
            }
        }
    });
    for (caller, serializer) in (0..CALLERS).zip(Serializer::ALL.into_iter().cycle()) {
        let mut peer = Peer::dial(&listening.url(), serializer).await;
        tasks.spawn(async move {
            for request in 1..=CALLS {
                peer.tell(&format!(
                    r#"[48,{request},{{}},"a.echo",[{caller},{request}]]"#
                ))
                .await;
            }
            let mut answered = std::collections::HashSet::new();
            for _ in 0..CALLS {
                let Some(Message::Result {
                    request, payload, ..
                }) = peer.hear().await
                else {
                    panic!("no RESULT");
                };
                let expected = [Value::from(caller), Value::from(request.0)];
                assert_eq!(payload.args(), expected);
                assert!(answered.insert(request));
            }
        });
    }
    while let Some(outcome) = tasks.join_next().await {
        outcome.unwrap();
    }
}
