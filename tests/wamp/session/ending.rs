//! How sessions end, and what becomes of what is in flight.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_goodbye_of_any_reason_is_answered_and_ends_what_was_written() {
    let (client, mut peer) = session().await;
    let serve = async {
        peer.call().await;
        peer.send_raw(r#"[6,{},"com.kick"]"#).await;
        assert!(matches!(
            peer.receive().await,
            Message::Goodbye { reason, .. } if reason == "wamp.close.goodbye_and_out"
        ));
        assert!(peer.next().await.is_none());
    };
    let (result, ()) = tokio::join!(client.call(call("com.a")), serve);
    let error = result.unwrap_err();
    assert_eq!(
        chain(&error),
        "session lost before the answer: ended by the router: com.kick"
    );
    assert!(!client.is_open());
    let error = client.call(call("com.b")).await.unwrap_err();
    assert!(matches!(error, CallError::NotSent(_)), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_what_is_in_flight_and_takes_nothing_new() {
    let (client, mut peer) = session().await;
    let calling = client.call(call("com.slow"));
    let serve = async {
        let (id, ..) = peer.call().await;
        let mut closing = Box::pin(client.close(LONG));
        assert!((&mut closing).now_or_never().is_none());
        let refused = client.call(call("com.new"));
        let result = async {
            tokio::task::yield_now().await;
            peer.result(id, "done").await;
            let goodbye = peer.receive().await;
            assert!(matches!(goodbye, Message::Goodbye { .. }), "{goodbye:?}");
            // Routers differ in the reason.
            peer.send_raw(r#"[6,{},"wamp.close.normal"]"#).await;
            assert!(peer.next().await.is_none());
        };
        let (end, (), refused) = tokio::join!(closing, result, async {
            tokio::task::yield_now().await;
            refused.await
        });
        assert!(matches!(end, SessionError::Closed), "{end}");
        assert!(matches!(refused, Err(CallError::NotSent(_))), "{refused:?}");
    };
    let (result, ()) = tokio::join!(calling, serve);
    assert_eq!(result.unwrap().payload.args(), [Value::from("done")]);
}

#[tokio::test(start_paused = true)]
async fn closing_waits_only_so_long_for_callees_and_for_the_router() {
    let (client, mut peer) = session().await;
    let began = Instant::now();
    let calling = client.call(call("com.never"));
    let serve = async {
        peer.call().await;
        let (end, ()) = tokio::join!(client.close(10 * SECOND), async {
            assert!(matches!(peer.receive().await, Message::Goodbye { .. }));
            assert_eq!(began.elapsed().as_secs(), 10);
            // No answer to it.
            assert!(peer.next().await.is_none());
        });
        assert!(matches!(end, SessionError::Closed));
    };
    let (result, ()) = tokio::join!(calling, serve);
    assert!(matches!(
        result,
        Err(CallError::Disconnected(SessionError::Closed))
    ));
    assert_eq!(began.elapsed().as_secs(), 13);
}

#[tokio::test(start_paused = true)]
async fn after_goodbye_nothing_more_is_said() {
    let (client, mut peer) = session().await;
    let registration = register(&client, &mut peer, |_| async { Ok(Payload::default()) }).await;
    let events = subscribe(&client, &mut peer, 8).await;
    let mut calling = Box::pin(client.call(call("com.slow")));
    tokio::select! {
        _ = &mut calling => panic!("nobody answered"),
        _ = peer.call() => {}
    }
    let (end, ()) = tokio::join!(client.close(Duration::ZERO), async {
        assert!(matches!(peer.receive().await, Message::Goodbye { .. }));
        // Whoever goes now has nothing to tell, and who is called nothing to answer.
        drop((calling, registration, events));
        peer.send_raw(r#"[68,1,70,{}]"#).await;
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        peer.send_raw(r#"[6,{},"wamp.close.goodbye_and_out"]"#)
            .await;
        assert_eq!(peer.next().await, None);
    });
    assert!(matches!(end, SessionError::Closed), "{end}");
}

#[tokio::test]
async fn a_connection_that_drops_without_a_word_fails_what_was_written() {
    let (mut router, endpoint) = FakeRouter::on_websocket().await;
    let config = config(endpoint);
    let realm = realm();
    let (client, mut peer) = tokio::join!(Client::connect(&realm, &config), router.welcome());
    let client = client.unwrap();
    let (result, ()) = tokio::join!(client.call(call("com.a")), async {
        peer.call().await;
        drop(peer);
    });
    assert!(
        matches!(result, Err(CallError::Disconnected(_))),
        "{result:?}"
    );
    client.closed().await;
}

#[tokio::test]
async fn a_close_frame_with_a_code_is_kept_as_the_reason() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message as Frame;
    use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
    use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        #[expect(
            clippy::result_large_err,
            reason = "the library fixes the error's type"
        )]
        let choose = |_: &Request, mut response: Response| {
            let name = "wamp.2.json".parse().unwrap();
            response
                .headers_mut()
                .insert("sec-websocket-protocol", name);
            Ok(response)
        };
        let mut socket = tokio_tungstenite::accept_hdr_async(stream, choose)
            .await
            .unwrap();
        socket.next().await.unwrap().unwrap();
        socket.send(Frame::text("[2,1,{}]")).await.unwrap();
        socket.next().await.unwrap().unwrap();
        let frame = CloseFrame {
            code: CloseCode::Error,
            reason: "bad URI".into(),
        };
        socket.close(Some(frame)).await.unwrap();
        while socket.next().await.is_some() {}
    };
    let config = config(url.as_str().into());
    let talk = async {
        let client = Client::connect(&realm(), &config).await.unwrap();
        client.call(call("com.a")).await.unwrap_err()
    };
    let ((), error) = tokio::join!(serve, talk);
    assert_eq!(
        chain(&error),
        "session lost before the answer: \
         closed by the peer with code 1011: bad URI"
    );
}

#[tokio::test(start_paused = true)]
async fn two_pings_without_an_answer_end_the_session() {
    let (client, mut peer) =
        session_with(FEATURES, |config| config.heartbeat = Some(15 * SECOND)).await;
    let began = Instant::now();
    // Pings are answered by reading: this peer is there for a while.
    let silence = tokio::time::timeout(50 * SECOND, peer.next()).await;
    assert!(silence.is_err(), "{silence:?}");
    assert!(client.is_open());
    // Then it is there no more.
    let end = client.closed().await;
    assert!(matches!(end, SessionError::Unresponsive(2)), "{end}");
    assert_eq!(began.elapsed().as_secs(), 90);
    drop(peer);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_keeps_requests_unwritten_and_is_given_up() {
    let (mut router, endpoint) = FakeRouter::in_process(1);
    let config = RouterConfig {
        heartbeat: Some(15 * SECOND),
        ..config(endpoint)
    };
    let realm = realm();
    let (client, peer) = tokio::join!(Client::connect(&realm, &config), router.welcome());
    let client = client.unwrap();
    // The first fills the connection, the second the session's buffer; the rest stays queued.
    let mut calls = Vec::new();
    for _ in 0..5 {
        let mut calling = Box::pin(client.call(call("com.a")));
        assert!((&mut calling).now_or_never().is_none());
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        calls.push(calling);
    }
    let results = join_all(calls).await;
    let sent: Vec<_> = results
        .iter()
        .map(|result| !result.as_ref().unwrap_err().was_not_sent())
        .collect();
    assert_eq!(sent, [true, true, false, false, false], "{results:?}");
    drop(peer);
}

#[tokio::test(start_paused = true)]
async fn a_router_that_makes_us_speak_and_does_not_listen_costs_only_so_much() {
    let (client, mut peer) =
        session_with(FEATURES, |config| config.max_message_bytes = 64 * 1024).await;
    // Each of these has to be answered: there is no such registration.
    let mut sent = 0_u64;
    let end = tokio::select! {
        end = client.closed() => end,
        () = async {
            loop {
                sent += 1;
                peer.send_raw(&format!("[68,{sent},1,{{}}]")).await;
            }
        } => unreachable!(),
    };
    assert!(matches!(end, SessionError::Stalled(_)), "{end}");
    assert!(sent < 200_000, "{sent}");
}

#[tokio::test]
async fn two_full_peers_do_not_block_each_other() {
    let (mut router, endpoint) = FakeRouter::on_websocket().await;
    let config = config(endpoint);
    let realm = realm();
    let (client, mut peer) = tokio::join!(Client::connect(&realm, &config), router.welcome());
    let client = client.unwrap();
    let mebibyte = "x".repeat(1 << 20);
    // The router answers each call before it reads the next, and reads nothing while it writes.
    let serve = async {
        for _ in 0..32 {
            peer.echo().await;
        }
    };
    let calls = join_all((0..32).map(|_| {
        client.call(Call {
            payload: args([mebibyte.as_str().into()]),
            ..call("com.echo")
        })
    }));
    let (results, ()) = tokio::time::timeout(LONG, async { tokio::join!(calls, serve) })
        .await
        .expect("they block each other");
    assert!(results.iter().all(Result::is_ok));
}
