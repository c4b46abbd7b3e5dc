//! The last events, for those who subscribe later.

use wampgate::devrouter::{DevRouterConfig, Router};
use wampgate::wamp::message::Message;
use wampgate::wamp::serializer::Serializer;

use super::pair;
use crate::peer::{Peer, config, router};

/// Publishes, acknowledged, and returns the publication.
async fn publish(publisher: &mut Peer, options: &str, topic: &str, args: &str) -> u64 {
    publisher
        .tell(&format!(
            r#"[16,1,{{"acknowledge":true{options}}},"{topic}",{args}]"#
        ))
        .await;
    match publisher.hear().await {
        Some(Message::Published { publication, .. }) => publication.0,
        other => panic!("no PUBLISHED: {other:?}"),
    }
}

const RETAIN: &str = r#","retain":true"#;

#[tokio::test]
async fn who_subscribes_later_and_asks_hears_the_last_one() {
    let router = router();
    let (mut publisher, mut subscriber) = pair(&router).await;
    publish(&mut publisher, RETAIN, "a.b", "[1]").await;
    let publication = publish(&mut publisher, RETAIN, "a.b", r#"[2],{"k":3}"#).await;
    // Not to be retained, so it is not, and changes nothing.
    publish(&mut publisher, "", "a.b", "[4]").await;

    subscriber.asks(r#"[32,1,{},"a.b"]"#, "[33,1,1]").await;
    subscriber.hears_nothing_more().await;
    for request in [2, 3] {
        subscriber
            .asks(
                &format!(r#"[32,{request},{{"get_retained":true}},"a.b"]"#),
                &format!("[33,{request},1]"),
            )
            .await;
        subscriber
            .hears(&format!(
                r#"[36,1,{publication},{{"retained":true}},[2],{{"k":3}}]"#
            ))
            .await;
    }
    // To those who are there it is an event like any other.
    let publication = publish(&mut publisher, RETAIN, "a.b", "[5]").await;
    subscriber
        .hears(&format!("[36,1,{publication},{{}},[5]]"))
        .await;
    // It outlives whoever published it, who is told to those who come later as well.
    let id = publisher.session;
    let options = format!(r#"{RETAIN},"disclose_me":true"#);
    let publication = publish(&mut publisher, &options, "a.c", "[6]").await;
    publisher.vanish();
    let mut late = Peer::join(&router, Serializer::Cbor).await;
    late.asks(r#"[32,1,{"get_retained":true},"a.c"]"#, "[33,1,2]")
        .await;
    late.hears(&format!(
        r#"[36,2,{publication},{{"publisher":{id},"publisher_authid":"anonymous-{id}","publisher_authrole":"anonymous","retained":true}},[6]]"#
    ))
    .await;
}

#[tokio::test]
async fn a_pattern_gets_the_last_one_of_each_topic() {
    let router = router();
    let (mut publisher, mut subscriber) = pair(&router).await;
    let ab = publish(&mut publisher, RETAIN, "a.b", "[1]").await;
    let abc = publish(&mut publisher, RETAIN, "a.b.c", "[2]").await;
    publish(&mut publisher, RETAIN, "b.b", "[3]").await;
    subscriber
        .asks(
            r#"[32,1,{"match":"prefix","get_retained":true},"a."]"#,
            "[33,1,1]",
        )
        .await;
    subscriber
        .hears(&format!(
            r#"[36,1,{ab},{{"topic":"a.b","retained":true}},[1]]"#
        ))
        .await;
    subscriber
        .hears(&format!(
            r#"[36,1,{abc},{{"topic":"a.b.c","retained":true}},[2]]"#
        ))
        .await;
    subscriber
        .asks(
            r#"[32,2,{"match":"wildcard","get_retained":true},"a..c"]"#,
            "[33,2,2]",
        )
        .await;
    subscriber
        .hears(&format!(
            r#"[36,2,{abc},{{"topic":"a.b.c","retained":true}},[2]]"#
        ))
        .await;
    subscriber.hears_nothing_more().await;
}

#[tokio::test]
async fn nobody_hears_later_what_it_would_not_have_heard_then() {
    let router = router();
    let (mut publisher, mut subscriber) = pair(&router).await;
    let mut other = Peer::join(&router, Serializer::Json).await;
    let general = publish(&mut publisher, RETAIN, "a.b", "[1]").await;
    let options = format!(r#"{RETAIN},"eligible":[{}]"#, other.session);
    let special = publish(&mut publisher, &options, "a.b", "[2]").await;
    let ask = r#"[32,1,{"get_retained":true},"a.b"]"#;
    subscriber.asks(ask, "[33,1,1]").await;
    subscriber
        .hears(&format!(r#"[36,1,{general},{{"retained":true}},[1]]"#))
        .await;
    other.asks(ask, "[33,1,1]").await;
    other
        .hears(&format!(r#"[36,1,{special},{{"retained":true}},[2]]"#))
        .await;
    publisher.asks(ask, "[33,1,1]").await;
    publisher.hears_nothing_more().await;
    publish(
        &mut publisher,
        &format!(r#"{RETAIN},"exclude_authrole":["anonymous"]"#),
        "a.c",
        "[3]",
    )
    .await;
    subscriber
        .asks(r#"[32,2,{"get_retained":true},"a.c"]"#, "[33,2,2]")
        .await;
    subscriber.hears_nothing_more().await;
}

#[tokio::test]
async fn no_more_are_kept_than_there_may_be() {
    let router = Router::new(DevRouterConfig {
        max_retained_events: 3,
        max_retained_bytes: 4000,
        ..config()
    });
    let (mut publisher, mut subscriber) = pair(&router).await;
    for number in 0..10 {
        publish(&mut publisher, RETAIN, &format!("a.{number}"), "[1]").await;
    }
    let heavy = format!(r#"["{}"]"#, "x".repeat(4000));
    publish(&mut publisher, RETAIN, "a.9", &heavy).await;
    subscriber
        .asks(
            r#"[32,1,{"match":"prefix","get_retained":true},"a."]"#,
            "[33,1,1]",
        )
        .await;
    for topic in ["a.7", "a.8"] {
        let Some(Message::Event { details, .. }) = subscriber.hear().await else {
            panic!("no EVENT");
        };
        assert_eq!(details["topic"].as_text(), Some(topic));
    }
    subscriber.hears_nothing_more().await;
}
