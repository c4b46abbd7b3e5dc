//! Calls that end early: canceled, or one of the two is gone.

use wampgate::wamp::message::Message;
use wampgate::wamp::serializer::Serializer;

use super::pair;
use crate::peer::{Peer, router};

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
