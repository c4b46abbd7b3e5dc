//! Calls that may take only so long. Time is paused, so it passes only when all wait for it.

use std::time::Duration;

use tokio::time::Instant;
use wampgate::wamp::serializer::Serializer;

use super::pair;
use crate::peer::{Peer, router};

const TIMEOUT: &str = r#""wamp.error.timeout",["no answer in the time that the caller allows"]]"#;

/// What a callee is told that has taken too long.
const STOP: &str = r#"{"mode":"killnowait","reason":"wamp.error.timeout"}"#;

/// Asserts that `millis` have passed, and hardly more: a timer may be a little late.
fn assert_passed(since: Instant, millis: u64) {
    let passed = since.elapsed();
    let expected = Duration::from_millis(millis);
    assert!(
        (expected..expected + Duration::from_millis(20)).contains(&passed),
        "{passed:?} instead of {expected:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_when_its_time_is_over_and_the_callee_is_stopped() {
    let router = router();
    let (mut caller, mut callee) = pair(&router).await;
    callee.asks(r#"[64,1,{},"a.slow"]"#, "[65,1,1]").await;
    let begin = Instant::now();
    caller.tell(r#"[48,1,{"timeout":700},"a.slow"]"#).await;
    caller.tell(r#"[48,2,{"timeout":500},"a.slow"]"#).await;
    caller.tell(r#"[48,3,{"timeout":600},"a.slow"]"#).await;
    caller
        .tell(r#"[48,4,{"timeout":9007199254740992},"a.slow"]"#)
        .await;
    for request in 1..=4 {
        callee.hears(&format!("[68,{request},1,{{}}]")).await;
    }
    callee.tell("[70,3,{}]").await;
    caller.hears("[50,3,{}]").await;
    caller.hears(&format!("[8,48,2,{{}},{TIMEOUT}")).await;
    assert_passed(begin, 500);
    callee.hears(&format!("[69,2,{STOP}]")).await;
    caller.hears(&format!("[8,48,1,{{}},{TIMEOUT}")).await;
    assert_passed(begin, 700);
    callee.hears(&format!("[69,1,{STOP}]")).await;
    // What comes later harms nobody; and who has no end in sight is still open.
    callee.tell("[70,1,{}]").await;
    callee.tell(r#"[8,68,2,{},"wamp.error.canceled"]"#).await;
    callee.tell("[70,4,{}]").await;
    caller.hears("[50,4,{}]").await;
    caller.hears_nothing_more().await;
}

#[tokio::test(start_paused = true)]
async fn a_callee_that_cannot_be_stopped_is_let_run() {
    let router = router();
    let mut callee = Peer::join_as_callee(&router, "{}").await;
    let mut caller = Peer::join(&router, Serializer::Json).await;
    callee.asks(r#"[64,1,{},"a.slow"]"#, "[65,1,1]").await;
    caller.tell(r#"[48,1,{"timeout":100},"a.slow"]"#).await;
    callee.hears("[68,1,1,{}]").await;
    caller.hears(&format!("[8,48,1,{{}},{TIMEOUT}")).await;
    callee.hears_nothing_more().await;
}

/// Also one that was canceled by `kill`, and waits for what the callee makes of it.
#[tokio::test(start_paused = true)]
async fn time_goes_on_while_a_callee_is_asked_to_stop() {
    let router = router();
    let (mut caller, mut callee) = pair(&router).await;
    callee.asks(r#"[64,1,{},"a.slow"]"#, "[65,1,1]").await;
    let begin = Instant::now();
    caller.tell(r#"[48,1,{"timeout":100},"a.slow"]"#).await;
    caller.tell(r#"[49,1,{"mode":"kill"}]"#).await;
    caller.hears(&format!("[8,48,1,{{}},{TIMEOUT}")).await;
    assert_passed(begin, 100);
    callee.hears("[68,1,1,{}]").await;
    callee
        .hears(r#"[69,1,{"mode":"kill","reason":"wamp.error.canceled"}]"#)
        .await;
    callee.hears(&format!("[69,1,{STOP}]")).await;
}

#[tokio::test(start_paused = true)]
async fn each_part_gives_the_callee_its_time_anew() {
    let router = router();
    let mut callee = Peer::join_as_callee(
        &router,
        r#"{"call_canceling":true,"progressive_call_results":true}"#,
    )
    .await;
    let mut caller = Peer::join(&router, Serializer::Json).await;
    callee.asks(r#"[64,1,{},"a.parts"]"#, "[65,1,1]").await;
    caller
        .tell(r#"[48,1,{"timeout":500,"receive_progress":true},"a.parts"]"#)
        .await;
    callee.hears(r#"[68,1,1,{"receive_progress":true}]"#).await;
    for _ in 0..5 {
        tokio::time::advance(Duration::from_millis(400)).await;
        callee.tell(r#"[70,1,{"progress":true}]"#).await;
        caller.hears(r#"[50,1,{"progress":true}]"#).await;
    }
    let last = Instant::now();
    caller.hears(&format!("[8,48,1,{{}},{TIMEOUT}")).await;
    assert_passed(last, 500);
    callee.hears(&format!("[69,1,{STOP}]")).await;
}

#[tokio::test(start_paused = true)]
async fn a_callee_that_wants_to_keep_the_time_does_if_it_can() {
    let router = router();
    for (features, keeps) in [(r#"{"call_timeout":true}"#, true), ("{}", false)] {
        let mut callee = Peer::join_as_callee(&router, features).await;
        let mut caller = Peer::join(&router, Serializer::Json).await;
        callee
            .tell(r#"[64,1,{"forward_timeout":true},"a.slow"]"#)
            .await;
        let registered = callee.hear_json().await;
        let registration = registered
            .trim_start_matches("[65,1,")
            .trim_end_matches(']');
        caller.tell(r#"[48,1,{"timeout":100},"a.slow"]"#).await;
        if keeps {
            callee
                .hears(&format!(r#"[68,1,{registration},{{"timeout":100}}]"#))
                .await;
            tokio::time::advance(Duration::from_secs(5)).await;
            callee.tell(r#"[8,68,1,{},"wamp.error.timeout"]"#).await;
            caller.hears(r#"[8,48,1,{},"wamp.error.timeout"]"#).await;
        } else {
            callee.hears(&format!("[68,1,{registration},{{}}]")).await;
            caller.hears(&format!("[8,48,1,{{}},{TIMEOUT}")).await;
        }
        callee
            .asks(&format!("[66,2,{registration}]"), "[67,2]")
            .await;
    }
}
