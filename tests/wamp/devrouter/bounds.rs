//! Nothing grows without end.

use std::time::Duration;

use wampgate::devrouter::{DevRouterConfig, Router};
use wampgate::value::{Map, Value};
use wampgate::wamp::config::RouterConfig;
use wampgate::wamp::id::RequestId;
use wampgate::wamp::message::{Message, Payload};
use wampgate::wamp::serializer::Serializer;
use wampgate::wamp::transport;

use crate::peer::{HELLO, Peer, config};

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
        ..config()
    });
    let listening = router.listen("127.0.0.1:0").await.unwrap();
    let first = Peer::dial(&listening.url(), Serializer::Json).await;
    let second = transport::connect(&listening.url(), &RouterConfig::default()).await;
    assert!(second.is_err());
    // Whoever crowds the sockets does not lock our own process out.
    let inside = Peer::join(&router, Serializer::Json).await;
    drop((first, inside));
}

/// How much the in-process transport takes on the way to a peer that does not read: its channel of
/// 256 frames, and what the connection has taken out of the queue to write it.
const ON_THE_WAY: usize = 300;

const QUEUED_BYTES: usize = 1 << 20;
const PAYLOAD_BYTES: usize = 16 << 10;

/// What may have been said to a silent peer when it is dropped.
const MOST: usize = ON_THE_WAY + QUEUED_BYTES / PAYLOAD_BYTES;

