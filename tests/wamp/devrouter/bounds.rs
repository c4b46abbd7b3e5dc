//! Nothing grows without end.

use wampgate::devrouter::{DevRouterConfig, Router};
use wampgate::value::{Map, Value};
use wampgate::wamp::id::RequestId;
use wampgate::wamp::message::{Message, Payload};
use wampgate::wamp::serializer::Serializer;

use crate::peer::{Peer, config, uri};

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
