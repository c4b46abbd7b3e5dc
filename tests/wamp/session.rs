//! Sessions against a router that does what the test says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::time::Instant;
use wampgate::uri::UriCheck;
use wampgate::value::{Map, Value};
use wampgate::wamp::auth::{Auth, Secret, cra};
use wampgate::wamp::client::{Call, Client, RegisterOptions, SubscribeOptions};
use wampgate::wamp::config::RouterConfig;
use wampgate::wamp::error::{ApplicationError, CallError, SessionError, chain};
use wampgate::wamp::id::{PublicationId, RegistrationId, RequestId, SubscriptionId};
use wampgate::wamp::message::{Message, Payload};

use crate::fake_router::{
    FEATURES, FakeRouter, LONG, Peer, args, call, config, map, publish, realm, session,
    session_with, uri,
};

const SECOND: Duration = Duration::from_secs(1);

async fn join(auth: Auth, script: impl AsyncFnOnce(&mut Peer)) -> Result<Client, SessionError> {
    let (mut router, endpoint) = FakeRouter::in_process(1024);
    let config = RouterConfig {
        auth,
        ..config(endpoint)
    };
    let realm = realm();
    let serve = async {
        let mut peer = router.accept().await;
        script(&mut peer).await;
        peer
    };
    let (client, _peer) = tokio::join!(Client::connect(&realm, &config), serve);
    client
}

fn canceled_with_killnowait(message: &Message, id: RequestId) -> bool {
    matches!(message, Message::Cancel { request, options }
        if *request == id && options["mode"] == Value::from("killnowait"))
}

// ---- opening ----

