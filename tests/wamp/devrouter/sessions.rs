//! How sessions begin and end.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use wampgate::devrouter::{DevRouterConfig, Router};
use wampgate::value::Value;
use wampgate::wamp::config::RouterConfig;
use wampgate::wamp::message::Message;
use wampgate::wamp::serializer::Serializer;
use wampgate::wamp::transport::{self, ConnectError};

use crate::peer::{HELLO, PATIENCE, Peer, REALM, config, router};

#[tokio::test]
async fn joining_is_refused_with_a_reason() {
    let router = router();
    for (hello, reason) in [
        (
            r#"[1,"com.example.other",{"roles":{"caller":{}}}]"#,
            "wamp.error.no_such_realm",
        ),
        (
            r#"[1,"com example",{"roles":{"caller":{}}}]"#,
            "wamp.error.invalid_uri",
        ),
        (
            r#"[1,"com.example.test",{"roles":{}}]"#,
            "wamp.error.protocol_violation",
        ),
        (
            r#"[1,"com.example.test",{"roles":{"caller":{}},"authmethods":["ticket"]}]"#,
            "wamp.error.no_matching_auth_method",
        ),
        (r#"[48,1,{},"a.b"]"#, "wamp.error.protocol_violation"),
        ("?", "wamp.error.protocol_violation"),
    ] {
        let mut peer = Peer::new(router.connect_in_process(Serializer::Json));
        peer.send_raw(hello).await;
        match peer.hear().await {
            Some(Message::Abort { reason: found, .. }) => assert_eq!(found, reason, "{hello}"),
            other => panic!("{hello}: {other:?}"),
        }
        assert!(peer.hear().await.is_none());
    }
}

#[tokio::test]
async fn welcome_announces_what_it_does_and_no_more() {
    let router = router();
    let mut peer = Peer::new(router.connect_in_process(Serializer::Json));
    peer.tell(HELLO).await;
    let Some(Message::Welcome { session, details }) = peer.hear().await else {
        panic!("no WELCOME");
    };
    assert!((1..=1 << 53).contains(&session.0));
    assert_eq!(details["realm"], Value::from("com.example.test"));
    assert_eq!(details["authrole"], Value::from("anonymous"));
    assert_eq!(
        details["roles"].to_string(),
        concat!(
            r#"{"broker":{"features":{"event_retention":true,"pattern_based_subscription":true,"#,
            r#""publisher_exclusion":true,"publisher_identification":true,"session_meta_api":true,"#,
            r#""subscriber_blackwhite_listing":true,"subscription_meta_api":true}},"#,
            r#""dealer":{"features":{"call_canceling":true,"call_timeout":true,"#,
            r#""caller_identification":true,"pattern_based_registration":true,"#,
            r#""progressive_call_results":true,"registration_meta_api":true,"#,
            r#""session_meta_api":true,"shared_registration":true}}}"#
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_without_a_word_is_not_waited_for() {
    let router = router();
    let mut peer = Peer::new(router.connect_in_process(Serializer::Json));
    let begin = tokio::time::Instant::now();
    peer.hears(r#"[3,{"message":"no HELLO in time"},"wamp.error.protocol_violation"]"#)
        .await;
    assert_eq!(
        begin.elapsed(),
        DevRouterConfig::default().handshake_timeout
    );
}

#[tokio::test]
async fn realms_are_apart_and_come_to_be_only_where_allowed() {
    let router = Router::new(DevRouterConfig {
        creates_realms: true,
        max_realms: 2,
        ..config()
    });
    let mut here = Peer::join(&router, Serializer::Json).await;
    here.asks(r#"[64,1,{},"a.b"]"#, "[65,1,1]").await;
    let mut there = Peer::new(router.connect_in_process(Serializer::Json));
    there
        .tell(r#"[1,"com.example.new",{"roles":{"caller":{}}}]"#)
        .await;
    assert!(matches!(there.hear().await, Some(Message::Welcome { .. })));
    there
        .asks(
            r#"[48,1,{},"a.b"]"#,
            r#"[8,48,1,{},"wamp.error.no_such_procedure",["nobody has registered `a.b`"]]"#,
        )
        .await;
    let mut beyond = Peer::new(router.connect_in_process(Serializer::Json));
    beyond
        .asks(
            r#"[1,"com.example.third",{"roles":{"caller":{}}}]"#,
            r#"[3,{"message":"there is no realm `com.example.third`"},"wamp.error.no_such_realm"]"#,
        )
        .await;
}

#[tokio::test]
async fn a_realm_that_nobody_is_in_makes_room_for_another() {
    let router = Router::new(DevRouterConfig {
        creates_realms: true,
        max_realms: 2,
        ..config()
    });
    let join = async |name: &str| {
        let mut peer = Peer::new(router.connect_in_process(Serializer::Json));
        peer.tell(&format!(r#"[1,"{name}",{{"roles":{{"caller":{{}}}}}}]"#))
            .await;
        match peer.hear().await {
            Some(Message::Welcome { .. }) => Some(peer),
            Some(Message::Abort { .. }) => None,
            other => panic!("{other:?}"),
        }
    };
    let comes_to_be = async |name: &str| {
        let trying = async {
            loop {
                if let Some(peer) = join(name).await {
                    break peer;
                }
            }
        };
        timeout(PATIENCE, trying).await.unwrap()
    };
    let first = join("com.example.first").await.unwrap();
    assert!(join("com.example.second").await.is_none());
    first.vanish();
    let second = comes_to_be("com.example.second").await;
    // Nobody is in the one that was configured either, but it stays.
    assert!(join("com.example.first").await.is_none());
    assert!(join(REALM).await.is_some());
    drop(second);
}

#[tokio::test]
async fn shutdown_says_goodbye_and_waits_for_the_answer() {
    let router = router();
    let listening = router.listen("127.0.0.1:0").await.unwrap();
    let peers = [
        Peer::dial(&listening.url(), Serializer::Json).await,
        Peer::join(&router, Serializer::Cbor).await,
    ];
    let polite = async {
        for peer in peers {
            peer.takes_leave().await;
        }
    };
    tokio::join!(router.shutdown(), polite);
    let refused = transport::connect(&listening.url(), &RouterConfig::default()).await;
    assert!(matches!(refused, Err(ConnectError::Unreachable(_))));
}

#[tokio::test(start_paused = true)]
async fn shutdown_does_not_wait_for_ever() {
    let router = router();
    let _silent = Peer::join(&router, Serializer::Json).await;
    let begin = tokio::time::Instant::now();
    router.shutdown().await;
    assert!(begin.elapsed() <= Duration::from_secs(5));
    let mut late = Peer::new(router.connect_in_process(Serializer::Json));
    assert!(late.hear().await.is_none());
}

/// One that has connected and says nothing, not even what it speaks.
#[tokio::test]
async fn shutdown_does_not_wait_for_who_has_said_nothing() {
    let router = Router::new(DevRouterConfig {
        handshake_timeout: Duration::from_secs(3600),
        ..config()
    });
    let listening = router.listen("127.0.0.1:0").await.unwrap();
    let silent = TcpStream::connect(listening.local_addr).await.unwrap();
    // Who comes after it has been let in, so it has been as well.
    let peer = Peer::dial(&listening.url(), Serializer::Json).await;
    let stopping = timeout(PATIENCE, router.shutdown());
    let (stopped, ()) = tokio::join!(stopping, peer.takes_leave());
    assert!(stopped.is_ok());
    drop(silent);
}

#[tokio::test]
async fn kill_drops_everything_without_a_word_and_the_port_is_free_again() {
    let router = router();
    let listening = router.listen("127.0.0.1:0").await.unwrap();
    let mut over_socket = Peer::dial(&listening.url(), Serializer::Json).await;
    let mut in_process = Peer::join(&router, Serializer::Json).await;
    router.kill().await;
    assert!(over_socket.hear().await.is_none());
    assert!(in_process.hear().await.is_none());
    let again = crate::peer::router();
    let listening = again.listen(listening.local_addr).await.unwrap();
    Peer::dial(&listening.url(), Serializer::Json)
        .await
        .vanish();
}
