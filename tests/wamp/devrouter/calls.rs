//! Calls and their answers.

use bytes::Bytes;
use wampgate::value::{Map, Value};
use wampgate::wamp::id::RequestId;
use wampgate::wamp::message::{Message, Payload};
use wampgate::wamp::serializer::Serializer;

use super::pair;
use crate::peer::{Peer, router};

#[tokio::test]
async fn a_call_reaches_its_callee_and_the_answer_its_caller() {
    let router = router();
    let (mut caller, mut callee) = pair(&router).await;
    callee.asks(r#"[64,1,{},"a.add"]"#, "[65,1,1]").await;
    caller.tell(r#"[48,1,{},"a.add",[1,2],{"k":null}]"#).await;
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
async fn attributes_of_ones_own_are_passed_on_and_others_are_not() {
    let router = router();
    let (mut caller, mut callee) = pair(&router).await;
    callee.asks(r#"[64,1,{},"a.it"]"#, "[65,1,1]").await;
    callee.asks(r#"[32,2,{},"a.topic"]"#, "[33,2,1]").await;
    let own = r#""_traceparent":"00-x","_y":[1,{"z":null}]"#;
    let call = format!(r#"[48,1,{{"x":1,{own}}},"a.it"]"#);
    caller.tell(&call).await;
    callee.hears(&format!("[68,1,1,{{{own}}}]")).await;
    caller
        .tell(&format!(
            r#"[16,2,{{"x":1,{own},"retain":true}},"a.topic"]"#
        ))
        .await;
    hears_event(&mut callee, &format!("{{{own}}}")).await;
    let again = r#"[32,3,{"get_retained":true},"a.topic"]"#;
    callee.asks(again, "[33,3,1]").await;
    hears_event(&mut callee, &format!(r#"{{{own},"retained":true}}"#)).await;
}

async fn hears_event(peer: &mut Peer, expected: &str) {
    let Some(Message::Event { details, .. }) = peer.hear().await else {
        panic!("no EVENT");
    };
    assert_eq!(Value::from(details).to_string(), expected);
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
async fn who_asks_for_another_is_believed_in_process_only() {
    const HOP: &str = r#"{"session":4711,"authid":"ann","authrole":"clerk"}"#;
    let router = router();
    let listening = router.listen("127.0.0.1:0").await.unwrap();
    let (mut inside, mut other) = pair(&router).await;
    let mut outside = Peer::dial(&listening.url(), Serializer::Json).await;
    other.asks(r#"[64,1,{},"a.who"]"#, "[65,1,1]").await;
    other.asks(r#"[32,2,{},"a.topic"]"#, "[33,2,1]").await;
    let call = format!(r#"[48,1,{{"forward_for":[{HOP}]}},"a.who"]"#);
    inside.tell(&call).await;
    other
        .hears(r#"[68,1,1,{"caller":4711,"caller_authid":"ann","caller_authrole":"clerk"}]"#)
        .await;
    let publish = format!(r#"[16,2,{{"acknowledge":true,"forward_for":[{HOP}]}},"a.topic"]"#);
    inside.tell(&publish).await;
    let Some(Message::Event { details, .. }) = other.hear().await else {
        panic!("no EVENT");
    };
    assert_eq!(details["publisher"], Value::from(4711_u64));
    assert_eq!(details["publisher_authid"], Value::from("ann"));
    // Nobody in the list is nobody else.
    inside.tell(r#"[48,3,{"forward_for":[]},"a.who"]"#).await;
    other.hears("[68,2,1,{}]").await;

    const REFUSED: &str = r#""wamp.error.option_not_allowed",["the embedded router does not support the option `forward_for`"]]"#;
    outside
        .asks(&call, &format!("[8,48,1,{{}},{REFUSED}"))
        .await;
    outside
        .asks(&publish, &format!("[8,16,2,{{}},{REFUSED}"))
        .await;
    other.hears_nothing_more().await;
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
