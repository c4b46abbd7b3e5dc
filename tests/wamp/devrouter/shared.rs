//! Registrations that callees share.

use std::collections::HashSet;

use wampgate::devrouter::Router;
use wampgate::wamp::message::Message;
use wampgate::wamp::serializer::Serializer;

use crate::peer::{Peer, router};

/// Callees who have registered `a.b` with a policy, in this order, all under one id.
async fn callees(router: &Router, invoke: &str) -> Vec<Peer> {
    let mut callees = Vec::new();
    for _ in 0..3 {
        let mut callee = Peer::join(router, Serializer::Json).await;
        callee
            .asks(
                &format!(r#"[64,1,{{"invoke":"{invoke}"}},"a.b"]"#),
                "[65,1,1]",
            )
            .await;
        callees.push(callee);
    }
    callees
}

/// Calls once and returns which callee answered.
async fn routed(caller: &mut Peer, callees: &mut [Peer], request: u64) -> usize {
    caller.tell(&format!(r#"[48,{request},{{}},"a.b"]"#)).await;
    // Each answers with its place; who was not called has nothing to say.
    let (place, heard) = {
        let hearing = callees
            .iter_mut()
            .enumerate()
            .map(|(place, callee)| Box::pin(async move { (place, callee.hear().await) }));
        futures_util::future::select_all(hearing).await.0
    };
    let Some(Message::Invocation { request: id, .. }) = heard else {
        panic!("no INVOCATION: {heard:?}");
    };
    callees[place]
        .tell(&format!("[70,{id},{{}},[{place}]]"))
        .await;
    caller
        .hears(&format!("[50,{request},{{}},[{place}]]"))
        .await;
    place
}

#[tokio::test]
async fn each_policy_chooses_as_its_name_says() {
    for (invoke, expected) in [
        ("first", [0, 0, 0, 0]),
        ("last", [2, 2, 2, 2]),
        ("roundrobin", [0, 1, 2, 0]),
    ] {
        let router = router();
        let mut callees = callees(&router, invoke).await;
        let mut caller = Peer::join(&router, Serializer::Json).await;
        for (request, expected) in (1..).zip(expected) {
            let place = routed(&mut caller, &mut callees, request).await;
            assert_eq!(place, expected, "{invoke}, call {request}");
        }
    }
    let router = router();
    let mut callees = callees(&router, "random").await;
    let mut caller = Peer::join(&router, Serializer::Json).await;
    let mut seen = HashSet::new();
    // That one of three is never chosen in 200 calls has a probability of about 10^-35.
    for request in 1..=200 {
        seen.insert(routed(&mut caller, &mut callees, request).await);
    }
    assert_eq!(seen.len(), 3);
}

#[tokio::test]
async fn who_shares_agrees_on_how_and_does_so_once() {
    const TAKEN: &str = "wamp.error.procedure_already_exists";
    let router = router();
    let mut callees = callees(&router, "roundrobin").await;
    for (options, text) in [
        (
            r#"{"invoke":"random"}"#,
            "`a.b` is registered already, and shared by `roundrobin`",
        ),
        (
            "{}",
            "`a.b` is registered already, and shared by `roundrobin`",
        ),
        (
            r#"{"invoke":"roundrobin"}"#,
            "you have registered `a.b` already",
        ),
    ] {
        callees[1]
            .asks(
                &format!(r#"[64,2,{options},"a.b"]"#),
                &format!(r#"[8,64,2,{{}},"{TAKEN}",["{text}"]]"#),
            )
            .await;
    }
    callees[0].asks(r#"[64,2,{},"a.alone"]"#, "[65,2,2]").await;
    callees[1]
        .asks(
            r#"[64,3,{"invoke":"roundrobin"},"a.alone"]"#,
            &format!(r#"[8,64,3,{{}},"{TAKEN}",["`a.alone` is registered already"]]"#),
        )
        .await;
    // When all are gone, it is anybody's to say anew.
    for callee in &mut callees {
        callee.asks("[66,9,1]", "[67,9]").await;
    }
    callees[2]
        .asks(r#"[64,10,{"invoke":"last"},"a.b"]"#, "[65,10,3]")
        .await;
}

#[tokio::test]
async fn a_callee_that_vanishes_takes_only_its_share() {
    let router = router();
    let mut callees = callees(&router, "roundrobin").await;
    let mut caller = Peer::join(&router, Serializer::Json).await;
    for (request, callee) in (1..).zip(&mut callees) {
        caller.tell(&format!(r#"[48,{request},{{}},"a.b"]"#)).await;
        callee.hears("[68,1,1,{}]").await;
    }
    callees.remove(1).vanish();
    // It is not routed again: the callee may have done it.
    caller
        .hears(r#"[8,48,2,{},"wamp.error.canceled",["the callee is gone"]]"#)
        .await;
    for (request, callee) in [1, 3].into_iter().zip(&mut callees) {
        callee.tell(&format!("[70,1,{{}},[{request}]]")).await;
        caller
            .hears(&format!("[50,{request},{{}},[{request}]]"))
            .await;
    }
    for (request, expected) in [(4, 0), (5, 1), (6, 0)] {
        let place = routed(&mut caller, &mut callees, request).await;
        assert_eq!(place, expected, "call {request}");
    }
}
