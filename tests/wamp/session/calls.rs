//! Calls and publications: their answers, deadlines and bounds.

use super::*;

fn canceled_with_killnowait(message: &Message, id: RequestId) -> bool {
    matches!(message, Message::Cancel { request, options }
        if *request == id && options["mode"] == Value::from("killnowait"))
}

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
