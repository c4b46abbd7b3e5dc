//! Results in parts.

use wampgate::devrouter::Router;
use wampgate::value::{Map, Value};
use wampgate::wamp::id::RequestId;
use wampgate::wamp::message::{Message, Payload};
use wampgate::wamp::serializer::Serializer;

use crate::peer::{Peer, REALM, router};

/// A callee that can send parts, with `a.parts` registered, and a caller.
async fn pair(router: &Router) -> (Peer, Peer) {
    let mut callee = Peer::join_as_callee(
        router,
        r#"{"call_canceling":true,"progressive_call_results":true}"#,
    )
    .await;
    callee.asks(r#"[64,1,{},"a.parts"]"#, "[65,1,1]").await;
    (Peer::join(router, Serializer::Json).await, callee)
}

#[tokio::test]
async fn parts_reach_the_caller_until_the_result() {
    let router = router();
    let (mut caller, mut callee) = pair(&router).await;
    caller
        .tell(r#"[48,7,{"receive_progress":true},"a.parts"]"#)
        .await;
    callee.hears(r#"[68,1,1,{"receive_progress":true}]"#).await;
    callee.tell(r#"[70,1,{"progress":true},[1],{"k":2}]"#).await;
    caller
        .hears(r#"[50,7,{"progress":true},[1],{"k":2}]"#)
        .await;
    callee.tell(r#"[70,1,{"progress":true,"_n":2}]"#).await;
    caller.hears(r#"[50,7,{"progress":true,"_n":2}]"#).await;
    callee.tell(r#"[70,1,{"progress":false},["all"]]"#).await;
    caller.hears(r#"[50,7,{},["all"]]"#).await;
    // After the end there is none.
    callee.tell(r#"[70,1,{"progress":true},[9]]"#).await;
    caller.hears_nothing_more().await;

    // An error ends it as well.
    caller
        .tell(r#"[48,8,{"receive_progress":true},"a.parts"]"#)
        .await;
    callee.hears(r#"[68,2,1,{"receive_progress":true}]"#).await;
    callee.tell(r#"[70,2,{"progress":true},[1]]"#).await;
    caller.hears(r#"[50,8,{"progress":true},[1]]"#).await;
    callee.tell(r#"[8,68,2,{},"com.example.error.no"]"#).await;
    caller.hears(r#"[8,48,8,{},"com.example.error.no"]"#).await;
}

#[tokio::test]
async fn parts_that_nobody_asked_for_end_the_callees_session() {
    let router = router();
    let (mut caller, mut callee) = pair(&router).await;
    caller.tell(r#"[48,1,{},"a.parts"]"#).await;
    callee.hears("[68,1,1,{}]").await;
    callee
        .asks(
            r#"[70,1,{"progress":true}]"#,
            r#"[3,{"message":"progress that nobody asked for"},"wamp.error.protocol_violation"]"#,
        )
        .await;
    caller
        .hears(r#"[8,48,1,{},"wamp.error.canceled",["the callee is gone"]]"#)
        .await;
}

/// Libraries in JavaScript announce nothing of it, and do it.
#[tokio::test]
async fn a_callee_that_announces_nothing_may_send_parts_too() {
    let router = router();
    let mut callee = Peer::join_as_callee(&router, "{}").await;
    callee.asks(r#"[64,1,{},"a.parts"]"#, "[65,1,1]").await;
    let mut caller = Peer::join(&router, Serializer::Json).await;
    caller
        .tell(r#"[48,1,{"receive_progress":true},"a.parts"]"#)
        .await;
    callee.hears(r#"[68,1,1,{"receive_progress":true}]"#).await;
    callee.tell(r#"[70,1,{"progress":true},[1]]"#).await;
    caller.hears(r#"[50,1,{"progress":true},[1]]"#).await;
    // It cannot be told of the end; what it sends then is nobody's fault.
    caller
        .asks(
            "[49,1,{}]",
            r#"[8,48,1,{},"wamp.error.canceled",["the caller has canceled the call"]]"#,
        )
        .await;
    callee.tell(r#"[70,1,{"progress":true},[2]]"#).await;
    callee.hears_nothing_more().await;
    caller.hears_nothing_more().await;
}

#[tokio::test]
async fn who_no_longer_wants_the_rest_has_it_stopped() {
    const STOP: &str = r#"{"mode":"killnowait","reason":"wamp.error.canceled"}"#;
    let router = router();
    let (mut caller, mut callee) = pair(&router).await;
    caller
        .tell(r#"[48,1,{"receive_progress":true},"a.parts"]"#)
        .await;
    callee.hears(r#"[68,1,1,{"receive_progress":true}]"#).await;
    callee.tell(r#"[70,1,{"progress":true}]"#).await;
    caller.hears(r#"[50,1,{"progress":true}]"#).await;
    caller
        .asks(
            "[49,1,{}]",
            r#"[8,48,1,{},"wamp.error.canceled",["the caller has canceled the call"]]"#,
        )
        .await;
    callee.hears(&format!("[69,1,{STOP}]")).await;
    // Crossed with it, and nobody's fault.
    callee.tell(r#"[70,1,{"progress":true}]"#).await;
    caller.hears_nothing_more().await;

    caller
        .tell(r#"[48,2,{"receive_progress":true},"a.parts"]"#)
        .await;
    callee.hears(r#"[68,2,1,{"receive_progress":true}]"#).await;
    caller.vanish();
    callee.hears(&format!("[69,2,{STOP}]")).await;
    callee.tell(r#"[70,2,{"progress":true}]"#).await;
    callee.hears_nothing_more().await;
}

#[tokio::test]
async fn a_part_that_cannot_be_passed_on_ends_the_call() {
    let router = router();
    let mut callee = Peer::new(router.connect_in_process(Serializer::Msgpack));
    callee
        .tell(&format!(
            r#"[1,"{REALM}",{{"roles":{{"callee":{{"features":{{"call_canceling":true,"progressive_call_results":true}}}}}}}}]"#
        ))
        .await;
    assert!(matches!(callee.hear().await, Some(Message::Welcome { .. })));
    callee.asks(r#"[64,1,{},"a.parts"]"#, "[65,1,1]").await;
    let mut caller = Peer::join(&router, Serializer::Json).await;
    caller
        .tell(r#"[48,1,{"receive_progress":true},"a.parts"]"#)
        .await;
    callee.hears(r#"[68,1,1,{"receive_progress":true}]"#).await;
    callee
        .send(&Message::Yield {
            request: RequestId(1),
            options: Map::from_iter([("progress".to_owned(), Value::Bool(true))]),
            payload: Payload::new(vec![Value::F64(f64::NAN)], Map::new()),
        })
        .await;
    caller
        .hears(r#"[8,48,1,{},"wamp.error.invalid_payload",["wamp.2.json: NaN is no JSON number"]]"#)
        .await;
    callee
        .hears(r#"[69,1,{"mode":"killnowait","reason":"wamp.error.invalid_payload"}]"#)
        .await;
    callee.tell(r#"[70,1,{},[1]]"#).await;
    caller.hears_nothing_more().await;
}