#[tokio::test(start_paused = true)]
async fn a_challenge_by_ticket_is_answered_with_it() {
    let auth = Auth::Ticket {
        authid: "bob".to_owned(),
        secret: Secret::text("t-1"),
    };
    let client = join(auth, async |peer| {
        let Message::Hello { details, .. } = peer.receive().await else {
            panic!("no HELLO");
        };
        assert_eq!(details["authid"], Value::from("bob"));
        peer.send_raw(r#"[4,"ticket",{}]"#).await;
        assert!(matches!(
            peer.receive().await,
            Message::Authenticate { signature, .. } if signature == "t-1"
        ));
        peer.send_raw(
            r#"[2,77,{"authid":"bob","authrole":"user","roles":{"dealer":{},"broker":{}}}]"#,
        )
        .await;
    })
    .await
    .unwrap();
    assert_eq!(client.welcome().session.0, 77);
    assert_eq!(client.welcome().authrole(), Some("user"));
}

#[tokio::test(start_paused = true)]
async fn a_salted_challenge_of_wampcra_is_signed_with_the_derived_key() {
    let auth = Auth::WampCra {
        authid: "bob".to_owned(),
        secret: Secret::text("secret1"),
    };
    join(auth, async |peer| {
        peer.receive().await;
        peer.send_raw(
            r#"[4,"wampcra",{"challenge":"c","salt":"salt123","iterations":100,"keylen":16}]"#,
        )
        .await;
        let Message::Authenticate { signature, .. } = peer.receive().await else {
            panic!("no AUTHENTICATE");
        };
        assert!(cra::verify("prq7+YkJ1/KlW1X0YczMHw==", "c", &signature));
        peer.send_raw(r#"[2,1,{"roles":{"broker":{}}}]"#).await;
    })
    .await
    .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_challenge_that_cannot_be_answered_is_aborted() {
    let error = join(Auth::Anonymous, async |peer| {
        peer.receive().await;
        peer.send_raw(r#"[4,"cryptosign",{}]"#).await;
        assert!(matches!(peer.receive().await, Message::Abort { .. }));
    })
    .await
    .unwrap_err();
    assert!(error.is_refusal());
    assert_eq!(
        chain(&error),
        "cannot authenticate: the router asks for `cryptosign`, only `anonymous` was offered"
    );
}

#[tokio::test(start_paused = true)]
async fn an_abort_of_five_elements_is_understood() {
    let error = join(Auth::Anonymous, async |peer| {
        peer.receive().await;
        peer.send_raw(r#"[3,{},"wamp.error.no_such_realm",["no realm of that name"],{"a":1}]"#)
            .await;
    })
    .await
    .unwrap_err();
    assert!(error.is_refusal());
    assert_eq!(
        error.to_string(),
        "aborted by the router: wamp.error.no_such_realm (no realm of that name)"
    );
}

#[tokio::test(start_paused = true)]
async fn a_router_that_says_nothing_costs_the_connect_timeout_and_no_more() {
    let began = Instant::now();
    let error = join(Auth::Anonymous, async |peer| {
        peer.receive().await;
        assert!(matches!(peer.receive().await, Message::Abort { .. }));
    })
    .await
    .unwrap_err();
    assert!(matches!(error, SessionError::JoinTimeout(_)), "{error}");
    assert_eq!(began.elapsed().as_secs(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_before_welcome_is_an_error() {
    let error = join(Auth::Anonymous, async |peer| {
        peer.receive().await;
        peer.writer.close().await.unwrap();
    })
    .await
    .unwrap_err();
    assert!(matches!(error, SessionError::Dropped), "{error}");
}

#[tokio::test]
async fn a_refused_connection_names_the_address() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://bob:pw@{}/ws", listener.local_addr().unwrap());
    drop(listener);
    let error = Client::connect(&realm(), &config(url.as_str().into()))
        .await
        .unwrap_err();
    assert!(matches!(error, SessionError::Connect { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .starts_with("cannot connect to ws://127.0.0.1:")
    );
}

// ---- calls ----

#[tokio::test(start_paused = true)]
async fn a_result_and_an_error_come_back_whole() {
    let (client, mut peer) = session().await;
    let serve = async {
        let (first, procedure, payload) = peer.call().await;
        assert_eq!((first, procedure.as_str()), (RequestId(1), "com.add"));
        assert_eq!(payload.args(), [Value::I64(2)]);
        peer.send_raw(r#"[50,1,{"callee":5},[4],{"k":"v"}]"#).await;
        peer.call().await;
        peer.send_raw(r#"[8,48,2,{"d":1},"com.error.full",["a"],{"left":0}]"#)
            .await;
    };
    let talk = async {
        let result = client
            .call(Call {
                payload: args([Value::I64(2)]),
                ..call("com.add")
            })
            .await
            .unwrap();
        assert_eq!(result.request, RequestId(1));
        assert_eq!(result.details, map(r#"{"callee": 5}"#));
        assert_eq!(result.payload.args(), [Value::I64(4)]);
        assert_eq!(result.payload.kwargs(), &map(r#"{"k": "v"}"#));

        let error = client.call(call("com.fail")).await.unwrap_err();
        assert!(!error.was_not_sent());
        let CallError::Application(error) = error else {
            panic!("{error:?}");
        };
        assert_eq!(error.uri, "com.error.full");
        assert_eq!(error.details, map(r#"{"d": 1}"#));
        assert_eq!(error.payload.args(), [Value::from("a")]);
        assert_eq!(error.payload.kwargs(), &map(r#"{"left": 0}"#));
    };
    tokio::join!(serve, talk);
}

#[tokio::test(start_paused = true)]
async fn what_routers_bend_is_understood_and_what_they_break_is_dropped() {
    let (client, mut peer) = session().await;
    let serve = async {
        peer.call().await;
        // None of these is an answer to call 1, and none ends the session.
        for frame in [
            r#"[99,1,{}]"#,
            r#"[50,"one",{}]"#,
            r#"[50]"#,
            r#"[50,7,{},["for nobody"]]"#,
            r#"[8,70,1,{},103]"#,
            r#"[17,1,5]"#,
            r#"[50,1,{"progress":true},["not yet"]]"#,
            r#"[5,"x",{}]"#,
        ] {
            peer.send_raw(frame).await;
        }
        peer.send_raw(r#"[50,1,{},null,null]"#).await;
        peer.call().await;
        peer.send_raw(r#"[8,48,2,{},103,null]"#).await;
    };
    let talk = async {
        let result = client.call(call("com.a")).await.unwrap();
        assert_eq!(result.payload, Payload::default());
        let error = client.call(call("com.b")).await.unwrap_err();
        assert!(
            matches!(&error, CallError::Application(error) if error.uri == "103"),
            "{error:?}"
        );
    };
    tokio::join!(serve, talk);
    let dropped = client.dropped_messages();
    assert_eq!((dropped.malformed, dropped.unsolicited), (3, 5));
    assert!(client.is_open());
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_is_no_wamp_ends_the_session() {
    let (client, mut peer) = session().await;
    let serve = async {
        peer.call().await;
        peer.send_raw(r#"{"error": "internal"}"#).await;
        assert!(matches!(
            peer.receive().await,
            Message::Abort { reason, .. } if reason == "wamp.error.protocol_violation"
        ));
    };
    let (result, ()) = tokio::join!(client.call(call("com.a")), serve);
    assert!(matches!(
        result,
        Err(CallError::Disconnected(SessionError::NotWamp(_)))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_calls_answered_out_of_order_get_their_own_answers() {
    let (mut router, endpoint) = FakeRouter::on_websocket().await;
    let config = config(endpoint);
    let realm = realm();
    let (client, mut peer) = tokio::join!(Client::connect(&realm, &config), router.welcome());
    let client = client.unwrap();
    let serve = async {
        let mut random = fastrand::Rng::with_seed(20_261_121);
        let mut waiting = Vec::new();
        for expected in 1..=1000 {
            let (request, procedure, payload) = peer.call().await;
            assert_eq!(request, RequestId(expected), "ids count by one on the wire");
            waiting.push((request, procedure, payload));
        }
        random.shuffle(&mut waiting);
        for (request, procedure, payload) in waiting {
            let number = payload.args()[0].clone();
            let payload = args([procedure.into(), number]);
            let message = Message::Result {
                request,
                details: Map::new(),
                payload,
            };
            peer.send(message).await;
        }
        peer
    };
    let calls = join_all((0..1000).map(|number: i64| {
        let client = client.clone();
        async move {
            let procedure = format!("com.example.p{number}");
            let result = client
                .call(Call {
                    payload: args([number.into()]),
                    ..call(&procedure)
                })
                .await
                .unwrap();
            assert_eq!(result.payload.args(), [procedure.into(), number.into()]);
        }
    }));
    let (_peer, _) = tokio::join!(serve, calls);
    assert_eq!(client.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_settles_a_call_that_the_router_never_answers() {
    let (client, mut peer) = session().await;
    let began = Instant::now();
    let serve = async {
        let (id, ..) = peer.call().await;
        let cancel = peer.receive().await;
        assert!(canceled_with_killnowait(&cancel, id), "{cancel:?}");
        // No answer to CANCEL, ever; and a result that comes late after all.
        peer.result(id, "late").await;
        peer.echo().await
    };
    let talk = async {
        let error = client
            .call(Call {
                timeout: 5 * SECOND,
                ..call("com.slow")
            })
            .await
            .unwrap_err();
        assert!(matches!(error, CallError::Timeout(limit) if limit == 5 * SECOND));
        assert_eq!(began.elapsed().as_secs(), 5);
        let result = client
            .call(Call {
                payload: args(["mine".into()]),
                ..call("com.echo")
            })
            .await
            .unwrap();
        assert_eq!(result.payload.args(), [Value::from("mine")]);
    };
    let (last, ()) = tokio::join!(serve, talk);
    assert_eq!(last, RequestId(2));
    assert_eq!(client.dropped_messages().late, 1);
    assert_eq!(client.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn where_the_dealer_cannot_cancel_nothing_is_said() {
    let (client, mut peer) = session_with(r#"{"roles": {"dealer": {}}}"#, |_| {}).await;
    let talk = async {
        let options = map(r#"{"timeout": 1500}"#);
        let began = Instant::now();
        let error = client
            .call(Call {
                options,
                ..call("com.slow")
            })
            .await
            .unwrap_err();
        assert!(matches!(error, CallError::Timeout(_)));
        assert_eq!(
            began.elapsed().as_millis(),
            1500,
            "the smaller limit counts"
        );
        client.call(call("com.next")).await.unwrap();
    };
    let serve = async {
        let first = peer.receive().await;
        assert!(
            matches!(&first, Message::Call { options, .. } if options.is_empty()),
            "`timeout` stays here: {first:?}"
        );
        assert_eq!(peer.echo().await, RequestId(2), "no CANCEL in between");
    };
    tokio::join!(serve, talk);
}

#[tokio::test(start_paused = true)]
async fn a_dealer_that_announces_timeouts_is_told_in_milliseconds() {
    let features = r#"{"roles": {"dealer": {"features": {"call_timeout": true}}}}"#;
    let (client, mut peer) = session_with(features, |_| {}).await;
    let serve = async {
        let Message::Call {
            request, options, ..
        } = peer.receive().await
        else {
            panic!("no CALL");
        };
        assert_eq!(options["timeout"], Value::I64(5000));
        peer.result(request, true).await;
    };
    let calling = client.call(Call {
        timeout: 5 * SECOND,
        ..call("com.a")
    });
    tokio::join!(serve, calling).1.unwrap();
}

#[tokio::test(start_paused = true)]
async fn dropping_a_call_cancels_it_at_the_router() {
    let (client, mut peer) = session().await;
    let mut calling = Box::pin(client.call(call("com.slow")));
    let id = tokio::select! {
        _ = &mut calling => panic!("nobody answered"),
        (id, ..) = peer.call() => id,
    };
    assert_eq!(client.in_flight(), 1);
    drop(calling);
    let cancel = peer.receive().await;
    assert!(canceled_with_killnowait(&cancel, id), "{cancel:?}");
    assert_eq!(client.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_before_it_is_written_never_is() {
    let (client, mut peer) = session().await;
    // Queued by the first poll; the session's task has not run since.
    assert!(client.call(call("com.unwanted")).now_or_never().is_none());
    let (id, procedure, _) = tokio::select! {
        _ = client.call(call("com.wanted")) => panic!("nobody answered"),
        call = peer.call() => call,
    };
    assert_eq!((id, procedure.as_str()), (RequestId(1), "com.wanted"));
}

#[tokio::test(start_paused = true)]
async fn beyond_the_bound_in_flight_a_call_fails_at_once() {
    let (client, mut peer) = session_with(FEATURES, |config| config.max_in_flight = 2).await;
    let began = Instant::now();
    let two = join_all([client.call(call("com.a")), client.call(call("com.b"))]);
    let serve = async {
        let (first, ..) = peer.call().await;
        let (second, ..) = peer.call().await;
        let error = client.call(call("com.c")).await.unwrap_err();
        assert!(matches!(error, CallError::Busy(2)), "{error:?}");
        assert!(error.was_not_sent());
        assert_eq!(began.elapsed(), Duration::ZERO);
        peer.result(first, 1_i64).await;
        peer.result(second, 2_i64).await;
    };
    let (results, ()) = tokio::join!(two, serve);
    assert!(results.iter().all(Result::is_ok));
    // And the places are free again.
    let (result, _) = tokio::join!(client.call(call("com.c")), peer.echo());
    result.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_sent_is_never_written_and_costs_nothing() {
    let (client, mut peer) = session_with(FEATURES, |config| {
        config.uri_check = UriCheck::Strict;
        config.max_message_bytes = 10_000;
    })
    .await;
    let error = client.call(call("com.Upper")).await.unwrap_err();
    assert!(matches!(error, CallError::InvalidUri { .. }), "{error:?}");
    let error = client.publish(publish("com.x-y")).await.unwrap_err();
    assert!(matches!(error, CallError::InvalidUri { .. }), "{error:?}");
    let error = client
        .subscribe(&uri("com.x-y"), SubscribeOptions::default(), 1)
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::InvalidUri { .. }), "{error:?}");

    for options in [r#"{"disclose_me": null}"#, r#"{"unheard_of": 1}"#] {
        let error = client
            .call(Call {
                options: map(options),
                ..call("com.a")
            })
            .await
            .unwrap_err();
        assert!(matches!(error, CallError::InvalidOption(_)), "{error:?}");
    }

    let error = client
        .call(Call {
            payload: args(["x".repeat(10_000).into()]),
            ..call("com.a")
        })
        .await
        .unwrap_err();
    assert!(
        matches!(error, CallError::TooLarge { bytes, limit: 10_000 } if bytes > 10_000),
        "{error:?}"
    );
    let error = client
        .call(Call {
            payload: args([Value::F64(f64::NAN)]),
            ..call("com.a")
        })
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::Encode(_)), "{error:?}");
    assert!(error.was_not_sent());

    // The first thing that the router sees is the first good call, with the first id.
    let (result, id) = tokio::join!(client.call(call("com.a")), peer.echo());
    result.unwrap();
    assert_eq!(id, RequestId(1));
    assert_eq!(client.in_flight(), 0);
}

// ---- publishing ----

#[tokio::test(start_paused = true)]
async fn a_publish_waits_for_the_broker_unless_told_not_to() {
    let (client, mut peer) = session().await;
    let serve = async {
        let Message::Publish {
            request, options, ..
        } = peer.receive().await
        else {
            panic!("no PUBLISH");
        };
        assert_eq!(options["acknowledge"], Value::Bool(true));
        peer.send(Message::Published {
            request,
            publication: PublicationId(9_007_199_254_740_991),
        })
        .await;
        peer.receive().await;
        peer.send_raw(r#"[8,16,2,{},"wamp.error.not_authorized"]"#)
            .await;
        let Message::Publish { options, .. } = peer.receive().await else {
            panic!("no PUBLISH");
        };
        assert_eq!(options["acknowledge"], Value::Bool(false));
        peer.receive().await;
    };
    let talk = async {
        let id = client.publish(publish("com.t")).await.unwrap();
        assert_eq!(id, Some(PublicationId(9_007_199_254_740_991)));
        let error = client.publish(publish("com.t")).await.unwrap_err();
        assert!(
            matches!(&error, CallError::Application(error) if error.uri == "wamp.error.not_authorized")
        );
        let mut silent = publish("com.t");
        silent.options = map(r#"{"acknowledge": false}"#);
        assert_eq!(client.publish(silent).await.unwrap(), None);
        let mut impatient = publish("com.t");
        impatient.timeout = SECOND;
        let error = client.publish(impatient).await.unwrap_err();
        assert!(matches!(error, CallError::Timeout(_)), "{error:?}");
    };
    tokio::join!(serve, talk);
}

// ---- the end ----

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

// ---- as a callee ----

/// Registers `com.p` and returns what holds the registration, whose id is 70.
async fn register<F, R>(
    client: &Client,
    peer: &mut Peer,
    handler: F,
) -> wampgate::wamp::client::Registration
where
    F: Fn(wampgate::wamp::client::Invocation) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Payload, ApplicationError>> + Send + 'static,
{
    let procedure = uri("com.p");
    let (registration, ()) = tokio::join!(
        client.register(&procedure, RegisterOptions::default(), handler),
        async {
            let Message::Register {
                request, procedure, ..
            } = peer.receive().await
            else {
                panic!("no REGISTER");
            };
            assert_eq!(procedure, "com.p");
            peer.send(Message::Registered {
                request,
                registration: RegistrationId(70),
            })
            .await;
        }
    );
    registration.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_registered_handler_answers_invocations() {
    let (client, mut peer) =
        session_with(FEATURES, |config| config.max_message_bytes = 10_000).await;
    let registration = register(&client, &mut peer, |invocation| async move {
        let what = invocation.payload.args()[0].as_text().unwrap().to_owned();
        match what.as_str() {
            "echo" => Ok(invocation.payload),
            "fail" => Err(ApplicationError::new(
                "com.error.no",
                vec!["why".into()],
                map(r#"{"k": 1}"#),
            )),
            "bad uri" => Err(ApplicationError::with_message("not a uri", "x")),
            "large" => Ok(args(["x".repeat(10_000).into()])),
            _ => panic!("on purpose"),
        }
    })
    .await;
    for (what, answer) in [
        ("echo", r#"[70,1,{},["echo"]]"#),
        ("fail", r#"[8,68,1,{},"com.error.no",["why"],{"k":1}]"#),
        ("bad uri", r#"[8,68,1,{},"wamp.error.runtime_error",["x"]]"#),
        (
            "large",
            r#"[8,68,1,{},"wamp.error.payload_size_exceeded",["a message of 10014 bytes exceeds the limit of 10000"]]"#,
        ),
        (
            "panic",
            r#"[8,68,1,{},"wamp.error.runtime_error",["handler failed"]]"#,
        ),
    ] {
        peer.send_raw(&format!(r#"[68,1,70,{{}},["{what}"]]"#))
            .await;
        let message = peer.receive().await;
        let frame = peer.serializer.encode(&message).unwrap();
        assert_eq!(std::str::from_utf8(&frame).unwrap(), answer);
    }
    // A registration that there is not.
    peer.send_raw(r#"[68,9,71,{}]"#).await;
    assert!(matches!(
        peer.receive().await,
        Message::Error { error, .. } if error == "wamp.error.no_such_registration"
    ));
    let (gone, ()) = tokio::join!(registration.unregister(), async {
        let Message::Unregister {
            request,
            registration: RegistrationId(70),
        } = peer.receive().await
        else {
            panic!("no UNREGISTER");
        };
        peer.send(Message::Unregistered {
            request,
            details: Map::new(),
        })
        .await;
    });
    gone.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_before_it_waits_costs_one_answer_and_not_the_session() {
    let (client, mut peer) = session().await;
    let _registration = register(&client, &mut peer, |invocation| {
        // Not in the future that it returns.
        let argument = invocation.payload.args()[0].as_text().unwrap().to_owned();
        async move { Ok(args([argument.into()])) }
    })
    .await;
    peer.send_raw(r#"[68,1,70,{},[1]]"#).await;
    assert!(matches!(
        peer.receive().await,
        Message::Error { error, .. } if error == "wamp.error.runtime_error"
    ));
    peer.send_raw(r#"[68,2,70,{},["fine"]]"#).await;
    assert!(matches!(peer.receive().await, Message::Yield { .. }));
    assert!(client.is_open());
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_drops_the_handler_and_is_answered() {
    struct Flag(Arc<AtomicBool>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let (client, mut peer) = session().await;
    let was_dropped = Arc::new(AtomicBool::new(false));
    let flag = was_dropped.clone();
    let _registration = register(&client, &mut peer, move |_| {
        let flag = Flag(flag.clone());
        async move {
            let _flag = flag;
            std::future::pending().await
        }
    })
    .await;
    peer.send_raw(r#"[68,5,70,{}]"#).await;
    peer.send_raw(r#"[69,5,{"mode":"killnowait"}]"#).await;
    assert!(matches!(
        peer.receive().await,
        Message::Error { request_type: 68, request: RequestId(5), error, .. }
            if error == "wamp.error.canceled"
    ));
    // Only one answer, and to the next invocation its own.
    peer.send_raw(r#"[69,5,{}]"#).await;
    peer.send_raw(r#"[68,6,99,{}]"#).await;
    assert!(matches!(
        peer.receive().await,
        Message::Error {
            request: RequestId(6),
            ..
        }
    ));
    assert!(was_dropped.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_watches_for_it_is_told_of_the_interrupt() {
    let (client, mut peer) = session().await;
    let told = Arc::new(Notify::new());
    let tell = told.clone();
    let _registration = register(&client, &mut peer, move |invocation| {
        let tell = tell.clone();
        async move {
            invocation.interrupted().await;
            tokio::task::yield_now().await;
            tell.notify_one();
            Ok(Payload::default())
        }
    })
    .await;
    peer.send_raw(r#"[68,5,70,{}]"#).await;
    tokio::task::yield_now().await;
    peer.send_raw(r#"[69,5,{}]"#).await;
    let answer = peer.receive().await;
    assert!(matches!(answer, Message::Error { .. }), "{answer:?}");
    told.notified().await;
}

#[tokio::test(start_paused = true)]
async fn dropping_a_registration_withdraws_the_procedure() {
    let (client, mut peer) = session().await;
    drop(register(&client, &mut peer, |_| async { Ok(Payload::default()) }).await);
    let Message::Unregister {
        request,
        registration: RegistrationId(70),
    } = peer.receive().await
    else {
        panic!("no UNREGISTER");
    };
    peer.send_raw(&format!("[67,{request}]")).await;
    let (result, _) = tokio::join!(client.call(call("com.a")), peer.echo());
    result.unwrap();
    // That is as it should be, and nothing to be counted.
    assert_eq!(client.dropped_messages().late, 0);
    assert_eq!(client.tombstones(), 0);
}

// ---- as a subscriber ----

async fn subscribe(
    client: &Client,
    peer: &mut Peer,
    queue: usize,
) -> wampgate::wamp::client::Subscription {
    let topic = uri("com.t");
    let (subscription, ()) = tokio::join!(
        client.subscribe(&topic, SubscribeOptions::default(), queue),
        async {
            let Message::Subscribe { request, .. } = peer.receive().await else {
                panic!("no SUBSCRIBE");
            };
            peer.send(Message::Subscribed {
                request,
                subscription: SubscriptionId(30),
            })
            .await;
            // On the heels of it: nothing is lost between the answer and the reader.
            peer.send_raw(r#"[36,30,1,{},["first"]]"#).await;
        }
    );
    subscription.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_subscription_gets_events_until_it_is_left() {
    let (client, mut peer) = session().await;
    let mut one = subscribe(&client, &mut peer, 8).await;
    let mut other = subscribe(&client, &mut peer, 8).await;
    let event = one.next().await.unwrap();
    assert_eq!(&*event.topic, "com.t");
    assert_eq!(event.payload.args(), [Value::from("first")]);
    assert!(other.next().await.is_some());
    // The topic has another reader still, so the router hears nothing of this one's going.
    one.unsubscribe().await.unwrap();
    peer.send_raw(r#"[36,30,2,{},["second"]]"#).await;
    let event = other.next().await.unwrap();
    assert_eq!(event.payload.args(), [Value::from("second")]);
    let (left, ()) = tokio::join!(other.unsubscribe(), async {
        let message = peer.receive().await;
        let Message::Unsubscribe {
            request,
            subscription: SubscriptionId(30),
        } = message
        else {
            panic!("{message:?}");
        };
        peer.send(Message::Unsubscribed {
            request,
            details: Map::new(),
        })
        .await;
    });
    left.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_loses_events_and_counts_them() {
    let (client, mut peer) = session().await;
    let mut events = subscribe(&client, &mut peer, 2).await;
    for _ in 0..5 {
        peer.send_raw(r#"[36,30,2,{},["more"]]"#).await;
    }
    // Behind them, so that they are all taken in.
    let (result, _) = tokio::join!(client.call(call("com.a")), peer.echo());
    result.unwrap();
    assert_eq!(events.dropped(), 4);
    assert_eq!(client.dropped_messages().events, 4);
    assert_eq!(
        events.next().await.unwrap().payload.args(),
        [Value::from("first")]
    );
    drop(events);
    assert!(matches!(peer.receive().await, Message::Unsubscribe { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_subscription_ends_with_its_session_or_by_revocation() {
    let (client, mut peer) = session().await;
    let mut events = subscribe(&client, &mut peer, 8).await;
    peer.send_raw(r#"[35,0,{"subscription":30,"reason":"com.gone"}]"#)
        .await;
    assert!(events.next().await.is_some());
    assert!(events.next().await.is_none());
    let mut events = subscribe(&client, &mut peer, 8).await;
    drop(peer);
    assert!(events.next().await.is_some());
    assert!(events.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_subscription_made_for_nobody_is_left_again() {
    let (client, mut peer) = session().await;
    let topic = uri("com.t");
    let mut subscribing = Box::pin(client.subscribe(&topic, SubscribeOptions::default(), 1));
    let request = tokio::select! {
        _ = &mut subscribing => panic!("nobody answered"),
        message = peer.receive() => match message {
            Message::Subscribe { request, .. } => request,
            other => panic!("{other:?}"),
        },
    };
    drop(subscribing);
    tokio::task::yield_now().await;
    peer.send(Message::Subscribed {
        request,
        subscription: SubscriptionId(31),
    })
    .await;
    assert!(matches!(
        peer.receive().await,
        Message::Unsubscribe {
            subscription: SubscriptionId(31),
            ..
        }
    ));
}
