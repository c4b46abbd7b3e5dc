//! What a client may not say, and what it is told.

use bytes::Bytes;
use wampgate::devrouter::{DevRouterConfig, Router};
use wampgate::value::{Map, Value};
use wampgate::wamp::id::RequestId;
use wampgate::wamp::message::{Message, Payload};
use wampgate::wamp::serializer::Serializer;

use super::pair;
use crate::peer::{Peer, config, router};

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
        (r#"[64,1,{"concurrency":4},"a.b"]"#, "concurrency"),
        (
            r#"[64,1,{"force_reregister":true},"a.b"]"#,
            "force_reregister",
        ),
        (r#"[48,1,{"progress":true},"a.b"]"#, "progress"),
        (r#"[48,1,{"rkey":"x"},"a.b"]"#, "rkey"),
        (r#"[48,1,{"ppt_scheme":"x"},"a.b"]"#, "ppt_scheme"),
        (r#"[48,1,{"enc_algo":"cryptobox"},"a.b","x"]"#, "enc_algo"),
        (r#"[64,1,{"forward_for":[]},"a.b"]"#, "forward_for"),
        (r#"[32,1,{"forward_for":[]},"a.b"]"#, "forward_for"),
        (r#"[48,1,{"runmode":"partition"},"a.b"]"#, "runmode"),
        (
            r#"[16,1,{"acknowledge":true,"ppt_scheme":"x"},"a.b"]"#,
            "ppt_scheme",
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
            r#"[64,2,{"match":"exact","invoke":"single","force_reregister":false,"concurrency":0,"_x":1},"a.b"]"#,
            "[65,2,1]",
        ),
        (
            r#"[32,3,{"match":"exact","get_retained":false,"x":1},"a.b"]"#,
            "[33,3,1]",
        ),
        (
            r#"[48,4,{"receive_progress":false,"progress":false,"timeout":0},"a.b"]"#,
            "[68,1,1,{}]",
        ),
    ] {
        peer.asks(request, answer).await;
    }
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
        "[64,1,{\"invoke\":\"all\"},\"a\"]",
        "malformed REGISTER: invoke: expected one of single, first, last, roundrobin, random",
    ),
    (
        "[32,1,{\"get_retained\":1},\"a\"]",
        "malformed SUBSCRIBE: get_retained: expected true or false",
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
        .hears(r#"[8,48,1,{},"wamp.error.payload_size_exceeded",["a message of 1220 bytes, but at most 1000 are allowed"]]"#)
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