/// A router, somebody who watches who leaves and says what is said, and the payload to say it with.
async fn flood() -> (Router, Peer, String) {
    let router = Router::new(DevRouterConfig {
        max_queued_bytes: QUEUED_BYTES,
        ..config()
    });
    let mut watcher = Peer::join(&router, Serializer::Json).await;
    watcher
        .asks(r#"[32,1,{},"wamp.session.on_leave"]"#, "[33,1,1]")
        .await;
    (router, watcher, "x".repeat(PAYLOAD_BYTES))
}

/// Whether the message tells that a session has left.
fn tells_of(message: Option<Message>, session: u64) -> bool {
    match message {
        Some(Message::Event { payload, .. }) => {
            assert_eq!(payload.args()[0], Value::from(session));
            true
        }
        Some(_) => false,
        None => panic!("dropped who reads"),
    }
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_its_events_is_dropped_before_they_pile_up() {
    for options in [r#"{"match":"prefix"}"#, r#"{"match":"wildcard"}"#, "{}"] {
        let (router, mut watcher, text) = flood().await;
        let mut silent = Peer::join(&router, Serializer::Json).await;
        silent
            .asks(&format!(r#"[32,1,{options},"a.b"]"#), "[33,1,2]")
            .await;
        let publish = format!(r#"[16,2,{{"acknowledge":true}},"a.b",["{text}"]]"#);
        let mut published = 0;
        loop {
            watcher.tell(&publish).await;
            published += 1;
            if tells_of(watcher.hear().await, silent.session) {
                break;
            }
            assert!(published <= MOST, "{options}: {published} events");
        }
    }
}

#[tokio::test]
async fn a_caller_that_does_not_read_its_parts_is_dropped_and_the_callee_stopped() {
    let (router, mut watcher, text) = flood().await;
    let mut callee = Peer::join_as_callee(
        &router,
        r#"{"call_canceling":true,"progressive_call_results":true}"#,
    )
    .await;
    callee.asks(r#"[64,1,{},"a.parts"]"#, "[65,1,1]").await;
    let mut silent = Peer::join(&router, Serializer::Json).await;
    silent
        .tell(r#"[48,1,{"receive_progress":true},"a.parts"]"#)
        .await;
    callee.hears(r#"[68,1,1,{"receive_progress":true}]"#).await;
    let part = format!(r#"[70,1,{{"progress":true}},["{text}"]]"#);
    let mut sent = 0;
    loop {
        callee.tell(&part).await;
        sent += 1;
        // Answered, so that it is known to be read; or told to stop.
        callee.tell("[34,9,9]").await;
        if let Some(Message::Interrupt { .. }) = callee.hear().await {
            break;
        }
        assert!(sent <= MOST, "{sent} parts");
    }
    assert!(tells_of(watcher.hear().await, silent.session));
}

#[tokio::test]
async fn a_callee_that_does_not_read_its_invocations_is_dropped() {
    let (router, mut watcher, text) = flood().await;
    let mut silent = Peer::join(&router, Serializer::Json).await;
    silent.asks(r#"[64,1,{},"a.b"]"#, "[65,1,1]").await;
    let mut caller = Peer::join(&router, Serializer::Json).await;
    for request in 1..=MOST {
        caller
            .tell(&format!(r#"[48,{request},{{}},"a.b",["{text}"]]"#))
            .await;
    }
    assert!(tells_of(watcher.hear().await, silent.session));
    caller.hear().await.unwrap();
}

#[tokio::test]
async fn a_name_that_is_kept_is_not_as_long_as_a_message_may_be() {
    let router = crate::peer::router();
    let mut peer = Peer::join(&router, Serializer::Json).await;
    let long = "a".repeat(4097);
    for code in [32, 64] {
        peer.asks(
            &format!(r#"[{code},1,{{}},"{long}"]"#),
            &format!(
                r#"[8,{code},1,{{}},"wamp.error.invalid_uri",["4097 bytes, but at most 4096 are kept"]]"#
            ),
        )
        .await;
    }
    peer.asks(&format!(r#"[32,2,{{}},"{}"]"#, &long[1..]), "[33,2,1]")
        .await;
}

#[tokio::test]
async fn a_realm_is_not_called_as_long_as_a_message_may_be() {
    let router = Router::new(DevRouterConfig {
        creates_realms: true,
        ..config()
    });
    for (length, is_welcome) in [(4096, true), (4097, false)] {
        let name = "a".repeat(length);
        let mut peer = Peer::new(router.connect_in_process(Serializer::Json));
        peer.tell(&format!(r#"[1,"{name}",{{"roles":{{"caller":{{}}}}}}]"#))
            .await;
        match peer.hear().await {
            Some(Message::Welcome { .. }) => assert!(is_welcome),
            Some(Message::Abort { reason, .. }) => {
                assert!(!is_welcome);
                assert_eq!(reason, "wamp.error.no_such_realm");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// What names it would be too long for a peer that takes no more than what it says itself.
#[tokio::test]
async fn a_refusal_that_is_too_long_is_said_without_its_text() {
    let router = Router::new(DevRouterConfig {
        max_message_bytes: 1024,
        ..config()
    });
    let long = "a".repeat(960);
    let mut peer = Peer::join(&router, Serializer::Json).await;
    peer.asks(
        &format!(r#"[48,1,{{}},"{long}"]"#),
        r#"[8,48,1,{},"wamp.error.no_such_procedure"]"#,
    )
    .await;
    let mut stranger = Peer::new(router.connect_in_process(Serializer::Json));
    stranger
        .asks(
            &format!(r#"[1,"{long}",{{"roles":{{"caller":{{}}}}}}]"#),
            r#"[3,{},"wamp.error.no_such_realm"]"#,
        )
        .await;
}

#[tokio::test]
async fn who_cannot_take_a_welcome_is_told_so() {
    let router = crate::peer::router();
    let listening = router.listen("127.0.0.1:0").await.unwrap();
    let config = RouterConfig {
        serializers: vec![Serializer::Json],
        max_message_bytes: 512,
        ..RouterConfig::default()
    };
    let transport = transport::connect(&listening.rawsocket_url(), &config).await;
    let mut peer = Peer::new(transport.unwrap());
    peer.tell(HELLO).await;
    match peer.hear().await {
        Some(Message::Abort { reason, .. }) => {
            assert_eq!(reason, "wamp.error.payload_size_exceeded");
        }
        other => panic!("{other:?}"),
    }
}

/// Our transport answers pings while it is read from, so one that is not is as good as cut off.
#[tokio::test]
async fn a_client_that_answers_no_ping_makes_room_for_another() {
    let router = Router::new(DevRouterConfig {
        heartbeat: Some(Duration::from_millis(50)),
        ..config()
    });
    let listening = router.listen("127.0.0.1:0").await.unwrap();
    // In process, where nobody is pinged.
    let mut watcher = Peer::join(&router, Serializer::Json).await;
    watcher
        .asks(r#"[32,1,{},"wamp.session.on_leave"]"#, "[33,1,1]")
        .await;
    // RawSocket knows pings too, but not every client does.
    let raw = Peer::dial(&listening.rawsocket_url(), Serializer::Json).await;
    let gone = Peer::dial(&listening.url(), Serializer::Json).await;
    let Some(Message::Event { payload, .. }) = watcher.hear().await else {
        panic!("no EVENT");
    };
    assert_eq!(payload.args()[0], Value::from(gone.session));
    drop(raw);
    let Some(Message::Event { payload, .. }) = watcher.hear().await else {
        panic!("no EVENT");
    };
    assert_ne!(payload.args()[0], Value::from(gone.session));
}
