//! Registered procedures and what runs of them.

use super::*;

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
