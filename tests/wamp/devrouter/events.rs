//! Events, and whom they reach.

use wampgate::value::Value;
use wampgate::wamp::id::RequestId;
use wampgate::wamp::message::Message;

use super::pair;
use crate::peer::router;

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
