//! Subscriptions and registrations by prefix and by wildcard.

use wampgate::wamp::message::Message;
use wampgate::wamp::serializer::Serializer;

use super::pair;
use crate::peer::{Peer, router};

/// The events that a peer hears next: subscription and topic.
async fn events(peer: &mut Peer, count: usize) -> Vec<(u64, Option<String>)> {
    let mut events = Vec::new();
    let mut publications = Vec::new();
    for _ in 0..count {
        let Some(Message::Event {
            subscription,
            publication,
            details,
            ..
        }) = peer.hear().await
        else {
            panic!("no EVENT");
        };
        let topic = details.get("topic").and_then(|topic| topic.as_text());
        events.push((subscription.0, topic.map(str::to_owned)));
        publications.push(publication);
    }
    publications.dedup();
    assert_eq!(publications.len(), 1, "one publication");
    events
}

#[tokio::test]
async fn an_event_reaches_each_matching_subscription_under_its_own_id() {
    let router = router();
    let (mut publisher, mut subscriber) = pair(&router).await;
    let mut other = Peer::join(&router, Serializer::Msgpack).await;
    for (request, answer) in [
        (r#"[32,1,{"match":"prefix"},"com.shop"]"#, "[33,1,1]"),
        (r#"[32,2,{"match":"wildcard"},"com..new"]"#, "[33,2,2]"),
        (r#"[32,3,{},"com.shop.new"]"#, "[33,3,3]"),
        (r#"[32,4,{"match":"prefix"},"com."]"#, "[33,4,4]"),
        (r#"[32,5,{"match":"wildcard"},"com.shop.new"]"#, "[33,5,5]"),
        (r#"[32,6,{"match":"prefix"},"com.shop.news"]"#, "[33,6,6]"),
        (r#"[32,7,{"match":"prefix"},"com.shop"]"#, "[33,7,1]"),
    ] {
        subscriber.asks(request, answer).await;
    }
    other
        .asks(r#"[32,1,{"match":"prefix"},"com.shop"]"#, "[33,1,1]")
        .await;
    publisher.tell(r#"[16,1,{},"com.shop.new",[1]]"#).await;
    let topic = || Some("com.shop.new".to_owned());
    assert_eq!(
        events(&mut subscriber, 5).await,
        [
            (3, None),
            (1, topic()),
            (4, topic()),
            (5, topic()),
            (2, topic())
        ]
    );
    assert_eq!(events(&mut other, 1).await, [(1, topic())]);

    // Each subscription ends by itself.
    subscriber.asks("[34,8,1]", "[35,8]").await;
    subscriber.asks("[34,9,3]", "[35,9]").await;
    publisher.tell(r#"[16,2,{},"com.shop.new"]"#).await;
    assert_eq!(events(&mut subscriber, 3).await[0], (4, topic()));
    publisher.tell(r#"[16,3,{},"com.shopping"]"#).await;
    assert_eq!(events(&mut subscriber, 1).await[0].0, 4);
    assert_eq!(events(&mut other, 1).await[0].0, 1);
    assert_eq!(events(&mut other, 1).await[0].0, 1);
    publisher.tell(r#"[16,4,{},"org.shop.new"]"#).await;
    subscriber.hears_nothing_more().await;
    other.hears_nothing_more().await;
}

#[tokio::test]
async fn a_call_goes_to_the_registration_that_covers_it_best() {
    let router = router();
    let (mut caller, mut callee) = pair(&router).await;
    for (request, answer) in [
        (r#"[64,1,{"match":"wildcard"},"com..get"]"#, "[65,1,1]"),
        (r#"[64,2,{"match":"wildcard"},"com.shop."]"#, "[65,2,2]"),
        (r#"[64,3,{"match":"prefix"},"com.shop.li"]"#, "[65,3,3]"),
        (r#"[64,4,{"match":"prefix"},"com.shop.list"]"#, "[65,4,4]"),
        (r#"[64,5,{},"com.shop.list"]"#, "[65,5,5]"),
        // The same text, and each time another registration.
        (r#"[64,6,{"match":"wildcard"},"com.shop.list"]"#, "[65,6,6]"),
        (
            r#"[64,7,{"match":"prefix"},"com.shop.list"]"#,
            r#"[8,64,7,{},"wamp.error.procedure_already_exists",["`com.shop.list` is registered already"]]"#,
        ),
    ] {
        callee.asks(request, answer).await;
    }
    let mut request = 0;
    for (procedure, registration) in [
        ("com.shop.list", 5),
        ("com.shop.listing", 4),
        ("com.shop.list.all", 4),
        ("com.shop.like", 3),
        ("com.shop.get", 2),
        ("com.user.get", 1),
    ] {
        request += 1;
        caller
            .tell(&format!(r#"[48,{request},{{}},"{procedure}"]"#))
            .await;
        let details = if registration == 5 {
            "{}".to_owned()
        } else {
            format!(r#"{{"procedure":"{procedure}"}}"#)
        };
        callee
            .hears(&format!("[68,{request},{registration},{details}]"))
            .await;
    }
    caller
        .asks(
            r#"[48,7,{},"com.user.set"]"#,
            r#"[8,48,7,{},"wamp.error.no_such_procedure",["nobody has registered `com.user.set`"]]"#,
        )
        .await;
    callee.asks("[66,8,5]", "[67,8]").await;
    caller.tell(r#"[48,8,{},"com.shop.list"]"#).await;
    callee
        .hears(r#"[68,7,4,{"procedure":"com.shop.list"}]"#)
        .await;
}

#[tokio::test]
async fn no_pattern_reaches_into_the_protocols_own_names() {
    let router = router();
    let (mut caller, mut callee) = pair(&router).await;
    callee
        .asks(r#"[64,1,{"match":"prefix"},"wam"]"#, "[65,1,1]")
        .await;
    callee
        .asks(r#"[64,2,{"match":"wildcard"},"..count"]"#, "[65,2,2]")
        .await;
    callee
        .asks(
            r#"[64,3,{"match":"prefix"},"wamp."]"#,
            r#"[8,64,3,{},"wamp.error.invalid_uri",["`wamp.` is the protocol's own"]]"#,
        )
        .await;
    caller
        .asks(
            r#"[48,1,{},"wamp.mine.count"]"#,
            r#"[8,48,1,{},"wamp.error.no_such_procedure",["nobody has registered `wamp.mine.count`"]]"#,
        )
        .await;
    caller
        .asks(r#"[48,2,{},"wamp.session.count"]"#, "[50,2,{},[2]]")
        .await;
    callee.hears_nothing_more().await;
}
